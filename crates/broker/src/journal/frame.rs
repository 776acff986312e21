//! The bytes of a journal: how entries are framed, and what is read back from a file of any content.

use super::Entry;

/// What a journal begins with.
const MAGIC: &[u8; 8] = b"FLDMJRNL";

/// The format that this program writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 1;

/// Size of magic and format.
pub(super) const HEADER_BYTES: usize = 12;

/// Size of a frame's length and checksum.
const FRAME_HEADER_BYTES: usize = 8;

/// The largest entry. It bounds what a damaged length can make the recovery look at.
pub(crate) const MAX_ENTRY_BYTES: usize = 1 << 20;

/// How many bytes may be checked in search of a readable frame behind damage. A file that needs more
/// was made on purpose; it is taken to be damaged, which loses nothing.
const MAX_SEARCH_BYTES: usize = 64 << 20;

/// Damage in front of entries that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damage {
    /// The first byte that is not part of a readable frame.
    pub(crate) position: u64,
    /// Where the next readable frame begins.
    pub(crate) resumes: u64,
}

/// What a journal's bytes hold.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// The entries, in order.
    pub(crate) entries: Vec<Entry>,
    /// Length of the part that is whole; what follows is a torn tail. 0 where not even the header is
    /// whole.
    pub(crate) whole: usize,
}

/// Why a journal's bytes cannot be taken for a journal.
#[derive(Debug)]
pub(crate) enum RecoverError {
    /// It begins with something else.
    NotAJournal,
    /// Its format is newer than [`FORMAT`].
    NewerFormat(u32),
    /// It is damaged in the middle.
    Damaged(Damage),
    /// The frame at the position is whole, but not an entry.
    Encoding(u64, serde_json::Error),
}

/// What a new journal begins with.
pub(super) fn header() -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let (magic, format) = header.split_at_mut(MAGIC.len());
    magic.copy_from_slice(MAGIC);
    format.copy_from_slice(&FORMAT.to_be_bytes());
    header
}

/// Appends the frame of an entry to `buffer`; returns the size of the entry in it.
pub(super) fn encode(entry: &Entry, buffer: &mut Vec<u8>) -> Result<usize, serde_json::Error> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    serde_json::to_writer(&mut *buffer, entry)?;
    let length = buffer.len() - start - FRAME_HEADER_BYTES;
    if let Some((header, payload)) = buffer
        .get_mut(start..)
        .and_then(|frame| frame.split_at_mut_checked(FRAME_HEADER_BYTES))
    {
        // An entry that is too long for a `u32` is refused by its size before it is written.
        let length_bytes = (length as u32).to_be_bytes();
        let (in_front, behind) = header.split_at_mut(4);
        in_front.copy_from_slice(&length_bytes);
        behind.copy_from_slice(&checksum(length_bytes, payload).to_be_bytes());
    }
    Ok(length)
}

/// Reads a journal. Never panics, whatever the bytes are; takes memory in proportion to them.
pub(crate) fn recover(bytes: &[u8]) -> Result<Recovered, RecoverError> {
    if !has_header(bytes)? {
        return Ok(Recovered::default());
    }
    let mut unlimited = usize::MAX;
    let mut recovered = Recovered {
        entries: Vec::new(),
        whole: HEADER_BYTES,
    };
    while let Some(payload) = frame_at(bytes, recovered.whole, &mut unlimited) {
        let entry = serde_json::from_slice(payload)
            .map_err(|source| RecoverError::Encoding(recovered.whole as u64, source))?;
        recovered.entries.push(entry);
        recovered.whole += FRAME_HEADER_BYTES + payload.len();
    }
    match next_frame(bytes, recovered.whole) {
        Some(resumes) => Err(RecoverError::Damaged(Damage {
            position: recovered.whole as u64,
            resumes: resumes as u64,
        })),
        None => Ok(recovered),
    }
}

/// Whether the header is there and whole. A torn one is a journal that was never written to.
fn has_header(bytes: &[u8]) -> Result<bool, RecoverError> {
    let header = header();
    let Some((magic, rest)) = bytes.split_at_checked(MAGIC.len()) else {
        return torn_header(header.starts_with(bytes));
    };
    if magic != MAGIC {
        return Err(RecoverError::NotAJournal);
    }
    let Some(format) = rest.first_chunk::<4>() else {
        return torn_header(header.starts_with(bytes));
    };
    match u32::from_be_bytes(*format) {
        FORMAT => Ok(true),
        0 => Err(RecoverError::NotAJournal),
        newer => Err(RecoverError::NewerFormat(newer)),
    }
}

fn torn_header(is_prefix: bool) -> Result<bool, RecoverError> {
    if is_prefix {
        Ok(false)
    } else {
        Err(RecoverError::NotAJournal)
    }
}

/// The payload of the frame at `position`, if there is one that is whole. Takes the bytes it has to look
/// at from `budget`; an empty budget lets any frame of a plausible length pass for one.
fn frame_at<'a>(bytes: &'a [u8], position: usize, budget: &mut usize) -> Option<&'a [u8]> {
    let rest = bytes.get(position..)?;
    let (length_bytes, rest) = rest.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes(*length_bytes) as usize;
    if length == 0 || length > MAX_ENTRY_BYTES {
        return None;
    }
    let payload = rest.get(..length)?;
    match budget.checked_sub(length) {
        Some(left) => *budget = left,
        None => return Some(payload),
    }
    (checksum(*length_bytes, payload) == u32::from_be_bytes(*sum)).then_some(payload)
}

/// Where the first readable frame behind `position` begins.
fn next_frame(bytes: &[u8], position: usize) -> Option<usize> {
    let mut budget = MAX_SEARCH_BYTES;
    (position + 1..bytes.len()).find(|at| frame_at(bytes, *at, &mut budget).is_some())
}

/// Covers the length as well: zeros, which a file system may leave behind, are no frame.
fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), payload)
}
