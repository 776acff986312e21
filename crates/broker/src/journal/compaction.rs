//! Replaces a journal's file by the state it amounts to, and keeps nobody waiting for the disk.
//!
//! ```text
//! begin   the state's locks are held    the state ─▶ journal.new
//! bring   no lock is held               journal.new ─▶ disk
//! finish  the journal's lock is held    what was appended meanwhile ─▶ journal.new ─▶ journal
//! ```
//!
//! A kill at any point leaves the old file or the new one, and so does a power failure: what is renamed
//! is on the disk, but for what was appended meanwhile, which is as safe there as it was in the old
//! file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::file::{JournalFile, MIN_COMPACTION_BYTES, beside, encode, failed_to, sync_directory};
use super::frame::{self, HEADER_BYTES};
use super::{Entry, JournalError};
use crate::config::Fsync;

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// A file that is to replace a journal's.
#[derive(Debug)]
pub(crate) struct Compaction {
    path: PathBuf,
    file: File,
    size: u64,
    /// Up to where the journal's file is in it.
    holds: u64,
}

impl Compaction {
    /// Waits until the disk has it.
    pub(super) fn bring_to_disk(&self) -> Result<(), JournalError> {
        self.file.sync_all().map_err(failed_to("sync", &self.path))
    }

    /// Adds what `journal` holds between `self.holds` and `end`.
    fn catch_up(&mut self, journal: &File, end: u64) -> io::Result<()> {
        let mut buffer = vec![0; COPY_BYTES];
        while self.holds < end {
            let count = COPY_BYTES.min(usize::try_from(end - self.holds).unwrap_or(COPY_BYTES));
            let part = buffer.get_mut(..count).unwrap_or_default();
            journal.read_exact_at(part, self.holds)?;
            self.file.write_all_at(part, self.size)?;
            self.holds += count as u64;
            self.size += count as u64;
        }
        Ok(())
    }
}

impl JournalFile {
    /// Writes `entries` to a file beside this one; the caller holds the locks of what they describe.
    pub(super) fn begin_compaction(
        &mut self,
        entries: impl Iterator<Item = Entry>,
    ) -> Result<Compaction, JournalError> {
        self.refuse_if_poisoned()?;
        self.compact_at = self.size + MIN_COMPACTION_BYTES;
        let path = beside(&self.path);
        match write_new(&path, entries) {
            Ok((file, size)) => Ok(Compaction {
                path,
                file,
                size,
                holds: self.size,
            }),
            Err(error) => {
                // What is left of it is removed by the next compaction or the next start.
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Goes on in the new file. Whether its name is on the disk is left to the caller, unless every
    /// append is synced: then it is.
    pub(super) fn finish_compaction(&mut self, mut new: Compaction) -> Result<(), JournalError> {
        self.refuse_if_poisoned()?;
        new.catch_up(&self.file, self.size)
            .map_err(failed_to("copy", &self.path))?;
        if self.fsync == Fsync::Always {
            new.bring_to_disk()?;
        }
        fs::rename(&new.path, &self.path).map_err(failed_to("replace", &self.path))?;
        self.file = new.file;
        self.size = new.size;
        self.compact_at = (2 * new.size).max(MIN_COMPACTION_BYTES);
        if self.fsync == Fsync::Always {
            let synced = sync_directory(&self.path);
            self.name_synced(synced)?;
        }
        Ok(())
    }

    /// Takes note of whether the file's name is on the disk. If not, a power failure could bring the old
    /// file back, without what the new one takes from now on.
    pub(super) fn name_synced(&mut self, synced: io::Result<()>) -> Result<(), JournalError> {
        synced.map_err(|source| {
            self.poisoned = true;
            failed_to("sync the directory of", &self.path)(source)
        })
    }
}

/// Writes a whole journal.
pub(super) fn write_new(
    path: &Path,
    entries: impl Iterator<Item = Entry>,
) -> Result<(File, u64), JournalError> {
    let failed = |action| failed_to(action, path);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .map_err(failed("make"))?;
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    writer
        .write_all(&frame::header())
        .map_err(failed("write"))?;
    let mut size = HEADER_BYTES as u64;
    let mut buffer = Vec::new();
    for entry in entries {
        buffer.clear();
        encode(&entry, &mut buffer, path, size)?;
        writer.write_all(&buffer).map_err(failed("write"))?;
        size += buffer.len() as u64;
    }
    let file = writer
        .into_inner()
        .map_err(|error| failed("write")(error.into_error()))?;
    Ok((file, size))
}
