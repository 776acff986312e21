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
fn a_recovery_that_was_interrupted_after_the_abort_may_be_repeated() {
    let (mut app, producer) = Coordinator::in_transaction();
    // Fails where the new epoch is recorded: after Ending, the marker, and Ended.
    app.world.inject(Fault::Fails, 3);
    assert_eq!(
        app.register(Some(producer)),
        Err(ResponseError::CoordinatorNotAvailable)
    );
    assert_eq!(app.phase(), Phase::Ended(Outcome::Abort));
    assert_eq!(app.register(Some(producer)), Ok(epoch(producer, 2)));
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

#[test]
fn a_timeout_beyond_fifteen_minutes_is_refused() {
    let mut app = Coordinator::new();
    for (timeout_ms, valid) in [
        (0, false),
        (-1, false),
        (1, true),
        (900_000, true),
        (900_001, false),
    ] {
        let request = InitProducer {
            id: Some("app"),
            timeout_ms,
            current: None,
        };
        let result = app
            .transactions
            .init_producer(request, app.world.now(), &app.world);
        assert_eq!(result.is_ok(), valid, "{timeout_ms}");
        if let Err(error) = result {
            assert_eq!(error, ResponseError::InvalidTransactionTimeout);
        }
    }
}

#[test]
fn an_idempotent_producer_gets_an_id_of_its_own_over_restarts_too() {
    let mut app = Coordinator::new();
    let mut seen = BTreeSet::new();
    for round in 0..3_000 {
        let request = InitProducer {
            id: None,
            timeout_ms: 0,
            current: None,
        };
        let producer = app
            .transactions
            .init_producer(request, app.world.now(), &app.world)
            .expect("registered");
        assert_eq!(producer.epoch, 0);
        assert!(
            seen.insert(producer.id),
            "{} was given out twice",
            producer.id
        );
        if round % 700 == 0 {
            app.restart();
        }
    }
    assert!(
        app.world.lasting.borrow().journal.len() < 10,
        "ids are recorded in blocks"
    );
}

#[test]
fn wherever_a_crash_falls_a_commit_is_all_or_nothing() {
    for fault in [Fault::DiesBefore, Fault::DiesAfter] {
        // Ending, marker, offsets, Ended.
        for effects in 0..4 {
            let (mut app, producer) = Coordinator::in_transaction();
            app.world.inject(fault, effects);
            let _ = app.end(producer, Outcome::Commit);
            app.restart();
            let was_decided = (effects, fault) != (0, Fault::DiesBefore);
            if was_decided {
                assert_eq!(app.result(), committed(), "{fault:?} {effects}");
            } else {
                assert_eq!(app.phase(), Phase::Ongoing);
                assert_eq!(app.world.held.borrow().len(), 1, "the offset is held again");
            }
            assert_eq!(
                app.end(producer, Outcome::Commit),
                Ok(()),
                "{fault:?} {effects}"
            );
            assert_eq!(app.result(), committed(), "{fault:?} {effects}");
        }
    }
}

#[test]
fn markers_that_cannot_be_written_are_written_later() {
    let (mut app, producer) = Coordinator::in_transaction();
    app.world.inject(Fault::Fails, 1);
    assert_eq!(
        app.end(producer, Outcome::Commit),
        Ok(()),
        "the outcome is decided"
    );
    assert_eq!(app.result(), (None, vec![]));
    assert_eq!(
        app.end(producer, Outcome::Commit),
        Err(ResponseError::ConcurrentTransactions)
    );
    assert_eq!(
        app.end(producer, Outcome::Abort),
        Err(ResponseError::InvalidTxnState)
    );
    assert_eq!(
        app.add(producer, 1),
        Err(ResponseError::ConcurrentTransactions)
    );
    assert_eq!(
        app.produce(producer, 0),
        Err(ResponseError::NotEnoughReplicas)
    );
    assert_eq!(app.transactions.unmarked_partitions("app").len(), 1);
    app.tick_after(RETRY_AFTER);
    assert_eq!(app.result(), committed());
    assert_eq!(app.end(producer, Outcome::Commit), Ok(()));
}

#[test]
fn an_effect_that_fails_once_takes_place_at_the_next_try() {
    // Marker, offsets, Ended.
    for effects in 1..4 {
        let (mut app, producer) = Coordinator::in_transaction();
        app.world.inject(Fault::Fails, effects);
        assert_eq!(
            app.end(producer, Outcome::Commit),
            Ok(()),
            "the outcome is decided"
        );
        assert_eq!(app.phase(), Phase::Ending(Outcome::Commit), "{effects}");
        app.tick_after(RETRY_AFTER);
        assert_eq!(app.phase(), Phase::Ended(Outcome::Commit), "{effects}");
        assert_eq!(app.result(), committed(), "{effects}");
    }
}

#[test]
fn an_end_that_cannot_be_recorded_changes_nothing_and_may_be_repeated() {
    let (mut app, producer) = Coordinator::in_transaction();
    app.world.inject(Fault::Fails, 0);
    let refused = app.end(producer, Outcome::Commit);
    assert_eq!(refused, Err(ResponseError::CoordinatorNotAvailable));
    assert_eq!(app.phase(), Phase::Ongoing);
    assert_eq!(app.end(producer, Outcome::Commit), Ok(()));
    assert_eq!(app.result(), committed());
}

#[test]
fn an_open_transaction_outlives_a_restart_for_what_is_left_of_its_time() {
    let (mut app, producer) = Coordinator::in_transaction();
    app.tick_after(Duration::from_millis(20_000));
    app.restart();
    app.add(producer, 1).expect("partition added");
    app.tick_after(Duration::from_millis(9_999));
    assert_eq!(app.phase(), Phase::Ongoing);
    app.tick_after(Duration::from_millis(1));
    assert_eq!(app.result(), aborted());
}

#[test]
fn an_id_that_nobody_uses_is_forgotten_after_seven_days() {
    let (mut app, producer) = Coordinator::in_transaction();
    app.end(producer, Outcome::Commit).expect("ended");
    app.tick_after(Duration::from_millis(FORGET_AFTER_MS as u64));
    assert!(app.transactions.get("app").is_some());
    app.tick_after(SWEEP_EVERY);
    assert!(app.transactions.get("app").is_none());
    assert_eq!(
        app.end(producer, Outcome::Commit),
        Err(ResponseError::InvalidProducerIdMapping)
    );
    app.restart();
    assert!(app.transactions.get("app").is_none());
    assert_eq!(app.transactions.weight, 0);
}

#[test]
fn compacted_entries_amount_to_the_same_state() {
    let (app, _) = Coordinator::in_transaction();
    let entries: Vec<_> = app.transactions.entries().collect();
    let restored = Transactions::restore(&entries);
    assert!(restored.iter().eq(app.transactions.iter()));
    assert_eq!(restored.entries().collect::<Vec<_>>(), entries);
    assert_eq!(restored.weight, app.transactions.weight);
}

#[test]
fn a_transaction_has_a_bounded_number_of_partitions() {
    let mut app = Coordinator::new();
    let producer = app.register(None).expect("registered");
    let partitions = (0..MAX_PARTITIONS as i32).map(partition).collect();
    let now = app.world.now();
    app.transactions
        .add_partitions("app", producer, &partitions, now, &app.world)
        .expect("partitions added");
    assert_eq!(
        app.add(producer, MAX_PARTITIONS as i32),
        Err(ResponseError::PolicyViolation)
    );
    assert_eq!(app.add(producer, 0), Ok(()), "it is in already");
    assert_eq!(app.end(producer, Outcome::Commit), Ok(()));
}

#[test]
fn pending_offsets_are_bounded_and_fit_an_entry_of_the_journal() {
    let mut app = Coordinator::new();
    let producer = app.register(None).expect("registered");
    app.add_group(producer).expect("group added");
    let now = app.world.now();
    let mut refused = None;
    for number in 0..10_000 {
        let mut offset = offsets_at(7, now.wall);
        offset[0].0 = partition(number);
        offset[0].1.metadata = "\u{1}\"é".repeat(300);
        let result = app.transactions.add_offsets(
            "app",
            producer,
            ("readers", &offset),
            || Ok(()),
            now,
            &app.world,
        );
        app.world
            .lasting
            .borrow_mut()
            .journal
            .drain(..)
            .for_each(drop);
        if let Err(error) = result {
            refused = Some(error);
            break;
        }
    }
    assert_eq!(refused, Some(ResponseError::InvalidCommitOffsetSize));
    for entry in app.transactions.entries() {
        let length = serde_json::to_vec(&entry).expect("encodes").len();
        assert!(length < crate::journal::MAX_ENTRY_BYTES, "{length}");
    }
    assert_eq!(app.end(producer, Outcome::Commit), Ok(()));
}

#[test]
fn the_weight_of_a_state_is_no_less_than_its_json() {
    let (app, _) = Coordinator::in_transaction();
    let (id, state) = app.transactions.iter().next().expect("one id");
    let entry = Entry::Transaction {
        id: id.to_owned(),
        state: state.clone(),
    };
    let length = serde_json::to_vec(&entry).expect("encodes").len();
    assert!(
        length <= state.weight(id),
        "{length} > {}",
        state.weight(id)
    );
}
