//! One partition's log: record batches in, record batches out.
//!
//! ```text
//! append: incoming::check ─> producers::check ─> offset assigned ─> store ─> producers::wrote
//!         (bytes, CRC)       (sequence, epoch)   (patched in)       (memory,   (sequence, open
//!                                                                    segments)  transactions)
//! read:   offset ─> store: whole batches up to the last stable offset ─> aborted transactions beside
//! open:   recovery: every batch of every segment, through the same producers
//! ```
//!
//! The log is synchronous and has no lock: its owner holds one. It reads no clock. Everything that is
//! appended is committed at once, since there are no replicas: the high watermark is the end.
//!
//! Promises, each checked where it is cheap:
//! - INV-OFFSETS: offsets are continuous; only the oldest records are ever missing.
//! - INV-LSO: start <= last stable offset <= end, and the last stable offset is the first offset of the
//!   earliest transaction that is open, if that is retained.
//! - An operation that fails has changed nothing.
//! - With files, what [`PartitionLog::append`] has returned for survives the end of the process.

mod batch;
mod chunk;
mod durable;
mod error;
mod incoming;
mod memory;
mod producers;
mod records;
mod recovery;
mod retention;
mod scan;
mod segment;
mod settling;
mod snapshot;
mod store;
#[cfg(test)]
mod tests;

use std::path::Path;

use bytes::Bytes;

use crate::config::Fsync;
use crate::memory::MemoryBudget;
use crate::units::{Now, Offset, Outcome, Producer, Timestamp};

use self::batch::Header;
use self::incoming::SizeLimits;
use self::memory::{MemoryStore, Payment};
use self::producers::{Producers, Verdict};
use self::store::Store;

pub(crate) use self::error::{AppendError, LogError, ReadError};
pub(crate) use self::producers::{AbortedTransaction, ActiveProducer};
pub(crate) use self::recovery::Recovered;
pub(crate) use self::settling::{Settled, Settling};

/// Bytes that one read returns at most, unless a single batch is larger: what Kafka's
/// `fetch.max.bytes` allows.
const MAX_READ_BYTES: usize = 55 << 20;

/// Who sent a batch, if it is part of a transaction.
pub(crate) fn transactional_producer(batch: &[u8]) -> Option<Producer> {
    Header::read(batch)
        .filter(Header::is_transactional)
        .and_then(|header| header.producer())
}

/// Until which offset a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Everything that was appended.
    Uncommitted,
    /// Up to the first transaction that is still open; what was aborted is listed beside the records.
    Committed,
}

/// What a topic's configuration says of its logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogLimits {
    /// Records older than this may be deleted, in milliseconds; -1 for never.
    pub(crate) retention_ms: i64,
    /// The oldest records may be deleted while this many bytes remain; -1 for no limit.
    pub(crate) retention_bytes: i64,
    /// A segment that would be larger is followed by another.
    pub(crate) segment_bytes: u64,
    /// Bytes of the largest batch that is taken.
    pub(crate) max_message_bytes: usize,
    /// Which timestamps records get.
    pub(crate) timestamps: TimestampRule,
}

/// Which timestamps records get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimestampRule {
    /// The producer's, if they are not further from now than so many milliseconds.
    Producer {
        /// Into the past.
        behind_ms: i64,
        /// Into the future.
        ahead_ms: i64,
    },
    /// The time at which the broker appends a batch, for all of its records.
    Append,
}

impl TimestampRule {
    /// Kafka's, unless the topic says otherwise: any past, at most an hour ahead.
    pub(crate) const DEFAULT: Self = Self::Producer {
        behind_ms: i64::MAX,
        ahead_ms: 3_600_000,
    };
}

impl LogLimits {
    fn sizes(&self) -> SizeLimits {
        SizeLimits {
            message: self.max_message_bytes,
            segment: self.segment_bytes,
        }
    }
}

/// Where a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    /// Offset of its first record.
    pub(crate) base: Offset,
    /// Offset of its last record.
    pub(crate) last: Offset,
    /// What to answer as its append time, if anything: the broker's timestamp where the topic asks for
    /// it; and as in Kafka, a batch that was in the log already is answered with its highest timestamp.
    pub(crate) log_append_time: Option<Timestamp>,
}

/// What a reader gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Read {
    /// Whole batches, one after the other. From memory a single batch is not copied, several are copied
    /// together: the response wants them contiguous.
    pub(crate) records: Bytes,
    /// Aborted transactions that these batches may be part of; only for [`Isolation::Committed`].
    pub(crate) aborted: Vec<AbortedTransaction>,
    /// The end of the log.
    pub(crate) high_watermark: Offset,
    /// Up to where no transaction is open.
    pub(crate) last_stable: Offset,
    /// The start of the log.
    pub(crate) start: Offset,
}

/// One partition's record batches and what is known of their producers.
#[derive(Debug)]
pub(crate) struct PartitionLog {
    store: Store,
    producers: Producers,
    limits: LogLimits,
    start: Offset,
}

/// Reads `bytes` as a segment, as opening a log would, for what it does to the process.
pub(crate) fn inspect(bytes: &[u8]) {
    // Whatever is in it: both are fine.
    let _ = recovery::inspect(bytes, bytes.len() as u64, Offset(0));
}

impl PartitionLog {
    /// An empty log that keeps its batches in memory, and gives all of it back when it is dropped.
    pub(crate) fn in_memory(limits: LogLimits, budget: MemoryBudget) -> Self {
        Self {
            store: Store::Memory(MemoryStore::new(budget)),
            producers: Producers::default(),
            limits,
            start: Offset(0),
        }
    }

    /// The log whose segments are in `dir`, which is made if it is not there. Nobody else may use it.
    pub(crate) fn open(
        dir: &Path,
        limits: LogLimits,
        fsync: Fsync,
    ) -> Result<(Self, Recovered), LogError> {
        let opened = recovery::open(dir, fsync)?;
        let log = Self {
            store: Store::Segments(opened.store),
            producers: opened.producers,
            limits,
            start: opened.start,
        };
        Ok((log, opened.recovered))
    }

    /// Sets other limits, from the next operation on.
    pub(crate) fn set_limits(&mut self, limits: LogLimits) {
        self.limits = limits;
    }

    /// Appends a client's batch. A batch that its producer has sent before is answered with where it
    /// went then.
    pub(crate) fn append(&mut self, batch: &[u8], now: Now) -> Result<Appended, AppendError> {
        let header = incoming::check(batch, self.limits.sizes())?;
        let payment = match self.producers.check(&header)? {
            Verdict::New => Payment::Full,
            Verdict::OpensTransaction => Payment::WithMarker,
            Verdict::Duplicate(written) => {
                return Ok(Appended {
                    base: written.base,
                    last: written.last,
                    log_append_time: Some(written.max_timestamp),
                });
            }
        };
        let header = match self.limits.timestamps {
            TimestampRule::Append => header.stamped(now.wall),
            TimestampRule::Producer {
                behind_ms,
                ahead_ms,
            } => header.within(now.wall, behind_ms, ahead_ms)?,
        };
        let header = header.at(self.end());
        // A copy of its own: the request's frame, which is larger, must not live as long as the batch.
        let mut placed = batch.to_vec();
        batch::place(&mut placed, &header);
        self.store(&header, placed.into(), payment)?;
        self.producers.wrote(&header, Some(now.wall));
        Ok(Appended {
            base: header.base,
            last: header.last(),
            log_append_time: header.is_stamped().then_some(header.max_timestamp),
        })
    }

    /// Ends the transaction of `producer` with a control batch, and fences older epochs of the producer.
    /// If no transaction is open, the marker is written all the same, as Kafka does, and harmless:
    /// repeating is allowed.
    pub(crate) fn append_marker(
        &mut self,
        producer: Producer,
        outcome: Outcome,
        now: Now,
    ) -> Result<Offset, AppendError> {
        let payment = if self.producers.check_marker(producer)? {
            Payment::Paid
        } else {
            Payment::Full
        };
        let marker = batch::marker(self.end(), producer, outcome, now.wall);
        let header = Header::read(&marker).ok_or(AppendError::Invariant("INV-MARKER"))?;
        self.store(&header, marker.into(), payment)?;
        self.producers
            .ended(producer, outcome, &header, Some(now.wall));
        Ok(header.base)
    }

    fn store(&mut self, header: &Header, data: Bytes, payment: Payment) -> Result<(), AppendError> {
        if header.base != self.end() || header.bytes() != data.len() || header.plausible().is_err()
        {
            return Err(AppendError::Invariant("INV-OFFSETS"));
        }
        if self.last_stable() > self.end() {
            return Err(AppendError::Invariant("INV-LSO"));
        }
        match &mut self.store {
            Store::Memory(store) => store.append(header, data, payment),
            Store::Segments(store) => store.append(header, &data, self.limits.segment_bytes),
        }
    }

    /// Whole batches from the one that holds `from`, at most `max_bytes` of them; with `at_least_one`
    /// the first one however large it is. Nothing if there is nothing yet.
    pub(crate) fn read(
        &self,
        from: Offset,
        isolation: Isolation,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Read, ReadError> {
        let (start, end, last_stable) = (self.start(), self.end(), self.last_stable());
        if from < start || from > end {
            return Err(ReadError::OutOfRange { start, end });
        }
        let limit = match isolation {
            Isolation::Uncommitted => end,
            Isolation::Committed => last_stable,
        };
        let chunk = self.store.read(from, limit, max_bytes, at_least_one)?;
        let aborted = match isolation {
            Isolation::Committed if chunk.next > from => {
                self.producers.aborted_within(from, chunk.next)
            }
            _ => Vec::new(),
        };
        Ok(Read {
            records: chunk.records,
            aborted,
            high_watermark: end,
            last_stable,
            start,
        })
    }

    /// The first record whose timestamp is at least `timestamp`, and its timestamp. For a batch that is
    /// compressed its base offset, never later than right; see [`records::first_at`].
    pub(crate) fn offset_for_time(
        &self,
        timestamp: Timestamp,
    ) -> Result<Option<(Offset, Timestamp)>, ReadError> {
        let mut from = self.start;
        loop {
            let Some(batch) = self.store.batch_at(timestamp, from)? else {
                return Ok(None);
            };
            if let Some(found) = records::first_at(&batch, timestamp, from) {
                return Ok(Some(found));
            }
            // The record was in the part of the batch that has been deleted.
            match Header::read(&batch) {
                Some(header) if header.next() > from => from = header.next(),
                _ => return Ok(None),
            }
        }
    }

    /// The first record that has the highest timestamp of all, and the timestamp. In a compressed batch,
    /// that is its last record unless its first has it: timestamps mostly rise.
    pub(crate) fn offset_of_max_timestamp(&self) -> Result<Option<(Offset, Timestamp)>, ReadError> {
        let mut found = None;
        let mut from = self.start;
        // The first batch may have had it in the part that has been deleted.
        let first = self.store.read(from, self.end(), 0, true)?;
        if Header::read(&first.records).is_some_and(|header| header.base < from) {
            found = records::latest(&first.records, from);
            from = first.next;
        }
        if let Some(max) = self.store.max_timestamp(from)?
            && found.is_none_or(|(_, at)| at < max)
            && let Some(batch) = self.store.batch_at(max, from)?
        {
            found = records::latest(&batch, from);
        }
        Ok(found)
    }

    /// The first offset that readers see.
    pub(crate) fn start(&self) -> Offset {
        self.start
    }

    /// The offset that the next record gets; the high watermark too.
    pub(crate) fn end(&self) -> Offset {
        self.store.end()
    }

    /// Up to where a `read_committed` reader sees.
    pub(crate) fn last_stable(&self) -> Offset {
        match self.producers.first_open() {
            Some(first) => first.max(self.start),
            None => self.end(),
        }
    }

    /// Bytes of all batches that are retained.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.store.bytes()
    }

    /// Producers that are remembered.
    pub(crate) fn producers(&self) -> impl Iterator<Item = ActiveProducer> + '_ {
        self.producers.active()
    }

    /// Forgets producers that have no open transaction and that the broker has not seen for `after_ms`.
    /// They may begin again with any sequence number.
    pub(crate) fn expire_producers(&mut self, now: Now, after_ms: i64) {
        self.producers.expire(now.wall, after_ms);
    }

    /// What is to be brought to the disk next: the caller carries it out without the log's lock, and
    /// tells [`PartitionLog::settled`] what became of it.
    pub(crate) fn settling(&self) -> Option<Settling> {
        match &self.store {
            Store::Memory(_) => None,
            Store::Segments(store) => store.settling(),
        }
    }

    /// Takes note of what became of it; whether there may be more to do now.
    pub(crate) fn settled(&mut self, settling: &Settling, outcome: Settled) -> bool {
        match &mut self.store {
            Store::Memory(_) => false,
            Store::Segments(store) => store.settled(settling, outcome),
        }
    }

    /// Ends the use of the log: everything is on the disk when this returns.
    pub(crate) fn close(&mut self) -> Result<(), LogError> {
        self.keep_producers()?;
        match &mut self.store {
            Store::Memory(_) => Ok(()),
            Store::Segments(store) => store.sync_all(),
        }
    }
}
