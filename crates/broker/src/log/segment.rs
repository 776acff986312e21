//! One segment file: batches one after the other, named by the offset of the first, and by whether all
//! before it is on the disk ([`settling`](super::settling)).
//!
//! In memory there is an entry for every few KiB of it, made again when the log is opened.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};

use super::MAX_READ_BYTES;
use super::batch::{HEADER_BYTES, Header, NO_TIMESTAMP};
use super::chunk::Chunk;
use super::error::{LogError, Problem};
use super::scan::{PEEK_WINDOW_BYTES, ReadAt, Scanner};
use crate::units::{Offset, Timestamp};

/// Bytes of a segment that one index entry stands for, at least.
const INDEX_INTERVAL_BYTES: u64 = 4 << 10;

/// Ends a segment's name once everything before it is on the disk.
const SETTLED: &str = "log";
/// Ends it until then.
const UNSETTLED: &str = "tail";

/// Where a batch begins.
#[derive(Debug, Clone, Copy)]
struct IndexEntry {
    base: Offset,
    position: u64,
    /// The highest timestamp before it in this segment.
    max_before: Timestamp,
}

/// What is known of a segment file.
#[derive(Debug)]
pub(super) struct Segment {
    /// Offset of its first batch.
    pub(super) base: Offset,
    /// Its file.
    pub(super) path: PathBuf,
    /// Bytes of its batches; the file may be longer after a write that failed.
    pub(super) bytes: u64,
    /// Whether everything before it is on the disk, as its name says.
    pub(super) is_settled: bool,
    /// The highest timestamp in it.
    pub(super) max_timestamp: Timestamp,
    index: Vec<IndexEntry>,
}

/// What a segment's file name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// Offset of its first batch.
    pub(super) base: Offset,
    /// Whether everything before it is on the disk.
    pub(super) is_settled: bool,
}

impl Name {
    /// Nothing if the file is no segment.
    pub(super) fn read(name: &str) -> Option<Self> {
        let (digits, ending) = name.split_once('.')?;
        let is_settled = match ending {
            SETTLED => true,
            UNSETTLED => false,
            _ => return None,
        };
        let all_digits = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let base = all_digits
            .then(|| digits.parse().ok().map(Offset))
            .flatten()?;
        Some(Self { base, is_settled })
    }
}

impl Segment {
    /// A segment without batches.
    pub(super) fn new(dir: &Path, name: Name) -> Self {
        let Name { base, is_settled } = name;
        Self {
            base,
            path: Self::path(dir, base, is_settled),
            bytes: 0,
            is_settled,
            max_timestamp: NO_TIMESTAMP,
            index: Vec::new(),
        }
    }

    /// Where the segment that begins at `base` is.
    pub(super) fn path(dir: &Path, base: Offset, is_settled: bool) -> PathBuf {
        let ending = if is_settled { SETTLED } else { UNSETTLED };
        dir.join(format!("{:020}.{ending}", base.0))
    }

    /// Takes in a batch that has been written at the end.
    pub(super) fn note(&mut self, header: &Header) {
        let due = self
            .index
            .last()
            .is_none_or(|entry| self.bytes - entry.position >= INDEX_INTERVAL_BYTES);
        if due {
            self.index.push(IndexEntry {
                base: header.base,
                position: self.bytes,
                max_before: self.max_timestamp,
            });
        }
        self.bytes += header.bytes() as u64;
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
    }

    /// Whole batches from the one that holds `from`, none that begins at `limit` or later: one read of
    /// the file, and another if the first batch is larger than `max` and wanted nevertheless.
    pub(super) fn read(
        &self,
        file: &File,
        from: Offset,
        limit: Offset,
        max: usize,
        at_least_one: bool,
    ) -> Result<Chunk, LogError> {
        let max = max.min(MAX_READ_BYTES);
        let start = self.position_before(from);
        let stop = self.position_not_before(limit);
        // The batch sought begins within the interval.
        let slack = INDEX_INTERVAL_BYTES as usize + HEADER_BYTES;
        let size = stop.saturating_sub(start).min((slack + max) as u64) as usize;
        let buffer = self.bytes_at(file, start, size)?;

        let mut at = self.skip(&buffer, start, from)?;
        let first = at;
        let mut next = from;
        while let Some(header) = buffer.get(at..).and_then(Header::read) {
            if header.base >= limit {
                break;
            }
            self.sound(&header, start + at as u64, (at > first).then_some(next))?;
            let end = at + header.bytes();
            if end - first > max || end > buffer.len() {
                if at == first && at_least_one {
                    let records = self.bytes_at(file, start + at as u64, header.bytes())?;
                    return Ok(Chunk {
                        records,
                        next: header.next(),
                    });
                }
                break;
            }
            at = end;
            next = header.next();
        }
        Ok(Chunk {
            records: buffer.slice(first..at),
            next,
        })
    }

    /// Where in `buffer`, which begins at an index entry, the batch begins that holds `from`.
    fn skip(&self, buffer: &[u8], start: u64, from: Offset) -> Result<usize, LogError> {
        let mut at = 0;
        while let Some(header) = buffer.get(at..).and_then(Header::read) {
            self.sound(&header, start + at as u64, None)?;
            if header.last() >= from {
                break;
            }
            at += header.bytes();
        }
        Ok(at.min(buffer.len()))
    }

    /// The first batch that ends at or after `from` and has a record as late as `timestamp`.
    pub(super) fn batch_at(
        &self,
        file: &File,
        timestamp: Timestamp,
        from: Offset,
    ) -> Result<Option<Bytes>, LogError> {
        let by_time = self
            .index
            .partition_point(|entry| entry.max_before < timestamp)
            .checked_sub(1)
            .and_then(|entry| self.index.get(entry))
            .map_or(0, |entry| entry.position);
        let start = self.position_before(from).max(by_time);
        let found = self.find(file, start, |header| {
            header.last() >= from && header.max_timestamp >= timestamp
        })?;
        found
            .map(|(position, header)| self.bytes_at(file, position, header.bytes()))
            .transpose()
    }

    /// The highest timestamp of the batches that end at or after `from`.
    pub(super) fn max_timestamp_from(
        &self,
        file: &File,
        from: Offset,
    ) -> Result<Option<Timestamp>, LogError> {
        if from <= self.base {
            return Ok((self.bytes > 0).then_some(self.max_timestamp));
        }
        let mut max = None;
        self.find(file, self.position_before(from), |header| {
            if header.last() >= from {
                max = max.max(Some(header.max_timestamp));
            }
            false
        })?;
        Ok(max)
    }

    /// The first batch from `position` on whose header is the one sought.
    fn find(
        &self,
        file: &File,
        mut position: u64,
        mut sought: impl FnMut(&Header) -> bool,
    ) -> Result<Option<(u64, Header)>, LogError> {
        let mut scanner = Scanner::new(file, self.bytes, PEEK_WINDOW_BYTES);
        while position < self.bytes {
            let header = scanner
                .header(position)
                .map_err(|error| self.unread(error))?;
            let Some(header) = header else {
                return Err(self.damaged(position, Problem::Short));
            };
            self.sound(&header, position, None)?;
            if sought(&header) {
                return Ok(Some((position, header)));
            }
            position += header.bytes() as u64;
        }
        Ok(None)
    }

    /// INV-OFFSETS, on reading: what was written sound is read sound, and continuous.
    fn sound(&self, header: &Header, position: u64, base: Option<Offset>) -> Result<(), LogError> {
        let end = position.saturating_add(header.bytes() as u64);
        let problem = match header.plausible() {
            Err(problem) => problem,
            Ok(()) if end > self.bytes => Problem::Short,
            Ok(()) if base.is_some_and(|base| base != header.base) => Problem::Discontinuous,
            Ok(()) => return Ok(()),
        };
        Err(self.damaged(position, problem))
    }

    fn bytes_at(&self, file: &File, position: u64, count: usize) -> Result<Bytes, LogError> {
        let mut bytes = BytesMut::zeroed(count);
        file.fill(&mut bytes, position)
            .map_err(|error| self.unread(error))?;
        Ok(bytes.freeze())
    }

    /// A position at most an interval before the batch that holds `offset`.
    fn position_before(&self, offset: Offset) -> u64 {
        self.index
            .partition_point(|entry| entry.base <= offset)
            .checked_sub(1)
            .and_then(|entry| self.index.get(entry))
            .map_or(0, |entry| entry.position)
    }

    /// A position that is not before the first batch that begins at `offset` or later.
    fn position_not_before(&self, offset: Offset) -> u64 {
        let entry = self.index.partition_point(|entry| entry.base < offset);
        self.index
            .get(entry)
            .map_or(self.bytes, |entry| entry.position)
    }

    fn unread(&self, source: io::Error) -> LogError {
        LogError::Io {
            action: "read",
            path: self.path.clone(),
            source,
        }
    }

    fn damaged(&self, position: u64, problem: Problem) -> LogError {
        LogError::Damaged {
            path: self.path.clone(),
            position,
            problem,
        }
    }
}
