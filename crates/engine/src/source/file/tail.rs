//! One file being read: turn by turn, each a bounded piece of work.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::time::Duration;

use super::compression::Compression;
use super::{Catalogue, LastLine, offset};
use crate::source::SourceError;
use crate::units::{Offset, Partition};

/// Bytes read in one turn, unless a line is longer than that.
const TURN_BYTES: usize = 256 << 10;

/// Bytes of a compressed file skipped in one turn, on the way to where a checkpoint stands.
const SKIP_BYTES: u64 = 4 << 20;

/// The longest line.
pub(super) const MAX_LINE_BYTES: usize = 64 << 20;

/// Byte order mark that some programs put at the head of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Lines gathered by one poll.
#[derive(Default)]
pub(super) struct Harvest {
    /// What the lines lie in.
    pub(super) bytes: Vec<u8>,
    pub(super) lines: Vec<Line>,
    /// How many lines it may hold.
    pub(super) max: usize,
}

/// A record: where it lies in the harvest, and its offset.
pub(super) struct Line {
    pub(super) partition: Partition,
    pub(super) offset: Offset,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Harvest {
    pub(super) fn clear(&mut self, max: usize) {
        self.bytes.clear();
        self.lines.clear();
        self.max = max;
    }

    pub(super) fn is_full(&self) -> bool {
        self.lines.len() >= self.max
    }
}

/// What came of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The harvest is full; this file has more at hand.
    Full,
    /// There may be more to read. So many bytes were.
    More(u64),
    /// A plain file's end, for now.
    AtEnd,
    /// The file's end, for good.
    Ended,
}

/// What a look at a plain file that had been read to its end came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Grown,
    Same,
    Ended,
}

/// A file and how far it has been read.
pub(super) struct Tail {
    partition: Partition,
    path: String,
    compression: Compression,
    /// Open while there is something to read.
    content: Option<Box<dyn Read + Send>>,
    /// Where the first byte that was not delivered stands; `carry` begins there.
    next: u64,
    /// Read but not delivered: an unfinished line, or what did not fit into the harvest.
    carry: Vec<u8>,
    /// Whether `carry` holds a whole line.
    carries_lines: bool,
    /// Bytes of a compressed file before `next` that have not been passed yet.
    to_skip: u64,
    identity: Option<Identity>,
    /// When the file was last seen to have more bytes than before.
    grown_at: Duration,
}

impl Tail {
    pub(super) fn new(partition: Partition, path: String, next: u64) -> Self {
        let compression = Compression::of(&path);
        Self {
            partition,
            path,
            compression,
            content: None,
            next,
            carry: Vec::new(),
            carries_lines: false,
            to_skip: if compression == Compression::None {
                0
            } else {
                next
            },
            identity: None,
            grown_at: Duration::ZERO,
        }
    }

    pub(super) fn partition(&self) -> Partition {
        self.partition
    }

    /// The next offset: where the next line begins.
    pub(super) fn next(&self) -> Offset {
        offset(self.next)
    }

    /// Where reading goes on.
    fn read_to(&self) -> u64 {
        self.next + self.carry.len() as u64
    }

    /// Reads on. The harvest must not be full.
    pub(super) fn turn(
        &mut self,
        harvest: &mut Harvest,
        now: Duration,
        catalogue: &Catalogue,
    ) -> Result<Turn, SourceError> {
        if self.carries_lines {
            let start = harvest.bytes.len();
            harvest.bytes.append(&mut self.carry);
            let length = (harvest.bytes.len() - start) as u64;
            let full = self.split(start, harvest, catalogue)?;
            return Ok(if full { Turn::Full } else { Turn::More(length) });
        }
        let mut content = match self.content.take() {
            Some(content) => content,
            None => self.open(catalogue)?,
        };
        if self.to_skip > 0 {
            let skipped = self.skip(content.as_mut(), catalogue)?;
            self.content = Some(content);
            return Ok(Turn::More(skipped));
        }
        let start = harvest.bytes.len();
        // A long line is read in ever longer turns, so that what it is made of is not copied often.
        let wanted = TURN_BYTES.max(self.carry.len());
        harvest.bytes.append(&mut self.carry);
        harvest.bytes.reserve(wanted);
        let read = content
            .as_mut()
            .take(wanted as u64)
            .read_to_end(&mut harvest.bytes)
            .map_err(|error| self.unreadable(&error, catalogue))?;
        let full = self.split(start, harvest, catalogue)?;
        if full || read == wanted {
            self.content = Some(content);
            return Ok(if full {
                Turn::Full
            } else {
                Turn::More(read as u64)
            });
        }
        if self.compression == Compression::None {
            self.grown_at = now;
            self.carry.shrink_to_fit();
            return Ok(Turn::AtEnd);
        }
        if !self.carry.is_empty() {
            if harvest.is_full() {
                // The next turn finds nothing more to read, and room for the last line.
                self.content = Some(content);
                return Ok(Turn::Full);
            }
            self.deliver_carry(harvest);
        }
        catalogue.reached_end(self.partition, self.next());
        Ok(Turn::Ended)
    }

    /// Looks whether a plain file has grown since it was read to its end, and delivers its last
    /// line once that counts as complete. The harvest must not be full.
    pub(super) fn look(
        &mut self,
        harvest: &mut Harvest,
        rule: LastLine,
        now: Duration,
        catalogue: &Catalogue,
    ) -> Result<Look, SourceError> {
        let metadata = match std::fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // It was read to its end, so all it held is at hand.
                tracing::warn!(
                    file = self.path,
                    "file was removed after it had been read; a restart will ask for it"
                );
                self.deliver_carry(harvest);
                return Ok(Look::Ended);
            }
            Err(error) => return Err(catalogue.trouble(&self.path, "looking at", &error)),
        };
        self.recognize(&metadata, catalogue)?;
        if metadata.len() > self.read_to() {
            return Ok(Look::Grown);
        }
        let stalled = now.saturating_sub(self.grown_at) >= LastLine::STALL;
        if stalled && (rule == LastLine::Finish || is_whole_object(&self.carry)) {
            self.deliver_carry(harvest);
        }
        Ok(Look::Same)
    }

    fn open(&mut self, catalogue: &Catalogue) -> Result<Box<dyn Read + Send>, SourceError> {
        let failed = |error: &io::Error| match error.kind() {
            io::ErrorKind::NotFound => catalogue.gone(&self.path, self.next()),
            _ => catalogue.trouble(&self.path, "opening", error),
        };
        if self.compression != Compression::None {
            return self
                .compression
                .open(&self.path)
                .map_err(|error| failed(&error));
        }
        let mut file = File::open(&self.path).map_err(|error| failed(&error))?;
        let metadata = file.metadata().map_err(|error| failed(&error))?;
        file.seek(SeekFrom::Start(self.read_to()))
            .map_err(|error| failed(&error))?;
        self.recognize(&metadata, catalogue)?;
        Ok(Box::new(file))
    }

    /// Makes sure that it is still the file it was, and holds what was read of it.
    fn recognize(&mut self, found: &Metadata, catalogue: &Catalogue) -> Result<(), SourceError> {
        let identity = Identity::of(found);
        if *self.identity.get_or_insert(identity) != identity {
            return Err(catalogue.replaced(&self.path, self.next()));
        }
        if found.len() < self.read_to() {
            return Err(catalogue.shorter(&self.path, offset(self.read_to()), offset(found.len())));
        }
        Ok(())
    }

    fn skip(&mut self, content: &mut dyn Read, catalogue: &Catalogue) -> Result<u64, SourceError> {
        let wanted = self.to_skip.min(SKIP_BYTES);
        let skipped = io::copy(&mut content.take(wanted), &mut io::sink())
            .map_err(|error| self.unreadable(&error, catalogue))?;
        self.to_skip -= skipped;
        if skipped < wanted {
            let end = offset(self.next - self.to_skip);
            return Err(catalogue.shorter(&self.path, self.next(), end));
        }
        Ok(skipped)
    }

    fn unreadable(&self, error: &io::Error, catalogue: &Catalogue) -> SourceError {
        let reason = match self.compression {
            Compression::None => error.to_string(),
            _ => format!("{error}; is the file complete?"),
        };
        catalogue.unreadable(&self.path, self.read_to() - self.to_skip, &reason)
    }

    /// Cuts what the harvest holds from `start` on into lines, as many as it may hold; the rest is
    /// carried. Whether whole lines are among the rest.
    fn split(
        &mut self,
        start: usize,
        harvest: &mut Harvest,
        catalogue: &Catalogue,
    ) -> Result<bool, SourceError> {
        let mut at = start;
        self.carries_lines = false;
        for ending in memchr::memchr_iter(b'\n', &harvest.bytes[start..]) {
            if harvest.lines.len() >= harvest.max {
                self.carries_lines = true;
                break;
            }
            let after = start + ending + 1;
            self.check_length(after - at, catalogue)?;
            let line = trim(&harvest.bytes[at..after], self.next);
            push(
                &mut harvest.lines,
                self.partition,
                at,
                &line,
                self.next,
                after - at,
            );
            self.next += (after - at) as u64;
            at = after;
        }
        self.carry.clear();
        self.carry.extend_from_slice(&harvest.bytes[at..]);
        harvest.bytes.truncate(at);
        if !self.carries_lines {
            self.check_length(self.carry.len(), catalogue)?;
        }
        Ok(self.carries_lines)
    }

    fn check_length(&self, length: usize, catalogue: &Catalogue) -> Result<(), SourceError> {
        if length <= MAX_LINE_BYTES {
            return Ok(());
        }
        let reason = format!(
            "the line that begins here is longer than {} MiB; is this a file of JSON lines?",
            MAX_LINE_BYTES >> 20
        );
        Err(catalogue.unreadable(&self.path, self.next, &reason))
    }

    /// Delivers what is carried as the last line.
    fn deliver_carry(&mut self, harvest: &mut Harvest) {
        let start = harvest.bytes.len();
        let line = trim(&self.carry, self.next);
        harvest.bytes.extend_from_slice(&self.carry);
        push(
            &mut harvest.lines,
            self.partition,
            start,
            &line,
            self.next,
            self.carry.len(),
        );
        self.next += self.carry.len() as u64;
        self.carry.clear();
    }
}

/// The record in a line that stands at byte `at` of its file.
fn trim(line: &[u8], at: u64) -> std::ops::Range<usize> {
    let start = if at == 0 && line.starts_with(BYTE_ORDER_MARK) {
        BYTE_ORDER_MARK.len()
    } else {
        0
    };
    let end = line.strip_suffix(b"\n").unwrap_or(line).len();
    let end = if line[..end].ends_with(b"\r") {
        end - 1
    } else {
        end
    };
    if line[start..end].trim_ascii().is_empty() {
        0..0
    } else {
        start..end
    }
}

/// Notes the record in a line of `length` bytes that lies at `start` in the harvest and at byte
/// `at` of its file, unless the line is blank.
fn push(
    lines: &mut Vec<Line>,
    partition: Partition,
    start: usize,
    record: &std::ops::Range<usize>,
    at: u64,
    length: usize,
) {
    if record.is_empty() {
        return;
    }
    let offset = offset(at + length as u64 - 1);
    lines.push(Line {
        partition,
        offset,
        start: start + record.start,
        end: start + record.end,
    });
}

/// Whether nothing can be added to a line: it is a JSON object with its closing brace.
fn is_whole_object(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    line.starts_with(b"{")
        && line.ends_with(b"}")
        && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

/// What makes a file the same file under one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity(u64, u64);

impl Identity {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(metadata.dev(), metadata.ino())
    }

    /// Elsewhere only the length tells.
    #[cfg(not(unix))]
    fn of(_metadata: &Metadata) -> Self {
        Self(0, 0)
    }
}
