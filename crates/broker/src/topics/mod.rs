//! The topics, their configuration and their partitions.
//!
//! Readers look a topic up and hold its partitions by reference count, so a topic may be deleted while
//! somebody reads it. Changes go one at a time: each is journalled before it is shown.
//!
//! On disk a topic lives under its id, not its name: a topic that is deleted and made again cannot meet
//! the old one's files.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use crate::config::Fsync;
use crate::journal::{Entry, Journal, JournalError};
use crate::log::{LogError, PartitionLog};
use crate::memory::MemoryBudget;
use crate::sync::{lock, read, write};
use crate::units::TopicId;

mod partition;
pub(crate) mod settings;
#[cfg(test)]
mod tests;
mod upkeep;

pub(crate) use partition::Partition;

/// Partitions that a topic may have at most.
pub(crate) const MAX_PARTITIONS_PER_TOPIC: i32 = 10_000;
/// Partitions of all topics together.
pub(crate) const MAX_PARTITIONS: usize = 50_000;
/// Longest name that Kafka allows, in bytes.
const MAX_NAME: usize = 249;
/// Ending of a deleted topic's directory until its files are gone.
const DELETED: &str = "deleted";

/// Why a topic was not made or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TopicError {
    /// Kafka would not have the name.
    #[error("{0}")]
    InvalidName(String),
    /// The name is taken.
    #[error("Topic '{0}' already exists.")]
    Exists(String),
    /// There is no such topic.
    #[error("This server does not host this topic-partition.")]
    Unknown,
    /// No topic may have so many partitions.
    #[error("{0}")]
    InvalidPartitions(String),
    /// What was to be set cannot be.
    #[error("{0}")]
    InvalidConfig(String),
    /// Nothing was changed because the disk did not take it.
    #[error("could not store the change: {0}")]
    Journal(#[from] JournalError),
    /// A partition's log could not be made.
    #[error("could not make a partition: {0}")]
    Log(#[from] LogError),
}

/// A topic.
#[derive(Debug)]
pub(crate) struct Topic {
    /// Identity.
    pub(crate) id: TopicId,
    /// Name.
    pub(crate) name: Arc<str>,
    config: RwLock<BTreeMap<String, String>>,
    partitions: RwLock<Vec<Arc<Partition>>>,
}

impl Topic {
    /// What was set on it.
    pub(crate) fn config(&self) -> BTreeMap<String, String> {
        read(&self.config).clone()
    }

    /// Its partitions, in order of their numbers.
    pub(crate) fn partitions(&self) -> Vec<Arc<Partition>> {
        read(&self.partitions).clone()
    }

    /// How many partitions it has.
    pub(crate) fn partition_count(&self) -> i32 {
        i32::try_from(read(&self.partitions).len()).unwrap_or(i32::MAX)
    }

    /// One of its partitions.
    pub(crate) fn partition(&self, number: i32) -> Option<Arc<Partition>> {
        read(&self.partitions)
            .get(usize::try_from(number).ok()?)
            .cloned()
    }

    fn entry(&self) -> Entry {
        Entry::Topic {
            id: self.id,
            name: self.name.to_string(),
            partitions: self.partition_count(),
            config: self.config(),
        }
    }
}

/// Where partitions keep their records.
#[derive(Debug)]
pub(crate) enum Home {
    /// In memory, within a budget.
    Memory(MemoryBudget),
    /// Under a directory.
    Directory(PathBuf, Fsync),
}

/// All topics.
#[derive(Debug)]
pub(crate) struct Topics {
    home: Home,
    by_name: RwLock<BTreeMap<Arc<str>, Arc<Topic>>>,
    by_id: RwLock<HashMap<TopicId, Arc<Topic>>>,
    /// Partitions of all topics.
    partitions: AtomicUsize,
    /// Held by whoever changes topics.
    changing: Mutex<()>,
}

impl Topics {
    /// No topics yet.
    pub(crate) fn new(home: Home) -> Self {
        Self {
            home,
            by_name: RwLock::default(),
            by_id: RwLock::default(),
            partitions: AtomicUsize::new(0),
            changing: Mutex::default(),
        }
    }

    /// Opens the topics that the journal's entries say exist, and removes files of those that do not.
    pub(crate) fn restore(&self, entries: &[Entry]) -> Result<(), LogError> {
        let mut alive = BTreeMap::new();
        for entry in entries {
            match entry {
                Entry::Topic {
                    id,
                    name,
                    partitions,
                    config,
                } => {
                    alive.insert(*id, (name, *partitions, config));
                }
                Entry::TopicDeleted { id } => {
                    alive.remove(id);
                }
                _ => {}
            }
        }
        for (id, (name, partitions, config)) in &alive {
            let topic = self.open(*id, name, *partitions, (*config).clone())?;
            self.insert(&topic);
        }
        if let Home::Directory(root, _) = &self.home {
            remove_strangers(root, |id| alive.contains_key(&id));
        }
        Ok(())
    }

    /// The topic of that name.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        read(&self.by_name).get(name).cloned()
    }

    /// The topic of that id.
    pub(crate) fn get_by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        read(&self.by_id).get(&id).cloned()
    }

    /// All topics, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        read(&self.by_name).values().cloned().collect()
    }

    /// One partition.
    pub(crate) fn partition(&self, topic: &str, partition: i32) -> Option<Arc<Partition>> {
        self.get(topic)?.partition(partition)
    }

    /// Whether a topic could be made so.
    pub(crate) fn validate(
        &self,
        name: &str,
        partitions: i32,
        config: &BTreeMap<String, String>,
    ) -> Result<(), TopicError> {
        check_name(name)?;
        if self.get(name).is_some() {
            return Err(TopicError::Exists(name.to_owned()));
        }
        self.check_partitions(0, partitions)?;
        check_config(config)
    }

    /// Makes a topic.
    pub(crate) fn create(
        &self,
        name: &str,
        partitions: i32,
        config: BTreeMap<String, String>,
        journal: &Journal,
    ) -> Result<Arc<Topic>, TopicError> {
        let _changing = lock(&self.changing);
        self.validate(name, partitions, &config)?;
        let topic = self.open(new_id(), name, partitions, config)?;
        if let Err(error) = journal.append(&topic.entry()) {
            self.remove_files(topic.id);
            return Err(error.into());
        }
        self.insert(&topic);
        Ok(topic)
    }

    fn insert(&self, topic: &Arc<Topic>) {
        let count = topic.partition_count() as usize;
        self.partitions.fetch_add(count, Ordering::Relaxed);
        write(&self.by_id).insert(topic.id, Arc::clone(topic));
        write(&self.by_name).insert(Arc::clone(&topic.name), Arc::clone(topic));
    }

    /// Deletes a topic and its records.
    pub(crate) fn delete(&self, name: &str, journal: &Journal) -> Result<TopicId, TopicError> {
        let _changing = lock(&self.changing);
        let topic = self.get(name).ok_or(TopicError::Unknown)?;
        journal.append(&Entry::TopicDeleted { id: topic.id })?;
        write(&self.by_name).remove(name);
        write(&self.by_id).remove(&topic.id);
        let count = topic.partition_count() as usize;
        self.partitions.fetch_sub(count, Ordering::Relaxed);
        for partition in topic.partitions() {
            partition.wake();
        }
        self.remove_files(topic.id);
        Ok(topic.id)
    }

    /// Gives a topic more partitions, `total` in all; with `validate_only`, says whether it would.
    pub(crate) fn grow(
        &self,
        name: &str,
        total: i32,
        validate_only: bool,
        journal: &Journal,
    ) -> Result<(), TopicError> {
        let _changing = lock(&self.changing);
        let topic = self.get(name).ok_or(TopicError::Unknown)?;
        let present = topic.partition_count();
        if total <= present {
            return Err(TopicError::InvalidPartitions(format!(
                "The topic {name} currently has {present} partition(s); {total} would not be an increase."
            )));
        }
        self.check_partitions(present, total)?;
        if validate_only {
            return Ok(());
        }
        let limits = settings::limits(&topic.config());
        let added = (present..total)
            .map(|number| self.open_partition(topic.id, number, limits))
            .collect::<Result<Vec<_>, _>>()?;
        journal.append(&Entry::Topic {
            id: topic.id,
            name: name.to_owned(),
            partitions: total,
            config: topic.config(),
        })?;
        self.partitions.fetch_add(added.len(), Ordering::Relaxed);
        write(&topic.partitions).extend(added);
        Ok(())
    }

    /// Sets a topic's configuration to what `change` makes of it.
    pub(crate) fn configure(
        &self,
        name: &str,
        validate_only: bool,
        journal: &Journal,
        change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), String>,
    ) -> Result<(), TopicError> {
        let _changing = lock(&self.changing);
        let topic = self.get(name).ok_or(TopicError::Unknown)?;
        let mut config = topic.config();
        change(&mut config).map_err(TopicError::InvalidConfig)?;
        check_config(&config)?;
        if validate_only {
            return Ok(());
        }
        let limits = settings::limits(&config);
        journal.append(&Entry::Topic {
            id: topic.id,
            name: name.to_owned(),
            partitions: topic.partition_count(),
            config: config.clone(),
        })?;
        *write(&topic.config) = config;
        for partition in topic.partitions() {
            lock(&partition.log).set_limits(limits);
        }
        Ok(())
    }

    /// Brings everything to the disk itself.
    pub(crate) fn close(&self) -> Result<(), LogError> {
        for topic in self.all() {
            for partition in topic.partitions() {
                lock(&partition.log).close()?;
            }
        }
        Ok(())
    }

    /// Keeps topics as they are until the answer is dropped.
    pub(crate) fn hold(&self) -> Held<'_> {
        Held {
            topics: self,
            _changing: lock(&self.changing),
        }
    }

    fn check_partitions(&self, present: i32, total: i32) -> Result<(), TopicError> {
        if !(1..=MAX_PARTITIONS_PER_TOPIC).contains(&total) {
            return Err(TopicError::InvalidPartitions(format!(
                "Number of partitions was set to an invalid value {total}: from 1 to {MAX_PARTITIONS_PER_TOPIC} are possible."
            )));
        }
        let all = self.partitions.load(Ordering::Relaxed);
        if all + (total - present) as usize > MAX_PARTITIONS {
            return Err(TopicError::InvalidPartitions(format!(
                "The broker would have more than {MAX_PARTITIONS} partitions."
            )));
        }
        Ok(())
    }

    fn open(
        &self,
        id: TopicId,
        name: &str,
        partitions: i32,
        config: BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, LogError> {
        let limits = settings::limits(&config);
        let partitions = (0..partitions)
            .map(|number| self.open_partition(id, number, limits))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(Topic {
            id,
            name: name.into(),
            config: RwLock::new(config),
            partitions: RwLock::new(partitions),
        }))
    }

    fn open_partition(
        &self,
        id: TopicId,
        number: i32,
        limits: crate::log::LogLimits,
    ) -> Result<Arc<Partition>, LogError> {
        let log = match &self.home {
            Home::Memory(budget) => PartitionLog::in_memory(limits, budget.clone()),
            Home::Directory(root, fsync) => {
                let directory = root.join(id.to_string()).join(number.to_string());
                let (log, recovered) = PartitionLog::open(&directory, limits, *fsync)?;
                if recovered.bytes_cut > 0 {
                    tracing::warn!(
                        directory = %directory.display(),
                        bytes = recovered.bytes_cut,
                        "cut an unfinished write from the end of a partition"
                    );
                }
                log
            }
        };
        Ok(Partition::new(log))
    }

    /// Moves a deleted topic's files aside, then removes them; what a crash leaves, the next start removes.
    fn remove_files(&self, id: TopicId) {
        let Home::Directory(root, _) = &self.home else {
            return;
        };
        let (from, aside) = (
            root.join(id.to_string()),
            root.join(format!("{id}.{DELETED}")),
        );
        let removed = fs::rename(&from, &aside).and_then(|()| fs::remove_dir_all(&aside));
        if let Err(error) = removed {
            tracing::warn!(directory = %from.display(), %error, "files of a deleted topic are left until the next start");
        }
    }
}

/// Topics that do not change.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    topics: &'a Topics,
    _changing: MutexGuard<'a, ()>,
}

impl Held<'_> {
    /// What the journal must hold of the topics.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.topics
            .all()
            .iter()
            .map(|topic| topic.entry())
            .collect()
    }
}

/// Removes the directories of topics that the journal does not know: deleted ones, and ones whose making
/// was never finished.
fn remove_strangers(root: &Path, known: impl Fn(TopicId) -> bool) {
    let Ok(entries) = fs::read_dir(root) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let id = u128::from_str_radix(name.trim_end_matches(DELETED).trim_end_matches('.'), 16);
        let ours = name.len() >= 32 && id.is_ok();
        let alive = id.is_ok_and(|id| known(TopicId(id))) && !name.ends_with(DELETED);
        if ours
            && !alive
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::warn!(directory = %entry.path().display(), %error, "cannot remove the files of a deleted topic");
        }
    }
}

/// Makes the directory under which topics live.
pub(crate) fn prepare(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root)
}

fn check_name(name: &str) -> Result<(), TopicError> {
    let problem = if name.is_empty() {
        "the empty string is not allowed".to_owned()
    } else if matches!(name, "." | "..") {
        "'.' or '..' is not allowed".to_owned()
    } else if name.len() > MAX_NAME {
        format!("the length of '{name}' is longer than the max allowed length {MAX_NAME}")
    } else if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    {
        format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        )
    } else {
        return Ok(());
    };
    Err(TopicError::InvalidName(format!(
        "Topic name is invalid: {problem}"
    )))
}

fn check_config(config: &BTreeMap<String, String>) -> Result<(), TopicError> {
    config
        .iter()
        .try_for_each(|(name, value)| settings::check(name, value))
        .map_err(TopicError::InvalidConfig)
}

/// A new identity: 128 bits that nobody has had. The standard library's hashers are seeded by the
/// operating system, each anew; that is all the randomness an id needs.
pub(crate) fn new_id() -> TopicId {
    let half = || u128::from(RandomState::new().hash_one(0_u8));
    TopicId(half() << 64 | half() | 1)
}
