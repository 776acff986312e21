//! What must survive a restart, apart from records: an append-only file of changes.
//!
//! ```text
//! magic, format version | length, CRC-32C, entry | length, CRC-32C, entry | …
//! ```
//!
//! - An entry that was appended is with the operating system when [`Journal::append`] returns, and on the
//!   disk itself under [`Fsync::Always`]: killing the process loses none.
//! - What a kill left half written is cut at the next start. Damage *before* entries that are still
//!   readable is not a torn write; the broker refuses to start rather than forget what follows.
//! - An append that fails leaves nothing behind. Where that cannot be made sure of, the journal takes no
//!   more entries until the next start has looked at the file.
//! - Compaction replaces the file by the state it amounts to, in one rename: a kill leaves the old file
//!   or the new one. Nobody who appends waits for the disk meanwhile.
//!
//! Without a data directory there is no file, and everything here does nothing.

mod compaction;
mod entry;
mod file;
mod frame;
mod transaction;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::config::Fsync;

pub(crate) use compaction::Compaction;
pub(crate) use entry::{CommittedOffset, Entry};
pub(crate) use frame::{Damage, MAX_ENTRY_BYTES, recover};
pub(crate) use transaction::{Phase, TransactionState};

use file::{JournalFile, sync_directory};

/// The journal's file; nothing at all when the broker keeps everything in memory.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Option<Mutex<JournalFile>>,
}

/// Why the journal could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// The file system said no. Nothing was appended; the same may work later.
    #[error("cannot {action} the journal {}", path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// There is another kind of file where the journal belongs.
    #[error(
        "{} is not a journal of this broker: choose another data directory, or move the file away",
        path.display()
    )]
    NotAJournal {
        /// The file.
        path: PathBuf,
    },
    /// A newer program has written the file.
    #[error(
        "the journal {} has format {found}, and this program reads formats up to {supported}: \
         start the newer version that wrote it, or choose another data directory",
        path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that can be read.
        supported: u32,
    },
    /// The file is damaged in the middle.
    #[error(
        "the journal {} is damaged at byte {}, and entries follow from byte {} on: \
         restore the file from a copy, or give up what follows with `truncate --size={} {}`",
        path.display(), damage.position, damage.resumes, damage.position, path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        damage: Damage,
    },
    /// The entry is too large to be read back. Nothing was appended.
    #[error("an entry of {bytes} bytes is more than the journal {} takes ({MAX_ENTRY_BYTES})", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Size of the entry.
        bytes: usize,
    },
    /// The entry has no encoding, or one that was read back is not an entry.
    #[error("an entry of the journal {} at byte {position} is not one that this program knows", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// Where it is, or would have gone.
        position: u64,
        /// What the codec said.
        source: serde_json::Error,
    },
    /// An earlier failure left the file in a state that only a restart can judge.
    #[error(
        "the journal {} takes no entries since a failed write could not be undone: \
         make sure that its disk works and has room, then restart the broker",
        path.display()
    )]
    Poisoned {
        /// The file.
        path: PathBuf,
    },
}

impl Journal {
    /// A journal that keeps nothing.
    pub(crate) fn in_memory() -> Self {
        Self { file: None }
    }

    /// Opens the file or makes it, and returns what it holds, in order. A torn tail is cut.
    ///
    /// One process at a time may have it open; the caller sees to that.
    pub(crate) fn open(path: &Path, fsync: Fsync) -> Result<(Self, Vec<Entry>), JournalError> {
        let (file, entries) = JournalFile::open(path, fsync)?;
        let journal = Self {
            file: Some(Mutex::new(file)),
        };
        Ok((journal, entries))
    }

    /// Appends an entry. When this fails, the entry is not part of the journal, unless the journal is
    /// poisoned: then the next start decides.
    pub(crate) fn append(&self, entry: &Entry) -> Result<(), JournalError> {
        self.with(|file| file.append(entry))
    }

    /// Whether the file has grown so far beyond its last compaction that another is due.
    pub(crate) fn wants_compaction(&self) -> bool {
        match &self.file {
            Some(file) => locked(file).wants_compaction(),
            None => false,
        }
    }

    /// Begins to replace the file by one that holds `entries` alone: the whole state. The caller holds the
    /// locks of that state, and lets go of them before [`Journal::finish_compaction`]. When either fails,
    /// the journal goes on in the old file; [`Journal::wants_compaction`] asks again once it has grown
    /// some more. One at a time.
    pub(crate) fn begin_compaction(
        &self,
        entries: impl Iterator<Item = Entry>,
    ) -> Result<Option<Compaction>, JournalError> {
        match &self.file {
            Some(file) => locked(file).begin_compaction(entries).map(Some),
            None => Ok(None),
        }
    }

    /// Ends it. Waits for the disk, and keeps nobody waiting who appends.
    pub(crate) fn finish_compaction(&self, compaction: Compaction) -> Result<(), JournalError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        compaction.bring_to_disk()?;
        let path = {
            let mut file = locked(file);
            file.finish_compaction(compaction)?;
            file.path.clone()
        };
        let synced = sync_directory(&path);
        locked(file).name_synced(synced)
    }

    /// Waits until the disk itself has everything: at a clean end.
    pub(crate) fn sync(&self) -> Result<(), JournalError> {
        self.with(JournalFile::sync)
    }

    fn with(
        &self,
        action: impl FnOnce(&mut JournalFile) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        match &self.file {
            Some(file) => action(&mut locked(file)),
            None => Ok(()),
        }
    }
}

/// A thread that panicked inside an append left at most a torn frame behind the end that the file knows,
/// and the next append writes over it: the lock's poison says nothing worse.
fn locked(file: &Mutex<JournalFile>) -> MutexGuard<'_, JournalFile> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
