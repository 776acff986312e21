//! What the log deletes: what it was told to, and what has become too old or too much.
//!
//! With files, whole segments go; in memory, batch by batch. Both go from the oldest on, and the
//! producers are written down before the records from which they are known.

use std::path::PathBuf;

use super::batch::NO_TIMESTAMP;
use super::producers::Producers;
use super::snapshot;
use super::store::Store;
use super::{LogError, PartitionLog, ReadError};
use crate::units::{Now, Offset, Timestamp};

/// Records that are about to be deleted.
#[derive(Debug)]
pub(crate) struct Departure {
    /// None of them is at or behind this offset, where the log ended.
    up_to: Offset,
    /// What is known of the producers there, and where it is to be written down.
    producers: Option<(PathBuf, Producers)>,
}

impl Departure {
    /// Writes down what could not be learned any more without the records. Waits for the disk.
    pub(crate) fn write_down(&self) -> Result<(), LogError> {
        match &self.producers {
            None => Ok(()),
            Some((dir, producers)) => snapshot::write_producers(dir, self.up_to, producers),
        }
    }
}

impl PartitionLog {
    /// Deletes the records before `offset`, for good: neither readers nor a restart see them again.
    /// Returns the first offset that remains, which is later if they were gone already.
    pub(crate) fn delete_before(&mut self, offset: Offset) -> Result<Offset, ReadError> {
        let (start, end) = (self.start, self.end());
        if offset < Offset(0) || offset > end {
            return Err(ReadError::OutOfRange { start, end });
        }
        if offset <= start {
            return Ok(start);
        }
        self.keep_producers()?;
        if let Store::Segments(store) = &self.store {
            snapshot::write_start(store.dir(), offset)?;
        }
        self.move_start(offset);
        match &mut self.store {
            Store::Memory(store) => store.delete_before(offset),
            Store::Segments(store) => {
                while store.oldest().is_some() && store.oldest_end() <= offset {
                    // The records are invisible already; the file goes with the next deletion.
                    if let Err(error) = store.delete_oldest() {
                        warn(&error);
                        break;
                    }
                }
            }
        }
        Ok(offset)
    }

    /// What is too old or too much now, if anything: the caller has it written down without the log's
    /// lock, then deletes with [`PartitionLog::retain`]. In between, nobody else may delete.
    pub(crate) fn due(&self, now: Now) -> Option<Departure> {
        if !self.oldest_may_go(now.wall) {
            return None;
        }
        let producers = match &self.store {
            Store::Memory(_) => None,
            Store::Segments(store) => Some((store.dir().to_owned(), self.producers.clone())),
        };
        Some(Departure {
            up_to: self.end(),
            producers,
        })
    }

    /// Deletes what is too old or too much, by Kafka's rule: the oldest segment goes when all of it is
    /// older than the time, or when the bytes that remain without it are as many as the limit. Without
    /// files, a batch stands for a segment. Returns how many have gone.
    pub(crate) fn retain(&mut self, now: Now, departure: &Departure) -> usize {
        let mut deleted = 0;
        while self.oldest_may_go(now.wall) && self.store.oldest_end() <= departure.up_to {
            if let Err(error) = self.store.delete_oldest() {
                warn(&error);
                break;
            }
            self.move_start(self.store.first());
            deleted += 1;
        }
        deleted
    }

    fn oldest_may_go(&self, now: Timestamp) -> bool {
        let Some((bytes, max_timestamp)) = self.store.oldest() else {
            return false;
        };
        if matches!(self.store, Store::Segments(_)) && self.store.oldest_end() <= self.start {
            return true;
        }
        let too_old = self.limits.retention_ms >= 0
            && max_timestamp != NO_TIMESTAMP
            && now.0.saturating_sub(max_timestamp.0) > self.limits.retention_ms;
        let too_much = u64::try_from(self.limits.retention_bytes)
            .is_ok_and(|limit| self.size_bytes() - bytes >= limit);
        too_old || too_much
    }

    fn move_start(&mut self, start: Offset) {
        self.start = self.start.max(start);
        self.producers.start_moved(self.start);
    }

    /// Writes down what is known of the producers. Records that this is ahead of after a power failure
    /// make recovery pass it over.
    pub(super) fn keep_producers(&mut self) -> Result<(), LogError> {
        match &self.store {
            Store::Memory(_) => Ok(()),
            Store::Segments(store) => {
                snapshot::write_producers(store.dir(), store.end(), &self.producers)
            }
        }
    }
}

fn warn(error: &LogError) {
    tracing::warn!(%error, "could not delete old records, trying again later");
}
