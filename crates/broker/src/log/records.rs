//! The records within a batch that is not compressed: one after the other, without copying.
//!
//! ```text
//! length varint | attributes i8 | timestamp delta varint | offset delta varint |
//! key length varint, key | value length varint, value | headers: count varint, then each
//! ```

use std::cmp::Reverse;

use super::batch::{HEADER_BYTES, Header};
use crate::units::{Offset, Timestamp};

/// What the log wants to know of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// Its offset, less the batch's.
    pub(super) delta: i64,
    /// Its timestamp.
    pub(super) timestamp: Timestamp,
}

/// Iterates over the records of a plain batch. A malformed record is `None`, and the last item.
#[derive(Debug)]
pub(super) struct Records<'a> {
    rest: &'a [u8],
    base_timestamp: Timestamp,
    /// The broker's, where that counts.
    stamp: Option<Timestamp>,
}

impl<'a> Records<'a> {
    /// The records of `batch`, which begins with `header`.
    pub(super) fn of(header: &Header, batch: &'a [u8]) -> Self {
        Self {
            rest: batch.get(HEADER_BYTES..).unwrap_or_default(),
            base_timestamp: header.base_timestamp,
            stamp: header.is_stamped().then_some(header.max_timestamp),
        }
    }

    fn parse(&mut self) -> Option<Record> {
        let length = usize::try_from(varint(&mut self.rest)?).ok()?;
        let mut record = take(&mut self.rest, length)?;
        let _attributes = take(&mut record, 1)?;
        let timestamp_delta = varint(&mut record)?;
        let delta = varint(&mut record)?;
        skip_nullable(&mut record)?;
        skip_nullable(&mut record)?;
        let headers = varint(&mut record)?;
        if headers < 0 {
            return None;
        }
        for _ in 0..headers {
            // A header takes at least a byte, so a count that lies ends here soon.
            let key = usize::try_from(varint(&mut record)?).ok()?;
            take(&mut record, key)?;
            skip_nullable(&mut record)?;
        }
        let own = Timestamp(self.base_timestamp.0.checked_add(timestamp_delta)?);
        record.is_empty().then_some(Record {
            delta,
            timestamp: self.stamp.unwrap_or(own),
        })
    }
}

impl Iterator for Records<'_> {
    type Item = Option<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = self.parse();
        if record.is_none() {
            self.rest = &[];
        }
        Some(record)
    }
}

/// The first record of `batch` at or after `from` whose timestamp is at least `timestamp`.
///
/// A compressed batch is not opened. Its base offset stands for the record sought, which is never later
/// than right; the timestamp that goes with it is the first record's where that is late enough, and
/// otherwise the one asked for, the least that the record sought can have. Records that the broker has
/// stamped all have the same.
pub(super) fn first_at(
    batch: &[u8],
    timestamp: Timestamp,
    from: Offset,
) -> Option<(Offset, Timestamp)> {
    let header = Header::read(batch)?;
    if !header.is_plain() {
        let first = if header.is_stamped() {
            header.max_timestamp
        } else {
            header.base_timestamp.max(timestamp)
        };
        return (header.max_timestamp >= timestamp && header.last() >= from)
            .then(|| (header.base.max(from), first));
    }
    placed(&header, batch).find(|(offset, at)| *offset >= from && *at >= timestamp)
}

/// The first of the records of `batch` at or after `from` that has the highest timestamp of them. A
/// compressed batch is not opened: its first record if that has it, or else its last.
pub(super) fn latest(batch: &[u8], from: Offset) -> Option<(Offset, Timestamp)> {
    let header = Header::read(batch)?;
    if !header.is_plain() {
        let all_have_it = header.is_stamped();
        let first_has_it = header.base_timestamp == header.max_timestamp && header.base >= from;
        let offset = if all_have_it || first_has_it {
            header.base.max(from)
        } else {
            header.last()
        };
        return Some((offset, header.max_timestamp));
    }
    placed(&header, batch)
        .filter(|(offset, _)| *offset >= from)
        .min_by_key(|(offset, at)| (Reverse(*at), *offset))
}

/// Offset and timestamp of each record of a plain batch.
fn placed(header: &Header, batch: &[u8]) -> impl Iterator<Item = (Offset, Timestamp)> {
    let base = header.base.0;
    Records::of(header, batch)
        .map_while(|record| record)
        .map(move |record| (Offset(base.saturating_add(record.delta)), record.timestamp))
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

/// A length and so many bytes; -1 stands for null.
fn skip_nullable(bytes: &mut &[u8]) -> Option<()> {
    match varint(bytes)? {
        -1 => Some(()),
        length => take(bytes, usize::try_from(length).ok()?).map(|_| ()),
    }
}

/// A zigzag varint of at most 64 bits.
fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut raw = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        raw |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((raw >> 1) as i64 ^ -((raw & 1) as i64));
        }
    }
    None
}
