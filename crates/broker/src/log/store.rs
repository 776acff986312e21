//! Where a log's batches are: in memory or in segment files.

use bytes::Bytes;

use super::chunk::Chunk;
use super::durable::SegmentStore;
use super::error::LogError;
use super::memory::MemoryStore;
use crate::units::{Offset, Timestamp};

/// The batches of a partition. Both kinds keep them in order and without gaps, and delete from the
/// oldest on. The memory is paid for, the files are not.
#[derive(Debug)]
pub(super) enum Store {
    Memory(MemoryStore),
    Segments(SegmentStore),
}

impl Store {
    /// Offset after the last record.
    pub(super) fn end(&self) -> Offset {
        match self {
            Self::Memory(store) => store.end(),
            Self::Segments(store) => store.end(),
        }
    }

    /// First offset that is retained.
    pub(super) fn first(&self) -> Offset {
        match self {
            Self::Memory(store) => store.first(),
            Self::Segments(store) => store.first(),
        }
    }

    /// Bytes of all batches.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Memory(store) => store.bytes(),
            Self::Segments(store) => store.bytes(),
        }
    }

    /// Size and highest timestamp of what would be deleted next: a batch, or a segment.
    pub(super) fn oldest(&self) -> Option<(u64, Timestamp)> {
        match self {
            Self::Memory(store) => store.oldest(),
            Self::Segments(store) => store.oldest(),
        }
    }

    /// Offset at which that ends.
    pub(super) fn oldest_end(&self) -> Offset {
        match self {
            Self::Memory(store) => store.oldest_end(),
            Self::Segments(store) => store.oldest_end(),
        }
    }

    /// Deletes that.
    pub(super) fn delete_oldest(&mut self) -> Result<(), LogError> {
        match self {
            Self::Memory(store) => {
                store.delete_oldest();
                Ok(())
            }
            Self::Segments(store) => store.delete_oldest(),
        }
    }

    /// Whole batches from the one that holds `from`, none that begins at `limit` or later; at most `max`
    /// bytes, but with `at_least_one` the first batch however large it is.
    pub(super) fn read(
        &self,
        from: Offset,
        limit: Offset,
        max: usize,
        at_least_one: bool,
    ) -> Result<Chunk, LogError> {
        if from >= limit {
            return Ok(Chunk::empty(from));
        }
        match self {
            Self::Memory(store) => Ok(store.read(from, limit, max, at_least_one)),
            Self::Segments(store) => store.read(from, limit, max, at_least_one),
        }
    }

    /// The first batch that ends at or after `from` and has a record as late as `timestamp`.
    pub(super) fn batch_at(
        &self,
        timestamp: Timestamp,
        from: Offset,
    ) -> Result<Option<Bytes>, LogError> {
        match self {
            Self::Memory(store) => Ok(store.batch_at(timestamp, from)),
            Self::Segments(store) => store.batch_at(timestamp, from),
        }
    }

    /// The highest timestamp of the batches that end at or after `from`.
    pub(super) fn max_timestamp(&self, from: Offset) -> Result<Option<Timestamp>, LogError> {
        match self {
            Self::Memory(store) => Ok(store.max_timestamp(from)),
            Self::Segments(store) => store.max_timestamp(from),
        }
    }
}
