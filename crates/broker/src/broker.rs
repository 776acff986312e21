//! The running broker.

use std::net::SocketAddr;
use std::sync::Mutex;

use crate::config::Builder;
use crate::group::Groups;
use crate::journal::Journal;
use crate::transaction::Transactions;

/// Everything that requests work on. Locks are taken in the order of the fields.
#[derive(Debug)]
pub(crate) struct Core {
    /// Transactional ids.
    pub(crate) transactions: Mutex<Transactions>,
    /// Consumer groups.
    pub(crate) groups: Mutex<Groups>,
    /// What survives.
    pub(crate) journal: Journal,
}

/// A running broker. Dropping it stops it.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
}

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {}

impl Broker {
    /// What to start: `Broker::builder().listen("127.0.0.1:9092").start()`.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn start(_builder: Builder) -> Result<Self, StartError> {
        unimplemented!("being written")
    }

    /// Where it listens: what clients call `bootstrap.servers`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Core {
    /// Whether a topic has the partition.
    pub(crate) fn topic_exists(&self, _topic: &str, _partition: i32) -> bool {
        unimplemented!("being written")
    }
}
