//! The engine beside the command line: what `run` and `demo` share.
//!
//! The engine runs on threads of its own. The main thread looks in every [`TICK`]: shows its status,
//! passes signals on, and at the end turns the outcome into an exit code.

pub(super) mod ledger;
pub(super) mod live;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow};
use floodmark_engine::connect::{connect, new_instance};
use floodmark_engine::runtime::{
    EngineError, Finished, RunOptions, Status, StatusBoard, StopSignal, keep_running,
};

use floodmark_engine::telemetry::Telemetry;

use super::exit::Failure;
use super::load::Planned;
use crate::http::{self, Listener, Server, Subject};

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
    /// The same.
    _server: Option<Server>,
}

impl Engine {
    /// Starts the engine, at first as an instance of this name; it connects by itself. `listener` is
    /// served from now on.
    pub(super) fn start(
        planned: Planned,
        instance: String,
        options: RunOptions,
        telemetry: Telemetry,
        listener: Option<Listener>,
    ) -> anyhow::Result<Self> {
        let io = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("io")
            .enable_all()
            .build()
            .context("starting the I/O runtime")?;
        let (stop, board) = (StopSignal::new(), StatusBoard::new());
        let failure = http::Failure::default();
        let Planned {
            pipeline,
            plan,
            text,
        } = planned;
        let server = listener.map(|listener| {
            let subject = Subject::new(&pipeline, &plan, &text, &board, &telemetry, &failure);
            listener.serve(subject)
        });
        let server = server.transpose()?;
        let body = {
            let (stop, board, io) = (stop.clone(), board.clone(), io.handle().clone());
            move || {
                // Says so even if it panics.
                let end = End(failure);
                let ends = options.until_caught_up;
                let mut first = Some(instance);
                let connect = || {
                    let instance = first.take().unwrap_or_else(new_instance);
                    let (pipeline, plan) = (Arc::clone(&pipeline), Arc::clone(&plan));
                    let (io, telemetry) = (io.clone(), telemetry.clone());
                    connect(pipeline, plan, instance, ends, io, telemetry)
                };
                let outcome = keep_running(connect, options, &stop, &board);
                end.with(&outcome);
                outcome
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
            _server: server,
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

/// Tells those who look how the engine's thread ended.
struct End(http::Failure);

impl End {
    fn with(&self, outcome: &Result<Finished, EngineError>) {
        if let Err(error) = outcome {
            self.0.is(error.to_string());
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0
                .is("the coordinator panicked; please report it".to_owned());
        }
    }
}
