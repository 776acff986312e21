//! A worker: polls its sources, drives their lanes, answers the coordinator.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::time::Duration;

use super::error::EngineError;
use super::lane::Lane;
use super::message::{Command, Message, Panes, SharedView, WorkerId, WorkerView, lock};
use crate::clock::Clock;
use crate::telemetry::StageMeter;
use crate::units::SourceId;

/// How long a worker waits for records before it looks for commands again: bounds how long a
/// barrier waits for an idle worker.
const POLL_TIMEOUT: Duration = Duration::from_millis(5);

/// How long a worker without anything to read waits for commands.
const IDLE_WAIT: Duration = Duration::from_millis(50);

pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) lanes: BTreeMap<SourceId, Lane>,
    pub(super) commands: Receiver<Command>,
    pub(super) inbox: SyncSender<Message>,
    pub(super) view: SharedView,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) meter: StageMeter,
}

/// The coordinator has gone: the run is over.
struct Gone;

impl Worker {
    /// Works until the coordinator drops its end of the command queue.
    pub(super) fn run(mut self) {
        // It was made by another thread, and measures the one that it is called on.
        self.meter = StageMeter::new();
        loop {
            match self.commands.try_recv() {
                Ok(command) => match self.obey(command) {
                    Ok(Ok(())) => continue,
                    Ok(Err(Gone)) => return,
                    Err(error) => return self.fail(error),
                },
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {}
            }
            if let Err(error) = self.poll() {
                return self.fail(error);
            }
        }
    }

    fn poll(&mut self) -> Result<(), EngineError> {
        let lanes = self.lanes.len().max(1);
        for lane in self.lanes.values_mut() {
            lane.poll(
                POLL_TIMEOUT / lanes as u32,
                self.clock.as_ref(),
                &mut self.meter,
            )?;
        }
        if self.lanes.values().all(Lane::is_unassigned) {
            std::thread::park_timeout(IDLE_WAIT);
        }
        self.publish();
        Ok(())
    }

    fn view(&self) -> WorkerView {
        WorkerView {
            lanes: self
                .lanes
                .iter()
                .map(|(source, lane)| (*source, lane.view()))
                .collect(),
            polled_at: self.clock.monotonic(),
            state_bytes: self.lanes.values().map(Lane::memory).sum(),
            stages: self.meter.times(),
        }
    }

    fn publish(&self) {
        let view = self.view();
        *lock(&self.view) = view;
    }

    fn obey(&mut self, command: Command) -> Result<Result<(), Gone>, EngineError> {
        match command {
            Command::Close(source, watermark) => {
                let panes = match self.lanes.get_mut(&source) {
                    Some(lane) => lane.close(watermark)?,
                    None => Panes::new(),
                };
                Ok(self.tell(Message::Closed { source, panes }))
            }
            Command::Barrier => {
                let mut panes = Panes::new();
                for lane in self.lanes.values_mut() {
                    panes.extend(lane.take()?);
                }
                let view = self.view();
                if self
                    .tell(Message::Barrier {
                        worker: self.id,
                        panes,
                        view,
                    })
                    .is_err()
                {
                    return Ok(Err(Gone));
                }
                // What was handed over is no longer here to be counted.
                self.publish();
                self.wait_for_resume()
            }
            Command::Assign(source, positions) => {
                if let Some(lane) = self.lanes.get_mut(&source) {
                    lane.assign(&positions)?;
                }
                Ok(Ok(()))
            }
            Command::Resume => Err(EngineError::internal(
                format!("worker {}", self.id.0),
                "told to resume outside a barrier",
            )),
        }
    }

    /// Waits between a barrier and the order to go on; other orders are carried out meanwhile.
    fn wait_for_resume(&mut self) -> Result<Result<(), Gone>, EngineError> {
        loop {
            match self.commands.recv_timeout(IDLE_WAIT) {
                Ok(Command::Resume) => return Ok(Ok(())),
                Ok(Command::Barrier) => {
                    return Err(EngineError::internal(
                        format!("worker {}", self.id.0),
                        "a second barrier before the first was resumed",
                    ));
                }
                Ok(other) => {
                    if self.obey(other)?.is_err() {
                        return Ok(Err(Gone));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(Err(Gone)),
            }
        }
    }

    fn tell(&self, message: Message) -> Result<(), Gone> {
        self.inbox.send(message).map_err(|_| Gone)
    }

    fn fail(&self, error: EngineError) {
        // If the coordinator has gone, it has an error of its own to report.
        let _ = self.inbox.send(Message::Failed(error));
    }
}
