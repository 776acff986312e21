//! Consumer groups and the offsets they have committed.

/// All groups of the broker.
#[derive(Debug)]
pub(crate) struct Groups;
