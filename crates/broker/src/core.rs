//! What requests work on, and what becomes of it as time passes.

use std::sync::{Arc, Mutex};

use crate::group::{Groups, NotKept};
use crate::journal::{CommittedOffset, Entry, Journal, JournalError};
use crate::log::AppendError;
use crate::memory::MemoryBudget;
use crate::sync::lock;
use crate::topics::Topics;
use crate::transaction::{EffectError, Effects, Transactions};
use crate::units::{Now, Outcome, Producer, TopicPartition};

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

    /// Writes entries of groups to the journal.
    pub(crate) fn keeper(&self) -> impl FnMut(&Entry) -> Result<(), NotKept> {
        |entry| {
            self.journal.append(entry).map_err(|error| {
                tracing::error!(%error, "a change of a group was refused, for the journal did not take it");
                NotKept
            })
        }
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
            .commit_from_transaction(group, &offsets, &mut self.keeper())
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
