//! What must survive a restart, apart from records: an append-only file of changes.

mod entry;

pub(crate) use entry::{CommittedOffset, Entry};

/// The journal's file; nothing at all when the broker keeps everything in memory.
#[derive(Debug)]
pub(crate) struct Journal;

/// Why the journal did not take an entry.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {}

impl Journal {
    /// Takes an entry.
    pub(crate) fn append(&self, _entry: &Entry) -> Result<(), JournalError> {
        unimplemented!("being written")
    }
}
