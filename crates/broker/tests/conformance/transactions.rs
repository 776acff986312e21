//! Transactions, as clients see them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer;

use crate::support::{
    PATIENCE, Row, TestConsumer, TestProducer, code, consumer, eventually, flush, positions,
    producer, read_committed, read_uncommitted, send, settle, texts, topic, unique, watermarks,
    write,
};

/// Makes the producer of a transactional id, ready for its first transaction.
fn transactional(id: &str, settings: &[(&str, &str)]) -> TestProducer {
    // While a transaction ends its id is busy: ask again soon.
    let soon = ("retry.backoff.ms", "10");
    let settings = [&[("transactional.id", id), soon], settings].concat();
    let producer = producer(&settings);
    producer.init_transactions(PATIENCE).expect("initialised");
    producer
}

fn write_in_transaction(producer: &TestProducer, topic: &str, partition: i32, values: &[&str]) {
    producer.begin_transaction().expect("begun");
    for value in values {
        send(producer, topic, partition, value);
    }
    assert!(flush(producer).iter().all(Result::is_ok));
}

/// Waits until no transaction hides records: a commit returns before its markers are written.
fn wait_until_settled(topic: &str, partitions: i32) {
    for partition in 0..partitions {
        eventually("the end of all transactions", || {
            let (_, end) = watermarks(topic, partition);
            (stable_end(topic, partition) == end).then_some(())
        });
    }
}

/// The last stable offset: where readers of committed records end.
fn stable_end(topic: &str, partition: i32) -> i64 {
    let reader = consumer(&unique("end"), &[("isolation.level", "read_committed")]);
    let (_, end) = reader
        .fetch_watermarks(topic, partition, PATIENCE)
        .expect("watermarks");
    end
}

#[test]
fn what_is_committed_is_seen_and_what_is_aborted_is_not_on_every_partition() {
    const PARTITIONS: i32 = 6;
    let topic = topic("mixed", PARTITIONS);
    let producer = transactional(&unique("mixed"), &[]);
    let (mut committed, mut everything) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..30 {
        let commit = round % 3 != 1;
        producer.begin_transaction().expect("begun");
        for number in 0..20 {
            let value = format!("{round}-{number}");
            send(&producer, &topic, (round + number) % PARTITIONS, &value);
            everything.insert(value.clone());
            if commit {
                committed.insert(value);
            }
        }
        if commit {
            settle(&producer).expect("committed");
        } else {
            // All of it reaches the broker, then it is aborted.
            flush(&producer);
            producer.abort_transaction(PATIENCE).expect("aborted");
        }
        if round % 10 == 0 {
            let value = format!("outside-{round}");
            write(&topic, round % PARTITIONS, &[&value]);
            everything.insert(value.clone());
            committed.insert(value);
        }
    }
    wait_until_settled(&topic, PARTITIONS);
    let seen = texts(&read_committed(&topic));
    assert_eq!(seen.len(), committed.len(), "each once");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), committed);
    let seen = texts(&read_uncommitted(&topic));
    assert_eq!(seen.len(), everything.len(), "each once");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), everything);
}

#[test]
fn an_open_transaction_holds_back_all_that_comes_after_it() {
    let topic = topic("held-back", 2);
    write(&topic, 0, &["before"]);
    let producer = transactional(&unique("held-back"), &[]);
    write_in_transaction(&producer, &topic, 0, &["within"]);
    write(&topic, 0, &["after"]);
    write(&topic, 1, &["elsewhere"]);

    assert_eq!((stable_end(&topic, 0), watermarks(&topic, 0).1), (1, 3));
    assert_eq!((stable_end(&topic, 1), watermarks(&topic, 1).1), (1, 1));
    let uncommitted = texts(&read_uncommitted(&topic));
    assert_eq!(uncommitted.len(), 4);
    let mut committed = texts(&read_committed(&topic));
    committed.sort();
    assert_eq!(committed, ["before", "elsewhere"]);

    settle(&producer).expect("committed");
    wait_until_settled(&topic, 2);
    // The marker takes an offset of its own.
    assert_eq!(stable_end(&topic, 0), 4);
    let rows = read_committed(&topic);
    let here: Vec<_> = rows.into_iter().filter(|r| r.partition == 0).collect();
    assert_eq!(texts(&here), ["before", "within", "after"]);
}

#[test]
fn the_oldest_open_transaction_decides_what_is_stable() {
    let topic = topic("oldest", 1);
    let one = transactional(&unique("oldest"), &[]);
    let other = transactional(&unique("newer"), &[]);
    write_in_transaction(&one, &topic, 0, &["a"]);
    write_in_transaction(&other, &topic, 0, &["b"]);
    settle(&other).expect("committed");
    eventually("the newer marker", || {
        (watermarks(&topic, 0).1 == 3).then_some(())
    });
    assert_eq!(stable_end(&topic, 0), 0);
    one.abort_transaction(PATIENCE).expect("aborted");
    wait_until_settled(&topic, 1);
    assert_eq!(texts(&read_committed(&topic)), ["b"]);
}

#[test]
fn a_reader_that_waits_gets_a_transaction_when_it_is_committed() {
    let topic = topic("waiting", 1);
    let settings = [
        ("isolation.level", "read_committed"),
        ("fetch.wait.max.ms", "20000"),
        ("enable.partition.eof", "false"),
    ];
    let reader = consumer(&unique("waiting"), &settings);
    reader
        .assign(&positions(&topic, &[(0, Offset::Beginning)]))
        .expect("assigned");
    let producer = transactional(&unique("waiting"), &[]);
    write_in_transaction(&producer, &topic, 0, &["a"]);
    assert!(reader.poll(Duration::from_millis(300)).is_none());
    let started = Instant::now();
    settle(&producer).expect("committed");
    let message = reader.poll(PATIENCE).expect("in time").expect("a record");
    assert_eq!(Row::of(&message).text(), "a");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_transaction_without_records_ends_well() {
    let topic = topic("nothing", 1);
    let producer = transactional(&unique("nothing"), &[]);
    producer.begin_transaction().expect("begun");
    settle(&producer).expect("committed");
    producer.begin_transaction().expect("begun");
    producer.abort_transaction(PATIENCE).expect("aborted");
    write_in_transaction(&producer, &topic, 0, &["a"]);
    settle(&producer).expect("committed");
    wait_until_settled(&topic, 1);
    assert_eq!(texts(&read_committed(&topic)), ["a"]);
}

/// The offset that a group has committed. Waits for one that is still being decided.
fn committed(consumer: &TestConsumer, topic: &str) -> Offset {
    let list = positions(topic, &[(0, Offset::Invalid)]);
    let list = consumer
        .committed_offsets(list, PATIENCE)
        .expect("committed offsets");
    list.elements()[0].offset()
}

#[test]
fn offsets_sent_to_a_transaction_take_effect_with_it() {
    let input = topic("input", 1);
    let output = topic("output", 1);
    write(&input, 0, &["a", "b", "c"]);
    let group = unique("offsets");
    let reader = consumer(&group, &[]);
    reader.subscribe(&[&input]).expect("subscribed");
    eventually("a record", || {
        matches!(reader.poll(Duration::ZERO), Some(Ok(_))).then_some(())
    });
    let producer = transactional(&unique("offsets"), &[]);
    let send_offset = |offset| {
        let group = reader.group_metadata().expect("a group");
        let offsets = positions(&input, &[(0, Offset::Offset(offset))]);
        producer
            .send_offsets_to_transaction(&offsets, &group, PATIENCE)
            .expect("sent");
    };

    write_in_transaction(&producer, &output, 0, &["x"]);
    send_offset(1);
    producer.abort_transaction(PATIENCE).expect("aborted");
    assert_eq!(committed(&reader, &input), Offset::Invalid);

    write_in_transaction(&producer, &output, 0, &["y"]);
    send_offset(2);
    settle(&producer).expect("committed");
    assert_eq!(committed(&reader, &input), Offset::Offset(2));

    // Offsets alone make a transaction too, and the last ones sent count.
    producer.begin_transaction().expect("begun");
    send_offset(1);
    send_offset(3);
    settle(&producer).expect("committed");
    assert_eq!(committed(&reader, &input), Offset::Offset(3));
    wait_until_settled(&output, 1);
    assert_eq!(texts(&read_committed(&output)), ["y"]);
}

#[test]
fn offsets_of_a_member_that_left_are_refused() {
    let input = topic("left", 1);
    write(&input, 0, &["a"]);
    let group = unique("left");
    let reader = consumer(&group, &[]);
    reader.subscribe(&[&input]).expect("subscribed");
    eventually("a record", || {
        matches!(reader.poll(Duration::ZERO), Some(Ok(_))).then_some(())
    });
    let of_old = reader.group_metadata().expect("a group");
    drop(reader);
    let successor = consumer(&group, &[]);
    successor.subscribe(&[&input]).expect("subscribed");
    eventually("a record", || {
        matches!(successor.poll(Duration::ZERO), Some(Ok(_))).then_some(())
    });

    let producer = transactional(&unique("left"), &[]);
    producer.begin_transaction().expect("begun");
    let offsets = positions(&input, &[(0, Offset::Offset(1))]);
    let error = producer
        .send_offsets_to_transaction(&offsets, &of_old, PATIENCE)
        .expect_err("refused");
    let KafkaError::Transaction(error) = error else {
        panic!("{error}");
    };
    assert!(error.txn_requires_abort(), "{error}");
    producer.abort_transaction(PATIENCE).expect("aborted");
    assert_eq!(committed(&successor, &input), Offset::Invalid);
}

#[test]
fn a_second_owner_of_an_id_aborts_the_transaction_of_the_first_and_shuts_it_out() {
    let topic = topic("fenced", 1);
    let id = unique("fenced");
    let first = transactional(&id, &[]);
    write_in_transaction(&first, &topic, 0, &["first"]);
    let second = transactional(&id, &[]);
    wait_until_settled(&topic, 1);
    assert_eq!(read_committed(&topic), []);

    send(&first, &topic, 0, "too late");
    let error = settle(&first).expect_err("the first is out");
    assert!(
        matches!(
            code(&error),
            RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::Fatal
        ),
        "{error}"
    );
    let (fatal, _) = first.client().fatal_error().expect("a fatal error");
    assert_eq!(fatal, RDKafkaErrorCode::Fenced);

    write_in_transaction(&second, &topic, 0, &["second"]);
    settle(&second).expect("committed");
    wait_until_settled(&topic, 1);
    assert_eq!(texts(&read_committed(&topic)), ["second"]);
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted_and_its_producer_shut_out() {
    let topic = topic("too-long", 1);
    let producer = transactional(&unique("too-long"), &[("transaction.timeout.ms", "1000")]);
    write_in_transaction(&producer, &topic, 0, &["a"]);
    write(&topic, 0, &["after"]);
    wait_until_settled(&topic, 1);
    assert_eq!(texts(&read_committed(&topic)), ["after"]);
    let error = settle(&producer).expect_err("it is too late");
    let KafkaError::Transaction(error) = error else {
        panic!("{error}");
    };
    assert!(error.is_fatal() || error.txn_requires_abort(), "{error}");
    assert_eq!(texts(&read_committed(&topic)), ["after"]);
}

#[test]
fn producers_that_vanish_again_and_again_leave_whole_transactions_only() {
    const ROUNDS: usize = 200;
    const PARTITIONS: i32 = 3;
    let topic = topic("vanish", PARTITIONS);
    let id = unique("vanish");
    let expected = std::thread::scope(|scope| {
        let reader = scope.spawn(|| follow(&topic, PARTITIONS));
        let expected = write_and_vanish(&topic, &id, ROUNDS, PARTITIONS);
        for partition in 0..PARTITIONS {
            write(&topic, partition, &[END]);
        }
        let seen = reader.join().expect("the reader ends");
        assert_eq!(seen.len(), expected.len(), "each once");
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), expected);
        expected
    });
    let mut again = texts(&read_committed(&topic));
    again.retain(|value| value != END);
    assert_eq!(again.len(), expected.len());
    assert_eq!(again.into_iter().collect::<BTreeSet<_>>(), expected);
}

/// The last value of a partition.
const END: &str = "end";

/// Transactions of which every eighth is left open by a producer that goes away, and every fifth is
/// aborted. Returns what was committed.
fn write_and_vanish(topic: &str, id: &str, rounds: usize, partitions: i32) -> BTreeSet<String> {
    let mut expected = BTreeSet::new();
    let mut owner = None;
    for round in 0..rounds {
        let producer = owner.take().unwrap_or_else(|| transactional(id, &[]));
        let values: Vec<_> = (0..6).map(|number| format!("{round}-{number}")).collect();
        producer.begin_transaction().expect("begun");
        for (value, number) in values.iter().zip(0..) {
            send(&producer, topic, number % partitions, value);
        }
        match round {
            // Some of it is at the broker, some is not.
            _ if round % 8 == 0 => {
                if round % 16 == 0 {
                    flush(&producer);
                }
                // Its last breath takes a while; its successor does not wait for it.
                std::thread::spawn(move || drop(producer));
                continue;
            }
            _ if round % 5 == 0 => {
                flush(&producer);
                producer.abort_transaction(PATIENCE).expect("aborted");
            }
            _ => {
                settle(&producer).expect("committed");
                expected.extend(values);
            }
        }
        owner = Some(producer);
    }
    // The last one may have left a transaction open, too.
    drop(owner);
    transactional(id, &[]);
    expected
}

/// Reads what is committed while it is written, up to the last value of each partition.
fn follow(topic: &str, partitions: i32) -> Vec<String> {
    let settings = [("isolation.level", "read_committed")];
    let reader = consumer(&unique("follow"), &settings);
    let starts: Vec<_> = (0..partitions).map(|p| (p, Offset::Beginning)).collect();
    reader.assign(&positions(topic, &starts)).expect("assigned");
    let mut seen = Vec::new();
    let mut ended = 0;
    let mut deadline = Instant::now() + PATIENCE;
    while ended < partitions {
        assert!(Instant::now() < deadline, "stuck after {}", seen.len());
        match reader.poll(Duration::from_millis(100)) {
            None | Some(Err(KafkaError::PartitionEOF(_))) => {}
            Some(Err(error)) => panic!("following {topic}: {error}"),
            Some(Ok(message)) => {
                deadline = Instant::now() + PATIENCE;
                match Row::of(&message).text() {
                    end if end == END => ended += 1,
                    value => seen.push(value),
                }
            }
        }
    }
    seen
}

#[test]
fn a_position_that_a_reader_commits_after_a_transaction_holds() {
    let topic = topic("position", 1);
    let producer = transactional(&unique("position"), &[]);
    write_in_transaction(&producer, &topic, 0, &["a", "b"]);
    settle(&producer).expect("committed");
    wait_until_settled(&topic, 1);
    let group = unique("position");
    let settings = [("isolation.level", "read_committed")];
    let reader = consumer(&group, &settings);
    reader.subscribe(&[&topic]).expect("subscribed");
    let mut seen = 0;
    eventually("both records", || {
        if let Some(Ok(_)) = reader.poll(Duration::ZERO) {
            seen += 1;
        }
        (seen == 2).then_some(())
    });
    let end = positions(&topic, &[(0, Offset::Offset(3))]);
    reader.commit(&end, CommitMode::Sync).expect("committed");
    drop(reader);
    let next = consumer(&group, &settings);
    next.subscribe(&[&topic]).expect("subscribed");
    let first = eventually("an answer", || next.poll(Duration::ZERO));
    assert!(matches!(first, Err(KafkaError::PartitionEOF(0))));
}
