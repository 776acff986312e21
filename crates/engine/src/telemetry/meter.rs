//! The meter of one output: its queue, its commits, how long its results took.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use super::histogram::{Buckets, Distribution, Histogram};

/// Upper bounds of how long a commit takes.
const COMMIT_SECONDS: Buckets = Buckets(&[
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
]);

/// Upper bounds of how long an alert takes, event time to commit.
const ALERT_SECONDS: Buckets = Buckets(&[
    5_000,
    10_000,
    20_000,
    30_000,
    40_000,
    50_000,
    75_000,
    100_000,
    150_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    3_600_000_000,
]);

/// Upper bounds of how long a window's results take, window end to visible. The delay of the
/// watermark is part of it.
const WINDOW_SECONDS: Buckets = Buckets(&[
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    7_500_000,
    10_000_000,
    12_500_000,
    15_000_000,
    20_000_000,
    25_000_000,
    30_000_000,
    45_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    900_000_000,
    3_600_000_000,
]);

/// What an output's latency is counted of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatencyOf {
    /// Each row, from its event time to the commit that shows it.
    Alerts,
    /// Each window, from its end to the commit that shows its last row.
    Windows,
    /// Nothing.
    Nothing,
}

/// Counts of one output. Written by its sink's thread and by workers, read by anyone.
#[derive(Debug)]
pub struct OutputMeter {
    latency_of: LatencyOf,
    latency: Histogram,
    commits: Histogram,
    last_commit_micros: AtomicU64,
    /// Signed: a batch may be taken out before its sender has counted it.
    queued: AtomicI64,
    capacity: u64,
    blocked_micros: AtomicU64,
    cpu_micros: AtomicU64,
}

impl OutputMeter {
    /// A meter of an output whose queue holds `capacity` batches.
    pub(crate) fn new(latency_of: LatencyOf, capacity: usize) -> Self {
        let buckets = match latency_of {
            LatencyOf::Windows => WINDOW_SECONDS,
            LatencyOf::Alerts | LatencyOf::Nothing => ALERT_SECONDS,
        };
        Self {
            latency_of,
            latency: Histogram::new(buckets),
            commits: Histogram::new(COMMIT_SECONDS),
            last_commit_micros: AtomicU64::new(0),
            queued: AtomicI64::new(0),
            capacity: capacity as u64,
            blocked_micros: AtomicU64::new(0),
            cpu_micros: AtomicU64::new(0),
        }
    }

    /// What the latency is of.
    pub fn latency_of(&self) -> LatencyOf {
        self.latency_of
    }

    /// How long results took.
    pub fn latency(&self) -> Distribution {
        self.latency.read()
    }

    /// How long commits took.
    pub fn commits(&self) -> Distribution {
        self.commits.read()
    }

    /// How long the last commit took, if there was one.
    pub fn last_commit(&self) -> Option<Duration> {
        let micros = self.last_commit_micros.load(Ordering::Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }

    /// Batches, and other orders, that wait in the queue.
    pub fn queued(&self) -> u64 {
        u64::try_from(self.queued.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Batches that may wait before workers do.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// How long workers have waited for the queue, all together.
    pub fn blocked(&self) -> Duration {
        Duration::from_micros(self.blocked_micros.load(Ordering::Relaxed))
    }

    /// CPU time of the sink's thread.
    pub fn cpu(&self) -> Duration {
        Duration::from_micros(self.cpu_micros.load(Ordering::Relaxed))
    }

    pub(crate) fn entered(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn left(&self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn waited(&self, how_long: Duration) {
        let micros = how_long.as_micros() as u64;
        self.blocked_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn has_spent(&self, cpu: Duration) {
        self.cpu_micros
            .store(cpu.as_micros() as u64, Ordering::Relaxed);
    }

    pub(crate) fn committed(&self, took: Duration) {
        self.commits.observe(took);
        let micros = (took.as_micros() as u64).max(1);
        self.last_commit_micros.store(micros, Ordering::Relaxed);
    }

    pub(crate) fn latency_histogram(&self) -> &Histogram {
        &self.latency
    }
}
