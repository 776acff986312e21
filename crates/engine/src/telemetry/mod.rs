//! What a run says of itself to whoever looks: counts, durations, samples.
//!
//! ```text
//!   worker   stages, bytes, batches ─────> its view, published after each poll ─┐
//!   sink     queue, commits, latency ────> its meter: atomics, once a batch ────┼─> read by others
//!   coordinator  checkpoints, windows ───> Status, posted every 100 ms ─────────┘
//!                samples of rows ────────> a ring that forgets
//! ```
//!
//! Everything here is *pulled*: the engine counts and goes on, and never learns whether anybody reads.
//! What is counted is counted once a batch, a transaction or a checkpoint; the one thing that is
//! measured for each row, the latency of alerts, is a subtraction and a bucket at the time of their
//! commit. Nothing that is measured here decides anything: a run does the same without it.
//!
//! What took how long is told besides as [`spans`], to whoever subscribes to them.

mod cpu;
mod histogram;
mod meter;
mod samples;
pub(crate) mod spans;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

pub(crate) use cpu::thread_cpu;
pub use cpu::{Stage, StageMeter, StageTimes};
pub use histogram::{Buckets, Distribution, Histogram};
pub use meter::{LatencyOf, OutputMeter};
pub use samples::{MAX_SAMPLE_BYTES, Sample, SampleKind, Samples};
pub use spans::TARGET as SPAN_TARGET;
pub(crate) use watch::{Shows, SinkWatch, Told};

use crate::runtime::EngineError;
use crate::units::{Epoch, EventMicros, Generation};
use spans::{StartSpans, Step};

/// Upper bounds of how long a checkpoint takes, barrier to commit.
pub const CHECKPOINT_SECONDS: Buckets = Buckets(&[
    5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000, 60_000_000,
]);

/// Checkpoints that are remembered one by one.
pub const RECENT_CHECKPOINTS: usize = 60;

/// A run's telemetry. Cheap to clone; made before the run, so that its start can be looked at too.
#[derive(Debug, Clone)]
pub struct Telemetry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    outputs: Mutex<BTreeMap<String, Arc<OutputMeter>>>,
    checkpoint_seconds: Histogram,
    checkpoints: Mutex<VecDeque<CheckpointRecord>>,
    retries: Retries,
    samples: Samples,
    lost_spans: Arc<AtomicU64>,
    starting: Mutex<Option<Starting>>,
}

/// A start that is not over.
#[derive(Debug)]
struct Starting {
    /// What it waits for, for people.
    waiting: String,
    spans: StartSpans,
}

impl Starting {
    fn begin() -> Self {
        Self {
            waiting: "starting".to_owned(),
            spans: StartSpans::begin(),
        }
    }
}

/// A completed checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CheckpointRecord {
    /// Its number.
    pub epoch: Epoch,
    /// When everything that hung on it was done: wall clock, milliseconds since the epoch.
    pub at_ms: i64,
    /// How long it took from its barrier on.
    pub took: Duration,
    /// Bytes of its manifest and of the state files it refers to.
    pub bytes: u64,
}

/// Attempts that did not work and were made again, or given up in the end.
#[derive(Debug, Clone, Default)]
pub struct Retries(Arc<RetryCounts>);

#[derive(Debug, Default)]
struct RetryCounts {
    storage: AtomicU64,
    kafka: AtomicU64,
}

impl Retries {
    /// Requests to the object store that a server refused for now, or did not answer.
    pub fn storage(&self) -> u64 {
        self.0.storage.load(Ordering::Relaxed)
    }

    /// Calls to a cluster that were repeated, and transactions that were sent again.
    pub fn kafka(&self) -> u64 {
        self.0.kafka.load(Ordering::Relaxed)
    }

    pub(crate) fn count_storage(&self) {
        self.0.storage.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_kafka(&self) {
        self.0.kafka.fetch_add(1, Ordering::Relaxed);
    }
}

impl Telemetry {
    /// Telemetry that keeps this many samples of each kind; with 0 nobody will look at any, and none
    /// is taken.
    pub fn new(samples_of_a_kind: usize) -> Self {
        Self(Arc::new(Inner {
            outputs: Mutex::default(),
            checkpoint_seconds: Histogram::new(CHECKPOINT_SECONDS),
            checkpoints: Mutex::default(),
            retries: Retries::default(),
            samples: Samples::new(samples_of_a_kind),
            lost_spans: Arc::default(),
            starting: Mutex::default(),
        }))
    }

    /// The meter of an output, by its name in checkpoints; none before the run has started.
    pub fn output(&self, name: &str) -> Option<Arc<OutputMeter>> {
        lock(&self.0.outputs).get(name).cloned()
    }

    pub(crate) fn add_output(&self, name: &str, meter: &Arc<OutputMeter>) {
        lock(&self.0.outputs).insert(name.to_owned(), Arc::clone(meter));
    }

    /// How long checkpoints took.
    pub fn checkpoint_seconds(&self) -> Distribution {
        self.0.checkpoint_seconds.read()
    }

    /// The last checkpoints, oldest first.
    pub fn checkpoints(&self) -> Vec<CheckpointRecord> {
        lock(&self.0.checkpoints).iter().copied().collect()
    }

    pub(crate) fn checkpoint(&self, record: CheckpointRecord) {
        self.0.checkpoint_seconds.observe(record.took);
        let mut recent = lock(&self.0.checkpoints);
        if recent.len() == RECENT_CHECKPOINTS {
            recent.pop_front();
        }
        recent.push_back(record);
        drop(recent);
        self.0
            .samples
            .take(SampleKind::Checkpoint, record.at_ms, None, || {
                serde_json::json!({
                    "epoch": record.epoch.0,
                    "seconds": record.took.as_secs_f64(),
                    "bytes": record.bytes,
                })
            });
    }

    /// A window has fired.
    pub(crate) fn fired(&self, output: &str, window: &FiredWindow, now_ms: i64) {
        self.0
            .samples
            .take(SampleKind::Window, now_ms, Some(output), || {
                serde_json::json!({
                    "start": rfc3339(window.start),
                    "end": rfc3339(window.end),
                    "groups": window.groups,
                    "rows": window.rows,
                })
            });
    }

    /// What was tried again.
    pub fn retries(&self) -> &Retries {
        &self.0.retries
    }

    /// Samples of what passes by.
    pub fn samples(&self) -> &Samples {
        &self.0.samples
    }

    /// Spans that were to be sent somewhere and have not arrived: whoever sends them counts here.
    pub fn lost_spans(&self) -> &Arc<AtomicU64> {
        &self.0.lost_spans
    }

    /// What the start waits for; none once the run reads.
    pub fn waiting_for(&self) -> Option<String> {
        let starting = lock(&self.0.starting);
        starting.as_ref().map(|starting| starting.waiting.clone())
    }

    /// Does a part of the start. Its warnings belong to the start's span, and a failure ends it.
    pub(crate) fn starting<T>(
        &self,
        part: impl FnOnce() -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let whole = {
            let mut starting = lock(&self.0.starting);
            let starting = starting.get_or_insert_with(Starting::begin);
            starting.spans.whole().clone()
        };
        let _inside = whole.enter();
        let done = part();
        let mut starting = lock(&self.0.starting);
        if let Some(starting) = &mut *starting {
            starting.spans.step_over(done.as_ref().err());
        }
        if done.is_err() {
            *starting = None;
        }
        done
    }

    /// The start has come to a step, in which it waits for `what`.
    pub(crate) fn wait_for(&self, step: Step<'_>, what: impl Into<String>) {
        if let Some(starting) = &mut *lock(&self.0.starting) {
            starting.waiting = what.into();
            starting.spans.step(step);
        }
    }

    /// The start has claimed the checkpoint that follows `found`.
    pub(crate) fn claimed(&self, generation: Generation, found: Option<Epoch>) {
        if let Some(starting) = &*lock(&self.0.starting) {
            starting.spans.claimed(generation, found);
        }
    }

    /// The start is over: the run reads.
    pub(crate) fn waits_no_more(&self) {
        *lock(&self.0.starting) = None;
    }
}

/// A window that has fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FiredWindow {
    pub(crate) start: EventMicros,
    pub(crate) end: EventMicros,
    /// Groups it had.
    pub(crate) groups: u64,
    /// Rows they were made of.
    pub(crate) rows: u64,
}

/// An instant as text; an instant that has none is shown as its number.
fn rfc3339(at: EventMicros) -> String {
    jiff::Timestamp::from_microsecond(at.0)
        .map_or_else(|_| at.0.to_string(), |at| format!("{at:.3}"))
}

/// Locks a mutex whose contents are whole after every statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_checkpoints_are_remembered_and_all_are_counted() {
        let telemetry = Telemetry::new(0);
        for epoch in 0..100 {
            telemetry.checkpoint(CheckpointRecord {
                epoch: Epoch(epoch),
                at_ms: 0,
                took: Duration::from_millis(7),
                bytes: 1,
            });
        }
        let recent = telemetry.checkpoints();
        assert_eq!(recent.len(), RECENT_CHECKPOINTS);
        assert_eq!(recent.last().map(|last| last.epoch), Some(Epoch(99)));
        assert_eq!(telemetry.checkpoint_seconds().count(), 100);
        assert!(
            telemetry
                .samples()
                .newest(SampleKind::Checkpoint, 10)
                .is_empty()
        );
    }
}
