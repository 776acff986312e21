//! What a producer puts into its open transaction: partitions, offsets, records.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::ResponseError;
use tracing::warn;

use super::effects::for_producer;
use super::{
    Effects, MAX_PARTITIONS, MAX_STATE_BYTES, MAX_TOTAL_BYTES, Phase, TransactionState,
    Transactions,
};
use crate::journal::CommittedOffset;
use crate::units::{Now, Producer, TopicPartition};

impl Transactions {
    /// Adds partitions to the producer's transaction, and begins one if none is open. The caller has
    /// made sure that the partitions exist.
    pub(crate) fn add_partitions(
        &mut self,
        id: &str,
        producer: Producer,
        partitions: &BTreeSet<TopicPartition>,
        now: Now,
        effects: &impl Effects,
    ) -> Result<(), ResponseError> {
        let state = self.usable(id, producer)?;
        if state.phase == Phase::Ongoing && partitions.is_subset(&state.partitions) {
            return Ok(());
        }
        let mut state = begun(state, now);
        state.partitions.extend(partitions.iter().cloned());
        self.grow(id, state, now, effects)
    }

    /// Adds a group, whose offsets the producer is about to commit, to its transaction.
    pub(crate) fn add_group(
        &mut self,
        id: &str,
        producer: Producer,
        group: &str,
        now: Now,
        effects: &impl Effects,
    ) -> Result<(), ResponseError> {
        let state = self.usable(id, producer)?;
        if state.phase == Phase::Ongoing && state.offsets.contains_key(group) {
            return Ok(());
        }
        let mut state = begun(state, now);
        state.offsets.entry(group.to_owned()).or_default();
        self.grow(id, state, now, effects)
    }

    /// Adds offsets of a group to the transaction, to be committed when it is. `is_member` says whether
    /// the producer speaks for the group as it is now; it is asked last.
    pub(crate) fn add_offsets(
        &mut self,
        id: &str,
        producer: Producer,
        (group, offsets): (&str, &[(TopicPartition, CommittedOffset)]),
        is_member: impl FnOnce() -> Result<(), ResponseError>,
        now: Now,
        effects: &impl Effects,
    ) -> Result<(), ResponseError> {
        let state = self.usable(id, producer)?;
        let Some(before) = state
            .offsets
            .get(group)
            .filter(|_| state.phase == Phase::Ongoing)
        else {
            return Err(ResponseError::InvalidTxnState);
        };
        is_member()?;
        if offsets.is_empty() {
            return Ok(());
        }
        let merged: BTreeMap<_, _> = before.iter().chain(offsets).cloned().collect();
        let mut state = begun(state, now);
        state
            .offsets
            .insert(group.to_owned(), merged.into_iter().collect());
        self.grow(id, state, now, effects)
            .map_err(|error| match error {
                ResponseError::PolicyViolation => ResponseError::InvalidCommitOffsetSize,
                other => other,
            })?;
        effects.hold_offsets(group, producer.id, offsets);
        Ok(())
    }

    /// Whether the producer may append a transactional batch to a partition now. The caller keeps the
    /// lock until the batch is appended, so that none lands behind the transaction's marker.
    pub(crate) fn verify_produce(
        &self,
        id: &str,
        producer: Producer,
        partition: &TopicPartition,
    ) -> Result<(), ResponseError> {
        let state = self.usable(id, producer).map_err(|error| match error {
            // What producers of all versions take from this request.
            ResponseError::ProducerFenced => ResponseError::InvalidProducerEpoch,
            ResponseError::ConcurrentTransactions => ResponseError::NotEnoughReplicas,
            other => other,
        })?;
        if state.phase == Phase::Ongoing && state.partitions.contains(partition) {
            Ok(())
        } else {
            Err(ResponseError::InvalidTxnState)
        }
    }

    /// The state of an id, if this producer may put something into a transaction now.
    fn usable(&self, id: &str, producer: Producer) -> Result<&TransactionState, ResponseError> {
        let state = self.held_by(id, producer)?;
        match state.phase {
            Phase::Ending(_) => Err(ResponseError::ConcurrentTransactions),
            Phase::Empty | Phase::Ongoing | Phase::Ended(_) => Ok(state),
        }
    }

    /// Records a state that has more in it than before, within the limits.
    fn grow(
        &mut self,
        id: &str,
        state: TransactionState,
        now: Now,
        effects: &impl Effects,
    ) -> Result<(), ResponseError> {
        let weight = state.weight(id);
        let before = self.get(id).map_or(0, |state| state.weight(id));
        if state.partitions.len() > MAX_PARTITIONS
            || weight > MAX_STATE_BYTES
            || self.weight.saturating_sub(before) + weight > MAX_TOTAL_BYTES
        {
            warn!(
                transactional_id = id,
                partitions = state.partitions.len(),
                bytes = weight,
                "refused a transaction that is too large"
            );
            return Err(ResponseError::PolicyViolation);
        }
        self.change(id, state, now, effects).map_err(for_producer)
    }
}

/// The state with a transaction open: the one that is, or a new one.
fn begun(state: &TransactionState, now: Now) -> TransactionState {
    let mut state = state.clone();
    state.updated = now.wall;
    if state.phase != Phase::Ongoing {
        state.phase = Phase::Ongoing;
        state.started = now.wall;
        // Whoever begins a transaction has seen the answer to its registration.
        state.previous = None;
    }
    state
}
