//! Producer ids: each is given out once, over restarts too.

use super::{EffectError, Effects};
use crate::journal::Entry;

/// How many ids are recorded as given out at a time. A restart loses what is left of a block.
const BLOCK: i64 = 1_000;

/// The ids that are free.
#[derive(Debug, Default)]
pub(super) struct ProducerIds {
    next: i64,
    /// Ids below are recorded as given out.
    reserved: i64,
}

impl ProducerIds {
    /// Goes on behind the ids that are recorded as given out.
    pub(super) fn restore(&mut self, reserved: i64) {
        self.next = self.next.max(reserved);
        self.reserved = self.next;
    }

    /// What is recorded of them.
    pub(super) fn entry(&self) -> Option<Entry> {
        (self.reserved > 0).then_some(Entry::ProducerIds {
            next: self.reserved,
        })
    }

    /// An id that nobody has.
    pub(super) fn allocate(&mut self, effects: &impl Effects) -> Result<i64, EffectError> {
        if self.next >= self.reserved {
            let reserved = self.next + BLOCK;
            effects.record(&Entry::ProducerIds { next: reserved })?;
            self.reserved = reserved;
        }
        let id = self.next;
        self.next += 1;
        Ok(id)
    }
}
