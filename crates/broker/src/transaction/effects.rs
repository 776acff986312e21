//! Where transactions take effect: the seam between the coordinator and the rest of the broker.

use std::error::Error;

use kafka_protocol::ResponseError;
use tracing::warn;

use super::Outcome;
use crate::journal::{CommittedOffset, Entry, JournalError};
use crate::units::{Now, Producer, TopicPartition};

/// Where an ended transaction takes effect.
///
/// The coordinator calls this while its lock is held, so implementations take only locks that come later
/// in the order. Each of the effects is idempotent: the coordinator repeats them when one of them, or the
/// record that all are done, fails or is lost in a crash.
pub(crate) trait Effects {
    /// Makes a change survive a restart. When it fails, the change is not made.
    fn record(&self, entry: &Entry) -> Result<(), EffectError>;

    /// Ends the producer's transaction on a partition with a marker that readers see. Where the
    /// partition, or a topic of this name, is gone there is nothing to end, and that is success.
    fn write_marker(
        &self,
        partition: &TopicPartition,
        producer: Producer,
        outcome: Outcome,
        now: Now,
    ) -> Result<(), EffectError>;

    /// Notes that a group's offsets are about to change: until they are committed or released, a reader
    /// that asks for stable offsets has to wait. Repeated for the same partitions, it changes nothing.
    fn hold_offsets(
        &self,
        group: &str,
        producer_id: i64,
        offsets: &[(TopicPartition, CommittedOffset)],
    );

    /// Commits a group's offsets, durably, and releases them. An offset that the group has committed
    /// later than [`CommittedOffset::at`] says stays: it is newer than the transaction's.
    fn commit_offsets(
        &self,
        group: &str,
        producer_id: i64,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<(), EffectError>;

    /// Forgets offsets that were held: the transaction was aborted.
    fn release_offsets(
        &self,
        group: &str,
        producer_id: i64,
        offsets: &[(TopicPartition, CommittedOffset)],
    );
}

/// Why an effect did not take place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EffectError {
    /// The change could not be recorded; it may work later.
    #[error("a transaction's state could not be recorded")]
    Journal(#[from] JournalError),
    /// The partition's log could not take the marker; it may work later.
    #[error("partition {} of topic {} could not take a transaction's marker", partition.partition, partition.topic)]
    Log {
        /// Which partition.
        partition: TopicPartition,
        /// What its log said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The group's offsets could not be committed; it may work later.
    #[error("group {group} could not take a transaction's offsets")]
    Offsets {
        /// Which group.
        group: String,
        /// What stood in the way.
        source: crate::group::GroupError,
    },
    /// The partition has seen a later epoch of the producer, so the transaction has been ended there.
    #[error("partition {} of topic {} knows a later epoch of the producer", partition.partition, partition.topic)]
    Fenced {
        /// Which partition.
        partition: TopicPartition,
    },
}

/// What a producer is told whose request could not be recorded: to look for its coordinator and retry.
#[expect(
    clippy::needless_pass_by_value,
    reason = "for `map_err`; the error ends here"
)]
pub(super) fn for_producer(error: EffectError) -> ResponseError {
    warn!(%error, cause = error.source().map(tracing::field::display), "refused a producer's request");
    ResponseError::CoordinatorNotAvailable
}
