//! The engine beside the command line: what `run` and `demo` share.
//!
//! The engine runs on threads of its own. The main thread looks in every [`TICK`]: shows its status,
//! passes signals on, and at the end turns the outcome into an exit code.

pub(super) mod ledger;
pub(super) mod live;

use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow};
use floodmark_engine::runtime::{
    EngineError, Finished, RunOptions, Status, StatusBoard, StopSignal, run,
};

use super::exit::Failure;
use super::load::Planned;

/// How often the terminal and the signal flag are looked after.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// A running engine.
#[derive(Debug)]
pub(super) struct Engine {
    coordinator: JoinHandle<Result<Finished, EngineError>>,
    stop: StopSignal,
    board: StatusBoard,
    /// Ends with the engine, and not before.
    _io: tokio::runtime::Runtime,
}

impl Engine {
    /// Starts the engine; it connects by itself.
    pub(super) fn start(planned: Planned, options: RunOptions) -> anyhow::Result<Self> {
        let io = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("io")
            .enable_all()
            .build()
            .context("starting the I/O runtime")?;
        let (stop, board) = (StopSignal::new(), StatusBoard::new());
        let body = {
            let (stop, board, io) = (stop.clone(), board.clone(), io.handle().clone());
            move || {
                let parts = floodmark_engine::connect::connect(
                    planned.pipeline,
                    planned.plan,
                    options.until_caught_up,
                    io,
                )?;
                run(parts, options, &stop, &board)
            }
        };
        let coordinator = std::thread::Builder::new()
            .name("coordinator".to_owned())
            .spawn(body)
            .context("starting the coordinator")?;
        Ok(Self {
            coordinator,
            stop,
            board,
            _io: io,
        })
    }

    /// Asks it to finish what was read, checkpoint and end.
    pub(super) fn stop(&self) {
        self.stop.stop();
    }

    /// Whether it was asked to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_stopped()
    }

    /// Whether it has ended, by itself or because it was asked to.
    pub(super) fn is_finished(&self) -> bool {
        self.coordinator.is_finished()
    }

    /// Where it stands.
    pub(super) fn status(&self) -> Status {
        self.board.read()
    }

    /// Waits for the end: how it ended, and where it stood then.
    pub(super) fn join(self) -> (Result<(), Failure>, Status) {
        let outcome = match self.coordinator.join() {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is_fenced() => Err(Failure::Fenced(error.into())),
            Ok(Err(error)) => Err(Failure::Runtime(error.into())),
            Err(_) => {
                let panicked = anyhow!("the coordinator panicked; please report it");
                Err(Failure::Runtime(panicked))
            }
        };
        (outcome, self.board.read())
    }
}
