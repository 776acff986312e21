//! Transactional ids: who may use them, what is open, how it ends.
//!
//! A state machine without I/O of its own: requests and the time come in, [`Effects`] go out. The
//! specification is Apache Kafka's transaction coordinator before "transactions v2" (KIP-98, KIP-360,
//! KIP-447); see its `TransactionCoordinator` and `TransactionMetadata`.
//!
//! ```text
//!            add partitions, offsets      end, or timeout       all effects took place
//! (Empty) ─────────────────────▶ Ongoing ─────────────▶ Ending ─────────────────────▶ Ended
//!    ▲                              │ a newer producer      ▲                           │
//!    │                              └── aborts it ──────────┘                           │
//!    └──────────────────────── a producer registers ◀───────────────────────────────────┘
//! ```
//!
//! What it promises, INV-TXN:
//!
//! - All markers of a transaction have the same outcome, and its offsets are committed if and only if
//!   that outcome is commit. The outcome is recorded before its first effect, and "ended" after the last
//!   one, so a crash in between repeats effects and decides nothing anew.
//! - One producer at a time may use an id. An older one, fenced by a higher epoch or another producer
//!   id, changes nothing.
//! - A producer id is given out once, ever.
//!
//! In memory and in the journal it is bounded: see the constants.

mod effects;
mod end;
mod open;
mod producer_ids;
mod register;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;

use crate::journal::Entry;
use crate::units::{Now, Producer, TopicPartition};

pub(crate) use crate::journal::{Phase, TransactionState};
pub(crate) use crate::units::Outcome;
pub(crate) use effects::{EffectError, Effects};
pub(crate) use register::InitProducer;

use producer_ids::ProducerIds;

/// How many transactional ids are kept; one more is refused until old ones are forgotten.
pub(crate) const MAX_IDS: usize = 20_000;

/// Length of the longest transactional id, in bytes.
pub(crate) const MAX_ID_BYTES: usize = 4 << 10;

/// How many partitions a transaction may write to.
pub(crate) const MAX_PARTITIONS: usize = 2_000;

/// What one transaction's state may take in the journal, partitions and pending offsets included. Below
/// the limit of an entry, with room for the changes that must never be refused: the ending.
pub(crate) const MAX_STATE_BYTES: usize = 768 << 10;

/// What the states of all transactions may take together.
pub(crate) const MAX_TOTAL_BYTES: usize = 128 << 20;

/// How long after a failure an ending, or a timeout, is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A transactional id that nobody has used for so long is forgotten, as by Kafka's default.
const FORGET_AFTER_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// How often unused ids are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);

/// All transactional ids of the broker.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    ids: BTreeMap<String, Slot>,
    /// When something is due, by time; the same as the slots' `due`.
    due: BTreeSet<(Instant, String)>,
    producer_ids: ProducerIds,
    /// Sum of all states' weights.
    weight: usize,
    next_sweep: Option<Instant>,
}

/// One transactional id.
#[derive(Debug)]
struct Slot {
    state: TransactionState,
    /// When an open transaction times out, or an ending is tried again.
    due: Option<Instant>,
    /// What an ending still has to do.
    left: Left,
}

/// Effects that an ending has yet to have. A retry does not repeat those that took place.
#[derive(Debug, Default)]
struct Left {
    partitions: BTreeSet<TopicPartition>,
    groups: BTreeSet<String>,
}

impl Transactions {
    /// The state that a journal's entries amount to. Before it is used,
    /// [`Transactions::finish_interrupted`] completes what was decided.
    pub(crate) fn restore<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut restored = Self::default();
        for entry in entries {
            match entry {
                Entry::ProducerIds { next } => restored.producer_ids.restore(*next),
                Entry::Transaction { id, state } => restored.put(id, state.clone(), None),
                Entry::TransactionForgotten { id } => restored.remove(id),
                _ => {}
            }
        }
        restored
    }

    /// The whole state, for a compaction of the journal.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        let states = self.ids.iter().map(|(id, slot)| Entry::Transaction {
            id: id.clone(),
            state: slot.state.clone(),
        });
        self.producer_ids.entry().into_iter().chain(states)
    }

    /// All ids with their states, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &TransactionState)> {
        self.ids.iter().map(|(id, slot)| (id.as_str(), &slot.state))
    }

    /// The state of an id.
    pub(crate) fn get(&self, id: &str) -> Option<&TransactionState> {
        self.ids.get(id).map(|slot| &slot.state)
    }

    /// The partitions of an id's transaction that have no marker yet: all while it is open.
    pub(crate) fn unmarked_partitions(&self, id: &str) -> BTreeSet<TopicPartition> {
        match self.ids.get(id) {
            Some(slot) if matches!(slot.state.phase, Phase::Ending(_)) => {
                slot.left.partitions.clone()
            }
            Some(slot) => slot.state.partitions.clone(),
            None => BTreeSet::new(),
        }
    }

    /// When [`Transactions::tick`] has something to do. Nothing before the first tick of a broker
    /// without open transactions; that one looks for unused ids.
    #[cfg(test)]
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let due = self.due.first().map(|(instant, _)| *instant);
        due.into_iter().chain(self.next_sweep).min()
    }

    /// The state of an id, if this producer is the one that may use it.
    fn held_by(&self, id: &str, producer: Producer) -> Result<&TransactionState, ResponseError> {
        if id.is_empty() {
            return Err(ResponseError::InvalidRequest);
        }
        let state = self
            .get(id)
            .filter(|state| state.producer.id == producer.id)
            .ok_or(ResponseError::InvalidProducerIdMapping)?;
        if state.producer.epoch == producer.epoch {
            Ok(state)
        } else {
            Err(ResponseError::ProducerFenced)
        }
    }

    /// Records an id's new state, then takes it over. When recording fails, nothing has changed.
    fn change(
        &mut self,
        id: &str,
        state: TransactionState,
        now: Now,
        effects: &impl Effects,
    ) -> Result<(), EffectError> {
        let entry = Entry::Transaction {
            id: id.to_owned(),
            state,
        };
        effects.record(&entry)?;
        let Entry::Transaction { state, .. } = entry else {
            return Ok(());
        };
        let due = match state.phase {
            Phase::Ongoing => Some(self.timeout_of(id, &state, now)),
            Phase::Ending(_) => Some(now.instant + RETRY_AFTER),
            Phase::Empty | Phase::Ended(_) => None,
        };
        self.put(id, state, due);
        Ok(())
    }

    /// When an open transaction times out: as noted when it began, or now, if it begins.
    fn timeout_of(&self, id: &str, state: &TransactionState, now: Now) -> Instant {
        match self.ids.get(id) {
            Some(slot) if slot.state.phase == Phase::Ongoing => slot.due,
            _ => None,
        }
        .unwrap_or(now.instant + state.timeout())
    }

    /// Takes over a state that is recorded.
    fn put(&mut self, id: &str, state: TransactionState, due: Option<Instant>) {
        self.remove(id);
        self.weight += state.weight(id);
        if let Some(instant) = due {
            self.due.insert((instant, id.to_owned()));
        }
        let left = match state.phase {
            Phase::Ending(_) => Left {
                partitions: state.partitions.clone(),
                groups: state.offsets.keys().cloned().collect(),
            },
            _ => Left::default(),
        };
        self.ids.insert(id.to_owned(), Slot { state, due, left });
    }

    fn remove(&mut self, id: &str) {
        if let Some(old) = self.ids.remove(id) {
            self.weight = self.weight.saturating_sub(old.state.weight(id));
            if let Some(instant) = old.due {
                self.due.remove(&(instant, id.to_owned()));
            }
        }
    }

    fn set_due(&mut self, id: &str, due: Instant) {
        if let Some(slot) = self.ids.get_mut(id) {
            if let Some(before) = slot.due.replace(due) {
                self.due.remove(&(before, id.to_owned()));
            }
            self.due.insert((due, id.to_owned()));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
