//! The coordinator: watermarks, windows, checkpoints, the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use floodmark_pipeline::Pipeline;

use super::barrier::{Barrier, Frozen, Stage, blank, settled};
use super::error::EngineError;
use super::message::{
    Command, LaneView, Message, Panes, SharedCount, SharedView, SinkCommand, SinkId, SinkQueue,
    WorkerId, WorkerView, lock,
};
use super::start::{DRAIN_TIMEOUT, Parts, StartedSource};
use super::status::{Phase, Status, StatusBoard};
use super::{RunOptions, StopSignal};
use crate::checkpoint::{
    CheckpointStore, ChunkRef, Manifest, PartitionState, SourceState, StateFile, Stored,
};
use crate::clock::Clock;
use crate::ledger::{Ledger, OutputLedger};
use crate::sink::{CommitPermit, Committed, OutputRows};
use crate::units::{Epoch, EventMicros, Generation, Offset, OutputId, Partition, SourceId};
use crate::watermark::{FutureGuard, Observation, Watermark, WatermarkTracker};
use crate::window::{OpenWindows, WindowError};
use floodmark_sql::{OutputKind, Plan, WindowSize, apply_all};

/// Time between looks at watermarks, sources and the time for a checkpoint.
const TICK: Duration = Duration::from_millis(10);

/// A worker that has not polled for this long waits for a sink: its partitions cannot deliver.
const BLOCKED_AFTER: Duration = Duration::from_secs(1);

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
    let instance = parts.instance.clone();
    let started = super::start::start(parts, options.until_caught_up)?;
    let (threads, running) = super::threads::start(&pipeline, &plan, started, &clock)?;
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
        options,
        inbox: running.inbox,
        to_self: running.to_coordinator,
        started: now,
        phase: Phase::Running,
        draining_since: None,
        posted: Duration::ZERO,
    };
    let outcome = coordinator.serve(stop, board);
    let status = coordinator.status();
    board.post(status.clone());
    drop(coordinator);
    threads.end();
    outcome.map(|()| Finished { status })
}

/// A worker as the coordinator sees it.
pub(super) struct WorkerRun {
    pub(super) commands: SyncSender<Command>,
    pub(super) view: SharedView,
}

/// A sink as the coordinator sees it.
pub(super) struct SinkRun {
    pub(super) name: String,
    pub(super) queue: SinkQueue,
    /// What had become visible before this run.
    pub(super) before: Committed,
    pub(super) count: SharedCount,
}

/// A source as the coordinator sees it.
pub(super) struct SourceRun {
    pub(super) started: StartedSource,
    pub(super) tracker: Option<WatermarkTracker>,
    /// Windows that end at or before this have fired.
    pub(super) fired: Option<Watermark>,
    closing: Option<Closing>,
    /// The worker that reads a partition.
    pub(super) owners: BTreeMap<Partition, WorkerId>,
}

/// Windows that workers are handing over to be fired.
struct Closing {
    watermark: Watermark,
    missing: usize,
    panes: Panes,
}

/// Checkpoints as the coordinator sees them.
pub(super) struct CheckpointRun {
    /// Away while a task uses it.
    store: Option<Box<CheckpointStore>>,
    lineage: String,
    pub(super) generation: Generation,
    /// Newest durable epoch.
    pub(super) epoch: Epoch,
    files: BTreeMap<String, StateFile>,
    current: Option<Barrier>,
    pub(super) completed: u64,
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
    instance: String,
    options: RunOptions,
    pub(super) sources: Vec<SourceRun>,
    pub(super) workers: Vec<WorkerRun>,
    pub(super) sinks: Vec<SinkRun>,
    pub(super) open: BTreeMap<OutputId, OpenWindows<ChunkRef>>,
    pub(super) checkpoint: CheckpointRun,
    inbox: Receiver<Message>,
    to_self: SyncSender<Message>,
    pub(super) started: Duration,
    pub(super) phase: Phase,
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
            owners: BTreeMap::new(),
            started,
        }
    }
}

impl CheckpointRun {
    fn new(claimed: &Manifest, store: Box<CheckpointStore>, now: Duration) -> Self {
        Self {
            store: Some(store),
            lineage: claimed.lineage.clone(),
            generation: claimed.generation,
            epoch: claimed.epoch,
            files: claimed.files.clone(),
            current: None,
            completed: 0,
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
            match self.inbox.recv_timeout(TICK) {
                Ok(message) => self.hear(message)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(EngineError::internal("coordinator", "its inbox has closed"));
                }
            }
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
        if self.phase == Phase::Running {
            self.read_new_partitions()?;
            self.advance_watermarks(&views, now)?;
            let caught_up = self.options.until_caught_up && self.has_caught_up(&views);
            if stop.is_stopped() || caught_up {
                self.phase = Phase::Draining;
                self.draining_since = stop.is_stopped().then_some(now);
            }
        }
        self.begin_checkpoint_if_due(now)?;
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

    // ---- sources ----

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

    fn read_new_partitions(&mut self) -> Result<(), EngineError> {
        for source in &mut self.sources {
            let exist = lock(&source.started.health).partitions.clone();
            let new: Vec<Partition> = exist
                .into_iter()
                .filter(|p| !source.owners.contains_key(p))
                .collect();
            if new.is_empty() {
                continue;
            }
            let positions = source.started.connector.start_of_new(&new)?;
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
                order(&self.workers[least], command)?;
            }
        }
        Ok(())
    }

    // ---- watermarks and windows ----

    fn advance_watermarks(
        &mut self,
        views: &[WorkerView],
        now: Duration,
    ) -> Result<(), EngineError> {
        for index in 0..self.sources.len() {
            let id = SourceId(index);
            let last_open_end = self.last_open_end(id, views);
            let source = &mut self.sources[index];
            let Some(tracker) = &mut source.tracker else {
                continue;
            };
            let reachable = lock(&source.started.health).is_reachable(now);
            for worker in views {
                let Some(lane) = worker.lanes.get(&id) else {
                    continue;
                };
                let polls = now.saturating_sub(worker.polled_at) < BLOCKED_AFTER;
                for (partition, view) in &lane.partitions {
                    let seen = Observation {
                        max_event_time: view.max_event_time,
                        delivered: view.delivered,
                        deliverable: reachable && polls && view.caught_up,
                        ended: view.ended,
                    };
                    tracker.observe(*partition, seen, now);
                }
            }
            let Some(watermark) = tracker.advance(now, last_open_end) else {
                continue;
            };
            if source.closing.is_none() && self.passes_a_window_end(id, watermark) {
                self.close(id, watermark)?;
            }
        }
        Ok(())
    }

    fn windowed(&self, source: SourceId) -> impl Iterator<Item = (OutputId, WindowSize)> + '_ {
        self.plan
            .outputs
            .iter()
            .enumerate()
            .filter_map(move |(index, output)| match &output.kind {
                OutputKind::Windowed(plan) if output.source == source => {
                    Some((OutputId(index), plan.size))
                }
                _ => None,
            })
    }

    /// End of the last window of a source that has not fired, in a worker or here. Windows that
    /// only rows too far in the future have opened do not count: a quiet stream must not run
    /// ahead to them.
    fn last_open_end(&self, source: SourceId, views: &[WorkerView]) -> Option<EventMicros> {
        let event_time = self.pipeline.sources[source.0].event_time.as_ref()?;
        let guard = FutureGuard::at(self.clock.wall_ms(), event_time.max_future);
        let ends = self.windowed(source).filter_map(|(output, size)| {
            let in_workers = views
                .iter()
                .filter_map(|worker| worker.lanes.get(&source))
                .flat_map(LaneView::open_panes)
                .filter(|(id, _)| *id == output)
                .map(|(_, start)| start);
            let here = self.open.get(&output).into_iter();
            let here = here.flat_map(|open| open.windows().map(|(start, _)| start));
            let believed = in_workers.chain(here).filter(|start| guard.admits(*start));
            believed.max().map(|start| size.end(start))
        });
        ends.max()
    }

    /// Whether `watermark` has reached a window end that the last fired one had not.
    fn passes_a_window_end(&self, source: SourceId, watermark: Watermark) -> bool {
        let fired = self.sources[source.0].fired;
        self.windowed(source).any(|(_, size)| {
            let ends_before = |w: Watermark| w.0.saturating_mul(1_000).div_euclid(size.micros());
            fired.is_none_or(|fired| ends_before(watermark) > ends_before(fired))
        })
    }

    fn close(&mut self, source: SourceId, watermark: Watermark) -> Result<(), EngineError> {
        for worker in &self.workers {
            order(worker, Command::Close(source, watermark))?;
        }
        let missing = self.workers.len();
        self.sources[source.0].closing = Some(Closing {
            watermark,
            missing,
            panes: Panes::new(),
        });
        Ok(())
    }

    fn closed(&mut self, source: SourceId, panes: Panes) -> Result<(), EngineError> {
        let Some(closing) = &mut self.sources[source.0].closing else {
            return Err(EngineError::internal(
                "coordinator",
                "a worker closed unasked",
            ));
        };
        closing.panes.extend(panes);
        closing.missing -= 1;
        if closing.missing > 0 {
            return Ok(());
        }
        if let Some(closing) = self.sources[source.0].closing.take() {
            self.keep(closing.panes)?;
            self.fire(source, closing.watermark)?;
        }
        Ok(())
    }

    fn keep(&mut self, panes: Panes) -> Result<(), EngineError> {
        for (output, start, chunk) in panes {
            let Some(open) = self.open.get_mut(&output) else {
                continue;
            };
            open.add(start, chunk)
                .map_err(|e| window_error(&self.plan, output, e))?;
        }
        Ok(())
    }

    /// Fires the windows of a source that `watermark` has reached.
    fn fire(&mut self, source: SourceId, watermark: Watermark) -> Result<(), EngineError> {
        let outputs: Vec<OutputId> = self.windowed(source).map(|(output, _)| output).collect();
        for output in outputs {
            let Some(open) = self.open.get_mut(&output) else {
                continue;
            };
            let fired = open
                .fire(watermark)
                .map_err(|e| window_error(&self.plan, output, e))?;
            let plan = &self.plan.outputs[output.0];
            for (_, batch) in fired {
                let batch = apply_all(&plan.after, batch).map_err(|source| EngineError::Query {
                    output: plan.name.clone(),
                    source,
                })?;
                if batch.num_rows() > 0 {
                    let rows = OutputRows {
                        batch,
                        origin: None,
                    };
                    self.tell(SinkId(output.0), SinkCommand::Write(rows, Vec::new()))?;
                }
            }
        }
        let run = &mut self.sources[source.0];
        run.fired = run.fired.max(Some(watermark));
        Ok(())
    }

    /// Fires every open window, at the end of a run that asks for it.
    fn fire_all(&mut self) -> Result<(), EngineError> {
        for index in 0..self.sources.len() {
            let source = SourceId(index);
            let ends = self.windowed(source);
            let last = ends
                .filter_map(|(o, _)| self.open.get(&o)?.last_end())
                .max();
            if let Some(end) = last {
                let watermark = Watermark::reaching(end);
                if let Some(tracker) = &mut self.sources[index].tracker {
                    tracker.force(watermark);
                }
                self.fire(source, watermark)?;
            }
        }
        Ok(())
    }

    // ---- checkpoints ----

    fn begin_checkpoint_if_due(&mut self, now: Duration) -> Result<(), EngineError> {
        let run = &mut self.checkpoint;
        if run.current.is_some() || run.store.is_none() {
            return Ok(());
        }
        let last = self.phase == Phase::Draining;
        let due = now.saturating_sub(run.last_begun) >= self.pipeline.checkpoint.interval;
        if !last && !due {
            return Ok(());
        }
        run.last_begun = now;
        let missing = (0..self.workers.len()).map(WorkerId).collect();
        let stage = Stage::Workers {
            missing,
            views: BTreeMap::new(),
        };
        run.current = Some(Barrier {
            epoch: run.epoch.next(),
            last,
            started: now,
            stage,
        });
        self.workers
            .iter()
            .try_for_each(|worker| order(worker, Command::Barrier))
    }

    fn at_barrier(
        &mut self,
        worker: WorkerId,
        panes: Panes,
        view: WorkerView,
    ) -> Result<(), EngineError> {
        self.keep(panes)?;
        let Some(Barrier {
            epoch,
            last,
            stage: Stage::Workers { missing, views },
            ..
        }) = &mut self.checkpoint.current
        else {
            return Err(EngineError::internal(
                "coordinator",
                "a barrier nobody asked for",
            ));
        };
        missing.remove(&worker);
        views.insert(worker, view);
        if !missing.is_empty() {
            return Ok(());
        }
        let (epoch, last, views) = (*epoch, *last, std::mem::take(views));
        if last && self.options.close_windows {
            self.fire_all()?;
        }
        let frozen = self.freeze(epoch, &views)?;
        let sinks: BTreeSet<SinkId> = (0..self.sinks.len()).map(SinkId).collect();
        let offsets: Arc<str> = frozen.manifest.describe_offsets().into();
        for sink in &sinks {
            let offsets = Arc::clone(&offsets);
            let command = SinkCommand::PreCommit {
                epoch,
                last,
                offsets,
            };
            self.tell(*sink, command)?;
        }
        if !last {
            self.workers
                .iter()
                .try_for_each(|worker| order(worker, Command::Resume))?;
        }
        let stage = Stage::Sinks {
            missing: sinks,
            done: BTreeMap::new(),
            frozen: Box::new(frozen),
        };
        self.set_stage(stage);
        self.store_if_ready();
        Ok(())
    }

    fn set_stage(&mut self, stage: Stage) {
        if let Some(current) = &mut self.checkpoint.current {
            current.stage = stage;
        }
    }

    fn freeze(
        &mut self,
        epoch: Epoch,
        views: &BTreeMap<WorkerId, WorkerView>,
    ) -> Result<Frozen, EngineError> {
        let generation = self.checkpoint.generation;
        let now = self.clock.wall_ms();
        let mut manifest = blank(&self.pipeline.name, epoch, generation, &self.instance, now);
        manifest.lineage.clone_from(&self.checkpoint.lineage);
        let known = self.checkpoint.files.clone();
        let mut frozen = Frozen {
            manifest,
            states: BTreeMap::new(),
            known,
        };
        for source in &self.sources {
            let state = self.source_state(source, views);
            state.ledger.check(&source.started.name)?;
            frozen
                .manifest
                .sources
                .insert(source.started.name.clone(), state);
        }
        for (output, open) in &mut self.open {
            let plan = &self.plan.outputs[output.0];
            frozen.windows(&plan.name, &plan.fingerprint, open);
        }
        Ok(frozen)
    }

    fn source_state(
        &self,
        source: &SourceRun,
        views: &BTreeMap<WorkerId, WorkerView>,
    ) -> SourceState {
        let id = source.started.id;
        let restored = &source.started.restored;
        let mut partitions = restored.partitions.clone();
        for (partition, next) in &source.started.positions {
            let name = source.started.connector.topic(*partition);
            let state = PartitionState {
                name,
                next: *next,
                watermark: None,
            };
            partitions.entry(*partition).or_insert(state).next = *next;
        }
        let lanes = || views.values().filter_map(|worker| worker.lanes.get(&id));
        for (partition, view) in lanes().flat_map(|lane| &lane.partitions) {
            if let Some(state) = partitions.get_mut(partition) {
                state.next = view.next;
            }
        }
        if let Some(event_time) = &self.pipeline.sources[id.0].event_time {
            for (partition, view) in lanes().flat_map(|lane| &lane.partitions) {
                let Some(state) = partitions.get_mut(partition) else {
                    continue;
                };
                let reached = view
                    .max_event_time
                    .map(|max| Watermark::from_event_time(max, event_time.delay));
                state.watermark = state.watermark.max(reached);
            }
        }
        SourceState {
            origin: restored.origin.clone(),
            partitions,
            fired: source.fired,
            ledger: self.ledger(source, lanes()),
        }
    }

    /// The ledger of a source: what the checkpoint said and what the workers have added.
    pub(super) fn ledger<'a>(
        &self,
        source: &SourceRun,
        lanes: impl Iterator<Item = &'a LaneView>,
    ) -> Ledger {
        let mut ledger = source.started.restored.ledger.clone();
        for lane in lanes {
            let outputs = lane.ledger.outputs.iter().map(|(id, counts)| {
                (
                    self.plan.outputs[id.0].name.clone(),
                    OutputLedger::clone(counts),
                )
            });
            ledger += &Ledger {
                read: lane.ledger.read,
                bad: lane.ledger.bad,
                null_time: lane.ledger.null_time,
                future: lane.ledger.future,
                outputs: outputs.collect(),
            };
        }
        ledger
    }

    fn pre_committed(
        &mut self,
        sink: SinkId,
        pre_commit: crate::sink::PreCommit,
        committed: Committed,
    ) -> Result<(), EngineError> {
        let Some(Barrier {
            stage:
                Stage::Sinks {
                    missing,
                    done,
                    frozen,
                },
            ..
        }) = &mut self.checkpoint.current
        else {
            return Err(EngineError::internal(
                "coordinator",
                "a pre-commit nobody asked for",
            ));
        };
        let run = &self.sinks[sink.0];
        let mut total = run.before;
        total += committed;
        missing.remove(&sink);
        done.insert(sink, frozen.sink(&run.name, pre_commit, total));
        self.store_if_ready();
        Ok(())
    }

    /// Hands the checkpoint to the store once every sink has pre-committed.
    fn store_if_ready(&mut self) {
        let Some(current) = &mut self.checkpoint.current else {
            return;
        };
        if !matches!(&current.stage, Stage::Sinks { missing, .. } if missing.is_empty()) {
            return;
        }
        let stage = std::mem::replace(&mut current.stage, Stage::Store);
        let (
            Stage::Sinks {
                done, mut frozen, ..
            },
            Some(mut store),
        ) = (stage, self.checkpoint.store.take())
        else {
            return;
        };
        for (sink, state) in done {
            frozen
                .manifest
                .sinks
                .insert(self.sinks[sink.0].name.clone(), state);
        }
        let inbox = self.to_self.clone();
        self.tokio.spawn(async move {
            let message = match frozen.store(&mut store).await {
                Ok((manifest, outcome)) => Message::Stored {
                    store,
                    manifest: Box::new(manifest),
                    outcome,
                },
                Err(error) => Message::Failed(error.into()),
            };
            reply(inbox, message).await;
        });
    }

    fn stored(
        &mut self,
        store: Box<CheckpointStore>,
        manifest: Box<Manifest>,
        outcome: Stored,
    ) -> Result<(), EngineError> {
        self.checkpoint.store = Some(store);
        if outcome == Stored::Taken {
            return Err(EngineError::Fenced {
                by: format!(
                    "another instance, which has put checkpoint {}",
                    manifest.epoch
                ),
            });
        }
        self.checkpoint.epoch = manifest.epoch;
        self.checkpoint.files.clone_from(&manifest.files);
        if matches!(&self.checkpoint.current, Some(barrier) if matches!(barrier.stage, Stage::Settle)) {
            self.checkpoint.current = None;
            self.phase = Phase::Finished;
            return Ok(());
        }
        let missing: BTreeSet<SinkId> = (0..self.sinks.len()).map(SinkId).collect();
        for sink in &missing {
            // INV-OWNER: this manifest has just been put by this instance.
            self.tell(
                *sink,
                SinkCommand::Commit(CommitPermit::new(manifest.epoch)),
            )?;
        }
        let done = missing.is_empty();
        self.set_stage(Stage::Commits { missing, manifest });
        if done { self.complete() } else { Ok(()) }
    }

    fn committed(&mut self, sink: SinkId) -> Result<(), EngineError> {
        let Some(Barrier {
            stage: Stage::Commits { missing, .. },
            ..
        }) = &mut self.checkpoint.current
        else {
            return Err(EngineError::internal(
                "coordinator",
                "a commit nobody asked for",
            ));
        };
        missing.remove(&sink);
        if missing.is_empty() {
            self.complete()
        } else {
            Ok(())
        }
    }

    /// The checkpoint and everything that hung on it is done.
    fn complete(&mut self) -> Result<(), EngineError> {
        let Some(barrier) = self.checkpoint.current.take() else {
            return Ok(());
        };
        let now = self.clock.monotonic();
        self.checkpoint.completed += 1;
        self.checkpoint.last_took = Some(now.saturating_sub(barrier.started));
        self.checkpoint.last_done = Some(now);
        tracing::debug!(epoch = barrier.epoch.0, took = ?self.checkpoint.last_took, "checkpoint");
        let Stage::Commits { manifest, .. } = barrier.stage else {
            return Ok(());
        };
        self.show_positions(&manifest);
        if barrier.last {
            self.settle(*manifest);
        } else {
            self.collect_garbage();
        }
        Ok(())
    }

    /// Puts a manifest without work, the last of the run.
    fn settle(&mut self, mut last: Manifest) {
        for sink in &self.sinks {
            if let Some(state) = last.sinks.get_mut(&sink.name) {
                state.committed = sink.before;
                state.committed += *lock(&sink.count);
            }
        }
        let manifest = settled(last);
        self.checkpoint.current = Some(Barrier {
            epoch: manifest.epoch,
            last: true,
            started: self.clock.monotonic(),
            stage: Stage::Settle,
        });
        let Some(mut store) = self.checkpoint.store.take() else {
            return;
        };
        let inbox = self.to_self.clone();
        self.tokio.spawn(async move {
            let message = match store.put(&manifest).await {
                Ok(outcome) => Message::Stored {
                    store,
                    manifest: Box::new(manifest),
                    outcome,
                },
                Err(error) => Message::Failed(error.into()),
            };
            reply(inbox, message).await;
        });
    }

    /// Shows a durable checkpoint's positions to the sources' own tools. Nothing depends on it.
    fn show_positions(&self, manifest: &Manifest) {
        for source in &self.sources {
            let Some(state) = manifest.sources.get(&source.started.name) else {
                continue;
            };
            let positions: Vec<(Partition, Offset)> = state
                .partitions
                .iter()
                .map(|(id, state)| (*id, state.next))
                .collect();
            if let Err(error) = source.started.connector.show_positions(&positions) {
                tracing::warn!(%error, "offsets not shown to the consumer group");
            }
        }
    }

    fn collect_garbage(&mut self) {
        let Some(mut store) = self.checkpoint.store.take() else {
            return;
        };
        let inbox = self.to_self.clone();
        self.tokio.spawn(async move {
            if let Err(error) = store.collect_garbage().await {
                tracing::warn!(%error, "old checkpoints not deleted; tried again after the next");
            }
            reply(inbox, Message::Collected { store }).await;
        });
    }

    fn tell(&self, sink: SinkId, command: SinkCommand) -> Result<(), EngineError> {
        let run = &self.sinks[sink.0];
        // A sink that has ended has reported why; that report is on its way.
        run.queue
            .send(command)
            .map_err(|_| self.failure_of(&run.name))
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

    fn waiting_for(&self) -> String {
        let Some(barrier) = &self.checkpoint.current else {
            return "the checkpoint store".into();
        };
        let names = |missing: &BTreeSet<SinkId>| {
            let names: Vec<&str> = missing
                .iter()
                .map(|sink| self.sinks[sink.0].name.as_str())
                .collect();
            names.join(", ")
        };
        match &barrier.stage {
            Stage::Workers { missing, .. } => format!("{} workers", missing.len()),
            Stage::Sinks { missing, .. } => format!("rows to become durable in {}", names(missing)),
            Stage::Store | Stage::Settle => "the checkpoint store".to_owned(),
            Stage::Commits { missing, .. } => format!("commits in {}", names(missing)),
        }
    }
}

fn order(worker: &WorkerRun, command: Command) -> Result<(), EngineError> {
    // A worker that has ended has reported why; that report is on its way and ends the run.
    let _ = worker.commands.send(command);
    Ok(())
}

fn window_error(plan: &Plan, output: OutputId, source: WindowError) -> EngineError {
    EngineError::Window {
        output: plan.outputs[output.0].name.clone(),
        source,
    }
}

/// Sends from a task; the inbox holds every reply there can be, so this does not wait for long.
async fn reply(inbox: SyncSender<Message>, message: Message) {
    // If the coordinator has gone, nobody needs the answer.
    let _ = tokio::task::spawn_blocking(move || inbox.send(message)).await;
}
