//! The state of one transactional id, as the journal keeps it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::journal::CommittedOffset;
use crate::units::{Producer, Timestamp, TopicPartition};

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// Its records and offsets become visible.
    Commit,
    /// Its records are skipped by `read_committed` readers, its offsets forgotten.
    Abort,
}

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
    /// How long a transaction may stay open, in milliseconds.
    pub(crate) timeout_ms: i32,
    /// Where it stands.
    pub(crate) phase: Phase,
    /// When the open transaction began; what it stands at otherwise has no meaning.
    pub(crate) started: Timestamp,
    /// When the state changed last.
    pub(crate) updated: Timestamp,
    /// Partitions of the open transaction.
    pub(crate) partitions: BTreeSet<TopicPartition>,
    /// Offsets that the open transaction will commit, by group. A group without offsets was only added.
    pub(crate) offsets: BTreeMap<String, Vec<(TopicPartition, CommittedOffset)>>,
}
