//! What must survive a restart, apart from records: an append-only file of changes.

mod entry;

pub(crate) use entry::{CommittedOffset, Entry};

/// The journal's file; nothing at all when the broker keeps everything in memory.
#[derive(Debug)]
pub(crate) struct Journal;
