//! What the journal holds: a change each. The state is the fold of all entries, in order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::TransactionState;
use crate::units::{Offset, Timestamp, TopicId};

/// A change of what must survive a restart, apart from records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Entry {
    /// A topic was made, got more partitions or another configuration.
    Topic {
        /// Identity; the entry replaces an earlier one of the same id.
        id: TopicId,
        /// Name.
        name: String,
        /// How many partitions it has.
        partitions: i32,
        /// What was set on the topic; what is absent has its default.
        config: BTreeMap<String, String>,
    },
    /// A topic was deleted.
    TopicDeleted {
        /// Identity.
        id: TopicId,
    },
    /// Producer ids below this one have been given out.
    ProducerIds {
        /// The next id that is free.
        next: i64,
    },
    /// A transactional id's state, whole, after a change.
    Transaction {
        /// `transactional.id`.
        id: String,
        /// Its state.
        state: TransactionState,
    },
    /// A transactional id that nobody has used for long is forgotten.
    TransactionForgotten {
        /// `transactional.id`.
        id: String,
    },
    /// A group has committed an offset.
    OffsetCommitted {
        /// Group id.
        group: String,
        /// Topic name.
        topic: String,
        /// Partition number.
        partition: i32,
        /// What was committed.
        committed: CommittedOffset,
    },
    /// A group's offset was deleted.
    OffsetDeleted {
        /// Group id.
        group: String,
        /// Topic name.
        topic: String,
        /// Partition number.
        partition: i32,
    },
    /// A group was deleted, with its offsets.
    GroupDeleted {
        /// Group id.
        group: String,
    },
}

/// An offset that a group has committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommittedOffset {
    /// The next offset the group wants to read.
    pub(crate) offset: Offset,
    /// Leader epoch the consumer had seen, -1 if it did not say.
    pub(crate) leader_epoch: i32,
    /// Free text of the client's.
    pub(crate) metadata: String,
    /// When it was committed.
    pub(crate) at: Timestamp,
}
