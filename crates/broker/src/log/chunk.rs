//! What comes out of a log.

use bytes::Bytes;

use crate::units::Offset;

/// What a store has read: batches, and the offset after them.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) records: Bytes,
    pub(super) next: Offset,
}

impl Chunk {
    pub(super) fn empty(at: Offset) -> Self {
        Self {
            records: Bytes::new(),
            next: at,
        }
    }
}
