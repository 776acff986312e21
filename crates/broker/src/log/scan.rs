//! Reads the batches of a segment one after the other, through a window of fixed size.
//!
//! The bytes may be anything: a length is believed only within the file, and nothing is allocated by it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::batch::{self, CHECKED_FROM, HEADER_BYTES, Header};
use super::error::Problem;
use crate::units::{Offset, Outcome};

/// Bytes that a reader of everything has in memory at a time.
pub(super) const SCAN_WINDOW_BYTES: usize = 256 << 10;
/// Bytes that a reader of a few headers has in memory at a time.
pub(super) const PEEK_WINDOW_BYTES: usize = 8 << 10;
/// Bytes of a control batch's records that say which transaction end it is.
const OUTCOME_BYTES: usize = 9;
/// Places that look like a batch, and are summed up before a tail is taken for damage. Records may
/// hold such places on purpose.
const MOST_CANDIDATES: usize = 64;

/// Bytes at positions. Implementations read exactly what is asked, or fail.
pub(super) trait ReadAt {
    /// Fills `buffer` with the bytes from `position` on.
    fn fill(&self, buffer: &mut [u8], position: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn fill(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        self.read_exact_at(buffer, position)
    }
}

impl ReadAt for [u8] {
    fn fill(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        let bytes = usize::try_from(position)
            .ok()
            .and_then(|from| self.get(from..)?.get(..buffer.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

/// A sound batch, where it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scanned {
    pub(super) header: Header,
    /// How the transaction ends, if it is a marker.
    pub(super) outcome: Option<Outcome>,
}

/// What stands at a position.
#[derive(Debug)]
pub(super) enum Found {
    Batch(Scanned),
    End,
    Broken(Problem),
}

/// Reads through `source` up to `size`, forwards.
#[derive(Debug)]
pub(super) struct Scanner<'a, R: ?Sized> {
    source: &'a R,
    size: u64,
    window: Vec<u8>,
    window_bytes: usize,
    window_at: u64,
}

impl<'a, R: ReadAt + ?Sized> Scanner<'a, R> {
    pub(super) fn new(source: &'a R, size: u64, window_bytes: usize) -> Self {
        Self {
            source,
            size,
            window: Vec::new(),
            window_bytes,
            window_at: 0,
        }
    }

    /// The batch at `position`, which must begin at `expected` and match its checksum.
    pub(super) fn batch(&mut self, position: u64, expected: Offset) -> io::Result<Found> {
        if position >= self.size {
            return Ok(Found::End);
        }
        let Some(header) = self.header(position)? else {
            return Ok(Found::Broken(Problem::Short));
        };
        if let Err(problem) = header.plausible() {
            return Ok(Found::Broken(problem));
        }
        if header.base != expected {
            return Ok(Found::Broken(Problem::Discontinuous));
        }
        if !self.holds(position, &header) {
            return Ok(Found::Broken(Problem::Short));
        }
        if !self.checksum_matches(position, &header)? {
            return Ok(Found::Broken(Problem::Checksum));
        }
        let outcome = if header.is_control() {
            let records = position + HEADER_BYTES as u64;
            let count = (header.bytes() - HEADER_BYTES).min(OUTCOME_BYTES);
            batch::outcome(self.bytes(records, count)?)
        } else {
            None
        };
        Ok(Found::Batch(Scanned { header, outcome }))
    }

    /// The header at `position`, as it is; nothing if the file ends within it.
    pub(super) fn header(&mut self, position: u64) -> io::Result<Option<Header>> {
        match position.checked_add(HEADER_BYTES as u64) {
            Some(end) if end <= self.size => Ok(Header::read(self.bytes(position, HEADER_BYTES)?)),
            _ => Ok(None),
        }
    }

    /// Whether a batch follows that was written after the broken one at `position`: then this is damage
    /// within the log, otherwise the end of a write that was cut off.
    pub(super) fn is_followed(&mut self, position: u64, expected: Offset) -> io::Result<bool> {
        let broken = self.header(position)?.filter(|header| {
            header.plausible().is_ok() && header.base == expected && !self.holds(position, header)
        });
        let mut candidates = 0;
        for at in position + 1..self.size {
            let Some(header) = self.header(at)? else {
                break;
            };
            let continues = match broken {
                // Its length goes beyond the file. If that is a lie, what follows continues it.
                Some(broken) => header.base == broken.next(),
                None => header.base > expected,
            };
            if !continues || header.plausible().is_err() || !self.holds(at, &header) {
                continue;
            }
            candidates += 1;
            if candidates > MOST_CANDIDATES || self.checksum_matches(at, &header)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether all of a plausible batch is within the file.
    fn holds(&self, position: u64, header: &Header) -> bool {
        position
            .checked_add(header.bytes() as u64)
            .is_some_and(|end| end <= self.size)
    }

    fn checksum_matches(&mut self, position: u64, header: &Header) -> io::Result<bool> {
        let mut at = position + CHECKED_FROM as u64;
        let mut rest = header.bytes() - CHECKED_FROM;
        let mut crc = 0;
        while rest > 0 {
            let count = rest.min(self.window_bytes);
            crc = crc32c::crc32c_append(crc, self.bytes(at, count)?);
            at += count as u64;
            rest -= count;
        }
        Ok(crc == header.crc)
    }

    /// `count` bytes from `position`, which the caller knows to be within the file and the window's size.
    fn bytes(&mut self, position: u64, count: usize) -> io::Result<&[u8]> {
        let end = position + count as u64;
        if position < self.window_at || end > self.window_at + self.window.len() as u64 {
            let rest = self.size.saturating_sub(position);
            let size = rest.min(self.window_bytes as u64) as usize;
            self.window.resize(size, 0);
            self.window_at = position;
            if let Err(error) = self.source.fill(&mut self.window, position) {
                self.window.clear();
                return Err(error);
            }
        }
        let from = (position - self.window_at) as usize;
        self.window
            .get(from..from + count)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// Where a scan of a segment ended.
#[derive(Debug)]
pub(super) struct ScanEnd {
    /// Position after the last sound batch.
    pub(super) position: u64,
    /// Offset after it.
    pub(super) next: Offset,
    /// Why it ended before the file, and whether batches of the log follow that.
    pub(super) broken: Option<(Problem, bool)>,
}

/// Shows every sound batch of a segment that begins at `base` to `visit`.
pub(super) fn scan<R: ReadAt + ?Sized>(
    source: &R,
    size: u64,
    base: Offset,
    mut visit: impl FnMut(&Scanned),
) -> io::Result<ScanEnd> {
    let mut reader = Scanner::new(source, size, SCAN_WINDOW_BYTES);
    let (mut position, mut next) = (0, base);
    let broken = loop {
        match reader.batch(position, next)? {
            Found::Batch(scanned) => {
                visit(&scanned);
                position += scanned.header.bytes() as u64;
                next = scanned.header.next();
            }
            Found::End => break None,
            Found::Broken(problem) => {
                break Some((problem, reader.is_followed(position, next)?));
            }
        }
    };
    Ok(ScanEnd {
        position,
        next,
        broken,
    })
}
