//! What a run says of itself while it runs, and at its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;

use super::message::lock;
use crate::ledger::Ledger;
use crate::sink::Committed;
use crate::telemetry::StageTimes;
use crate::units::{Epoch, EventMicros, Generation, Offset, Partition};
use crate::watermark::{Standing, Watermark};
use crate::window::PaneSize;

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Recovering, connecting.
    #[default]
    Starting,
    /// Reading.
    Running,
    /// Stopped reading; finishing what was read.
    Draining,
    /// Over.
    Finished,
}

/// Open windows that a status names one by one, of each output.
pub const MOST_WINDOWS: usize = 32;

/// A run at one moment.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Status {
    /// Where the run is.
    pub phase: Phase,
    /// This instance's name.
    pub instance: String,
    /// Seconds since it started.
    pub elapsed_seconds: f64,
    /// Seconds from connecting until the first records had been processed: how long a recovery took.
    pub first_records_seconds: Option<f64>,
    /// By source name.
    pub sources: BTreeMap<String, SourceStatus>,
    /// By output name.
    pub outputs: BTreeMap<String, OutputStatus>,
    /// Dead letters, if they are kept.
    pub dead_letter: Option<OutputStatus>,
    /// Late rows, if they are kept.
    pub late: Option<OutputStatus>,
    /// Checkpoints.
    pub checkpoint: CheckpointStatus,
    /// Bytes of window state.
    pub state_bytes: usize,
    /// What the workers' CPU time was spent on, all together.
    pub stages: StageTimes,
}

/// A source at one moment.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SourceStatus {
    /// Records read by this run.
    pub read_now: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Batches they came in.
    pub batches: u64,
    /// Where every record went, since the pipeline's first start.
    pub ledger: Ledger,
    /// Its watermark.
    pub watermark: Option<Watermark>,
    /// What holds the watermark back.
    pub held_back_by: Option<HeldBack>,
    /// Records between where the engine stands and the partitions' ends; unknown until the source
    /// has answered.
    pub lag: Option<u64>,
    /// Whether the source has answered lately.
    pub reachable: bool,
    /// What it said if it did not.
    pub trouble: Option<String>,
    /// By partition.
    pub partitions: BTreeMap<Partition, PartitionStatus>,
}

/// A partition at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct PartitionStatus {
    /// Where this run began.
    pub start_offset: Offset,
    /// Position to read from.
    pub next_offset: Offset,
    /// Its end, if known.
    pub end_offset: Option<Offset>,
    /// Its watermark.
    pub watermark: Option<Watermark>,
    /// Whether it takes part in the source's watermark.
    pub standing: Standing,
    /// Records between where the engine stands and its end, if that is known.
    pub lag: Option<u64>,
    /// Age of the last record processed while there are more, else zero; unknown while nothing has
    /// been processed, or where records have no timestamp.
    pub behind: Option<Duration>,
    /// Its greatest event time that may be believed, of this run.
    pub max_event_time: Option<EventMicros>,
}

/// What holds a watermark back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HeldBack {
    /// The partition that is least far.
    pub partition: Partition,
    /// Why it is.
    pub reason: HeldBackReason,
}

/// Why a partition holds the watermark back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldBackReason {
    /// Its source does not answer.
    Unreachable,
    /// Nothing has ever come out of it, and it is not idle yet.
    Empty,
    /// Its newest event times lie too far ahead of the clock to be believed.
    Future,
    /// It has records that have not been read.
    Behind,
    /// It is read to its end and nothing has come since; it is not idle yet.
    Silent,
    /// Its events are older than the other partitions'.
    Slow,
}

/// An output at one moment.
#[derive(Debug, Clone, Default, Serialize)]
pub struct OutputStatus {
    /// What has become visible, since the pipeline's first start.
    #[serde(flatten)]
    pub committed: Committed,
    /// Windows that have not fired.
    pub open_windows: usize,
    /// Groups in them; a group that two workers have counts twice until they are merged.
    pub open_groups: usize,
    /// The open windows, oldest first, at most [`MOST_WINDOWS`].
    #[serde(skip)]
    pub windows: Vec<OpenWindow>,
    /// Windows that this run has fired.
    #[serde(skip)]
    pub fired_windows: u64,
}

/// A window that has not fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenWindow {
    /// First instant in it.
    pub start: EventMicros,
    /// First instant after it.
    pub end: EventMicros,
    /// What is in it.
    pub size: PaneSize,
}

/// Checkpoints at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct CheckpointStatus {
    /// Newest durable checkpoint.
    pub epoch: Epoch,
    /// This instance's fencing token.
    pub generation: Generation,
    /// Checkpoints this run has completed.
    pub completed: u64,
    /// Whether the run failed during one.
    #[serde(skip)]
    pub failed: bool,
    /// How long the last one took, barrier to commit.
    pub last_seconds: Option<f64>,
    /// Seconds since the last one.
    pub age_seconds: Option<f64>,
}

impl Default for CheckpointStatus {
    fn default() -> Self {
        Self {
            epoch: Epoch(0),
            generation: Generation(0),
            completed: 0,
            failed: false,
            last_seconds: None,
            age_seconds: None,
        }
    }
}

/// Where a run posts its status and others read it.
#[derive(Debug, Clone, Default)]
pub struct StatusBoard(Arc<Mutex<Status>>);

impl StatusBoard {
    /// A board that says `Starting`.
    pub fn new() -> Self {
        Self::default()
    }

    /// The newest status.
    pub fn read(&self) -> Status {
        lock(&self.0).clone()
    }

    pub(super) fn post(&self, status: Status) {
        *lock(&self.0) = status;
    }
}
