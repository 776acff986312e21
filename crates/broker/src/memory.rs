//! The memory that records may take, shared by all partitions that keep them in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A budget in bytes. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct MemoryBudget {
    used: Arc<AtomicUsize>,
    limit: usize,
}

impl MemoryBudget {
    /// A budget of `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            used: Arc::default(),
            limit,
        }
    }

    /// Takes `bytes`, or takes nothing and says no.
    pub(crate) fn try_take(&self, bytes: usize) -> bool {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|total| *total <= self.limit)
            })
            .is_ok()
    }

    /// Takes `bytes` until what is returned is dropped, or takes nothing.
    pub(crate) fn pay(&self, bytes: usize) -> Option<Paid> {
        self.try_take(bytes).then(|| Paid {
            budget: self.clone(),
            bytes,
        })
    }

    /// Gives back `bytes` that were taken.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that are taken.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// Bytes that are taken from a budget, and given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Paid {
    budget: MemoryBudget,
    bytes: usize,
}

impl Paid {
    /// How many they are.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back what is beyond `bytes`.
    pub(crate) fn keep(&mut self, bytes: usize) {
        let beyond = self.bytes.saturating_sub(bytes);
        self.budget.give_back(beyond);
        self.bytes -= beyond;
    }
}

impl Drop for Paid {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}
