//! Watermarks: how far event time has come.
//!
//! Each partition has a watermark, `floor_ms(max event time) - delay`, which never goes back. The
//! source's watermark is the least over its partitions that are not idle, and never goes back
//! either. A window fires when the source's watermark has reached its end.
//!
//! Three rules keep one partition from stopping or spoiling the rest:
//!
//! - **Future guard.** An event time further ahead of the wall clock than `max_future` moves no
//!   watermark. Workers apply it ([`FutureGuard`]) and count the row; the row itself is kept.
//! - **Idle.** A partition that has delivered nothing for `idle_after` *while it could have
//!   delivered* does not hold the watermark back. A partition that is disconnected, behind, or
//!   whose worker waits for a sink could not have delivered: it keeps holding it back.
//! - **Quiet.** When every partition is idle, event time goes on by the idle clock: the watermark
//!   follows the time that has passed since the last delivery, but only as far as the last open
//!   window's end, so that the last windows come out and nothing later is made late.
//!
//! Pure: time comes in from outside, a decision goes out.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use floodmark_pipeline::EventTime;
use serde::{Deserialize, Serialize};

use crate::units::{EventMicros, Partition};

/// A watermark: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Watermark(pub i64);

impl Watermark {
    /// The watermark that `max` event time gives with `delay`.
    pub fn from_event_time(max: EventMicros, delay: Duration) -> Self {
        Self(max.0.div_euclid(1_000).saturating_sub(millis(delay)))
    }

    /// The least watermark that has reached `instant`.
    pub fn reaching(instant: EventMicros) -> Self {
        Self(instant.0.div_euclid(1_000) + i64::from(instant.0.rem_euclid(1_000) != 0))
    }

    /// Whether event time has reached `instant`.
    pub fn has_reached(self, instant: EventMicros) -> bool {
        self.0.saturating_mul(1_000) >= instant.0
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Tells event times that are too far ahead of the wall clock to be believed.
#[derive(Debug, Clone, Copy)]
pub struct FutureGuard {
    limit: EventMicros,
}

impl FutureGuard {
    /// A guard for rows seen at `wall_ms` (milliseconds since the epoch).
    pub fn at(wall_ms: i64, max_future: Duration) -> Self {
        Self {
            limit: EventMicros(
                wall_ms
                    .saturating_add(millis(max_future))
                    .saturating_mul(1_000),
            ),
        }
    }

    /// Whether `event_time` may move the watermark.
    pub fn admits(self, event_time: EventMicros) -> bool {
        event_time <= self.limit
    }
}

/// What is known of a partition at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// Greatest admitted event time so far.
    pub max_event_time: Option<EventMicros>,
    /// Rows delivered so far whose event time may be believed: a partition of nothing but bad
    /// records or clocks that run ahead must not hold the others back.
    pub delivered: u64,
    /// Whether it could deliver if there were anything: connected, assigned, caught up, its worker
    /// not blocked by a sink.
    pub deliverable: bool,
    /// Whether it has ended for good (a file read to its end that nobody appends to).
    pub ended: bool,
}

/// Where a partition stands with regard to the source's watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Takes part.
    Active,
    /// Has delivered nothing for `idle_after` while it could have.
    Idle,
    /// Has ended for good.
    Ended,
}

#[derive(Debug, Clone)]
struct PartitionClock {
    watermark: Option<Watermark>,
    delivered: u64,
    /// Start of the time in which it could have delivered and did not.
    silent_since: Option<Duration>,
    standing: Standing,
}

/// Combines the partitions of one source.
#[derive(Debug, Clone)]
pub struct WatermarkTracker {
    delay: Duration,
    idle_after: Duration,
    partitions: BTreeMap<Partition, PartitionClock>,
    watermark: Option<Watermark>,
    /// Monotonic time of the newest delivery of any partition.
    last_delivery: Duration,
}

impl WatermarkTracker {
    /// A tracker at `now` (monotonic), with what a checkpoint says if there is one.
    pub fn new(
        event_time: &EventTime,
        watermark: Option<Watermark>,
        partitions: impl IntoIterator<Item = (Partition, Option<Watermark>)>,
        now: Duration,
    ) -> Self {
        let mut tracker = Self {
            delay: event_time.delay,
            idle_after: event_time.idle_after,
            partitions: BTreeMap::new(),
            watermark,
            last_delivery: now,
        };
        for (partition, restored) in partitions {
            tracker.add(partition, restored);
        }
        tracker
    }

    /// Takes a further partition in. Until it delivers or is idle it holds the watermark back.
    pub fn add(&mut self, partition: Partition, watermark: Option<Watermark>) {
        self.partitions.entry(partition).or_insert(PartitionClock {
            watermark,
            delivered: 0,
            silent_since: None,
            standing: Standing::Active,
        });
    }

    /// Takes in what is known of a partition at `now` (monotonic).
    pub fn observe(&mut self, partition: Partition, seen: Observation, now: Duration) {
        let Some(clock) = self.partitions.get_mut(&partition) else {
            return;
        };
        if let Some(max) = seen.max_event_time {
            let reached = Watermark::from_event_time(max, self.delay);
            clock.watermark = clock.watermark.max(Some(reached));
        }
        let delivered = seen.delivered != clock.delivered;
        clock.delivered = seen.delivered;
        if delivered {
            self.last_delivery = now;
        }
        if seen.deliverable && !delivered {
            clock.silent_since.get_or_insert(now);
        } else {
            clock.silent_since = seen.deliverable.then_some(now);
        }
        let silent = clock.silent_since.map(|since| now.saturating_sub(since));
        clock.standing = if seen.ended {
            Standing::Ended
        } else if silent.is_some_and(|silent| silent >= self.idle_after) {
            Standing::Idle
        } else {
            Standing::Active
        };
    }

    /// The source's watermark at `now` (monotonic). `last_open_end` is the end of the last window
    /// that has not fired: as far as a quiet stream's watermark goes.
    pub fn advance(
        &mut self,
        now: Duration,
        last_open_end: Option<EventMicros>,
    ) -> Option<Watermark> {
        let active = || {
            self.partitions
                .values()
                .filter(|p| p.standing == Standing::Active)
        };
        let candidate = if active().next().is_some() {
            // A partition without a watermark yet (None) holds everything back.
            active().map(|p| p.watermark).min().flatten()
        } else {
            self.quiet_watermark(now, last_open_end)
        };
        self.watermark = self.watermark.max(candidate);
        self.watermark
    }

    fn quiet_watermark(
        &self,
        now: Duration,
        last_open_end: Option<EventMicros>,
    ) -> Option<Watermark> {
        let reached = self.partitions.values().filter_map(|p| p.watermark).max()?;
        let any_idle = self
            .partitions
            .values()
            .any(|p| p.standing == Standing::Idle);
        let Some(end) = last_open_end.filter(|_| any_idle) else {
            return Some(reached);
        };
        let passed = millis(now.saturating_sub(self.last_delivery));
        let by_idle_clock = Watermark(reached.0.saturating_add(passed));
        Some(reached.max(by_idle_clock.min(Watermark::reaching(end))))
    }

    /// Moves the watermark to `watermark` if that is ahead: windows were closed by request.
    pub fn force(&mut self, watermark: Watermark) {
        self.watermark = self.watermark.max(Some(watermark));
    }

    /// The source's watermark as last advanced.
    pub fn watermark(&self) -> Option<Watermark> {
        self.watermark
    }

    /// Each partition's watermark and standing.
    pub fn partitions(
        &self,
    ) -> impl Iterator<Item = (Partition, Option<Watermark>, Standing)> + '_ {
        self.partitions
            .iter()
            .map(|(id, p)| (*id, p.watermark, p.standing))
    }

    /// How long a partition has been silent at `now` although it could have delivered.
    pub fn silent_for(&self, partition: Partition, now: Duration) -> Option<Duration> {
        let since = self.partitions.get(&partition)?.silent_since?;
        Some(now.saturating_sub(since))
    }

    /// The partition that holds the watermark back: the active one that is least far.
    pub fn held_back_by(&self) -> Option<Partition> {
        self.partitions
            .iter()
            .filter(|(_, p)| p.standing == Standing::Active)
            .min_by_key(|(_, p)| p.watermark)
            .map(|(id, _)| *id)
    }
}
