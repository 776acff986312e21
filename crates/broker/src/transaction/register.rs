//! Producers register: the request `InitProducerId`.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::ResponseError;
use tracing::warn;

use super::effects::for_producer;
use super::{
    EffectError, Effects, MAX_ID_BYTES, MAX_IDS, Outcome, Phase, TransactionState, Transactions,
};
use crate::units::{Now, Producer, Timestamp};

/// The longest timeout that a producer may ask for: Kafka's default of `transaction.max.timeout.ms`.
const MAX_TIMEOUT_MS: i32 = 15 * 60 * 1000;

/// What a producer registers with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InitProducer<'a> {
    /// Its `transactional.id`; a producer that is only idempotent has none.
    pub(crate) id: Option<&'a str>,
    /// How long its transactions may stay open, in milliseconds.
    pub(crate) timeout_ms: i32,
    /// What it is already, if it wants to go on under a new epoch after an error (KIP-360).
    pub(crate) current: Option<Producer>,
}

/// What a registration amounts to.
#[derive(Debug, PartialEq, Eq)]
enum Registration {
    /// The producer asks again, because it has not seen the answer.
    Repeated,
    /// The id passes on to the producer, which was `previous` if it is the same instance as before.
    New { previous: Option<Producer> },
    /// Another instance has the id.
    Fenced,
}

impl Transactions {
    /// Registers a producer: it gets its producer id and epoch, everyone who used the transactional id
    /// before is fenced, and what they left open is aborted.
    ///
    /// Kafka answers `CONCURRENT_TRANSACTIONS` to the request that has to abort a transaction first, and
    /// the client repeats it; here markers are written at once, and the first request is answered.
    pub(crate) fn init_producer(
        &mut self,
        request: InitProducer<'_>,
        now: Now,
        effects: &impl Effects,
    ) -> Result<Producer, ResponseError> {
        let Some(id) = request.id else {
            return self.new_producer(effects);
        };
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            return Err(ResponseError::InvalidRequest);
        }
        if !(1..=MAX_TIMEOUT_MS).contains(&request.timeout_ms) {
            return Err(ResponseError::InvalidTransactionTimeout);
        }
        let Some(state) = self.get(id) else {
            return self.first_registration(id, request.timeout_ms, now, effects);
        };
        let registration = classify(state, request.current);
        let phase = state.phase;
        let previous = match registration {
            Registration::Fenced => return Err(ResponseError::ProducerFenced),
            Registration::Repeated => {
                let producer = state.producer;
                return self.register(id, producer, request, now, effects);
            }
            Registration::New { previous } => previous,
        };
        match phase {
            Phase::Ongoing => self.fence_and_abort(id, previous, now, effects),
            Phase::Ending(_) => self.complete(id, now, effects),
            Phase::Empty | Phase::Ended(_) => Ok(()),
        }
        .map_err(|error| {
            warn!(transactional_id = id, %error, "a registration waits for the open transaction's end");
            ResponseError::ConcurrentTransactions
        })?;
        let producer = self.successor(id, effects)?;
        self.register(
            id,
            producer,
            InitProducer {
                current: previous,
                ..request
            },
            now,
            effects,
        )
    }

    /// Records that `producer` has the id and no transaction.
    fn register(
        &mut self,
        id: &str,
        producer: Producer,
        request: InitProducer<'_>,
        now: Now,
        effects: &impl Effects,
    ) -> Result<Producer, ResponseError> {
        let state = TransactionState {
            previous: request.current,
            ..TransactionState::empty(producer, request.timeout_ms, now.wall)
        };
        self.change(id, state, now, effects).map_err(for_producer)?;
        Ok(producer)
    }

    fn first_registration(
        &mut self,
        id: &str,
        timeout_ms: i32,
        now: Now,
        effects: &impl Effects,
    ) -> Result<Producer, ResponseError> {
        if self.ids.len() >= MAX_IDS {
            warn!(
                transactional_id = id,
                limit = MAX_IDS,
                "too many transactional ids"
            );
            return Err(ResponseError::PolicyViolation);
        }
        let producer = self.new_producer(effects)?;
        let state = TransactionState::empty(producer, timeout_ms, now.wall);
        self.change(id, state, now, effects).map_err(for_producer)?;
        Ok(producer)
    }

    fn new_producer(&mut self, effects: &impl Effects) -> Result<Producer, ResponseError> {
        let id = self.producer_ids.allocate(effects).map_err(for_producer)?;
        Ok(Producer { id, epoch: 0 })
    }

    /// Who comes after the present producer of an id: the next epoch, or, where epochs are used up, the
    /// first of another producer id.
    fn successor(&mut self, id: &str, effects: &impl Effects) -> Result<Producer, ResponseError> {
        match self.get(id).map(|state| state.producer) {
            Some(producer) if !epochs_used_up(producer.epoch) => Ok(next_epoch(producer)),
            _ => self.new_producer(effects),
        }
    }

    /// Aborts an open transaction under a new epoch, which nobody is given: whoever began it is fenced.
    /// `previous` is the producer that asked for it, if it is the same one.
    pub(super) fn fence_and_abort(
        &mut self,
        id: &str,
        previous: Option<Producer>,
        now: Now,
        effects: &impl Effects,
    ) -> Result<(), EffectError> {
        let Some(state) = self.get(id) else {
            return Ok(());
        };
        let state = TransactionState {
            producer: next_epoch(state.producer),
            previous,
            phase: Phase::Ending(Outcome::Abort),
            updated: now.wall,
            ..state.clone()
        };
        self.change(id, state, now, effects)?;
        self.complete(id, now, effects)
    }
}

/// Whether `current`, if the producer says so, still has the id.
fn classify(state: &TransactionState, current: Option<Producer>) -> Registration {
    match current {
        Some(producer) if producer == state.producer => Registration::New { previous: current },
        // The epoch was bumped for this producer already. In phase Empty it has been registered; else
        // its transaction was aborted, and the registration itself did not come about.
        Some(producer) if state.previous == Some(producer) => match state.phase {
            Phase::Empty => Registration::Repeated,
            _ => Registration::New { previous: current },
        },
        Some(_) => Registration::Fenced,
        None => Registration::New { previous: None },
    }
}

/// The last epoch of a producer id is kept for fencing, as Kafka does.
fn epochs_used_up(epoch: i16) -> bool {
    epoch >= i16::MAX - 1
}

fn next_epoch(producer: Producer) -> Producer {
    Producer {
        id: producer.id,
        epoch: producer.epoch.saturating_add(1),
    }
}

impl TransactionState {
    /// The state of an id whose producer has begun nothing.
    pub(super) fn empty(producer: Producer, timeout_ms: i32, now: Timestamp) -> Self {
        Self {
            producer,
            previous: None,
            timeout_ms,
            phase: Phase::Empty,
            started: Timestamp(-1),
            updated: now,
            partitions: BTreeSet::new(),
            offsets: BTreeMap::new(),
        }
    }
}
