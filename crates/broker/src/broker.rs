//! The running broker: how it starts and how it ends.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::api::RESPONSE_BUDGET_BYTES;
use crate::config::Builder;
use crate::core::Core;
use crate::directory::{claim, cluster_id};
use crate::error::{StartError, StopError};
use crate::group::{Groups, Limits};
use crate::house::House;
use crate::journal::Journal;
use crate::memory::MemoryBudget;
use crate::server;
use crate::sync::lock;
use crate::topics::{self, Home, Topics, new_id};
use crate::transaction::Transactions;
use crate::units::Now;

/// What unfinished requests may hold together, beyond what each connection may.
const REQUEST_BUDGET_BYTES: usize = 512 << 20;
/// Threads that serve connections.
const THREADS: usize = 2;
/// How long a stop waits for requests that are being served.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

impl Builder {
    /// Starts the broker on threads of its own. When this returns it accepts connections.
    pub fn start(self) -> Result<Broker, StartError> {
        Broker::start(&self)
    }
}

/// A running broker. Dropping it stops it.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    core: Arc<Core>,
    stop: watch::Sender<bool>,
    runtime: Option<Runtime>,
    house: Option<House>,
    /// Held for as long as the broker uses its directory.
    _directory: Option<File>,
}

impl Broker {
    /// What to start: `Broker::builder().listen("127.0.0.1:9092").start()`.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn start(builder: &Builder) -> Result<Self, StartError> {
        let listener = listen(&builder.listen)?;
        let address = listener.local_addr().map_err(|cause| StartError::Listen {
            address: builder.listen.clone(),
            cause,
        })?;
        let (core, directory) = open(builder)?;
        let core = Arc::new(core);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("broker")
            .enable_all()
            .build()
            .map_err(StartError::Threads)?;
        let (stop, stopped) = watch::channel(false);
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(StartError::Threads)?
        };
        let house = House::start(Arc::clone(&core)).map_err(StartError::Threads)?;
        runtime.spawn(server::accept(listener, Arc::clone(&core), stopped.clone()));
        runtime.spawn(server::tick(Arc::clone(&core), stopped));
        Ok(Self {
            address,
            core,
            stop,
            runtime: Some(runtime),
            house: Some(house),
            _directory: directory,
        })
    }

    /// Where it listens: what clients call `bootstrap.servers`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops: closes connections and brings everything to the disk.
    pub fn stop(mut self) -> Result<(), StopError> {
        self.shut_down()
    }

    fn shut_down(&mut self) -> Result<(), StopError> {
        let Some(runtime) = self.runtime.take() else {
            return Ok(());
        };
        // Without receivers there is nobody left to tell.
        let _ = self.stop.send(true);
        // On a thread of its own, for the caller may be on a runtime itself, where nobody may block so.
        let ending = std::thread::spawn(move || runtime.shutdown_timeout(STOP_PATIENCE));
        if ending.join().is_err() {
            return Err(StopError("its threads did not end".to_owned()));
        }
        if self.house.take().is_some_and(|house| house.stop().is_err()) {
            return Err(StopError("its housekeeping did not end".to_owned()));
        }
        let topics = self.core.topics.close();
        let journal = self.core.journal.sync();
        topics.map_err(|error| StopError(error.to_string()))?;
        journal.map_err(|error| StopError(error.to_string()))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Err(error) = self.shut_down() {
            tracing::error!(%error, "the broker did not end cleanly");
        }
    }
}

fn listen(address: &str) -> Result<TcpListener, StartError> {
    let failed = |cause: io::Error| {
        if cause.kind() == io::ErrorKind::AddrInUse {
            StartError::AddressInUse {
                address: address.to_owned(),
            }
        } else {
            StartError::Listen {
                address: address.to_owned(),
                cause,
            }
        }
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Opens what a broker works on, as it was left.
fn open(builder: &Builder) -> Result<(Core, Option<File>), StartError> {
    let (home, journal, entries, cluster_id, held) = match &builder.data_dir {
        None => {
            let home = Home::Memory(MemoryBudget::new(builder.memory_limit));
            (home, Journal::in_memory(), Vec::new(), cluster_id(), None)
        }
        Some(directory) => {
            let (identity, held) = claim(directory)?;
            let (journal, entries) =
                Journal::open(&directory.join("metadata.journal"), builder.fsync)?;
            let root = directory.join("topics");
            topics::prepare(&root).map_err(|cause| StartError::Directory {
                path: root.clone(),
                cause,
            })?;
            let home = Home::Directory(root, builder.fsync);
            (home, journal, entries, identity.cluster_id, Some(held))
        }
    };
    let journal = Arc::new(journal);
    let topics = Topics::new(home);
    topics.restore(&entries)?;
    let now = Now::read();
    let mut groups = Groups::new(Limits::default(), new_id().0 as u64);
    entries.iter().for_each(|entry| groups.restore(entry));
    let transactions = Transactions::restore(&entries);
    let core = Core {
        transactions: Mutex::new(transactions),
        groups: Mutex::new(groups),
        topics,
        journal,
        responses: MemoryBudget::new(RESPONSE_BUDGET_BYTES),
        requests: MemoryBudget::new(REQUEST_BUDGET_BYTES),
        cluster_id,
        default_partitions: builder.default_partitions,
        auto_create_partitions: builder.auto_create_partitions,
    };
    lock(&core.transactions).finish_interrupted(&core, now);
    Ok((core, held))
}
