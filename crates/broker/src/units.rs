//! The quantities that the broker counts in, each a type of its own.

use std::fmt;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A record's place in its partition.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub(crate) struct Offset(pub(crate) i64);

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub(crate) struct Timestamp(pub(crate) i64);

/// Who produces: an id the broker gave out, and the epoch that fences older holders of the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Producer {
    /// Producer id; never negative.
    pub(crate) id: i64,
    /// Producer epoch; never negative.
    pub(crate) epoch: i16,
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// Its records and offsets become visible.
    Commit,
    /// Its records are skipped by `read_committed` readers, its offsets forgotten.
    Abort,
}

/// A topic's identity, which outlives its name: a topic that is deleted and made again is another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct TopicId(pub(crate) u128);

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One partition of a topic, by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct TopicPartition {
    /// Name of the topic.
    pub(crate) topic: String,
    /// Number of the partition, from 0.
    pub(crate) partition: i32,
}

/// The time, as it was when a request or a tick was taken up. Logic below the server reads no clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// For deadlines: never goes back.
    pub(crate) instant: Instant,
    /// For records and retention.
    pub(crate) wall: Timestamp,
}

impl Now {
    /// Reads both clocks.
    pub(crate) fn read() -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            instant: Instant::now(),
            wall: Timestamp(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)),
        }
    }
}
