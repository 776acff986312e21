//! Samples: the last few of what passes by, for people.
//!
//! A ring a kind. Taking a sample never waits for a reader: whoever reads too slowly finds that the
//! oldest ones are gone. Numbers grow over restarts too, so that a reader can say how far it came.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::lock;

/// Most bytes of a row, or of a record's value, that a sample holds.
pub const MAX_SAMPLE_BYTES: usize = 4 << 10;

/// What a sample is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SampleKind {
    /// A row of a stateless output, committed.
    Alert,
    /// A dead letter, committed.
    DeadLetter,
    /// A late row, committed.
    Late,
    /// A window that has fired.
    Window,
    /// A checkpoint that is complete.
    Checkpoint,
    /// A warning or an error.
    Log,
}

impl SampleKind {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Alert,
        Self::DeadLetter,
        Self::Late,
        Self::Window,
        Self::Checkpoint,
        Self::Log,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::DeadLetter => "dead_letter",
            Self::Late => "late",
            Self::Window => "window",
            Self::Checkpoint => "checkpoint",
            Self::Log => "log",
        }
    }
}

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Grows from sample to sample, over restarts too.
    pub seq: u64,
    /// When it was taken: wall clock, milliseconds since the epoch.
    pub at_ms: i64,
    /// Of what.
    pub kind: SampleKind,
    /// Of which output.
    pub output: Option<String>,
    /// What it shows.
    pub row: Value,
    /// How many like it were passed over since the one before.
    pub skipped: u64,
}

/// The samples of a run. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Samples(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Samples kept of each kind.
    keep: usize,
    rings: Mutex<Rings>,
}

#[derive(Debug, Default)]
struct Rings {
    /// Number of the last sample.
    seq: u64,
    rings: [VecDeque<Arc<Sample>>; SampleKind::ALL.len()],
}

/// Numbers begin at the microsecond of their first sample's time: no run takes a sample a microsecond,
/// so the next run's begin above.
const NUMBERS_A_MILLISECOND: u64 = 1_000;

impl Samples {
    pub(crate) fn new(keep: usize) -> Self {
        Self(Arc::new(Shared {
            keep,
            rings: Mutex::default(),
        }))
    }

    /// Whether anybody may want to see samples.
    pub fn are_kept(&self) -> bool {
        self.0.keep > 0
    }

    /// Takes a sample of something that is rare, if samples are kept.
    pub fn take(
        &self,
        kind: SampleKind,
        at_ms: i64,
        output: Option<&str>,
        row: impl FnOnce() -> Value,
    ) {
        if self.are_kept() {
            self.push(kind, at_ms, output, row(), 0);
        }
    }

    /// Takes a sample; `skipped` like it were passed over before.
    pub(crate) fn push(
        &self,
        kind: SampleKind,
        at_ms: i64,
        output: Option<&str>,
        row: Value,
        skipped: u64,
    ) {
        let mut rings = lock(&self.0.rings);
        let first = u64::try_from(at_ms).unwrap_or(0) * NUMBERS_A_MILLISECOND;
        rings.seq = if rings.seq == 0 { first } else { rings.seq + 1 };
        let sample = Sample {
            seq: rings.seq,
            at_ms,
            kind,
            output: output.map(str::to_owned),
            row,
            skipped,
        };
        let ring = &mut rings.rings[kind as usize];
        while ring.len() >= self.0.keep {
            ring.pop_front();
        }
        ring.push_back(Arc::new(sample));
    }

    /// Number of the newest sample; 0 if there is none.
    pub fn newest_seq(&self) -> u64 {
        lock(&self.0.rings).seq
    }

    /// What has been taken since the sample numbered `seq`, in order, as far as it is still there.
    pub fn since(&self, seq: u64) -> Vec<Arc<Sample>> {
        let rings = lock(&self.0.rings);
        if rings.seq <= seq {
            return Vec::new();
        }
        let mut found: Vec<Arc<Sample>> = rings
            .rings
            .iter()
            .flat_map(|ring| ring.iter().rev().take_while(|sample| sample.seq > seq))
            .cloned()
            .collect();
        drop(rings);
        found.sort_unstable_by_key(|sample| sample.seq);
        found
    }

    /// The newest samples of a kind, newest first.
    pub fn newest(&self, kind: SampleKind, limit: usize) -> Vec<Arc<Sample>> {
        let rings = lock(&self.0.rings);
        let ring = rings.rings[kind as usize].iter();
        ring.rev().take(limit).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(samples: &[Arc<Sample>]) -> Vec<u64> {
        samples.iter().filter_map(|s| s.row.as_u64()).collect()
    }

    #[test]
    fn a_reader_gets_what_it_has_not_seen_in_order_and_the_oldest_are_forgotten() {
        let samples = Samples::new(3);
        for row in 0..3_u64 {
            samples.push(SampleKind::Late, 5, None, row.into(), 0);
            samples.push(SampleKind::Alert, 5, Some("a"), (10 + row).into(), 0);
        }
        let all = samples.since(0);
        assert_eq!(rows(&all), [0, 10, 1, 11, 2, 12]);
        assert_eq!(rows(&samples.since(all[3].seq)), [2, 12]);
        assert!(samples.since(samples.newest_seq()).is_empty());
        samples.push(SampleKind::Late, 5, None, 3.into(), 0);
        assert_eq!(rows(&samples.since(0)), [10, 1, 11, 2, 12, 3]);
        assert_eq!(rows(&samples.newest(SampleKind::Late, 2)), [3, 2]);
    }

    #[test]
    fn numbers_grow_over_restarts() {
        let (first, second) = (Samples::new(9), Samples::new(9));
        for row in 0..5_u64 {
            first.push(SampleKind::Log, 1_000, None, row.into(), 0);
        }
        second.push(SampleKind::Log, 1_001, None, 0.into(), 0);
        assert!(second.newest_seq() > first.newest_seq());
    }

    #[test]
    fn nothing_is_made_when_nobody_looks() {
        let samples = Samples::new(0);
        samples.take(SampleKind::Window, 0, None, || unreachable!("made a row"));
        assert_eq!(samples.newest_seq(), 0);
    }
}
