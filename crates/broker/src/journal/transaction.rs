//! The state of one transactional id, as the journal keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::CommittedOffset;
use crate::units::{Outcome, Producer, Timestamp, TopicPartition};

/// Where a transactional id stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// No transaction has begun since the producer registered.
    Empty,
    /// A transaction is open.
    Ongoing,
    /// Its end is decided; markers are being written. A restart finishes it.
    Ending(Outcome),
    /// The last transaction ended so; repeating the same end is answered with success.
    Ended(Outcome),
}

/// The state of one transactional id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TransactionState {
    /// The only producer that may use the id now.
    pub(crate) producer: Producer,
    /// The producer that asked for its own epoch to be bumped, which made `producer`. If it asks again,
    /// it has not seen the answer and gets the same one. Nothing once another instance took over.
    pub(crate) previous: Option<Producer>,
    /// How long a transaction may stay open, in milliseconds.
    pub(crate) timeout_ms: i32,
    /// Where it stands.
    pub(crate) phase: Phase,
    /// When the open transaction, or the last one, began; -1 if none has since the producer registered.
    pub(crate) started: Timestamp,
    /// When the state changed last.
    pub(crate) updated: Timestamp,
    /// Partitions of the open transaction.
    pub(crate) partitions: BTreeSet<TopicPartition>,
    /// Offsets that the open transaction will commit, by group. A group without offsets was only added.
    pub(crate) offsets: BTreeMap<String, Vec<(TopicPartition, CommittedOffset)>>,
}

impl Phase {
    /// What Kafka's tools call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::Ending(Outcome::Commit) => "PrepareCommit",
            Self::Ending(Outcome::Abort) => "PrepareAbort",
            Self::Ended(Outcome::Commit) => "CompleteCommit",
            Self::Ended(Outcome::Abort) => "CompleteAbort",
        }
    }
}

impl TransactionState {
    /// How long a transaction may stay open.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.max(0) as u64)
    }

    /// An upper bound of the bytes that the state takes in the journal; in memory it takes about as much.
    pub(crate) fn weight(&self, id: &str) -> usize {
        let partitions = self.partitions.iter().map(partition_weight).sum::<usize>();
        let offsets = self.offsets.iter().map(|(group, offsets)| {
            let entries = offsets.iter().map(|(partition, committed)| {
                partition_weight(partition) + 200 + escaped(&committed.metadata)
            });
            escaped(group) + 16 + entries.sum::<usize>()
        });
        escaped(id) + 512 + partitions + offsets.sum::<usize>()
    }
}

/// A partition in JSON: both names, punctuation, ten digits and a sign.
fn partition_weight(partition: &TopicPartition) -> usize {
    escaped(&partition.topic) + 48
}

/// The most that a text takes in JSON, where a control character becomes six bytes.
fn escaped(text: &str) -> usize {
    text.bytes()
        .map(|byte| if byte < 0x20 { 6 } else { 2 })
        .sum::<usize>()
        + 2
}
