//! The record batch, format version 2: its header, its control records.
//!
//! ```text
//! base offset i64 | length i32 | leader epoch i32 | magic i8 | crc u32 | attributes i16 |
//! last offset delta i32 | base timestamp i64 | max timestamp i64 | producer id i64 |
//! producer epoch i16 | base sequence i32 | record count i32 | records
//! ```
//!
//! The length counts from the leader epoch on, the checksum (CRC-32C) covers from the attributes on:
//! base offset and leader epoch are the broker's to set. Records are compressed as a whole and stay as
//! they came; what is checked of them is what can be seen without decompressing. The format is Kafka's:
//! <https://kafka.apache.org/documentation/#recordbatch>.

use bytes::{Buf, BufMut};

use super::error::{AppendError, Problem};
use crate::units::{Offset, Outcome, Producer, Timestamp};

/// Bytes of a batch before its records.
pub(super) const HEADER_BYTES: usize = 61;
/// Bytes of a batch that its length does not count.
const UNCOUNTED_BYTES: i64 = 12;
/// Where what the checksum covers begins.
pub(super) const CHECKED_FROM: usize = 21;
/// Where the leader epoch is.
const LEADER_EPOCH_AT: usize = 12;
/// Where the checksum is.
const CRC_AT: usize = 17;
/// Where the highest timestamp is.
const ATTRIBUTES_AT: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;
/// The one leader of every partition never changes.
const LEADER_EPOCH: i32 = 0;
/// The only format that is written today.
pub(super) const MAGIC: i8 = 2;
/// Stands for "none" where a sequence number would be.
const NO_SEQUENCE: i32 = -1;

const CODEC_BITS: i16 = 0x07;
const LOG_APPEND_TIME_BIT: i16 = 0x08;
const TRANSACTIONAL_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;
/// What a batch says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Offset of its first record.
    pub(super) base: Offset,
    /// Bytes of the whole batch; whatever the length field says, so maybe nonsense.
    pub(super) size: i64,
    leader_epoch: i32,
    pub(super) magic: i8,
    /// Its checksum.
    pub(super) crc: u32,
    attributes: i16,
    pub(super) last_delta: i32,
    /// What the records' timestamps count from: the first record's, as clients write it.
    pub(super) base_timestamp: Timestamp,
    /// Highest timestamp of its records.
    pub(super) max_timestamp: Timestamp,
    producer_id: i64,
    producer_epoch: i16,
    /// Sequence number of its first record.
    pub(super) base_sequence: i32,
    /// How many records it has.
    pub(super) count: i32,
}

impl Header {
    /// Reads the header at the front of `bytes`, without judging it. Nothing if they are too few.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut fields = bytes.first_chunk::<HEADER_BYTES>()?.as_slice();
        Some(Self {
            base: Offset(fields.get_i64()),
            size: i64::from(fields.get_i32()) + UNCOUNTED_BYTES,
            leader_epoch: fields.get_i32(),
            magic: fields.get_i8(),
            crc: fields.get_u32(),
            attributes: fields.get_i16(),
            last_delta: fields.get_i32(),
            base_timestamp: Timestamp(fields.get_i64()),
            max_timestamp: Timestamp(fields.get_i64()),
            producer_id: fields.get_i64(),
            producer_epoch: fields.get_i16(),
            base_sequence: fields.get_i32(),
            count: fields.get_i32(),
        })
    }

    /// Whether this can be a batch that this log has written: what recovery asks before it trusts the
    /// length. Says nothing of the checksum.
    pub(super) fn plausible(&self) -> Result<(), Problem> {
        let sound = self.magic == MAGIC
            && self.leader_epoch == LEADER_EPOCH
            && self.base.0 >= 0
            && self.size >= HEADER_BYTES as i64
            && self.last_delta >= 0
            && self.count > 0
            && i64::from(self.last_delta) + 1 == i64::from(self.count)
            && self.base.0.checked_add(i64::from(self.count)).is_some();
        if sound { Ok(()) } else { Err(Problem::Header) }
    }

    /// Offset of its last record.
    pub(super) fn last(&self) -> Offset {
        Offset(self.base.0.saturating_add(i64::from(self.last_delta)))
    }

    /// Offset after its last record.
    pub(super) fn next(&self) -> Offset {
        Offset(self.last().0.saturating_add(1))
    }

    /// Bytes of a batch whose header has been checked.
    pub(super) fn bytes(&self) -> usize {
        usize::try_from(self.size).unwrap_or(0)
    }

    /// Who sent it, if that matters: idempotent and transactional producers have an id.
    pub(super) fn producer(&self) -> Option<Producer> {
        (self.producer_id >= 0).then_some(Producer {
            id: self.producer_id,
            epoch: self.producer_epoch,
        })
    }

    /// Sequence number of its last record; they begin again at 0 after `i32::MAX`.
    pub(super) fn last_sequence(&self) -> i32 {
        let sum = i64::from(self.base_sequence) + i64::from(self.last_delta);
        (sum % (i64::from(i32::MAX) + 1)) as i32
    }

    /// Whether all of its records have the time at which it was appended.
    pub(super) fn is_stamped(&self) -> bool {
        self.attributes & LOG_APPEND_TIME_BIT != 0
    }

    /// The same batch with the time of appending for all of its records.
    pub(super) fn stamped(self, now: Timestamp) -> Self {
        Self {
            attributes: self.attributes | LOG_APPEND_TIME_BIT,
            max_timestamp: now,
            ..self
        }
    }

    /// The same batch, if its timestamps are not too far from now. Those of compressed records are
    /// taken at the batch's word.
    pub(super) fn within(
        self,
        now: Timestamp,
        behind_ms: i64,
        ahead_ms: i64,
    ) -> Result<Self, AppendError> {
        let earliest = self.base_timestamp.min(self.max_timestamp);
        let dated = earliest != NO_TIMESTAMP;
        if dated && now.0.saturating_sub(earliest.0) > behind_ms {
            return Err(AppendError::TooFarBehind {
                limit_ms: behind_ms,
            });
        }
        if self.max_timestamp.0.saturating_sub(now.0) > ahead_ms {
            return Err(AppendError::TooFarAhead { limit_ms: ahead_ms });
        }
        Ok(self)
    }

    /// Whether it belongs to a transaction.
    pub(super) fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Whether it holds a transaction's end rather than records.
    pub(super) fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// Which codec its records are compressed with; 0 is none.
    pub(super) fn codec(&self) -> i16 {
        self.attributes & CODEC_BITS
    }

    /// Whether its records can be looked at without decompressing.
    pub(super) fn is_plain(&self) -> bool {
        self.codec() == 0
    }

    /// The same, at its place in the log.
    pub(super) fn at(self, base: Offset) -> Self {
        Self {
            base,
            leader_epoch: LEADER_EPOCH,
            ..self
        }
    }
}

/// What a record has that has no timestamp.
pub(super) const NO_TIMESTAMP: Timestamp = Timestamp(-1);

/// Writes the broker's part into a client's batch: its place, the leader epoch, and timestamps where the
/// broker's differ, which changes the checksum.
pub(super) fn place(batch: &mut [u8], header: &Header) {
    overwrite(batch, 0, &header.base.0.to_be_bytes());
    overwrite(batch, LEADER_EPOCH_AT, &LEADER_EPOCH.to_be_bytes());
    let attributes = header.attributes.to_be_bytes();
    let max_timestamp = header.max_timestamp.0.to_be_bytes();
    if batch.get(ATTRIBUTES_AT..ATTRIBUTES_AT + 2) != Some(attributes.as_slice())
        || batch.get(MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8) != Some(max_timestamp.as_slice())
    {
        overwrite(batch, ATTRIBUTES_AT, &attributes);
        overwrite(batch, MAX_TIMESTAMP_AT, &max_timestamp);
        seal(batch);
    }
}

/// Writes the checksum of a batch into it.
pub(super) fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(batch.get(CHECKED_FROM..).unwrap_or_default());
    overwrite(batch, CRC_AT, &crc.to_be_bytes());
}

fn overwrite(batch: &mut [u8], at: usize, value: &[u8]) {
    if let Some(field) = batch.get_mut(at..at + value.len()) {
        field.copy_from_slice(value);
    }
}

/// Bytes of a control batch.
pub(super) const MARKER_BYTES: usize = HEADER_BYTES + 17;

/// The control batch that ends a transaction: one record, whose key says how (version and type, `i16`
/// each) and whose value has a version and the coordinator's epoch.
pub(super) fn marker(base: Offset, producer: Producer, outcome: Outcome, at: Timestamp) -> Vec<u8> {
    let kind: i16 = match outcome {
        Outcome::Abort => 0,
        Outcome::Commit => 1,
    };
    let mut batch = Vec::with_capacity(MARKER_BYTES);
    batch.put_i64(base.0);
    batch.put_i32((MARKER_BYTES as i64 - UNCOUNTED_BYTES) as i32);
    batch.put_i32(LEADER_EPOCH);
    batch.put_i8(MAGIC);
    batch.put_u32(0);
    batch.put_i16(TRANSACTIONAL_BIT | CONTROL_BIT);
    batch.put_i32(0);
    batch.put_i64(at.0);
    batch.put_i64(at.0);
    batch.put_i64(producer.id);
    batch.put_i16(producer.epoch);
    batch.put_i32(NO_SEQUENCE);
    batch.put_i32(1);
    // Lengths are zigzag varints. The record: 16 bytes, no attributes, both deltas 0.
    batch.put_slice(&[32, 0, 0, 0]);
    // Key: 4 bytes.
    batch.put_u8(8);
    batch.put_i16(0);
    batch.put_i16(kind);
    // Value: 6 bytes; then no headers.
    batch.put_u8(12);
    batch.put_i16(0);
    batch.put_i32(0);
    batch.put_u8(0);
    seal(&mut batch);
    batch
}

/// How the transaction ends that a control batch ends; `None` if it is another kind of control batch.
/// `records` are the batch's bytes after its header, or the first of them.
pub(super) fn outcome(records: &[u8]) -> Option<Outcome> {
    match records.get(5..9)? {
        [0, 0, 0, 0] => Some(Outcome::Abort),
        [0, 0, 0, 1] => Some(Outcome::Commit),
        _ => None,
    }
}
