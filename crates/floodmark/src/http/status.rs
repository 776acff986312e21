//! `/api/status`: the whole run at one moment, as one JSON object.
//!
//! These structs are the interface: their fields are what the dashboard and scripts read, described in
//! `docs/reference/http-api.md`. Times are RFC 3339 in UTC with milliseconds, sizes bytes, spans
//! seconds; what is not known is null.

use std::collections::BTreeMap;

use serde::Serialize;

pub(crate) use super::graph::Node;

/// The run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ApiStatus {
    /// The pipeline's name.
    pub(crate) pipeline: String,
    /// Version of Floodmark.
    pub(crate) version: &'static str,
    /// This instance's name; empty until it is known.
    pub(crate) instance: String,
    /// When this was said.
    pub(crate) now: String,
    /// When the process began to serve.
    pub(crate) started_at: String,
    /// `starting`, `running`, `draining`, `finished` or `failed`.
    pub(crate) phase: &'static str,
    /// Seconds since the engine started.
    pub(crate) elapsed_seconds: f64,
    /// Whether events flow.
    pub(crate) ready: bool,
    /// What is waited for while it is not ready.
    pub(crate) waiting_for: Vec<String>,
    /// Why the run failed.
    pub(crate) failure: Option<String>,
    /// Sources, views, outputs and what catches the rest, in the order in which an event meets them.
    pub(crate) graph: Vec<Node>,
    /// By source name.
    pub(crate) sources: BTreeMap<String, Source>,
    /// By output name.
    pub(crate) outputs: BTreeMap<String, Output>,
    /// Dead letters; null if they are not kept.
    pub(crate) dead_letter: Option<Output>,
    /// Late rows; null if they are not kept.
    pub(crate) late: Option<Output>,
    /// Checkpoints.
    pub(crate) checkpoint: Checkpoint,
    /// Bytes of window state.
    pub(crate) state_bytes: u64,
    /// The process.
    pub(crate) process: Process,
}

/// A source.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Source {
    /// Records read by this run.
    pub(crate) records: u64,
    /// Bytes of their values, as fetched and decompressed.
    pub(crate) bytes: u64,
    /// Batches they came in.
    pub(crate) batches: u64,
    /// Over the last two seconds.
    pub(crate) records_per_second: f64,
    /// Over the last two seconds.
    pub(crate) bytes_per_second: f64,
    /// Where every record went, since the pipeline's first start.
    pub(crate) ledger: Ledger,
    /// The source's watermark.
    pub(crate) watermark: Option<String>,
    /// The delay of the pipeline file; null without event time.
    pub(crate) watermark_delay_seconds: Option<f64>,
    /// The clock less the watermark.
    pub(crate) event_time_lag_seconds: Option<f64>,
    /// Which partition holds the watermark back, and why; null while none does.
    pub(crate) held_back_by: Option<HeldBack>,
    /// Whether the server has answered lately.
    pub(crate) reachable: bool,
    /// What it said if it did not.
    pub(crate) trouble: Option<String>,
    /// Records that wait in all partitions; null until the server has said where they end.
    pub(crate) lag_records: Option<u64>,
    /// Age of the last record processed, of the partition that is furthest behind; 0 when all is read.
    pub(crate) lag_seconds: Option<f64>,
    /// By partition number.
    pub(crate) partitions: BTreeMap<String, Partition>,
}

/// Where every record of a source went.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Ledger {
    /// Records read.
    pub(crate) read: u64,
    /// Records that could not be decoded.
    pub(crate) bad: u64,
    /// Rows without an event time.
    pub(crate) null_time: u64,
    /// Rows whose event time was too far ahead to move the watermark; they are in a class below too.
    pub(crate) future: u64,
    /// By output.
    pub(crate) outputs: BTreeMap<String, OutputLedger>,
}

/// What an output did with the rows of a source.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct OutputLedger {
    /// Rows aggregated into a window or sent on.
    pub(crate) taken: u64,
    /// Rows that a WHERE clause refused.
    pub(crate) filtered: u64,
    /// Rows whose window had fired.
    pub(crate) late: u64,
}

/// Why a watermark stands where it does.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct HeldBack {
    /// The partition that is least far.
    pub(crate) partition: i32,
    /// `slow`, `behind`, `empty`, `silent`, `unreachable` or `future`; see the reference page.
    pub(crate) reason: &'static str,
}

/// A partition.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Partition {
    /// Where this run began.
    pub(crate) start_offset: i64,
    /// Position to read from.
    pub(crate) next_offset: i64,
    /// Its end; null if it is not known.
    pub(crate) end_offset: Option<i64>,
    /// Records between the two.
    pub(crate) lag_records: Option<u64>,
    /// Age of the last record processed; 0 when all is read.
    pub(crate) lag_seconds: Option<f64>,
    /// Its watermark.
    pub(crate) watermark: Option<String>,
    /// `active`, `idle` or `ended`.
    pub(crate) standing: &'static str,
    /// Its greatest event time that may be believed.
    pub(crate) max_event_time: Option<String>,
}

/// An output.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Output {
    /// Rows that have become visible, since the pipeline's first start.
    pub(crate) rows: u64,
    /// Files; 0 where there are none.
    pub(crate) files: u64,
    /// Bytes.
    pub(crate) bytes: u64,
    /// Rows that the target did not take and that became dead letters.
    pub(crate) refused: u64,
    /// Visible rows, over the last two seconds.
    pub(crate) rows_per_second: f64,
    /// Windows that have not fired.
    pub(crate) open_windows: u64,
    /// Groups in them; one that two workers have counts twice until they are merged.
    pub(crate) open_groups: u64,
    /// The open windows, oldest first, at most 32.
    pub(crate) windows: Vec<Window>,
    /// Windows fired by this run.
    pub(crate) fired_windows: u64,
    /// Its queue.
    pub(crate) queue: Queue,
    /// How long results take; null where it is not measured.
    pub(crate) latency: Option<Latency>,
    /// Its commits.
    pub(crate) commit: Commit,
}

/// An open window.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Window {
    /// First instant in it.
    pub(crate) start: String,
    /// First instant after it.
    pub(crate) end: String,
    /// Groups so far.
    pub(crate) groups: u64,
    /// Rows so far.
    pub(crate) rows: u64,
}

/// The queue in front of a sink.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Queue {
    /// Batches that wait.
    pub(crate) length: u64,
    /// Batches that may wait before workers do.
    pub(crate) capacity: u64,
    /// How long workers have waited for it, all together.
    pub(crate) blocked_seconds: f64,
}

/// How long results take, over about the last minute.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Latency {
    /// Results measured.
    pub(crate) count: u64,
    /// Half of them took no longer; null if there was none.
    pub(crate) p50_seconds: Option<f64>,
    /// 99 of 100 took no longer.
    pub(crate) p99_seconds: Option<f64>,
}

/// Commits of an output, by this run.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Commit {
    /// How many.
    pub(crate) count: u64,
    /// How long the last one took.
    pub(crate) last_seconds: Option<f64>,
}

/// Checkpoints.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Checkpoint {
    /// Newest durable one.
    pub(crate) epoch: u64,
    /// This instance's fencing token.
    pub(crate) generation: u64,
    /// Completed by this run.
    pub(crate) completed: u64,
    /// Failed in this run: 1 at most, for the run ends with it.
    pub(crate) failed: u64,
    /// How long the last one took, barrier to commit.
    pub(crate) last_seconds: Option<f64>,
    /// Bytes of its manifest and of the state files it refers to.
    pub(crate) last_bytes: Option<u64>,
    /// Seconds since.
    pub(crate) age_seconds: Option<f64>,
    /// The last ones, oldest first, at most 60.
    pub(crate) recent: Vec<CheckpointRecord>,
}

/// A completed checkpoint.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CheckpointRecord {
    /// Its number.
    pub(crate) epoch: u64,
    /// When everything that hung on it was done.
    pub(crate) at: String,
    /// How long it took.
    pub(crate) seconds: f64,
    /// Its size.
    pub(crate) bytes: u64,
}

/// The process.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Process {
    /// CPU time, user and system.
    pub(crate) cpu_seconds: f64,
    /// Memory in use.
    pub(crate) resident_bytes: Option<u64>,
    /// The control group's limit; null without one.
    pub(crate) memory_limit_bytes: Option<u64>,
    /// Threads.
    pub(crate) threads: Option<u64>,
    /// CPU seconds by what they were spent on.
    pub(crate) stages: BTreeMap<&'static str, f64>,
}
