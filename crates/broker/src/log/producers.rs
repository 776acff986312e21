//! What a partition knows of the producers that write to it: sequences, epochs and transactions.
//!
//! The rules are Kafka's:
//! - A producer id nobody has heard of may begin with any sequence number: what came before may have
//!   been deleted. From then on each batch continues the one before, and a new epoch begins at 0.
//! - A batch that is one of the last five again is answered with where it went the first time.
//! - An older epoch than the one in force is refused, and a transaction's end raises the epoch.
//! - A transaction opens with its first batch, and the log is stable up to the first that is open.
//!
//! INV-LSO: the last stable offset is the first offset of the earliest open transaction, or the end.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::batch::Header;
use super::error::AppendError;
use crate::units::{Offset, Outcome, Producer, Timestamp};

/// Batches of a producer that are recognised when they come again: what a client may have in flight.
const REMEMBERED_BATCHES: usize = 5;
/// Producers without an open transaction that a partition remembers. Beyond, the half that wrote
/// longest ago is forgotten: some 200 bytes each is what a client that makes up ids can take.
const REMEMBERED_PRODUCERS: usize = 20_000;

/// A batch as its producer may send it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Written {
    first_sequence: i32,
    last_sequence: i32,
    /// First offset it got.
    pub(super) base: Offset,
    /// Last offset it got.
    pub(super) last: Offset,
    /// Its highest timestamp.
    pub(super) max_timestamp: Timestamp,
}

/// One producer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    epoch: i16,
    /// The last batches of this epoch, the newest at the back.
    batches: VecDeque<Written>,
    /// Timestamp of the last batch or marker.
    last_timestamp: Timestamp,
    /// First offset of the open transaction.
    transaction: Option<Offset>,
    /// When the broker saw it last. Not known after a restart, and taken as the first time that somebody
    /// asks: records' timestamps are the client's, and may be years old.
    #[serde(skip)]
    seen: Option<Timestamp>,
}

impl State {
    fn last_sequence(&self) -> i32 {
        self.batches.back().map_or(-1, |batch| batch.last_sequence)
    }

    fn raise(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
    }
}

/// A transaction that was aborted, as the log remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Aborted {
    producer_id: i64,
    first: Offset,
    /// Offset of the marker. The list is in this order.
    last: Offset,
    /// Up to where the log was stable after the marker: what ends later began no earlier.
    stable: Offset,
}

/// A transaction whose records a `read_committed` reader has to skip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AbortedTransaction {
    /// Whose records.
    pub(crate) producer_id: i64,
    /// From which offset on, until the marker of that producer.
    pub(crate) first_offset: Offset,
}

/// A producer, for `DescribeProducers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ActiveProducer {
    /// Id, and the epoch in force.
    pub(crate) producer: Producer,
    /// Last sequence number of this epoch, -1 if it has written nothing yet.
    pub(crate) last_sequence: i32,
    /// Timestamp of what it wrote last.
    pub(crate) last_timestamp: Timestamp,
    /// First offset of its open transaction.
    pub(crate) transaction_start: Option<Offset>,
}

/// What to do with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Append it.
    New,
    /// Append it; it opens a transaction.
    OpensTransaction,
    /// It is in the log already.
    Duplicate(Written),
}

/// All producers of a partition that are remembered, and its transactions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Producers {
    known: HashMap<i64, State>,
    /// Open transactions: first offset and producer id.
    open: BTreeMap<Offset, i64>,
    aborted: VecDeque<Aborted>,
}

impl Producers {
    /// Judges a client's batch, whose header has been checked. Changes nothing.
    pub(super) fn check(&self, header: &Header) -> Result<Verdict, AppendError> {
        let Some(producer) = header.producer() else {
            return Ok(Verdict::New);
        };
        let opens = if header.is_transactional() {
            Verdict::OpensTransaction
        } else {
            Verdict::New
        };
        let Some(state) = self.known.get(&producer.id) else {
            return Ok(opens);
        };
        if producer.epoch < state.epoch {
            return Err(AppendError::Fenced {
                producer,
                current: state.epoch,
            });
        }
        let out_of_order = |last| AppendError::OutOfOrderSequence {
            producer,
            found: header.base_sequence,
            last,
        };
        if producer.epoch > state.epoch {
            if header.base_sequence != 0 {
                return Err(out_of_order(-1));
            }
        } else {
            let (first, last) = (header.base_sequence, header.last_sequence());
            let same =
                |batch: &&Written| (batch.first_sequence, batch.last_sequence) == (first, last);
            if let Some(batch) = state.batches.iter().find(same) {
                return Ok(Verdict::Duplicate(*batch));
            }
            let newest = state.last_sequence();
            if first != newest.checked_add(1).unwrap_or(0) {
                return Err(out_of_order(newest));
            }
        }
        match (state.transaction, header.is_transactional()) {
            (Some(_), false) => Err(AppendError::OutsideTransaction(producer)),
            (Some(_), true) => Ok(Verdict::New),
            (None, _) => Ok(opens),
        }
    }

    /// Takes in a batch that is in the log now. `seen` is when, `None` if that was before a restart.
    pub(super) fn wrote(&mut self, header: &Header, seen: Option<Timestamp>) {
        let Some(producer) = header.producer() else {
            return;
        };
        let state = self.state_of(producer, seen);
        if state.batches.len() >= REMEMBERED_BATCHES {
            state.batches.pop_front();
        }
        state.batches.push_back(Written {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base: header.base,
            last: header.last(),
            max_timestamp: header.max_timestamp,
        });
        state.last_timestamp = header.max_timestamp;
        if header.is_transactional() && state.transaction.is_none() {
            state.transaction = Some(header.base);
            self.open.insert(header.base, producer.id);
        }
    }

    /// Whether this producer may end a transaction now; says whether one is open.
    pub(super) fn check_marker(&self, producer: Producer) -> Result<bool, AppendError> {
        match self.known.get(&producer.id) {
            Some(state) if producer.epoch < state.epoch => Err(AppendError::Fenced {
                producer,
                current: state.epoch,
            }),
            Some(state) => Ok(state.transaction.is_some()),
            None => Ok(false),
        }
    }

    /// Takes in a marker that is in the log now.
    pub(super) fn ended(
        &mut self,
        producer: Producer,
        outcome: Outcome,
        marker: &Header,
        seen: Option<Timestamp>,
    ) {
        let state = self.state_of(producer, seen);
        state.last_timestamp = marker.max_timestamp;
        let Some(first) = state.transaction.take() else {
            return;
        };
        self.open.remove(&first);
        if outcome == Outcome::Abort {
            self.aborted.push_back(Aborted {
                producer_id: producer.id,
                first,
                last: marker.base,
                stable: self.first_open().unwrap_or(marker.next()),
            });
        }
    }

    fn state_of(&mut self, producer: Producer, seen: Option<Timestamp>) -> &mut State {
        if self.known.len() >= REMEMBERED_PRODUCERS && !self.known.contains_key(&producer.id) {
            self.forget_idlest();
        }
        let state = self.known.entry(producer.id).or_insert_with(|| State {
            epoch: producer.epoch,
            batches: VecDeque::new(),
            last_timestamp: super::batch::NO_TIMESTAMP,
            transaction: None,
            seen,
        });
        state.raise(producer.epoch);
        state.seen = seen;
        state
    }

    /// First offset of the earliest open transaction.
    pub(super) fn first_open(&self) -> Option<Offset> {
        self.open.keys().next().copied()
    }

    /// The aborted transactions that a reader of `from..to` meets, in the order of their ends.
    pub(super) fn aborted_within(&self, from: Offset, to: Offset) -> Vec<AbortedTransaction> {
        let ended_before = self.aborted.partition_point(|entry| entry.last < from);
        let mut found = Vec::new();
        for entry in self.aborted.range(ended_before..) {
            if entry.first < to {
                found.push(AbortedTransaction {
                    producer_id: entry.producer_id,
                    first_offset: entry.first,
                });
            }
            if entry.stable >= to {
                break;
            }
        }
        found
    }

    /// Forgets aborted transactions that ended before the log's new start.
    pub(super) fn start_moved(&mut self, start: Offset) {
        let ended_before = self.aborted.partition_point(|entry| entry.last < start);
        self.aborted.drain(..ended_before);
    }

    /// Forgets producers that have no open transaction and were not seen for `after_ms`.
    pub(super) fn expire(&mut self, now: Timestamp, after_ms: i64) {
        self.known.retain(|_, state| {
            let seen = *state.seen.get_or_insert(now);
            state.transaction.is_some() || now.0.saturating_sub(seen.0) < after_ms
        });
    }

    /// Makes room: the half of the producers without a transaction that was not seen for longest goes.
    fn forget_idlest(&mut self) {
        let idle = self
            .known
            .values()
            .filter(|state| state.transaction.is_none());
        let mut seen: Vec<_> = idle.map(|state| state.seen).collect();
        if seen.is_empty() {
            return;
        }
        let half = seen.len() / 2;
        let (_, median, _) = seen.select_nth_unstable(half);
        let (median, mut room) = (*median, half + 1);
        self.known.retain(|_, state| {
            let goes = state.transaction.is_none() && state.seen <= median && room > 0;
            room -= usize::from(goes);
            !goes
        });
    }

    /// Those that are remembered, in no order.
    pub(super) fn active(&self) -> impl Iterator<Item = ActiveProducer> + '_ {
        self.known.iter().map(|(&id, state)| ActiveProducer {
            producer: Producer {
                id,
                epoch: state.epoch,
            },
            last_sequence: state.last_sequence(),
            last_timestamp: state.last_timestamp,
            transaction_start: state.transaction,
        })
    }
}
