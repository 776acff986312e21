//! The running broker: what requests work on, how it starts and how it ends.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::watch;

use kafka_protocol::ResponseError;

use crate::api::{self, Host, Member, RESPONSE_BUDGET_BYTES};
use crate::config::Builder;
use crate::directory::{FORMAT, claim, cluster_id};
use crate::group::{Claim, Generation, Groups, Limits};
use crate::house::House;
use crate::journal::{CommittedOffset, Entry, Journal, JournalError};
use crate::log::{AppendError, LogError};
use crate::memory::MemoryBudget;
use crate::server;
use crate::sync::lock;
use crate::topics::{self, Home, Topics, new_id};
use crate::transaction::{EffectError, Effects, Outcome, Transactions};
use crate::units::{Now, Producer, TopicPartition};

/// What unfinished requests may hold together, beyond what each connection may.
const REQUEST_BUDGET_BYTES: usize = 512 << 20;
/// Threads that serve connections.
const THREADS: usize = 2;
/// How long a stop waits for requests that are being served.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// A producer without a transaction that has been silent for so long is forgotten, as Kafka's
/// `producer.id.expiration.ms`.
const PRODUCER_EXPIRY_MS: i64 = 24 * 60 * 60 * 1000;

/// Everything that requests work on.
///
/// Locks are taken in the order transactions, groups, a change of topics, a partition's log, the journal
/// (which locks itself). A request may leave out any of them, and never goes back.
#[derive(Debug)]
pub(crate) struct Core {
    /// Transactional ids.
    pub(crate) transactions: Mutex<Transactions>,
    /// Consumer groups.
    pub(crate) groups: Mutex<Groups>,
    /// Topics and their partitions.
    pub(crate) topics: Topics,
    /// What survives a restart, apart from records.
    pub(crate) journal: Arc<Journal>,
    /// Pays for responses that hold records.
    pub(crate) responses: MemoryBudget,
    /// Pays for requests that have not come whole.
    pub(crate) requests: MemoryBudget,
    /// Identity of the cluster.
    pub(crate) cluster_id: String,
    /// Partitions of a topic whose creator does not say.
    pub(crate) default_partitions: i32,
    /// Partitions of a topic that is made because somebody asked for it.
    pub(crate) auto_create_partitions: Option<i32>,
}

impl Core {
    /// Whether there is such a partition.
    pub(crate) fn topic_exists(&self, topic: &str, partition: i32) -> bool {
        self.topics.partition(topic, partition).is_some()
    }

    /// Lets time pass.
    pub(crate) fn tick(&self, now: Now) {
        lock(&self.groups).tick(now);
        lock(&self.transactions).tick(now, self);
    }

    /// Brings full files to the disk, removes what is no longer kept and makes the journal small again.
    /// Waits for the disk, and keeps nobody else waiting.
    pub(crate) fn keep_house(&self, now: Now) {
        if self.journal.wants_compaction()
            && let Err(error) = self.compact_journal()
        {
            tracing::warn!(%error, "the journal stays as long as it is");
        }
        self.topics.settle();
        self.topics.retain(now, PRODUCER_EXPIRY_MS);
    }

    fn compact_journal(&self) -> Result<(), JournalError> {
        let begun = {
            let transactions = lock(&self.transactions);
            let groups = lock(&self.groups);
            let topics = self.topics.hold();
            let entries = topics
                .entries()
                .into_iter()
                .chain(transactions.entries())
                .chain(groups.entries());
            self.journal.begin_compaction(entries)?
        };
        match begun {
            Some(compaction) => self.journal.finish_compaction(compaction),
            None => Ok(()),
        }
    }
}

impl Effects for Core {
    fn record(&self, entry: &Entry) -> Result<(), EffectError> {
        Ok(self.journal.append(entry)?)
    }

    fn write_marker(
        &self,
        partition: &TopicPartition,
        producer: Producer,
        outcome: Outcome,
        now: Now,
    ) -> Result<(), EffectError> {
        // A topic that was deleted takes its part of the transaction with it.
        let Some(found) = self.topics.partition(&partition.topic, partition.partition) else {
            return Ok(());
        };
        let written = lock(&found.log).append_marker(producer, outcome, now);
        found.wake();
        match written {
            Ok(_) => Ok(()),
            Err(AppendError::Fenced { .. }) => Err(EffectError::Fenced {
                partition: partition.clone(),
            }),
            Err(error) => Err(EffectError::Log {
                partition: partition.clone(),
                source: error.into(),
            }),
        }
    }

    fn hold_offsets(
        &self,
        group: &str,
        producer_id: i64,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) {
        let mut groups = lock(&self.groups);
        for (partition, _) in offsets {
            groups.set_pending(group, partition, producer_id);
        }
    }

    fn commit_offsets(
        &self,
        group: &str,
        producer_id: i64,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<(), EffectError> {
        let mut groups = lock(&self.groups);
        let newer = |(partition, offset): &&(TopicPartition, CommittedOffset)| {
            let stands = groups.committed(group, partition, false).ok().flatten();
            stands.is_none_or(|stands| stands.at <= offset.at)
        };
        let offsets: Vec<_> = offsets.iter().filter(newer).cloned().collect();
        groups
            .commit_from_transaction(group, &offsets, &mut api::keeper(self))
            .map_err(|error| EffectError::Offsets {
                group: group.to_owned(),
                source: error,
            })?;
        groups.clear_pending(group, producer_id);
        Ok(())
    }

    fn release_offsets(
        &self,
        group: &str,
        producer_id: i64,
        _offsets: &[(TopicPartition, CommittedOffset)],
    ) {
        lock(&self.groups).clear_pending(group, producer_id);
    }
}

impl Host for Core {
    fn transactions(&self) -> MutexGuard<'_, Transactions> {
        lock(&self.transactions)
    }

    fn has_partition(&self, partition: &TopicPartition) -> bool {
        self.topic_exists(&partition.topic, partition.partition)
    }

    fn check_member(
        &self,
        group: &str,
        member: &Member<'_>,
        _now: Now,
    ) -> Result<(), ResponseError> {
        let claim = Claim {
            group,
            member: member.id,
            instance: member.instance,
            generation: Generation(member.generation),
        };
        lock(&self.groups)
            .check_transactional_commit(&claim)
            .map_err(|error| {
                ResponseError::try_from_code(error.code())
                    .unwrap_or(ResponseError::UnknownServerError)
            })
    }
}

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Something else listens there.
    #[error(
        "{address} is taken: another program listens there. Stop it, or listen on another port"
    )]
    AddressInUse {
        /// Address asked for.
        address: String,
    },
    /// The address is not one of this machine's, or not allowed.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Address asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another broker uses the data directory.
    #[error("{path} is in use by another broker. Stop it, or use another directory")]
    DirectoryInUse {
        /// The directory.
        path: PathBuf,
    },
    /// The data directory was written by a newer version.
    #[error(
        "{path} has format {found}, this program knows up to {FORMAT}: use a newer program, or another directory"
    )]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The data directory holds something else.
    #[error(
        "{path} is not a broker's: {reason}. Use another directory, or remove it to start anew"
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The data directory cannot be read or written.
    #[error("cannot use {path}: {source}")]
    Directory {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What was stored is damaged or cannot be read.
    #[error("{0}")]
    Stored(String),
    /// The threads could not be started.
    #[error("cannot start the broker's threads: {0}")]
    Threads(io::Error),
}

impl From<JournalError> for StartError {
    fn from(error: JournalError) -> Self {
        Self::Stored(error.to_string())
    }
}

impl From<LogError> for StartError {
    fn from(error: LogError) -> Self {
        Self::Stored(error.to_string())
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
    _lock: Option<File>,
}

impl Broker {
    /// What to start: `Broker::builder().listen("127.0.0.1:9092").start()`.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn start(builder: &Builder) -> Result<Self, StartError> {
        let listener = listen(&builder.listen)?;
        let address = listener.local_addr().map_err(|source| StartError::Listen {
            address: builder.listen.clone(),
            source,
        })?;
        let (core, lock) = open(builder)?;
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
            _lock: lock,
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

/// What a broker could not bring to the disk when it stopped. All of it was handed to the operating
/// system before.
#[derive(Debug, thiserror::Error)]
#[error("while stopping the broker: {0}")]
pub struct StopError(String);

fn listen(address: &str) -> Result<TcpListener, StartError> {
    let failed = |source: io::Error| {
        if source.kind() == io::ErrorKind::AddrInUse {
            StartError::AddressInUse {
                address: address.to_owned(),
            }
        } else {
            StartError::Listen {
                address: address.to_owned(),
                source,
            }
        }
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Opens what a broker works on, as it was left.
fn open(builder: &Builder) -> Result<(Core, Option<File>), StartError> {
    let (home, journal, entries, cluster_id, lock) = match &builder.data_dir {
        None => {
            let home = Home::Memory(MemoryBudget::new(builder.memory_limit));
            (home, Journal::in_memory(), Vec::new(), cluster_id(), None)
        }
        Some(directory) => {
            let (identity, lock) = claim(directory)?;
            let (journal, entries) =
                Journal::open(&directory.join("metadata.journal"), builder.fsync)?;
            let root = directory.join("topics");
            topics::prepare(&root).map_err(|source| StartError::Directory {
                path: root.clone(),
                source,
            })?;
            let home = Home::Directory(root, builder.fsync);
            (home, journal, entries, identity.cluster_id, Some(lock))
        }
    };
    let journal = Arc::new(journal);
    let topics = Topics::new(home);
    topics.restore(&entries)?;
    let now = server::now();
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
    crate::sync::lock(&core.transactions).finish_interrupted(&core, now);
    Ok((core, lock))
}
