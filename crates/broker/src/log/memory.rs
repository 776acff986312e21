//! Batches in memory, paid for out of a budget that all partitions share.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::MAX_READ_BYTES;
use super::batch::{Header, MARKER_BYTES};
use super::chunk::Chunk;
use super::error::AppendError;
use crate::memory::MemoryBudget;
use crate::units::{Offset, Timestamp};

/// What a batch takes besides its bytes: its entry, and what the allocator adds.
const BATCH_OVERHEAD: usize = size_of::<Retained>() + 64;

#[derive(Debug)]
struct Retained {
    base: Offset,
    last: Offset,
    max_timestamp: Timestamp,
    /// The highest timestamp up to here, of deleted batches too.
    max_so_far: Timestamp,
    data: Bytes,
}

/// How a batch is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payment {
    /// For itself.
    Full,
    /// And for the marker that will end the transaction it opens: a transaction that has begun can end
    /// even when the memory is full.
    WithMarker,
    /// It is the marker that was paid for.
    Paid,
}

/// The batches of a partition that keeps them in memory.
#[derive(Debug)]
pub(super) struct MemoryStore {
    batches: VecDeque<Retained>,
    budget: MemoryBudget,
    paid: usize,
    bytes: u64,
    end: Offset,
}

impl MemoryStore {
    pub(super) fn new(budget: MemoryBudget) -> Self {
        Self {
            batches: VecDeque::new(),
            budget,
            paid: 0,
            bytes: 0,
            end: Offset(0),
        }
    }

    /// Offset after the last record.
    pub(super) fn end(&self) -> Offset {
        self.end
    }

    /// First offset that is retained.
    pub(super) fn first(&self) -> Offset {
        self.batches.front().map_or(self.end, |batch| batch.base)
    }

    /// Bytes of all batches.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a batch, or says that the budget is spent.
    pub(super) fn append(
        &mut self,
        header: &Header,
        data: Bytes,
        payment: Payment,
    ) -> Result<(), AppendError> {
        let price = match payment {
            Payment::Full => price(data.len()),
            Payment::WithMarker => price(data.len()) + price(MARKER_BYTES),
            Payment::Paid => 0,
        };
        if !self.budget.try_take(price) {
            return Err(AppendError::Full);
        }
        self.paid += price;
        self.bytes += data.len() as u64;
        self.end = header.next();
        let before = self.batches.back().map(|batch| batch.max_so_far);
        self.batches.push_back(Retained {
            base: header.base,
            last: header.last(),
            max_timestamp: header.max_timestamp,
            max_so_far: before.map_or(header.max_timestamp, |max| max.max(header.max_timestamp)),
            data,
        });
        Ok(())
    }

    /// Whole batches from the one that holds `from`, none that begins at `limit` or later. A single
    /// batch is handed out as it is, several are copied together.
    pub(super) fn read(
        &self,
        from: Offset,
        limit: Offset,
        max: usize,
        at_least_one: bool,
    ) -> Chunk {
        let max = max.min(MAX_READ_BYTES);
        let first = self.batches.partition_point(|batch| batch.last < from);
        let (mut count, mut size) = (0, 0_usize);
        for batch in self.batches.range(first..) {
            let fits = size + batch.data.len() <= max || (count == 0 && at_least_one);
            if batch.base >= limit || !fits {
                break;
            }
            count += 1;
            size += batch.data.len();
        }
        let mut taken = self.batches.range(first..first + count);
        let next = taken
            .clone()
            .next_back()
            .map_or(from, |batch| Offset(batch.last.0 + 1));
        let records = if count == 1 {
            taken
                .next()
                .map(|batch| batch.data.clone())
                .unwrap_or_default()
        } else {
            let mut records = BytesMut::with_capacity(size);
            taken.for_each(|batch| records.extend_from_slice(&batch.data));
            records.freeze()
        };
        Chunk { records, next }
    }

    /// The first batch that ends at or after `from` and has a record as late as `timestamp`.
    pub(super) fn batch_at(&self, timestamp: Timestamp, from: Offset) -> Option<Bytes> {
        let by_offset = self.batches.partition_point(|batch| batch.last < from);
        let by_time = self
            .batches
            .partition_point(|batch| batch.max_so_far < timestamp);
        // A deleted batch may have had the highest timestamp so far: from there on, one by one.
        self.batches
            .range(by_offset.max(by_time)..)
            .find(|batch| batch.max_timestamp >= timestamp)
            .map(|batch| batch.data.clone())
    }

    /// The highest timestamp of the batches that end at or after `from`.
    pub(super) fn max_timestamp(&self, from: Offset) -> Option<Timestamp> {
        let first = self.batches.partition_point(|batch| batch.last < from);
        self.batches
            .range(first..)
            .map(|batch| batch.max_timestamp)
            .max()
    }

    /// Size and highest timestamp of the oldest batch.
    pub(super) fn oldest(&self) -> Option<(u64, Timestamp)> {
        let oldest = self.batches.front()?;
        Some((oldest.data.len() as u64, oldest.max_timestamp))
    }

    /// Offset at which the oldest batch ends.
    pub(super) fn oldest_end(&self) -> Offset {
        let oldest = self.batches.front();
        oldest.map_or(self.end, |batch| Offset(batch.last.0 + 1))
    }

    /// Deletes the oldest batch.
    pub(super) fn delete_oldest(&mut self) {
        if let Some(batch) = self.batches.pop_front() {
            self.bytes -= batch.data.len() as u64;
            self.give_back(price(batch.data.len()));
        }
    }

    /// Deletes the batches that end before `offset`.
    pub(super) fn delete_before(&mut self, offset: Offset) {
        while self
            .batches
            .front()
            .is_some_and(|batch| batch.last < offset)
        {
            self.delete_oldest();
        }
        if self.batches.capacity() > 4 * self.batches.len() {
            self.batches.shrink_to(2 * self.batches.len());
        }
    }

    fn give_back(&mut self, price: usize) {
        self.paid -= price;
        self.budget.give_back(price);
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.budget.give_back(self.paid);
    }
}

fn price(bytes: usize) -> usize {
    bytes + BATCH_OVERHEAD
}
