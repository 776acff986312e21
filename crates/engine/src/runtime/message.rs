//! What the threads say to each other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, SendError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tracing::Span;

use super::error::EngineError;
use crate::checkpoint::{CheckpointStore, Manifest, Stored};
use crate::ledger::OutputLedger;
use crate::sink::{CommitPermit, Committed, OutputRows, PreCommit, Progress};
use crate::telemetry::{LatencyOf, OutputMeter, StageTimes, Told};
use crate::units::{Epoch, EventMicros, Offset, OutputId, Partition, SourceId};
use crate::watermark::Watermark;
use crate::window::{Chunk, PaneSize};

/// Index of a sink: the outputs in order, then dead letters, then late rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SinkId(pub usize);

/// Index of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WorkerId(pub(super) usize);

/// Coordinator to worker.
#[derive(Debug)]
pub(super) enum Command {
    /// Hand over the panes of a source's windows that the watermark has reached; from now on rows
    /// of these windows are late.
    Close(SourceId, Watermark),
    /// Hand everything over and wait for `Resume`.
    Barrier,
    /// Go on after a barrier.
    Resume,
    /// Read further partitions.
    Assign(SourceId, Vec<(Partition, Offset)>),
}

/// Panes a worker hands over.
pub(super) type Panes = Vec<(OutputId, EventMicros, Chunk)>;

/// To the coordinator.
pub(super) enum Message {
    /// Reply to `Close`.
    Closed { source: SourceId, panes: Panes },
    /// Reply to `Barrier`; the view is exact at the barrier.
    Barrier {
        worker: WorkerId,
        panes: Panes,
        view: WorkerView,
    },
    /// A sink's rows are durable.
    PreCommitted {
        sink: SinkId,
        pre_commit: PreCommit,
        /// What the sink has made visible since it was opened.
        committed: Committed,
    },
    /// A sink's pre-committed rows are visible.
    Committed { sink: SinkId },
    /// The manifest was put, or its epoch was taken.
    Stored {
        store: Box<CheckpointStore>,
        manifest: Box<Manifest>,
        outcome: Stored,
    },
    /// Old checkpoints were deleted.
    Collected { store: Box<CheckpointStore> },
    /// A thread cannot go on.
    Failed(EngineError),
}

/// To a sink thread.
#[allow(
    clippy::large_enum_variant,
    reason = "rows, the large one, are what nearly every command is"
)]
pub(super) enum SinkCommand {
    Write(OutputRows, Vec<Progress>, Told),
    PreCommit {
        epoch: Epoch,
        last: bool,
        /// Where the sources stand at the barrier, for people (see [`Sink::describe_offsets`]).
        ///
        /// [`Sink::describe_offsets`]: crate::sink::Sink::describe_offsets
        offsets: Arc<str>,
        span: Span,
    },
    Commit(CommitPermit, Span),
}

/// The sending half of a sink's queue. What enters is counted by the output's meter, which the sink's
/// thread tells of what it takes out.
#[derive(Clone)]
pub(super) struct SinkQueue {
    sender: SyncSender<SinkCommand>,
    meter: Arc<OutputMeter>,
}

impl SinkQueue {
    pub(super) fn new(sender: SyncSender<SinkCommand>, meter: Arc<OutputMeter>) -> Self {
        Self { sender, meter }
    }

    /// Whether each row's latency is measured, for which its event time is needed.
    pub(super) fn measures_rows(&self) -> bool {
        self.meter.latency_of() == LatencyOf::Alerts
    }

    /// Queues a command; blocks while the queue is full.
    #[allow(
        clippy::result_large_err,
        reason = "the error is the command, which its sender has just made"
    )]
    pub(super) fn send(&self, command: SinkCommand) -> Result<(), SendError<SinkCommand>> {
        match self.try_send(command) {
            Ok(()) => Ok(()),
            Err(TrySendError::Disconnected(command)) => Err(SendError(command)),
            Err(TrySendError::Full(command)) => {
                let began = Instant::now();
                let sent = self.sender.send(command);
                self.meter.waited(began.elapsed());
                if sent.is_ok() {
                    self.meter.entered();
                }
                sent
            }
        }
    }

    /// Queues a command if there is room.
    #[allow(
        clippy::result_large_err,
        reason = "the error is the command, which its sender has just made"
    )]
    pub(super) fn try_send(&self, command: SinkCommand) -> Result<(), TrySendError<SinkCommand>> {
        self.sender.try_send(command)?;
        self.meter.entered();
        Ok(())
    }
}

/// The receiving half.
pub(super) type SinkInbox = Receiver<SinkCommand>;

/// What a worker knows, published after every poll.
#[derive(Debug, Clone, Default)]
pub(super) struct WorkerView {
    /// By source the worker reads.
    pub(super) lanes: BTreeMap<SourceId, LaneView>,
    /// Monotonic time of the last poll: old while the worker waits for a sink.
    pub(super) polled_at: Duration,
    /// Bytes of window state.
    pub(super) state_bytes: usize,
    /// What its CPU time was spent on.
    pub(super) stages: StageTimes,
}

/// What a worker knows of one source.
#[derive(Debug, Clone, Default)]
pub(super) struct LaneView {
    pub(super) partitions: BTreeMap<Partition, PartitionView>,
    pub(super) ledger: LaneLedger,
    /// Window starts with rows since the last barrier, and their groups, by output.
    pub(super) panes: Vec<(OutputId, Vec<(EventMicros, PaneSize)>)>,
    /// Bytes of the records' values.
    pub(super) bytes: u64,
    /// Batches the records came in.
    pub(super) batches: u64,
}

impl LaneView {
    /// Windows that have rows in this worker since the last barrier.
    pub(super) fn open_panes(&self) -> impl Iterator<Item = (OutputId, EventMicros)> + '_ {
        self.panes
            .iter()
            .flat_map(|(id, panes)| panes.iter().map(|(start, _)| (*id, *start)))
    }
}

/// What a worker knows of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PartitionView {
    /// Position to read from.
    pub(super) next: Offset,
    /// Greatest event time that may move the watermark.
    pub(super) max_event_time: Option<EventMicros>,
    /// Records delivered since the worker started.
    pub(super) delivered: u64,
    /// Rows whose event time may move the watermark, since the worker started.
    pub(super) dated: u64,
    /// Whether the last poll left it at its end.
    pub(super) caught_up: bool,
    /// Whether it has ended for good.
    pub(super) ended: bool,
    /// Timestamp of the last record processed, milliseconds since the epoch; -1 if it has none.
    pub(super) last_timestamp_ms: i64,
    /// Whether no row of its newest batch may move the watermark.
    pub(super) undated: bool,
}

/// A worker's share of a source's ledger, outputs by their index among the source's outputs.
#[derive(Debug, Clone, Default)]
pub(super) struct LaneLedger {
    pub(super) read: u64,
    pub(super) bad: u64,
    pub(super) null_time: u64,
    pub(super) future: u64,
    pub(super) outputs: Vec<(OutputId, OutputLedger)>,
}

/// What a sink has made visible since it was opened, shared with the coordinator.
pub(super) type SharedCount = Arc<Mutex<Committed>>;

/// A worker's view, shared with the coordinator.
pub(super) type SharedView = Arc<Mutex<WorkerView>>;

/// A worker as the coordinator sees it.
pub(super) struct WorkerRun {
    pub(super) commands: SyncSender<Command>,
    pub(super) view: SharedView,
}

/// A sink as the coordinator sees it.
pub(super) struct SinkRun {
    pub(super) name: String,
    pub(super) queue: SinkQueue,
    /// What the coordinator has to say and the queue had no room for, in order.
    pub(super) unsent: VecDeque<SinkCommand>,
    /// What had become visible before this run.
    pub(super) before: Committed,
    pub(super) count: SharedCount,
}

/// Locks a mutex; a thread that panicked while holding it has already been reported, and what it
/// guards is replaced as a whole, never left half-written.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
