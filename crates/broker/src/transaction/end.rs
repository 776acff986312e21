//! How transactions end: by request, by timeout, and after a crash.
//!
//! ```text
//! journal: Ending(outcome) ─▶ markers ─▶ offsets ─▶ journal: Ended(outcome)
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::ResponseError;
use tracing::{info, warn};

use super::effects::for_producer;
use super::{
    EffectError, Effects, FORGET_AFTER_MS, Outcome, Phase, RETRY_AFTER, SWEEP_EVERY,
    TransactionState, Transactions,
};
use crate::journal::Entry;
use crate::units::{Now, Producer, Timestamp};

impl Transactions {
    /// Ends the producer's transaction. Once the outcome is recorded the answer is success, as Kafka's
    /// is: markers that cannot be written yet are written later.
    pub(crate) fn end(
        &mut self,
        id: &str,
        producer: Producer,
        outcome: Outcome,
        now: Now,
        effects: &impl Effects,
    ) -> Result<(), ResponseError> {
        let state = self.held_by(id, producer)?;
        match state.phase {
            Phase::Ongoing => {}
            Phase::Ending(decided) if decided == outcome => {
                return Err(ResponseError::ConcurrentTransactions);
            }
            Phase::Ended(decided) if decided == outcome => return Ok(()),
            Phase::Empty | Phase::Ending(_) | Phase::Ended(_) => {
                return Err(ResponseError::InvalidTxnState);
            }
        }
        let state = TransactionState {
            phase: Phase::Ending(outcome),
            updated: now.wall,
            ..state.clone()
        };
        self.change(id, state, now, effects).map_err(for_producer)?;
        if let Err(error) = self.complete(id, now, effects) {
            will_retry(id, &error);
        }
        Ok(())
    }

    /// Has the effects that an ending still lacks, then records that it ended. Does nothing if the id's
    /// transaction is not ending.
    pub(super) fn complete(
        &mut self,
        id: &str,
        now: Now,
        effects: &impl Effects,
    ) -> Result<(), EffectError> {
        let Some(slot) = self.ids.get_mut(id) else {
            return Ok(());
        };
        let Phase::Ending(outcome) = slot.state.phase else {
            return Ok(());
        };
        let producer = slot.state.producer;
        // A partition that fails does not keep the others waiting.
        let mut failure = Ok(());
        slot.left.partitions.retain(|partition| {
            match effects.write_marker(partition, producer, outcome, now) {
                Ok(()) => false,
                Err(error @ EffectError::Fenced { .. }) => {
                    warn!(transactional_id = id, %error, "somebody else has ended the transaction there");
                    false
                }
                Err(error) => {
                    failure = Err(error);
                    true
                }
            }
        });
        failure?;
        while let Some(group) = slot.left.groups.first() {
            let offsets = slot.state.offsets.get(group).map_or(&[][..], Vec::as_slice);
            match outcome {
                _ if offsets.is_empty() => {}
                Outcome::Commit => effects.commit_offsets(group, producer.id, offsets)?,
                Outcome::Abort => effects.release_offsets(group, producer.id, offsets),
            }
            slot.left.groups.pop_first();
        }
        let state = TransactionState {
            phase: Phase::Ended(outcome),
            updated: now.wall,
            partitions: BTreeSet::new(),
            offsets: BTreeMap::new(),
            ..slot.state.clone()
        };
        self.change(id, state, now, effects)
    }

    /// After a start: completes the transactions whose end was decided, and lets the open ones go on for
    /// what is left of their time. What fails is tried again by [`Transactions::tick`].
    pub(crate) fn finish_interrupted(&mut self, effects: &impl Effects, now: Now) {
        let ids: Vec<String> = self.ids.keys().cloned().collect();
        for id in ids {
            let Some(state) = self.get(&id) else {
                continue;
            };
            if !matches!(state.phase, Phase::Ongoing | Phase::Ending(_)) {
                continue;
            }
            let pending = state
                .offsets
                .iter()
                .filter(|(_, offsets)| !offsets.is_empty());
            for (group, offsets) in pending {
                effects.hold_offsets(group, state.producer.id, offsets);
            }
            if state.phase == Phase::Ongoing {
                let left = state.timeout().saturating_sub(elapsed(state.started, now));
                self.set_due(&id, now.instant + left);
                continue;
            }
            self.set_due(&id, now.instant + RETRY_AFTER);
            match self.complete(&id, now, effects) {
                Ok(()) => info!(
                    transactional_id = id,
                    "completed a transaction that a crash had interrupted"
                ),
                Err(error) => will_retry(&id, &error),
            }
        }
    }

    /// Does what is due: aborts transactions that are open for too long, completes endings that had
    /// failed, forgets ids that nobody uses.
    pub(crate) fn tick(&mut self, now: Now, effects: &impl Effects) {
        while let Some((due, id)) = self.due.first() {
            if *due > now.instant {
                break;
            }
            let id = id.clone();
            self.set_due(&id, now.instant + RETRY_AFTER);
            let result = match self.get(&id).map(|state| state.phase) {
                Some(Phase::Ongoing) => {
                    info!(
                        transactional_id = id,
                        "aborting a transaction that has timed out"
                    );
                    self.fence_and_abort(&id, None, now, effects)
                }
                _ => self.complete(&id, now, effects),
            };
            if let Err(error) = result {
                will_retry(&id, &error);
            }
        }
        if self.next_sweep.is_none_or(|at| at <= now.instant) {
            self.next_sweep = Some(now.instant + SWEEP_EVERY);
            self.forget_unused(now, effects);
        }
    }

    fn forget_unused(&mut self, now: Now, effects: &impl Effects) {
        let unused: Vec<String> = self
            .iter()
            .filter(|(_, state)| matches!(state.phase, Phase::Empty | Phase::Ended(_)))
            .filter(|(_, state)| now.wall.0.saturating_sub(state.updated.0) > FORGET_AFTER_MS)
            .map(|(id, _)| id.to_owned())
            .collect();
        for id in unused {
            match effects.record(&Entry::TransactionForgotten { id: id.clone() }) {
                Ok(()) => self.remove(&id),
                Err(error) => {
                    warn!(transactional_id = id, %error, "cannot forget a transactional id yet");
                    return;
                }
            }
        }
    }
}

/// Time since a transaction began. A clock that was set back makes it none.
fn elapsed(started: Timestamp, now: Now) -> Duration {
    let milliseconds = now.wall.0.saturating_sub(started.0);
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}

fn will_retry(id: &str, error: &EffectError) {
    warn!(transactional_id = id, %error, retry_after = ?RETRY_AFTER, "a transaction could not be ended yet");
}
