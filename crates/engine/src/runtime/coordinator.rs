//! The coordinator: watermarks, windows, checkpoints, the end.
//!
//! One loop hears what workers, sinks and the store say and looks every few milliseconds at what is
//! due. [`firing`] is its part about event time, [`checkpointing`] and [`freeze`] that about
//! checkpoints.

mod checkpointing;
mod firing;
mod freeze;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::Duration;

use floodmark_pipeline::Pipeline;
use floodmark_sql::Plan;
use tracing::Span;

use super::error::EngineError;
use super::fenced::blame;
use super::message::{
    Command, Message, Panes, SinkCommand, SinkId, SinkRun, WorkerId, WorkerRun, WorkerView, lock,
};
use super::start::{DRAIN_TIMEOUT, Parts, StartedSource};
use super::status::{Phase, Status, StatusBoard};
use super::{RunOptions, StopSignal};
use crate::checkpoint::{CheckpointStore, ChunkRef, Manifest, StateFile};
use crate::clock::Clock;
use crate::telemetry::Telemetry;
use crate::telemetry::spans::Step;
use crate::units::{Epoch, Generation, OutputId, Partition};
use crate::watermark::{Watermark, WatermarkTracker};
use crate::window::OpenWindows;
use checkpointing::Barrier;

/// Time between looks at watermarks, sources and the time for a checkpoint.
const TICK: Duration = Duration::from_millis(10);

/// Time between looks for room in a sink's queue that is full.
const UNSENT_RETRY: Duration = Duration::from_millis(1);

/// A worker that has not polled for this long waits for a sink: its partitions cannot deliver.
const BLOCKED_AFTER: Duration = Duration::from_secs(1);

/// A partition that stood at its end this long ago could deliver: records that arrive one by one
/// take it away from its end for a moment each.
const AT_END_FOR: Duration = Duration::from_secs(1);

/// Time between tries to find out where a new partition starts.
const NEW_PARTITION_RETRY: Duration = Duration::from_secs(5);

/// Time between posted statuses.
const STATUS_EVERY: Duration = Duration::from_millis(100);

/// A run that ended as it should.
#[derive(Debug)]
pub struct Finished {
    /// Its last status.
    pub status: Status,
}

/// Runs a pipeline until it is stopped, has caught up (if asked to), or fails.
pub fn run(
    parts: Parts,
    options: RunOptions,
    stop: &StopSignal,
    board: &StatusBoard,
) -> Result<Finished, EngineError> {
    let (pipeline, plan) = (Arc::clone(&parts.pipeline), Arc::clone(&parts.plan));
    let (clock, tokio) = (Arc::clone(&parts.clock), parts.tokio.clone());
    let (instance, telemetry) = (parts.instance.clone(), parts.telemetry.clone());
    let (threads, running) = telemetry.starting(|| {
        let started = super::start::start(parts, options.until_caught_up)?;
        telemetry.wait_for(Step::StartThreads, "starting to read");
        super::threads::start(&pipeline, &plan, started, &clock, &telemetry)
    })?;
    telemetry.waits_no_more();
    let now = clock.monotonic();
    let sources = running.sources.into_iter();
    let mut coordinator = Coordinator {
        sources: sources
            .map(|source| SourceRun::new(source, &pipeline, now))
            .collect(),
        checkpoint: CheckpointRun::new(&running.claimed, running.checkpoints, now),
        workers: running.workers,
        sinks: running.sinks,
        open: running.open,
        pipeline,
        plan,
        clock,
        tokio,
        instance,
        telemetry,
        fired_windows: BTreeMap::new(),
        options,
        inbox: running.inbox,
        to_self: running.to_coordinator,
        started: now,
        first_records: None,
        phase: Phase::Running,
        resume_when_sent: false,
        draining_since: None,
        posted: Duration::ZERO,
    };
    let outcome = coordinator.serve(stop, board);
    coordinator.checkpoint.failed = outcome.is_err() && coordinator.checkpoint.current.is_some();
    let outcome = outcome.map_err(|error| {
        let judged = blame(
            error,
            &mut coordinator.checkpoint.reader,
            &coordinator.instance,
        );
        coordinator.tokio.block_on(judged)
    });
    if let (Err(error), Some(current)) = (&outcome, &coordinator.checkpoint.current) {
        current.spans.failed(error);
    }
    let status = coordinator.status();
    board.post(status.clone());
    drop(coordinator);
    threads.end();
    outcome.map(|()| Finished { status })
}

/// A source as the coordinator sees it.
pub(super) struct SourceRun {
    pub(super) started: StartedSource,
    pub(super) tracker: Option<WatermarkTracker>,
    /// Windows that end at or before this have fired.
    pub(super) fired: Option<Watermark>,
    closing: Option<Closing>,
    /// When each partition was last seen at its end.
    at_end: BTreeMap<Partition, Duration>,
    /// No earlier than this are new partitions asked for again.
    ask_again: Duration,
    /// The worker that reads a partition.
    pub(super) owners: BTreeMap<Partition, WorkerId>,
}

/// Windows that workers are handing over to be fired.
struct Closing {
    watermark: Watermark,
    missing: usize,
    panes: Panes,
    span: Span,
}

/// Checkpoints as the coordinator sees them.
pub(super) struct CheckpointRun {
    /// Away while a task uses it.
    store: Option<Box<CheckpointStore>>,
    /// Is never away.
    reader: CheckpointStore,
    lineage: String,
    pub(super) generation: Generation,
    /// Newest durable epoch.
    pub(super) epoch: Epoch,
    files: BTreeMap<String, StateFile>,
    current: Option<Barrier>,
    pub(super) completed: u64,
    /// Whether the run failed during one.
    pub(super) failed: bool,
    pub(super) last_took: Option<Duration>,
    /// When the last one was begun.
    pub(super) last_begun: Duration,
    pub(super) last_done: Option<Duration>,
}

pub(super) struct Coordinator {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) plan: Arc<Plan>,
    pub(super) clock: Arc<dyn Clock>,
    tokio: tokio::runtime::Handle,
    pub(super) instance: String,
    pub(super) telemetry: Telemetry,
    /// Windows that this run has fired.
    pub(super) fired_windows: BTreeMap<OutputId, u64>,
    options: RunOptions,
    pub(super) sources: Vec<SourceRun>,
    pub(super) workers: Vec<WorkerRun>,
    pub(super) sinks: Vec<SinkRun>,
    pub(super) open: BTreeMap<OutputId, OpenWindows<ChunkRef>>,
    pub(super) checkpoint: CheckpointRun,
    inbox: Receiver<Message>,
    to_self: SyncSender<Message>,
    pub(super) started: Duration,
    /// When the first records had been processed.
    pub(super) first_records: Option<Duration>,
    pub(super) phase: Phase,
    /// Workers stand at a barrier until every sink's queue holds its `pre_commit`.
    resume_when_sent: bool,
    draining_since: Option<Duration>,
    posted: Duration,
}

impl SourceRun {
    fn new(started: StartedSource, pipeline: &Pipeline, now: Duration) -> Self {
        let restored = &started.restored;
        let tracker = pipeline.sources[started.id.0]
            .event_time
            .as_ref()
            .map(|event_time| {
                let partitions = started.positions.keys().map(|partition| {
                    let watermark = restored.partitions.get(partition).and_then(|p| p.watermark);
                    (*partition, watermark)
                });
                WatermarkTracker::new(event_time, restored.fired, partitions, now)
            });
        Self {
            fired: restored.fired,
            tracker,
            closing: None,
            at_end: BTreeMap::new(),
            ask_again: Duration::ZERO,
            owners: BTreeMap::new(),
            started,
        }
    }
}

impl CheckpointRun {
    fn new(claimed: &Manifest, store: Box<CheckpointStore>, now: Duration) -> Self {
        Self {
            reader: store.reader(),
            store: Some(store),
            lineage: claimed.lineage.clone(),
            generation: claimed.generation,
            epoch: claimed.epoch,
            files: claimed.files.clone(),
            current: None,
            completed: 0,
            failed: false,
            last_took: None,
            last_begun: now,
            last_done: None,
        }
    }
}

impl Coordinator {
    fn serve(&mut self, stop: &StopSignal, board: &StatusBoard) -> Result<(), EngineError> {
        self.assign_owners();
        let mut ticked = Duration::ZERO;
        while self.phase != Phase::Finished {
            let wait = if self.has_unsent() {
                UNSENT_RETRY
            } else {
                TICK
            };
            match self.inbox.recv_timeout(wait) {
                Ok(message) => self.hear(message)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(EngineError::internal("coordinator", "its inbox has closed"));
                }
            }
            self.send_all_unsent()?;
            let now = self.clock.monotonic();
            if now.saturating_sub(ticked) >= TICK {
                ticked = now;
                self.tick(now, stop, board)?;
            }
        }
        Ok(())
    }

    fn assign_owners(&mut self) {
        for source in &mut self.sources {
            for (index, worker) in self.workers.iter().enumerate() {
                let view = lock(&worker.view);
                let lane = view.lanes.get(&source.started.id);
                let partitions = lane.into_iter().flat_map(|lane| lane.partitions.keys());
                source
                    .owners
                    .extend(partitions.map(|p| (*p, WorkerId(index))));
            }
        }
    }

    fn hear(&mut self, message: Message) -> Result<(), EngineError> {
        match message {
            Message::Closed { source, panes } => self.closed(source, panes),
            Message::Barrier {
                worker,
                panes,
                view,
            } => self.at_barrier(worker, panes, view),
            Message::PreCommitted {
                sink,
                pre_commit,
                committed,
            } => self.pre_committed(sink, pre_commit, committed),
            Message::Committed { sink } => self.committed(sink),
            Message::Stored {
                store,
                manifest,
                outcome,
            } => self.stored(store, manifest, outcome),
            Message::Collected { store } => {
                self.checkpoint.store = Some(store);
                Ok(())
            }
            Message::Failed(error) => Err(error),
        }
    }

    fn tick(
        &mut self,
        now: Duration,
        stop: &StopSignal,
        board: &StatusBoard,
    ) -> Result<(), EngineError> {
        let views: Vec<WorkerView> = self
            .workers
            .iter()
            .map(|worker| lock(&worker.view).clone())
            .collect();
        self.note_first_records(&views, now);
        for source in &self.sources {
            lock(&source.started.health).tell_silence(&source.started.name, now);
        }
        if self.phase == Phase::Running {
            self.require_sources()?;
            self.read_new_partitions(now);
            self.advance_watermarks(&views, now);
            let caught_up = self.options.until_caught_up && self.has_caught_up(&views);
            if stop.is_stopped() || caught_up {
                self.phase = Phase::Draining;
                self.draining_since = stop.is_stopped().then_some(now);
            }
        }
        self.begin_checkpoint_if_due(now);
        if now.saturating_sub(self.posted) >= STATUS_EVERY {
            self.posted = now;
            board.post(self.status());
        }
        match self.draining_since {
            Some(since) if now.saturating_sub(since) >= DRAIN_TIMEOUT => {
                Err(EngineError::DrainTimeout {
                    seconds: DRAIN_TIMEOUT.as_secs(),
                    waiting_for: self.waiting_for(),
                    epoch: self.checkpoint.epoch,
                })
            }
            None if self.phase == Phase::Draining && stop.is_stopped() => {
                self.draining_since = Some(now);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Says once how long it took until records were processed: that is when a recovery is over.
    fn note_first_records(&mut self, views: &[WorkerView], now: Duration) {
        let mut lanes = views.iter().flat_map(|view| view.lanes.values());
        if self.first_records.is_none() && lanes.any(|lane| lane.ledger.read > 0) {
            self.first_records = Some(now);
            let (generation, after) = (self.checkpoint.generation.0, now);
            tracing::info!(generation, ?after, "first records processed");
        }
    }

    fn has_caught_up(&self, views: &[WorkerView]) -> bool {
        self.sources.iter().all(|source| {
            let Some(until) = &source.started.until else {
                return true;
            };
            until.iter().all(|(partition, end)| {
                let view = views.iter().find_map(|worker| {
                    worker
                        .lanes
                        .get(&source.started.id)?
                        .partitions
                        .get(partition)
                });
                view.is_some_and(|view| view.next >= *end || view.ended)
            })
        })
    }

    /// Ends the run when a source has been deleted: its positions mean nothing in one that may be
    /// made anew under its name.
    fn require_sources(&self) -> Result<(), EngineError> {
        for source in &self.sources {
            if let Some(error) = lock(&source.started.health).gone.take() {
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn read_new_partitions(&mut self, now: Duration) {
        for source in &mut self.sources {
            let exist = lock(&source.started.health).partitions.clone();
            let new: Vec<Partition> = exist
                .into_iter()
                .filter(|p| !source.owners.contains_key(p))
                .collect();
            if new.is_empty() || now < source.ask_again {
                continue;
            }
            let positions = match source.started.connector.start_of_new(&new) {
                Ok(positions) => positions,
                Err(error) => {
                    tracing::warn!(source = source.started.name, %error, "new partitions wait");
                    source.ask_again = now + NEW_PARTITION_RETRY;
                    continue;
                }
            };
            for (partition, next) in positions {
                let load = |id: usize| source.owners.values().filter(|w| w.0 == id).count();
                let least = (0..self.workers.len())
                    .min_by_key(|id| load(*id))
                    .unwrap_or(0);
                tracing::info!(
                    source = source.started.name,
                    partition = partition.0,
                    "new partition"
                );
                source.owners.insert(partition, WorkerId(least));
                source.started.positions.insert(partition, next);
                if let Some(tracker) = &mut source.tracker {
                    tracker.add(partition, None);
                }
                let command = Command::Assign(source.started.id, vec![(partition, next)]);
                order(&self.workers[least], command);
            }
        }
    }

    /// Queues a command for a sink, behind those that wait already. The coordinator never waits for
    /// a sink itself: it has signals to hear and watermarks to look at.
    fn tell(&mut self, sink: SinkId, command: SinkCommand) -> Result<(), EngineError> {
        self.sinks[sink.0].unsent.push_back(command);
        self.send_unsent(sink)
    }

    /// Moves commands that wait for room into the sink's queue, as far as there is some.
    fn send_unsent(&mut self, sink: SinkId) -> Result<(), EngineError> {
        let run = &mut self.sinks[sink.0];
        while let Some(command) = run.unsent.pop_front() {
            match run.queue.try_send(command) {
                Ok(()) => {}
                Err(TrySendError::Full(command)) => {
                    run.unsent.push_front(command);
                    break;
                }
                Err(TrySendError::Disconnected(_)) => {
                    // A sink that has ended has reported why; that report is on its way.
                    let name = run.name.clone();
                    return Err(self.failure_of(&name));
                }
            }
        }
        Ok(())
    }

    /// Sends what waits, and lets workers go on that wait for it: rows of theirs that overtook a
    /// `pre_commit` would be in the wrong checkpoint.
    fn send_all_unsent(&mut self) -> Result<(), EngineError> {
        for sink in 0..self.sinks.len() {
            self.send_unsent(SinkId(sink))?;
        }
        if self.resume_when_sent && !self.has_unsent() {
            self.resume_when_sent = false;
            for worker in &self.workers {
                order(worker, Command::Resume);
            }
        }
        Ok(())
    }

    /// Whether a sink's queue is too full for what the coordinator has to say.
    fn has_unsent(&self) -> bool {
        self.sinks.iter().any(|sink| !sink.unsent.is_empty())
    }

    /// The error a thread has reported, if it is in the inbox.
    fn failure_of(&self, name: &str) -> EngineError {
        let reported = self.inbox.try_iter().find_map(|message| match message {
            Message::Failed(error) => Some(error),
            _ => None,
        });
        reported.unwrap_or_else(|| {
            EngineError::internal(format!("output '{name}'"), "its sink has ended")
        })
    }
}

fn order(worker: &WorkerRun, command: Command) {
    // A worker that has ended has reported why; that report is on its way and ends the run.
    let _ = worker.commands.send(command);
}
