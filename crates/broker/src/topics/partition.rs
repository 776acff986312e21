//! A partition as its topic holds it: the log under its lock, and those who wait for it to grow.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::log::PartitionLog;
use crate::sync::lock;

/// A partition: its log, and who waits for it to grow.
#[derive(Debug)]
pub(crate) struct Partition {
    /// The log.
    pub(crate) log: Mutex<PartitionLog>,
    pub(super) waiters: Mutex<HashMap<u64, Arc<Notify>>>,
}

impl Partition {
    pub(super) fn new(log: PartitionLog) -> Arc<Self> {
        Arc::new(Self {
            log: Mutex::new(log),
            waiters: Mutex::default(),
        })
    }

    /// Wakes everybody who waits for more to read.
    pub(crate) fn wake(&self) {
        for waiter in lock(&self.waiters).values() {
            waiter.notify_one();
        }
    }

    /// From now on and until the guard is dropped, `waiter` is woken when there is more to read.
    pub(crate) fn wait(self: &Arc<Self>, waiter: &Arc<Notify>) -> Waiting {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let ticket = NEXT.fetch_add(1, Ordering::Relaxed);
        lock(&self.waiters).insert(ticket, Arc::clone(waiter));
        Waiting {
            partition: Arc::clone(self),
            ticket,
        }
    }
}

/// Somebody waits for a partition until this is dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    partition: Arc<Partition>,
    ticket: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.partition.waiters).remove(&self.ticket);
    }
}
