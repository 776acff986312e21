//! Random producers against a plain model of what each of them was told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::ResponseError;
use proptest::prelude::*;

use super::world::{Fault, World};
use super::{TIMEOUT_MS, offsets_at, partition};
use crate::transaction::{InitProducer, Outcome, Transactions};
use crate::units::Producer;

/// Instances that contend for the transactional ids.
const INSTANCES: usize = 3;
const IDS: [&str; 2] = ["first", "second"];
const GROUPS: [&str; 2] = ["readers", "writers"];

#[derive(Debug, Clone, Copy)]
enum Step {
    Register(usize),
    Recover(usize),
    AddPartition(usize, i32),
    Produce(usize, i32),
    AddGroup(usize, usize),
    AddOffsets(usize, usize),
    End(usize, Outcome),
    Pass(u64),
    Tick,
    Compact,
    Restart,
    Inject(Fault, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let instance = 0..INSTANCES;
    let group = 0..GROUPS.len();
    let outcome = prop_oneof![3 => Just(Outcome::Commit), 1 => Just(Outcome::Abort)];
    let fault = prop_oneof![
        Just(Fault::Fails),
        Just(Fault::DiesBefore),
        Just(Fault::DiesAfter)
    ];
    prop_oneof![
        1 => instance.clone().prop_map(Step::Register),
        1 => instance.clone().prop_map(Step::Recover),
        6 => (instance.clone(), 0..3).prop_map(|(i, p)| Step::AddPartition(i, p)),
        6 => (instance.clone(), 0..3).prop_map(|(i, p)| Step::Produce(i, p)),
        4 => (instance.clone(), group.clone()).prop_map(|(i, g)| Step::AddGroup(i, g)),
        6 => (instance.clone(), group).prop_map(|(i, g)| Step::AddOffsets(i, g)),
        5 => (instance, outcome).prop_map(|(i, o)| Step::End(i, o)),
        1 => (0_u64..20_000).prop_map(Step::Pass),
        1 => Just(Step::Tick),
        1 => Just(Step::Compact),
        1 => Just(Step::Restart),
        4 => (fault, 0_usize..7).prop_map(|(f, n)| Step::Inject(f, n)),
    ]
}

/// What a client knows of itself.
#[derive(Debug, Clone, Default)]
struct Instance {
    producer: Option<Producer>,
    /// Number of its present transaction.
    transaction: i64,
    /// It asked for this end and does not know what became of it: it has to ask again.
    asked: Option<Outcome>,
    /// Another instance has been given the id since.
    superseded: bool,
}

struct Run {
    world: World,
    transactions: Transactions,
    instances: Vec<Instance>,
    next_transaction: i64,
    /// The ends that clients were told of.
    told: BTreeMap<i64, Outcome>,
    /// Groups whose offsets were added to a transaction, as its client was told.
    added: BTreeMap<i64, BTreeSet<&'static str>>,
    given_out: BTreeSet<i64>,
}

impl Run {
    fn new() -> Self {
        Self {
            world: World::new(),
            transactions: Transactions::default(),
            instances: vec![Instance::default(); INSTANCES],
            next_transaction: 1,
            told: BTreeMap::new(),
            added: BTreeMap::new(),
            given_out: BTreeSet::new(),
        }
    }

    fn step(&mut self, step: Step) {
        let actor = match step {
            Step::Register(i) | Step::Recover(i) => {
                return self.register(i, matches!(step, Step::Recover(_)));
            }
            Step::AddPartition(i, _)
            | Step::Produce(i, _)
            | Step::AddGroup(i, _)
            | Step::AddOffsets(i, _)
            | Step::End(i, _) => i,
            _ => return self.environment(step),
        };
        let Some(producer) = self.instances[actor].producer else {
            return;
        };
        let before = self.world.lasting.borrow().clone();
        let result = self.act(step, actor, producer);
        if self.instances[actor].superseded {
            assert!(
                result.is_err(),
                "INV-TXN: a fenced producer was served: {step:?}"
            );
            assert_eq!(
                before,
                *self.world.lasting.borrow(),
                "INV-TXN: a fenced producer changed something"
            );
        }
        match result {
            Err(
                ResponseError::CoordinatorNotAvailable
                | ResponseError::ConcurrentTransactions
                | ResponseError::NotEnoughReplicas,
            )
            | Ok(()) => {}
            // The client gives up. Its transaction ends somehow, but all of it in the same way.
            Err(_) => self.instances[actor].producer = None,
        }
        self.revive();
    }

    fn act(&mut self, step: Step, actor: usize, producer: Producer) -> Result<(), ResponseError> {
        let (world, transactions, now) = (&self.world, &mut self.transactions, self.world.now());
        let id = IDS[actor % IDS.len()];
        let instance = &mut self.instances[actor];
        let step = match instance.asked {
            Some(outcome) => Step::End(actor, outcome),
            None => step,
        };
        match step {
            Step::AddPartition(_, number) => {
                transactions.add_partitions(id, producer, &[partition(number)].into(), now, world)
            }
            Step::Produce(_, number) => {
                transactions
                    .verify_produce(id, producer, &partition(number))
                    .map_err(was_not_added)?;
                world.append(&partition(number), producer, instance.transaction);
                Ok(())
            }
            Step::AddGroup(_, group) => {
                transactions.add_group(id, producer, GROUPS[group], now, world)
            }
            Step::AddOffsets(_, group) => {
                let offsets = offsets_at(instance.transaction, now.wall);
                transactions
                    .add_offsets(
                        id,
                        producer,
                        (GROUPS[group], &offsets),
                        || Ok(()),
                        now,
                        world,
                    )
                    .map_err(was_not_added)?;
                let groups = self.added.entry(instance.transaction).or_default();
                groups.insert(GROUPS[group]);
                Ok(())
            }
            Step::End(_, outcome) => {
                instance.asked = Some(outcome);
                transactions.end(id, producer, outcome, now, world)?;
                self.told.insert(instance.transaction, outcome);
                instance.asked = None;
                instance.transaction = self.next_transaction;
                self.next_transaction += 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn register(&mut self, actor: usize, recover: bool) {
        let id = IDS[actor % IDS.len()];
        let current = self.instances[actor].producer.filter(|_| recover);
        let request = InitProducer {
            id: Some(id),
            timeout_ms: TIMEOUT_MS,
            current,
        };
        let superseded = self.instances[actor].superseded && current.is_some();
        let before = self.world.lasting.borrow().clone();
        let result = self
            .transactions
            .init_producer(request, self.world.now(), &self.world);
        if superseded {
            assert_eq!(result, Err(ResponseError::ProducerFenced));
            assert_eq!(before, *self.world.lasting.borrow());
        }
        match result {
            Ok(producer) => {
                for (other, instance) in self.instances.iter_mut().enumerate() {
                    if other != actor && IDS[other % IDS.len()] == id {
                        instance.superseded = true;
                    }
                }
                assert!(
                    producer.epoch > 0 || self.given_out.insert(producer.id),
                    "a producer id was given out twice"
                );
                self.instances[actor] = Instance {
                    producer: Some(producer),
                    transaction: self.next_transaction,
                    ..Instance::default()
                };
                self.next_transaction += 1;
            }
            // A new instance that gets no answer leaves the old one as it was, or fenced.
            Err(ResponseError::ProducerFenced) => self.instances[actor].producer = None,
            Err(_) if !recover => self.instances[actor].producer = None,
            Err(_) => {}
        }
        self.revive();
    }

    fn environment(&mut self, step: Step) {
        match step {
            Step::Pass(milliseconds) => self.world.pass(Duration::from_millis(milliseconds)),
            Step::Tick => self.transactions.tick(self.world.now(), &self.world),
            Step::Compact => {
                let entries = self.transactions.entries().collect();
                self.world.lasting.borrow_mut().journal = entries;
            }
            Step::Restart => self.transactions = self.world.restart(),
            Step::Inject(fault, effects) => self.world.inject(fault, effects),
            _ => {}
        }
        self.revive();
    }

    /// A process that died is started again, until the start succeeds.
    fn revive(&mut self) {
        while self.world.dead.get() {
            self.transactions = self.world.restart();
        }
    }

    fn finish(&mut self) {
        self.world.heal();
        for _ in 0..3 {
            self.world.pass(Duration::from_millis(TIMEOUT_MS as u64));
            self.transactions.tick(self.world.now(), &self.world);
        }
        assert!(
            self.world.held.borrow().is_empty(),
            "offsets are held for ever"
        );
        let mut outcomes: BTreeMap<i64, Outcome> = BTreeMap::new();
        for number in 0..3 {
            assert_eq!(
                self.world.open_on(&partition(number)),
                0,
                "a transaction has no marker"
            );
        }
        let lasting = self.world.lasting.borrow();
        for (transaction, outcome) in lasting.logs.values().flat_map(|log| &log.ended) {
            let before = outcomes.insert(*transaction, *outcome);
            assert!(
                before.is_none_or(|before| before == *outcome),
                "INV-TXN: two outcomes"
            );
        }
        for (transaction, outcome) in &outcomes {
            if let Some(told) = self.told.get(transaction) {
                assert_eq!(
                    told, outcome,
                    "INV-TXN: not the outcome that the client was told"
                );
            }
        }
        for transaction in lasting.committed.values().flatten() {
            let is_commit = |outcome: &Outcome| *outcome == Outcome::Commit;
            assert!(
                outcomes.get(&transaction.0).is_none_or(is_commit)
                    && self.told.get(&transaction.0).is_none_or(is_commit),
                "INV-TXN: offsets of an aborted transaction were committed"
            );
        }
        for (number, outcome) in &self.told {
            for group in self.added.get(number).into_iter().flatten() {
                assert!(
                    *outcome == Outcome::Abort || self.world.committed(group).contains(number),
                    "INV-TXN: offsets of a committed transaction were not committed"
                );
            }
        }
    }
}

/// A client adds what it is going to use; this one tries without, and does not give up.
fn was_not_added(error: ResponseError) -> ResponseError {
    match error {
        ResponseError::InvalidTxnState => ResponseError::NotEnoughReplicas,
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn transactions_are_all_or_nothing_whatever_fails_between_the_effects(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut run = Run::new();
        // Most of the time one instance of each id is at work.
        let start = (0..2).map(Step::Register);
        for step in start.chain(steps) {
            run.step(step);
        }
        run.finish();
    }
}
