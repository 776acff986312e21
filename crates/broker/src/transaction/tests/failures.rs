//! What fails, dies, is restarted, and is forgotten.

use super::*;

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
