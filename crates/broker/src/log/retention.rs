//! What the log deletes: what it was told to, and what has become too old or too much.
//!
//! With files, whole segments go; in memory, batch by batch. Both go from the oldest on, and the
//! producers are written down before the records from which they are known.

use super::producers::Producers;
use super::snapshot::{self, Snapshot};
use super::{LogError, NO_TIMESTAMP, PartitionLog, ReadError, Store};
use crate::units::{Now, Offset, Timestamp};

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
        if let Store::Segments(store) = &mut self.store {
            keep(store, &self.producers)?;
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

    /// Deletes what is too old or too much, by Kafka's rule: the oldest segment goes when all of it is
    /// older than the time, or when the bytes that remain without it are as many as the limit. Without
    /// files, a batch stands for a segment. Returns how many have gone.
    pub(crate) fn retain(&mut self, now: Now) -> usize {
        let mut deleted = 0;
        let mut kept = false;
        while self.oldest_may_go(now.wall) {
            if let Store::Segments(store) = &mut self.store {
                let gone = if kept {
                    Ok(())
                } else {
                    keep(store, &self.producers)
                };
                kept = true;
                if let Err(error) = gone.and_then(|()| store.delete_oldest()) {
                    warn(&error);
                    break;
                }
            }
            if let Store::Memory(store) = &mut self.store {
                store.delete_oldest();
            }
            let first = match &self.store {
                Store::Memory(store) => store.first(),
                Store::Segments(store) => store.first(),
            };
            self.move_start(first);
            deleted += 1;
        }
        deleted
    }

    fn oldest_may_go(&self, now: Timestamp) -> bool {
        let oldest = match &self.store {
            Store::Memory(store) => store.oldest(),
            Store::Segments(store) => store.oldest(),
        };
        let Some((bytes, max_timestamp)) = oldest else {
            return false;
        };
        if let Store::Segments(store) = &self.store
            && store.oldest_end() <= self.start
        {
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

    /// Writes down what is known of the producers, and has everything before that on the disk.
    pub(super) fn keep_producers(&mut self) -> Result<(), LogError> {
        match &mut self.store {
            Store::Memory(_) => Ok(()),
            Store::Segments(store) => keep(store, &self.producers),
        }
    }
}

fn keep(store: &mut super::SegmentStore, producers: &Producers) -> Result<(), LogError> {
    store.sync()?;
    let snapshot = Snapshot {
        end: store.end(),
        producers: producers.clone(),
    };
    snapshot::write_producers(store.dir(), &snapshot)
}

fn warn(error: &LogError) {
    tracing::warn!(%error, "could not delete old records, trying again later");
}
