//! What the handlers of transactions need of the broker.

use std::sync::MutexGuard;

use kafka_protocol::ResponseError;

use crate::core::Core;
use crate::group::{Claim, Generation};
use crate::sync::lock;
use crate::transaction::{Effects, Transactions};
use crate::units::{Now, TopicPartition};

/// What the handlers of transactions need of the broker. Locks: [`Host::transactions`] is taken before any other, and
/// while it is held the effects are called.
pub(crate) trait Host: Effects {
    /// The transactional ids.
    fn transactions(&self) -> MutexGuard<'_, Transactions>;

    /// Whether a partition exists now.
    fn has_partition(&self, partition: &TopicPartition) -> bool;

    /// Whether a consumer may commit offsets for its group now.
    fn check_member(&self, group: &str, member: &Member<'_>, now: Now)
    -> Result<(), ResponseError>;
}

/// A consumer, as a producer that commits offsets for it describes it (KIP-447).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member<'a> {
    /// Generation of the group; negative if the producer does not know it.
    pub(crate) generation: i32,
    /// Member id; empty if the producer does not know it.
    pub(crate) id: &'a str,
    /// `group.instance.id` of a static member.
    pub(crate) instance: Option<&'a str>,
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
