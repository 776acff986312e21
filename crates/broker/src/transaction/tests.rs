mod bounds;
mod failures;
mod model;
pub(crate) mod world;

use std::time::Duration;

use kafka_protocol::ResponseError;

use self::world::{Fault, World};
use super::*;
use crate::journal::CommittedOffset;
use crate::units::{Offset, Timestamp};

const TIMEOUT_MS: i32 = 30_000;

fn partition(number: i32) -> TopicPartition {
    TopicPartition {
        topic: "events".to_owned(),
        partition: number,
    }
}

/// One offset, of partition 0.
fn offsets_at(offset: i64, at: Timestamp) -> Vec<(TopicPartition, CommittedOffset)> {
    let committed = CommittedOffset {
        offset: Offset(offset),
        leader_epoch: -1,
        metadata: String::new(),
        at,
    };
    vec![(partition(0), committed)]
}

/// The coordinator with its surroundings, and the transactional id `app`.
struct Coordinator {
    world: World,
    transactions: Transactions,
}

impl Coordinator {
    fn new() -> Self {
        Self {
            world: World::new(),
            transactions: Transactions::default(),
        }
    }

    fn register(&mut self, current: Option<Producer>) -> Result<Producer, ResponseError> {
        let request = InitProducer {
            id: Some("app"),
            timeout_ms: TIMEOUT_MS,
            current,
        };
        self.transactions
            .init_producer(request, self.world.now(), &self.world)
    }

    fn add(&mut self, producer: Producer, number: i32) -> Result<(), ResponseError> {
        let partitions = [partition(number)].into();
        self.transactions.add_partitions(
            "app",
            producer,
            &partitions,
            self.world.now(),
            &self.world,
        )
    }

    fn produce(&mut self, producer: Producer, number: i32) -> Result<(), ResponseError> {
        self.transactions
            .verify_produce("app", producer, &partition(number))?;
        self.world.append(&partition(number), producer, 1);
        Ok(())
    }

    fn add_group(&mut self, producer: Producer) -> Result<(), ResponseError> {
        self.transactions
            .add_group("app", producer, "readers", self.world.now(), &self.world)
    }

    fn add_offset(&mut self, producer: Producer, offset: i64) -> Result<(), ResponseError> {
        let now = self.world.now();
        let offsets = offsets_at(offset, now.wall);
        self.transactions.add_offsets(
            "app",
            producer,
            ("readers", &offsets),
            || Ok(()),
            now,
            &self.world,
        )
    }

    fn end(&mut self, producer: Producer, outcome: Outcome) -> Result<(), ResponseError> {
        self.transactions
            .end("app", producer, outcome, self.world.now(), &self.world)
    }

    fn tick_after(&mut self, time: Duration) {
        self.world.pass(time);
        self.transactions.tick(self.world.now(), &self.world);
    }

    fn phase(&self) -> Phase {
        self.transactions.get("app").expect("registered").phase
    }

    /// A producer with a transaction on partition 0 and offset 7 of the group.
    fn in_transaction() -> (Self, Producer) {
        let mut coordinator = Self::new();
        let producer = coordinator.register(None).expect("registered");
        coordinator.add(producer, 0).expect("partition added");
        coordinator.produce(producer, 0).expect("produced");
        coordinator.add_group(producer).expect("group added");
        coordinator.add_offset(producer, 7).expect("offset added");
        (coordinator, producer)
    }

    fn restart(&mut self) {
        self.transactions = self.world.restart();
    }

    /// How partition 0 saw the transaction end, and what the group has committed.
    fn result(&self) -> (Option<Outcome>, Vec<i64>) {
        let markers = self.world.markers(&partition(0));
        assert!(markers.len() <= 1);
        let outcome = markers.first().map(|(_, outcome)| *outcome);
        (outcome, self.world.committed("readers"))
    }
}

fn committed() -> (Option<Outcome>, Vec<i64>) {
    (Some(Outcome::Commit), vec![7])
}

fn aborted() -> (Option<Outcome>, Vec<i64>) {
    (Some(Outcome::Abort), vec![])
}

fn epoch(producer: Producer, epoch: i16) -> Producer {
    Producer { epoch, ..producer }
}

#[test]
fn a_commit_writes_markers_and_commits_offsets() {
    let (mut app, producer) = Coordinator::in_transaction();
    assert_eq!(
        app.world.held.borrow().len(),
        1,
        "the offset is held while the transaction is open"
    );
    assert_eq!(app.end(producer, Outcome::Commit), Ok(()));
    assert_eq!(app.result(), committed());
    assert!(app.world.held.borrow().is_empty());
    assert_eq!(app.phase(), Phase::Ended(Outcome::Commit));
}

#[test]
fn an_abort_writes_markers_and_forgets_offsets() {
    let (mut app, producer) = Coordinator::in_transaction();
    assert_eq!(app.end(producer, Outcome::Abort), Ok(()));
    assert_eq!(app.result(), aborted());
    assert!(app.world.held.borrow().is_empty());
}

#[test]
fn an_end_may_be_repeated_but_not_changed() {
    let (mut app, producer) = Coordinator::in_transaction();
    assert_eq!(app.end(producer, Outcome::Commit), Ok(()));
    assert_eq!(app.end(producer, Outcome::Commit), Ok(()));
    assert_eq!(
        app.end(producer, Outcome::Abort),
        Err(ResponseError::InvalidTxnState)
    );
    assert_eq!(app.result(), committed());
}

#[test]
fn an_end_without_a_transaction_is_an_invalid_state() {
    let mut app = Coordinator::new();
    let producer = app.register(None).expect("registered");
    assert_eq!(
        app.end(producer, Outcome::Commit),
        Err(ResponseError::InvalidTxnState)
    );
    assert_eq!(
        app.end(producer, Outcome::Abort),
        Err(ResponseError::InvalidTxnState)
    );
}

#[test]
fn a_second_instance_aborts_and_fences_the_first() {
    let (mut app, first) = Coordinator::in_transaction();
    let second = app.register(None).expect("registered");
    assert_eq!(second, epoch(first, 2));
    assert_eq!(app.result(), aborted());
    assert_eq!(
        app.world.markers(&partition(0))[0].0,
        epoch(first, 1),
        "the marker fences the log too"
    );
    assert_eq!(app.add(first, 1), Err(ResponseError::ProducerFenced));
    assert_eq!(app.add_group(first), Err(ResponseError::ProducerFenced));
    assert_eq!(app.add_offset(first, 9), Err(ResponseError::ProducerFenced));
    assert_eq!(
        app.end(first, Outcome::Commit),
        Err(ResponseError::ProducerFenced)
    );
    assert_eq!(
        app.produce(first, 0),
        Err(ResponseError::InvalidProducerEpoch)
    );
    assert_eq!(
        app.register(Some(first)),
        Err(ResponseError::ProducerFenced)
    );
}

#[test]
fn a_fenced_instance_cannot_abort_what_its_successor_has_open() {
    let mut app = Coordinator::new();
    let first = app.register(None).expect("registered");
    let second = app.register(None).expect("registered");
    app.add(second, 0).expect("partition added");
    assert_eq!(
        app.register(Some(first)),
        Err(ResponseError::ProducerFenced)
    );
    assert_eq!(app.phase(), Phase::Ongoing);
}

#[test]
fn an_unknown_id_or_producer_is_an_invalid_mapping() {
    let mut app = Coordinator::new();
    let nobody = Producer { id: 77, epoch: 0 };
    assert_eq!(
        app.add(nobody, 0),
        Err(ResponseError::InvalidProducerIdMapping)
    );
    let producer = app.register(None).expect("registered");
    assert_eq!(
        app.add(nobody, 0),
        Err(ResponseError::InvalidProducerIdMapping)
    );
    assert_eq!(
        app.end(nobody, Outcome::Commit),
        Err(ResponseError::InvalidProducerIdMapping)
    );
    assert_eq!(
        app.produce(nobody, 0),
        Err(ResponseError::InvalidProducerIdMapping)
    );
    assert_eq!(
        app.add(epoch(producer, 5), 0),
        Err(ResponseError::ProducerFenced)
    );
    assert_eq!(
        app.transactions
            .end("", producer, Outcome::Commit, app.world.now(), &app.world),
        Err(ResponseError::InvalidRequest)
    );
}

#[test]
fn records_are_taken_for_partitions_of_the_open_transaction_only() {
    let mut app = Coordinator::new();
    let producer = app.register(None).expect("registered");
    assert_eq!(
        app.produce(producer, 0),
        Err(ResponseError::InvalidTxnState)
    );
    app.add(producer, 0).expect("partition added");
    assert_eq!(app.produce(producer, 0), Ok(()));
    assert_eq!(
        app.produce(producer, 1),
        Err(ResponseError::InvalidTxnState)
    );
    app.end(producer, Outcome::Commit).expect("ended");
    assert_eq!(
        app.produce(producer, 0),
        Err(ResponseError::InvalidTxnState)
    );
}

#[test]
fn offsets_need_their_group_in_the_transaction_and_a_valid_member() {
    let mut app = Coordinator::new();
    let producer = app.register(None).expect("registered");
    assert_eq!(
        app.add_offset(producer, 7),
        Err(ResponseError::InvalidTxnState)
    );
    app.add_group(producer).expect("group added");
    let now = app.world.now();
    let refused = app.transactions.add_offsets(
        "app",
        producer,
        ("readers", &offsets_at(7, now.wall)),
        || Err(ResponseError::IllegalGeneration),
        now,
        &app.world,
    );
    assert_eq!(refused, Err(ResponseError::IllegalGeneration));
    app.end(producer, Outcome::Commit).expect("ended");
    assert_eq!(app.world.committed("readers"), Vec::<i64>::new());
    assert_eq!(
        app.add_offset(producer, 8),
        Err(ResponseError::InvalidTxnState)
    );
}

#[test]
fn the_last_offset_of_a_partition_counts() {
    let (mut app, producer) = Coordinator::in_transaction();
    app.add_offset(producer, 9).expect("offset added");
    app.end(producer, Outcome::Commit).expect("ended");
    assert_eq!(app.world.committed("readers"), [9]);
}

#[test]
fn a_transaction_that_is_open_too_long_is_aborted_and_its_producer_fenced() {
    let (mut app, producer) = Coordinator::in_transaction();
    app.tick_after(Duration::from_millis(TIMEOUT_MS as u64 - 1));
    assert_eq!(app.phase(), Phase::Ongoing);
    let deadline = app.transactions.next_deadline().expect("a timeout is due");
    assert_eq!(deadline, app.world.now().instant + Duration::from_millis(1));
    app.tick_after(Duration::from_millis(1));
    assert_eq!(app.result(), aborted());
    assert_eq!(
        app.end(producer, Outcome::Commit),
        Err(ResponseError::ProducerFenced)
    );
    assert_eq!(
        app.register(Some(producer)),
        Err(ResponseError::ProducerFenced)
    );
}

#[test]
fn adding_to_a_transaction_does_not_prolong_it() {
    let (mut app, producer) = Coordinator::in_transaction();
    app.tick_after(Duration::from_millis(20_000));
    app.add(producer, 1).expect("partition added");
    app.tick_after(Duration::from_millis(10_000));
    assert_eq!(app.phase(), Phase::Ended(Outcome::Abort));
}

#[test]
fn a_producer_goes_on_under_a_new_epoch_and_may_repeat_the_request() {
    let (mut app, producer) = Coordinator::in_transaction();
    let next = app.register(Some(producer)).expect("registered");
    assert_eq!(next, epoch(producer, 2));
    assert_eq!(app.result(), aborted());
    assert_eq!(
        app.register(Some(producer)),
        Ok(next),
        "the answer may have been lost"
    );
    assert_eq!(app.add(producer, 0), Err(ResponseError::ProducerFenced));
    assert_eq!(app.add(next, 0), Ok(()));
    assert_eq!(
        app.register(Some(producer)),
        Err(ResponseError::ProducerFenced),
        "too late to repeat"
    );
}

#[test]
fn used_up_epochs_lead_to_another_producer_id() {
    let mut app = Coordinator::new();
    let first = app.register(None).expect("registered");
    let mut producer = first;
    for _ in 1..i16::MAX {
        let next = app.register(Some(producer)).expect("registered");
        assert_eq!(next.id, first.id);
        producer = next;
        app.world.lasting.borrow_mut().journal.clear();
    }
    assert_eq!(producer.epoch, i16::MAX - 1);
    app.add(producer, 0).expect("partition added");
    app.produce(producer, 0).expect("produced");
    let next = app.register(Some(producer)).expect("registered");
    assert_ne!(next.id, first.id);
    assert_eq!(next.epoch, 0);
    assert_eq!(
        app.world.markers(&partition(0)),
        [(epoch(first, i16::MAX), Outcome::Abort)]
    );
    assert_eq!(
        app.register(Some(producer)),
        Ok(next),
        "the answer may have been lost"
    );
    assert_eq!(
        app.add(producer, 0),
        Err(ResponseError::InvalidProducerIdMapping)
    );
}
