//! What surrounds the coordinator in tests: a journal, partition logs and groups in memory, which fail
//! or die on demand.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::journal::{CommittedOffset, Entry, JournalError};
use crate::transaction::{EffectError, Effects, Outcome, Transactions};
use crate::units::{Now, Offset, Producer, Timestamp, TopicPartition};

/// How an effect goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does not take place; later ones do.
    Fails,
    /// The process dies before it.
    DiesBefore,
    /// The process dies after it.
    DiesAfter,
}

/// One partition's log, as far as transactions show in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Log {
    /// Transactions of each producer that have records and no marker yet. In the tests a transaction
    /// has a number of its own.
    open: BTreeMap<i64, BTreeSet<i64>>,
    /// How each transaction with records here has ended.
    pub(crate) ended: BTreeMap<i64, Outcome>,
    /// The latest epoch of each producer.
    epochs: BTreeMap<i64, i16>,
    /// Markers that ended something.
    pub(crate) markers: Vec<(Producer, Outcome)>,
}

/// What a crash does not take.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Lasting {
    pub(crate) journal: Vec<Entry>,
    pub(crate) logs: BTreeMap<TopicPartition, Log>,
    /// Every offset that was ever committed, by group.
    pub(crate) committed: BTreeMap<String, BTreeSet<Offset>>,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) lasting: RefCell<Lasting>,
    /// Offsets that are held, by group and producer.
    pub(crate) held: RefCell<BTreeSet<(String, i64)>>,
    /// The fault to come, after so many more effects.
    fault: Cell<Option<(usize, Fault)>>,
    pub(crate) dead: Cell<bool>,
    start: Instant,
    elapsed: Cell<Duration>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            lasting: RefCell::default(),
            held: RefCell::default(),
            fault: Cell::new(None),
            dead: Cell::new(false),
            start: Instant::now(),
            elapsed: Cell::default(),
        }
    }

    pub(crate) fn now(&self) -> Now {
        let elapsed = self.elapsed.get();
        Now {
            instant: self.start + elapsed,
            wall: Timestamp(1_700_000_000_000 + elapsed.as_millis() as i64),
        }
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.elapsed.set(self.elapsed.get() + time);
    }

    /// Lets an effect go wrong, after `effects` more of them.
    pub(crate) fn inject(&self, fault: Fault, effects: usize) {
        self.fault.set(Some((effects, fault)));
    }

    pub(crate) fn heal(&self) {
        self.fault.set(None);
    }

    /// Starts the process anew, from what lasts. The start itself may die.
    pub(crate) fn restart(&self) -> Transactions {
        self.dead.set(false);
        self.held.borrow_mut().clear();
        let journal = self.lasting.borrow().journal.clone();
        let mut transactions = Transactions::restore(&journal);
        transactions.finish_interrupted(self, self.now());
        transactions
    }

    /// Appends a batch of a transaction. The caller has been allowed to.
    pub(crate) fn append(&self, partition: &TopicPartition, producer: Producer, transaction: i64) {
        let mut lasting = self.lasting.borrow_mut();
        let log = lasting.logs.entry(partition.clone()).or_default();
        let epoch = log.epochs.entry(producer.id).or_insert(producer.epoch);
        assert!(
            *epoch <= producer.epoch,
            "INV-TXN: a fenced producer appends"
        );
        *epoch = producer.epoch;
        let open = log.open.entry(producer.id).or_default();
        open.insert(transaction);
        assert_eq!(open.len(), 1, "INV-TXN: two transactions are open at once");
        assert!(
            !log.ended.contains_key(&transaction),
            "INV-TXN: a batch behind its marker"
        );
    }

    pub(crate) fn open_on(&self, partition: &TopicPartition) -> usize {
        self.lasting.borrow().logs.get(partition).map_or(0, |log| {
            log.open.values().filter(|open| !open.is_empty()).count()
        })
    }

    pub(crate) fn markers(&self, partition: &TopicPartition) -> Vec<(Producer, Outcome)> {
        let lasting = self.lasting.borrow();
        lasting
            .logs
            .get(partition)
            .map_or_else(Vec::new, |log| log.markers.clone())
    }

    pub(crate) fn committed(&self, group: &str) -> Vec<i64> {
        let lasting = self.lasting.borrow();
        let offsets = lasting.committed.get(group);
        offsets
            .into_iter()
            .flatten()
            .map(|offset| offset.0)
            .collect()
    }

    /// Does an effect, or not; says whether the caller hears of success.
    fn take(&self, effect: impl FnOnce(&mut Lasting)) -> Result<(), ()> {
        if self.dead.get() {
            return Err(());
        }
        match self.fault.get() {
            Some((0, fault)) => {
                self.fault.set(None);
                self.dead.set(fault != Fault::Fails);
                if fault == Fault::DiesAfter {
                    effect(&mut self.lasting.borrow_mut());
                }
                return Err(());
            }
            Some((effects, fault)) => self.fault.set(Some((effects - 1, fault))),
            None => {}
        }
        effect(&mut self.lasting.borrow_mut());
        Ok(())
    }
}

fn journal_failed() -> EffectError {
    EffectError::Journal(JournalError::Poisoned {
        path: PathBuf::from("journal"),
    })
}

impl Effects for World {
    fn record(&self, entry: &Entry) -> Result<(), EffectError> {
        self.take(|lasting| lasting.journal.push(entry.clone()))
            .map_err(|()| journal_failed())
    }

    fn write_marker(
        &self,
        partition: &TopicPartition,
        producer: Producer,
        outcome: Outcome,
        _now: Now,
    ) -> Result<(), EffectError> {
        self.take(|lasting| {
            let log = lasting.logs.entry(partition.clone()).or_default();
            let epoch = log.epochs.entry(producer.id).or_default();
            *epoch = producer.epoch.max(*epoch);
            for transaction in log.open.remove(&producer.id).unwrap_or_default() {
                log.ended.insert(transaction, outcome);
                log.markers.push((producer, outcome));
            }
        })
        .map_err(|()| EffectError::Log {
            partition: partition.clone(),
            source: io::Error::from(io::ErrorKind::StorageFull).into(),
        })
    }

    fn hold_offsets(&self, group: &str, producer_id: i64, _: &[(TopicPartition, CommittedOffset)]) {
        if !self.dead.get() {
            self.held
                .borrow_mut()
                .insert((group.to_owned(), producer_id));
        }
    }

    fn commit_offsets(
        &self,
        group: &str,
        producer_id: i64,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<(), EffectError> {
        self.take(|lasting| {
            let committed = lasting.committed.entry(group.to_owned()).or_default();
            committed.extend(offsets.iter().map(|(_, committed)| committed.offset));
            self.held
                .borrow_mut()
                .remove(&(group.to_owned(), producer_id));
        })
        .map_err(|()| journal_failed())
    }

    fn release_offsets(
        &self,
        group: &str,
        producer_id: i64,
        _: &[(TopicPartition, CommittedOffset)],
    ) {
        if !self.dead.get() {
            self.held
                .borrow_mut()
                .remove(&(group.to_owned(), producer_id));
        }
    }
}
