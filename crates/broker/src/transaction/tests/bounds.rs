//! What a transactional id may take.

use super::*;

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

#[test]
fn transactional_ids_are_bounded_in_number_and_length() {
    let mut app = Coordinator::new();
    let (world, now) = (&app.world, app.world.now());
    let mut register = |id: &str| {
        let request = InitProducer {
            id: Some(id),
            timeout_ms: TIMEOUT_MS,
            current: None,
        };
        app.transactions.init_producer(request, now, world)
    };
    let too_long = "x".repeat(MAX_ID_BYTES + 1);
    assert_eq!(register(&too_long), Err(ResponseError::InvalidRequest));
    assert_eq!(register(""), Err(ResponseError::InvalidRequest));
    for number in 0..MAX_IDS {
        register(&format!("app-{number}")).expect("registered");
    }
    assert_eq!(register("one more"), Err(ResponseError::PolicyViolation));
    assert!(register("app-0").is_ok(), "the ones that are known go on");
}
