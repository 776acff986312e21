//! The partition log, for its benchmark: not part of the interface.

use std::path::Path;
use std::time::Instant;

use bytes::Bytes;

use crate::config::Fsync;
use crate::log::{Isolation, LogLimits, PartitionLog};
use crate::memory::MemoryBudget;
use crate::units::{Now, Offset, Timestamp};

/// A partition's log, in memory or under a directory.
#[derive(Debug)]
pub struct Log(PartitionLog);

impl Log {
    /// Opens a log; without a directory it is in memory.
    pub fn open(dir: Option<&Path>) -> Result<Self, String> {
        let limits = LogLimits {
            retention_ms: -1,
            retention_bytes: -1,
            segment_bytes: 1 << 30,
            max_message_bytes: 1 << 20,
            timestamps: crate::log::TimestampRule::DEFAULT,
        };
        let log = match dir {
            None => PartitionLog::in_memory(limits, MemoryBudget::new(usize::MAX)),
            Some(dir) => {
                PartitionLog::open(dir, limits, Fsync::OnRoll)
                    .map_err(|error| error.to_string())?
                    .0
            }
        };
        Ok(Self(log))
    }

    /// Appends a batch.
    pub fn append(&mut self, batch: &[u8]) -> Result<(), String> {
        let now = Now {
            instant: Instant::now(),
            wall: Timestamp(0),
        };
        let appended = self.0.append(batch, now);
        appended.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Reads from an offset on, as a fetch does.
    pub fn read(&self, from: i64, max_bytes: usize) -> Result<Bytes, String> {
        let read = self
            .0
            .read(Offset(from), Isolation::Committed, max_bytes, true);
        read.map(|read| read.records)
            .map_err(|error| error.to_string())
    }
}
