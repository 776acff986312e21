//! Putting the threads in place, and ending them.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use floodmark_pipeline::{Pipeline, Sink};

use super::StopSignal;
use super::error::EngineError;
use super::journey::{Branch, BranchEnd};
use super::lane::{Lane, LaneParts};
use super::message::{
    Command, Message, SharedView, SinkId, SinkQueue, SinkRun, WorkerId, WorkerRun, WorkerView,
};
use super::sinks::SINK_QUEUE;
use super::start::{DEAD_LETTER, LATE, Started, StartedSink, StartedSource};
use super::worker::Worker;
use crate::checkpoint::{CheckpointStore, ChunkRef, Manifest};
use crate::clock::Clock;
use crate::decode::JsonDecoder;
use crate::sink::Committed;
use crate::telemetry::{
    LatencyOf, OutputMeter, Shows, SinkWatch, StageMeter, StageTimes, Telemetry,
};
use crate::units::{Offset, OutputId, Partition};
use crate::window::{OpenWindows, WindowOperator};
use floodmark_sql::{OutputKind, Plan};

/// Orders that may wait for a worker: more than are ever given at once.
const COMMAND_QUEUE: usize = 64;

/// How long a failed run waits for its threads; one that hangs in a server's answer is left
/// behind, the process ends anyway.
const JOIN_TIMEOUT: Duration = Duration::from_secs(3);

/// The threads of a run.
pub(super) struct Threads {
    handles: Vec<JoinHandle<()>>,
    monitors: StopSignal,
}

/// What the coordinator works with.
pub(super) struct Running {
    pub(super) sources: Vec<StartedSource>,
    pub(super) workers: Vec<WorkerRun>,
    pub(super) sinks: Vec<SinkRun>,
    pub(super) open: BTreeMap<OutputId, OpenWindows<ChunkRef>>,
    pub(super) claimed: Manifest,
    pub(super) checkpoints: Box<CheckpointStore>,
    pub(super) inbox: Receiver<Message>,
    pub(super) to_coordinator: SyncSender<Message>,
}

/// What all threads of a run share.
struct All<'a> {
    pipeline: &'a Pipeline,
    plan: &'a Plan,
    clock: &'a Arc<dyn Clock>,
    telemetry: &'a Telemetry,
    to_coordinator: &'a SyncSender<Message>,
}

/// Starts sink threads, workers and monitors.
pub(super) fn start(
    pipeline: &Pipeline,
    plan: &Plan,
    started: Started,
    clock: &Arc<dyn Clock>,
    telemetry: &Telemetry,
) -> Result<(Threads, Running), EngineError> {
    let Started {
        sources,
        open,
        sinks,
        claimed,
        checkpoints,
    } = started;
    let count = worker_count(pipeline, &sources);
    // Nobody has more than a few messages outstanding; see the module.
    let capacity = 8 + 4 * sinks.len() + count * (4 + 2 * sources.len());
    let (to_coordinator, inbox) = sync_channel(capacity);
    let mut threads = Threads {
        handles: Vec::new(),
        monitors: StopSignal::new(),
    };

    let all = All {
        pipeline,
        plan,
        clock,
        telemetry,
        to_coordinator: &to_coordinator,
    };
    let mut sink_runs = Vec::new();
    for (index, started) in sinks.into_iter().enumerate() {
        sink_runs.push(threads.start_sink(&all, SinkId(index), started)?);
    }

    let mut workers = Vec::new();
    for index in 0..count {
        let lanes = sources
            .iter()
            .map(|source| {
                let lane = lane(pipeline, plan, source, &sink_runs, &open, index, count)?;
                Ok((source.id, lane))
            })
            .collect::<Result<BTreeMap<_, _>, EngineError>>()?;
        let (commands, orders) = sync_channel::<Command>(COMMAND_QUEUE);
        let view = WorkerView {
            lanes: lanes.iter().map(|(id, lane)| (*id, lane.view())).collect(),
            polled_at: clock.monotonic(),
            state_bytes: 0,
            stages: StageTimes::default(),
        };
        let view: SharedView = Arc::new(Mutex::new(view));
        let worker = Worker {
            id: WorkerId(index),
            lanes,
            commands: orders,
            inbox: to_coordinator.clone(),
            view: Arc::clone(&view),
            clock: Arc::clone(clock),
            meter: StageMeter::new(),
        };
        threads.spawn(
            &format!("worker-{index}"),
            to_coordinator.clone(),
            move || worker.run(),
        )?;
        workers.push(WorkerRun { commands, view });
    }

    for source in &sources {
        let (connector, clock) = (Arc::clone(&source.connector), Arc::clone(clock));
        let (health, stop) = (Arc::clone(&source.health), threads.monitors.clone());
        threads.spawn(
            &format!("monitor-{}", source.name),
            to_coordinator.clone(),
            move || {
                super::monitor::watch(connector.as_ref(), &clock, &health, &stop);
            },
        )?;
    }
    let running = Running {
        sources,
        workers,
        sinks: sink_runs,
        open,
        claimed,
        checkpoints,
        inbox,
        to_coordinator,
    };
    Ok((threads, running))
}

/// What is looked at of a sink. Only rows that go ahead of checkpoints are measured one by one:
/// where they wait for a checkpoint, that says how long.
fn observed(pipeline: &Pipeline, plan: &Plan, id: SinkId, name: &str) -> (Shows, LatencyOf) {
    let output = pipeline.outputs.get(id.0).zip(plan.outputs.get(id.0));
    match (name, output) {
        (DEAD_LETTER, _) => (Shows::DeadLetters, LatencyOf::Nothing),
        (LATE, _) | (_, None) => (Shows::Late, LatencyOf::Nothing),
        (_, Some((output, plan))) => match (&plan.kind, &output.sink) {
            (OutputKind::Windowed(_), _) => (Shows::Windows, LatencyOf::Windows),
            (OutputKind::Stateless, Sink::Kafka(_)) => (Shows::Alerts, LatencyOf::Alerts),
            (OutputKind::Stateless, _) => (Shows::Alerts, LatencyOf::Nothing),
        },
    }
}

fn worker_count(pipeline: &Pipeline, sources: &[StartedSource]) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let partitions = sources
        .iter()
        .map(|source| source.positions.len())
        .max()
        .unwrap_or(1);
    pipeline
        .engine
        .workers
        .unwrap_or_else(|| cores.min(partitions))
        .max(1)
}

fn lane(
    pipeline: &Pipeline,
    plan: &Plan,
    source: &StartedSource,
    sinks: &[SinkRun],
    open: &BTreeMap<OutputId, OpenWindows<ChunkRef>>,
    worker: usize,
    workers: usize,
) -> Result<Lane, EngineError> {
    let queue = |name: &str| -> Option<SinkQueue> {
        sinks
            .iter()
            .find(|sink| sink.name == name)
            .map(|sink| sink.queue.clone())
    };
    let mine = source
        .positions
        .iter()
        .enumerate()
        .filter(|(i, _)| i % workers == worker);
    let positions: Vec<(Partition, Offset)> = mine.map(|(_, (p, next))| (*p, *next)).collect();
    let reader = match positions.as_slice() {
        [] => None,
        positions => Some(source.connector.reader(positions)?),
    };
    let mut outputs = Vec::new();
    for (index, output) in plan.outputs.iter().enumerate() {
        if output.source != source.id {
            continue;
        }
        let end = match &output.kind {
            OutputKind::Stateless => BranchEnd::Stateless(sinks[index].queue.clone()),
            OutputKind::Windowed(window) => {
                let fired = source.restored.fired;
                let open = open.get(&OutputId(index));
                let closed = open.map(|open| open.closed().clone()).unwrap_or_default();
                let operator =
                    WindowOperator::new(Arc::new(window.as_ref().clone()), fired, closed).map_err(
                        |e| EngineError::Window {
                            output: output.name.clone(),
                            cause: e,
                        },
                    )?;
                let size = window.size;
                BranchEnd::Windowed {
                    operator,
                    window_end: Box::new(move |s| size.end(s)),
                }
            }
        };
        let (id, name, before) = (OutputId(index), output.name.clone(), output.before.clone());
        outputs.push(Branch {
            id,
            name,
            before,
            end,
        });
    }
    let file = &pipeline.sources[source.id.0];
    let batch_rows = pipeline.engine.batch_rows;
    Ok(Lane::new(LaneParts {
        source: source.id,
        source_name: source.name.clone(),
        connector: Arc::clone(&source.connector),
        reader,
        positions,
        decoder: JsonDecoder::new(&file.columns, batch_rows),
        event_time: file.event_time.clone(),
        on_bad_record: file.on_bad_record,
        batch_rows,
        outputs,
        dead_letters: queue(DEAD_LETTER),
        late: queue(LATE),
    }))
}

impl Threads {
    fn start_sink(
        &mut self,
        all: &All<'_>,
        id: SinkId,
        started: StartedSink,
    ) -> Result<SinkRun, EngineError> {
        let StartedSink {
            name,
            sink,
            committed: before,
        } = started;
        let (queue, commands) = sync_channel(SINK_QUEUE);
        let (shows, latency_of) = observed(all.pipeline, all.plan, id, &name);
        let meter = Arc::new(OutputMeter::new(latency_of, SINK_QUEUE));
        all.telemetry.add_output(&name, &meter);
        let queue = SinkQueue::new(queue, Arc::clone(&meter));
        let samples = all.telemetry.samples().clone();
        let watch = SinkWatch::new(&name, shows, meter, samples, Arc::clone(all.clock));
        let count = Arc::new(Mutex::new(Committed::default()));
        let (of, to, counter) = (name.clone(), all.to_coordinator.clone(), Arc::clone(&count));
        let body = move || super::sinks::drive(id, &of, sink, &commands, &to, &counter, watch);
        self.spawn(&format!("sink-{name}"), all.to_coordinator.clone(), body)?;
        Ok(SinkRun {
            name,
            queue,
            unsent: VecDeque::new(),
            before,
            count,
        })
    }

    /// Starts a thread whose panic is an error of the run.
    fn spawn(
        &mut self,
        name: &str,
        to_coordinator: SyncSender<Message>,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<(), EngineError> {
        let thread = name.to_owned();
        let guarded = move || {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(body)) {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                let error = EngineError::internal(thread, text.unwrap_or("panicked"));
                // If the coordinator has gone, the run has ended with an error of its own.
                let _ = to_coordinator.send(Message::Failed(error));
            }
        };
        let handle = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(guarded)
            .map_err(|error| EngineError::internal(name, error))?;
        self.handles.push(handle);
        Ok(())
    }

    /// Waits for the threads after the coordinator has dropped its ends of all queues.
    pub(super) fn end(self) {
        self.monitors.stop();
        let deadline = Instant::now() + JOIN_TIMEOUT;
        for handle in self.handles {
            while !handle.is_finished() && Instant::now() < deadline {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            if handle.is_finished() {
                // Its panic, if any, was caught and reported inside.
                let _ = handle.join();
            }
        }
    }
}
