//! A partition as its topic holds it: the log under its lock, and those who wait for it to grow.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::log::{LogError, PartitionLog};
use crate::sync::lock;
use crate::units::Now;

/// A partition: its log, and who waits for it to grow.
#[derive(Debug)]
pub(crate) struct Partition {
    /// The log.
    pub(crate) log: Mutex<PartitionLog>,
    /// Held by whoever deletes records, while the log is free for others. Taken before it.
    pub(crate) deleting: Mutex<()>,
    pub(super) waiters: Mutex<HashMap<u64, Arc<Notify>>>,
}

impl Partition {
    pub(super) fn new(log: PartitionLog) -> Arc<Self> {
        Arc::new(Self {
            log: Mutex::new(log),
            deleting: Mutex::default(),
            waiters: Mutex::default(),
        })
    }

    /// Removes records that retention no longer keeps, and producers silent for `expiry_ms`. Waits for
    /// the disk, without the log's lock.
    pub(super) fn retain(&self, now: Now, expiry_ms: i64) -> Result<(), LogError> {
        let _deleting = lock(&self.deleting);
        let departure = {
            let mut log = lock(&self.log);
            log.expire_producers(now, expiry_ms);
            log.due(now)
        };
        if let Some(departure) = departure {
            departure.write_down()?;
            lock(&self.log).retain(now, &departure);
        }
        Ok(())
    }

    /// Brings full segments to the disk. Waits for it, without the log's lock.
    pub(super) fn settle(&self) {
        loop {
            let next = lock(&self.log).settling();
            let Some(settling) = next else {
                return;
            };
            let outcome = settling.carry_out();
            if !lock(&self.log).settled(&settling, outcome) {
                return;
            }
        }
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
