//! The journal's file: appended to frame by frame, replaced whole by a
//! [`compaction`](super::compaction).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::frame::{self, HEADER_BYTES, MAX_ENTRY_BYTES, RecoverError};
use super::{Entry, JournalError};
use crate::config::Fsync;

/// A journal is compacted when it has doubled since it was compacted last, and not below this size.
pub(super) const MIN_COMPACTION_BYTES: u64 = 4 << 20;

/// What one append may keep allocated for the next.
const KEPT_BUFFER_BYTES: usize = 64 << 10;

/// An open journal.
#[derive(Debug)]
pub(super) struct JournalFile {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) fsync: Fsync,
    /// End of the last frame that was appended.
    pub(super) size: u64,
    /// Size from which on a compaction is due.
    pub(super) compact_at: u64,
    /// A failed write may still be in the file.
    pub(super) poisoned: bool,
    buffer: Vec<u8>,
}

impl JournalFile {
    pub(super) fn open(path: &Path, fsync: Fsync) -> Result<(Self, Vec<Entry>), JournalError> {
        let failed = |action| failed_to(action, path);
        // A compaction that was killed before its rename left this behind; it never counted.
        match fs::remove_file(beside(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("tidy up beside")(error));
            }
            _ => {}
        }
        let is_new = !path.try_exists().map_err(failed("look for"))?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed("open"))?;
        let bytes = fs::read(path).map_err(failed("read"))?;
        let recovered = frame::recover(&bytes).map_err(|error| explain(error, path))?;
        let torn = bytes.len() - recovered.whole;
        let mut journal = Self {
            path: path.to_owned(),
            file,
            fsync,
            size: recovered.whole as u64,
            compact_at: 0,
            poisoned: false,
            buffer: Vec::new(),
        };
        if torn > 0 {
            warn!(journal = %path.display(), bytes = torn, "cut what a kill left half written");
            journal.file.set_len(journal.size).map_err(failed("cut"))?;
        }
        if recovered.whole == 0 {
            let header = frame::header();
            FileExt::write_all_at(&journal.file, &header, 0).map_err(failed("begin"))?;
            journal.size = HEADER_BYTES as u64;
        }
        if torn > 0 || recovered.whole == 0 {
            journal.file.sync_all().map_err(failed("sync"))?;
        }
        if is_new {
            sync_directory(path).map_err(failed("sync the directory of"))?;
        }
        // The live part is not known yet: the first compaction finds out.
        journal.compact_at = MIN_COMPACTION_BYTES;
        Ok((journal, recovered.entries))
    }

    pub(super) fn append(&mut self, entry: &Entry) -> Result<(), JournalError> {
        self.refuse_if_poisoned()?;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let result =
            encode(entry, &mut buffer, &self.path, self.size).and_then(|()| self.write(&buffer));
        if buffer.capacity() <= KEPT_BUFFER_BYTES {
            self.buffer = buffer;
        }
        result
    }

    fn write(&mut self, frame: &[u8]) -> Result<(), JournalError> {
        match write_at_end(&self.file, frame, self.size, self.fsync) {
            Written::Whole => {
                self.size += frame.len() as u64;
                Ok(())
            }
            Written::Undone(source) => Err(failed_to("append to", &self.path)(source)),
            Written::Unknown(source) => {
                self.poisoned = true;
                Err(failed_to("append to", &self.path)(source))
            }
        }
    }

    pub(super) fn wants_compaction(&self) -> bool {
        !self.poisoned && self.size >= self.compact_at
    }

    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        self.refuse_if_poisoned()?;
        self.file.sync_all().map_err(failed_to("sync", &self.path))
    }

    pub(super) fn refuse_if_poisoned(&self) -> Result<(), JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned {
                path: self.path.clone(),
            });
        }
        Ok(())
    }

    /// Makes every write from now on fail beyond repair: the file is open for reading only.
    #[cfg(test)]
    pub(super) fn break_writes(&mut self) {
        self.file = File::open(&self.path).expect("the journal exists");
    }
}

/// What became of a frame that was to be written.
#[derive(Debug)]
pub(super) enum Written {
    /// It is there, as safely as the policy asks.
    Whole,
    /// It failed, and the file is as it was.
    Undone(io::Error),
    /// It failed, and what the file holds now, or the disk, cannot be known.
    Unknown(io::Error),
}

/// What frames are written to: a file, or a test's stand-in for one on a disk that fails.
pub(super) trait Medium {
    /// Writes all the bytes at the position; when it fails, any part of them may be there.
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;
    /// Cuts what is behind the length.
    fn cut(&self, length: u64) -> io::Result<()>;
    /// Waits until the disk itself has what was written.
    fn sync(&self) -> io::Result<()>;
}

impl Medium for File {
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, position)
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Writes a frame behind the last one, at `end`. A part of it that stayed in the file would be damage in
/// front of the frames to come, so a failed write is cut off.
pub(super) fn write_at_end(medium: &impl Medium, frame: &[u8], end: u64, fsync: Fsync) -> Written {
    if let Err(error) = medium.write_all_at(frame, end) {
        return match medium.cut(end) {
            Ok(()) => Written::Undone(error),
            Err(_) => Written::Unknown(error),
        };
    }
    match fsync {
        Fsync::OnRoll => Written::Whole,
        // After a failed sync nobody knows what the disk has, and asking it again would not tell.
        Fsync::Always => match medium.sync() {
            Ok(()) => Written::Whole,
            Err(error) => Written::Unknown(error),
        },
    }
}

/// Where a compaction writes before the rename.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

pub(super) fn encode(
    entry: &Entry,
    buffer: &mut Vec<u8>,
    path: &Path,
    position: u64,
) -> Result<(), JournalError> {
    let bytes = frame::encode(entry, buffer).map_err(|source| JournalError::Encoding {
        path: path.to_owned(),
        position,
        source,
    })?;
    if bytes > MAX_ENTRY_BYTES {
        return Err(JournalError::TooLarge {
            path: path.to_owned(),
            bytes,
        });
    }
    Ok(())
}

/// Makes what happened to the name of a file last.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    match path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

pub(super) fn failed_to(action: &'static str, path: &Path) -> impl Fn(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io {
        action,
        path: path.clone(),
        source,
    }
}

fn explain(error: RecoverError, path: &Path) -> JournalError {
    let path = path.to_owned();
    match error {
        RecoverError::NotAJournal => JournalError::NotAJournal { path },
        RecoverError::NewerFormat(found) => JournalError::NewerFormat {
            path,
            found,
            supported: frame::FORMAT,
        },
        RecoverError::Damaged(damage) => JournalError::Damaged { path, damage },
        RecoverError::Encoding(position, source) => JournalError::Encoding {
            path,
            position,
            source,
        },
    }
}
