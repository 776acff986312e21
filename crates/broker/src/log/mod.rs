//! One partition's log: record batches in, record batches out.

/// Until which offset a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Everything that was appended.
    Uncommitted,
    /// Up to the first transaction that is still open; what was aborted is listed beside the records.
    Committed,
}

/// One partition's record batches and what is known of their producers.
#[derive(Debug)]
pub(crate) struct PartitionLog;
