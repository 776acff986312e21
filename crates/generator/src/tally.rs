//! The true numbers of what was generated.

use serde::Serialize;

use crate::bad::BadKind;
use crate::simulator::{EventInfo, Kind};

/// Counts of generated records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// All records.
    pub events: u64,
    /// Records that a decoder must accept.
    pub good: u64,
    /// Records that no decoder may accept.
    pub bad: u64,
    /// Bad records by kind.
    pub bad_kinds: BadKinds,
    /// Good records whose event time is far behind.
    pub late: u64,
    /// Good records, late or not, with a reading above a limit.
    pub anomalous: u64,
    /// Those of them that are late.
    pub late_anomalous: u64,
    /// Bytes of all records.
    pub bytes: u64,
    /// Earliest event time of a good record, milliseconds since 1970.
    pub min_event_time_ms: Option<i64>,
    /// Latest event time of a good record, milliseconds since 1970.
    pub max_event_time_ms: Option<i64>,
}

/// Counts of bad records by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BadKinds([u64; BadKind::ALL.len()]);

impl BadKinds {
    /// How many of a kind.
    pub fn of(&self, kind: BadKind) -> u64 {
        self.0[kind as usize]
    }
}

impl Serialize for BadKinds {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(BadKind::ALL.map(|kind| (kind, self.of(kind))))
    }
}

impl Tally {
    /// Counts one record of this many bytes.
    #[inline]
    pub fn record(&mut self, info: &EventInfo, bytes: usize) {
        self.events += 1;
        self.bytes += bytes as u64;
        match info.kind {
            Kind::Bad(kind) => {
                self.bad += 1;
                self.bad_kinds.0[kind as usize] += 1;
            }
            Kind::Good => {
                self.good += 1;
                self.late += u64::from(info.late);
                self.anomalous += u64::from(info.anomalous);
                self.late_anomalous += u64::from(info.late && info.anomalous);
                let time = info.event_time_ms;
                self.min_event_time_ms =
                    Some(self.min_event_time_ms.map_or(time, |min| min.min(time)));
                self.max_event_time_ms =
                    Some(self.max_event_time_ms.map_or(time, |max| max.max(time)));
            }
        }
    }
}
