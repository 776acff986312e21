//! Housekeeping, on a thread of its own: it waits for the disk, which may take a minute, and no request
//! may wait with it. What it holds locks for never waits for the disk.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::core::Core;
use crate::units::Now;

/// How often full segments are brought to the disk, retention is applied and the journal is looked at.
const INTERVAL: Duration = Duration::from_secs(2);

/// The thread. Dropped without [`House::stop`], it ends by itself.
#[derive(Debug)]
pub(crate) struct House {
    /// Nothing is ever sent: its end is the sign.
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl House {
    /// Starts to keep house.
    pub(crate) fn start(core: Arc<Core>) -> io::Result<Self> {
        let (stop, stopped) = sync_channel(0);
        let keep = move || {
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                core.keep_house(Now::read());
            }
        };
        let thread = thread::Builder::new()
            .name("broker-house".to_owned())
            .spawn(keep)?;
        Ok(Self { stop, thread })
    }

    /// Waits until it has ended, which may be for the disk. An error is its panic.
    pub(crate) fn stop(self) -> thread::Result<()> {
        drop(self.stop);
        self.thread.join()
    }
}
