//! Records go in and come out.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use crate::support::{
    PATIENCE, Row, code, consumer, eventually, flush, positions, producer, read, read_from, send,
    texts, topic, unique, watermarks, write,
};
use crate::wire::{ANYONE, Fetch, Wire, batch, errors, records};

/// A wait that no test sits out.
const LONG_WAIT_MS: i32 = 60_000;

#[test]
fn records_come_back_as_they_went_in() {
    let topic = topic("as-they-went-in", 1);
    let producer = producer(&[]);
    let headers = OwnedHeaders::new()
        .insert(Header {
            key: "trace",
            value: Some("a"),
        })
        .insert(Header {
            key: "trace",
            value: Some("b"),
        })
        .insert(Header::<&str> {
            key: "null",
            value: None,
        })
        .insert(Header {
            key: "",
            value: Some(""),
        });
    let send = |record: BaseRecord<'_, [u8], [u8]>| {
        let record = record.partition(0);
        producer.send(record).map_err(|(e, _)| e).expect("queued");
    };
    let new = || BaseRecord::<[u8], [u8]>::to(&topic);
    send(new().key(&b"k"[..]).payload(&b"v"[..]).timestamp(1));
    send(new().key(&b"tombstone"[..]).timestamp(1_700_000_000_123));
    send(new().payload(&b"no key"[..]).timestamp(1_600_000_000_000));
    send(new().key(&b""[..]).payload(&b""[..]).timestamp(2));
    send(
        new()
            .key(&[0, 255, 128][..])
            .payload(&[255, 0][..])
            .headers(headers)
            .timestamp(7),
    );
    assert!(flush(&producer).iter().all(Result::is_ok));

    let row = |offset, timestamp, key: Option<&[u8]>, value: Option<&[u8]>| Row {
        partition: 0,
        offset,
        timestamp: Some(timestamp),
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        headers: Vec::new(),
    };
    let mut last = row(4, 7, Some(&[0, 255, 128]), Some(&[255, 0]));
    last.headers = vec![
        ("trace".to_owned(), Some(b"a".to_vec())),
        ("trace".to_owned(), Some(b"b".to_vec())),
        ("null".to_owned(), None),
        (String::new(), Some(Vec::new())),
    ];
    let expected = [
        row(0, 1, Some(b"k"), Some(b"v")),
        row(1, 1_700_000_000_123, Some(b"tombstone"), None),
        row(2, 1_600_000_000_000, None, Some(b"no key")),
        row(3, 2, Some(b""), Some(b"")),
        last,
    ];
    assert_eq!(read(&topic, &[]), expected);
}

#[test]
fn each_partition_keeps_the_order_in_which_it_was_written() {
    let topic = topic("order", 4);
    let settings = [
        ("enable.idempotence", "true"),
        ("linger.ms", "1"),
        ("batch.num.messages", "37"),
    ];
    let producer = producer(&settings);
    for number in 0..4_000 {
        send(&producer, &topic, number % 4, &number.to_string());
    }
    assert!(flush(&producer).iter().all(Result::is_ok));
    let rows = read(&topic, &[]);
    for partition in 0..4 {
        let here: Vec<_> = rows.iter().filter(|r| r.partition == partition).collect();
        assert_eq!(here.len(), 1_000);
        for (row, place) in here.iter().zip(0..) {
            assert_eq!(row.offset, place);
            assert_eq!(row.text(), (place as i32 * 4 + partition).to_string());
        }
    }
}

#[test]
fn records_are_stored_whatever_acknowledgement_is_asked_for() {
    for acks in ["0", "1", "all"] {
        let topic = topic("acks", 1);
        let producer = producer(&[("acks", acks)]);
        for number in 0..100 {
            send(&producer, &topic, 0, &number.to_string());
        }
        assert!(flush(&producer).iter().all(Result::is_ok));
        // Without an acknowledgement nobody says when they are there.
        let reader = consumer(&unique("acks"), &[]);
        let start = positions(&topic, &[(0, Offset::Beginning)]);
        reader.assign(&start).expect("assigned");
        let mut seen = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while seen.len() < 100 {
            assert!(Instant::now() < deadline, "acks={acks}: {}", seen.len());
            match reader.poll(Duration::from_millis(100)) {
                None | Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(message) => seen.push(Row::of(&message.expect("a record")).text()),
            }
        }
        let expected: Vec<_> = (0..100).map(|n| n.to_string()).collect();
        assert_eq!(seen, expected, "acks={acks}");
    }
}

#[test]
fn a_produce_request_that_asks_for_no_acknowledgement_has_no_answer() {
    let topic = topic("no-answer", 1);
    let mut wire = Wire::connect();
    wire.produce_unacknowledged(&topic, batch(ANYONE, -1, &["a"]));
    // The next answer on this connection is that of the next request.
    let answer = wire.produce(&topic, batch(ANYONE, -1, &["b"]));
    assert_eq!((answer.error_code, answer.base_offset), (errors::NONE, 1));
}

#[test]
fn a_fetch_that_waits_is_answered_as_soon_as_there_is_a_record() {
    let topic = topic("long-poll", 1);
    let started = Instant::now();
    let waiting = std::thread::spawn({
        let topic = topic.clone();
        move || {
            Wire::connect().fetch(&Fetch {
                max_wait_ms: LONG_WAIT_MS / 3,
                ..Fetch::at(&topic, 0)
            })
        }
    });
    write(&topic, 0, &["news"]);
    let data = waiting.join().expect("an answer");
    assert_eq!(records(&data).len(), 1);
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_fetch_at_the_end_comes_back_empty_when_its_wait_is_over() {
    let topic = topic("empty-poll", 1);
    write(&topic, 0, &["old"]);
    let mut wire = Wire::connect();
    let started = Instant::now();
    let data = wire.fetch(&Fetch {
        max_wait_ms: 400,
        ..Fetch::at(&topic, 1)
    });
    let waited = started.elapsed();
    assert_eq!(data.error_code, errors::NONE);
    assert_eq!(data.high_watermark, 1);
    assert!(records(&data).is_empty());
    assert!(waited >= Duration::from_millis(395), "{waited:?}");
    assert!(waited < Duration::from_secs(5), "{waited:?}");
}

#[test]
fn a_fetch_waits_for_its_least_bytes_or_for_its_time() {
    let topic = topic("min-bytes", 1);
    write(&topic, 0, &["little"]);
    let fetch = Fetch {
        max_wait_ms: 400,
        min_bytes: 10_000,
        ..Fetch::at(&topic, 0)
    };
    let mut wire = Wire::connect();
    let started = Instant::now();
    // Too little: it comes when the wait is over.
    assert_eq!(records(&wire.fetch(&fetch)).len(), 1);
    assert!(started.elapsed() >= Duration::from_millis(395));

    write(&topic, 0, &[&"x".repeat(20_000)]);
    let started = Instant::now();
    let data = wire.fetch(&Fetch {
        max_wait_ms: LONG_WAIT_MS / 3,
        ..fetch
    });
    assert_eq!(records(&data).len(), 2);
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_fetch_keeps_to_its_most_bytes_but_always_brings_the_first_batch() {
    let topic = topic("max-bytes", 1);
    let mut wire = Wire::connect();
    let value = "x".repeat(10_000);
    for _ in 0..5 {
        wire.produce(&topic, batch(ANYONE, -1, &[&value]));
    }
    let fetched = |wire: &mut Wire, offset, max_bytes| {
        let data = wire.fetch(&Fetch {
            max_bytes,
            ..Fetch::at(&topic, offset)
        });
        data.records.map_or(0, |bytes| bytes.len())
    };
    let whole = fetched(&mut wire, 0, 10 << 20);
    assert!(whole > 50_000);
    // Less than a batch: all of the first, so that a reader gets on.
    assert_eq!(fetched(&mut wire, 0, 100), whole / 5);
    assert_eq!(fetched(&mut wire, 3, 100), whole / 5);
    // Part of a batch may come, but no byte more than asked for.
    let some = fetched(&mut wire, 0, 25_000);
    assert!((whole / 5 * 2..=25_000).contains(&some), "{some}");
}

#[test]
fn a_fetch_from_the_middle_of_a_batch_brings_the_whole_batch() {
    let topic = topic("middle", 1);
    let mut wire = Wire::connect();
    wire.produce(&topic, batch(ANYONE, -1, &["a", "b", "c", "d"]));
    let data = wire.fetch(&Fetch::at(&topic, 2));
    let offsets: Vec<_> = records(&data).iter().map(|r| r.offset).collect();
    assert_eq!(offsets, [0, 1, 2, 3]);
    // Clients drop what comes before.
    let rows = read_from(&topic, &[(0, Offset::Offset(2))], &[]);
    assert_eq!(texts(&rows), ["c", "d"]);
}

#[test]
fn several_fetches_on_one_connection_are_answered_in_their_order() {
    let topic = topic("pipelined", 1);
    let mut wire = Wire::connect();
    for value in ["a", "b", "c"] {
        wire.send_produce(&topic, batch(ANYONE, -1, &[value]));
    }
    let answers: Vec<_> = (0..3).map(|_| wire.receive_produce()).collect();
    let sorted = answers.windows(2).all(|pair| pair[0].0 < pair[1].0);
    assert!(sorted, "correlation ids ascend");
    let offsets: Vec<_> = answers.iter().map(|(_, p)| p.base_offset).collect();
    assert_eq!(offsets, [0, 1, 2]);
}

#[test]
fn reading_past_the_ends_is_an_error_that_says_where_they_are() {
    let topic = topic("out-of-range", 1);
    write(&topic, 0, &["a", "b"]);
    let mut wire = Wire::connect();
    let data = wire.fetch(&Fetch {
        max_wait_ms: LONG_WAIT_MS,
        ..Fetch::at(&topic, 3)
    });
    assert_eq!(data.error_code, errors::OFFSET_OUT_OF_RANGE);
    assert_eq!(wire.fetch(&Fetch::at(&topic, 2)).error_code, errors::NONE);
}

#[test]
fn a_position_that_does_not_exist_follows_the_reset_policy() {
    let topic = topic("reset", 1);
    write(&topic, 0, &["a", "b"]);
    let nowhere = [(0, Offset::Offset(1_000))];
    let earliest = read_from(&topic, &nowhere, &[("auto.offset.reset", "earliest")]);
    assert_eq!(texts(&earliest), ["a", "b"]);
    let latest = read_from(&topic, &nowhere, &[("auto.offset.reset", "latest")]);
    assert!(latest.is_empty());

    let reader = consumer(&unique("reset"), &[("auto.offset.reset", "error")]);
    reader
        .assign(&positions(&topic, &nowhere))
        .expect("assigned");
    let answer = reader.poll(PATIENCE).expect("an error");
    let error = answer.map(|m| Row::of(&m)).expect_err("an error");
    assert_eq!(code(&error), RDKafkaErrorCode::AutoOffsetReset);
}

#[test]
fn a_reader_seeks_back_and_forth() {
    let topic = topic("seek", 1);
    write(&topic, 0, &["a", "b", "c", "d"]);
    let reader = consumer(&unique("seek"), &[]);
    let start = positions(&topic, &[(0, Offset::Beginning)]);
    reader.assign(&start).expect("assigned");
    let next = || {
        eventually("a record", || match reader.poll(Duration::ZERO)? {
            Ok(message) => Some(Row::of(&message).text()),
            Err(KafkaError::PartitionEOF(_)) => None,
            Err(error) => panic!("{error}"),
        })
    };
    assert_eq!((next(), next()), ("a".to_owned(), "b".to_owned()));
    for (offset, expected) in [
        (Offset::Offset(3), "d"),
        (Offset::Beginning, "a"),
        (Offset::Offset(2), "c"),
        (Offset::OffsetTail(1), "d"),
    ] {
        reader.seek(&topic, 0, offset, PATIENCE).expect("sought");
        assert_eq!(next(), expected, "{offset:?}");
    }
}

#[test]
fn an_unknown_topic_or_partition_is_an_error() {
    let known = topic("known", 1);
    let unknown = unique("unknown");
    let mut wire = Wire::connect();
    for (topic, partition) in [(&unknown, 0), (&known, 1), (&known, -1)] {
        let written = wire.produce_as(None, topic, partition, batch(ANYONE, -1, &["a"]));
        assert_eq!(written.error_code, errors::UNKNOWN_TOPIC_OR_PARTITION);
        let fetched = wire.fetch(&Fetch {
            partition,
            max_wait_ms: LONG_WAIT_MS,
            ..Fetch::at(topic, 0)
        });
        assert_eq!(fetched.error_code, errors::UNKNOWN_TOPIC_OR_PARTITION);
    }
    assert_eq!(watermarks(&known, 0), (0, 0));

    let producer = producer(&[("topic.metadata.propagation.max.ms", "1")]);
    let record = BaseRecord::<(), str>::to(&unknown).payload("a");
    match producer.send(record) {
        // The client knows already, or it asks first.
        Err((error, _)) => assert_eq!(code(&error), RDKafkaErrorCode::UnknownTopic),
        Ok(()) => assert_eq!(
            flush(&producer),
            [Err(RDKafkaErrorCode::UnknownTopicOrPartition)]
        ),
    }
}

#[test]
fn a_batch_that_was_damaged_on_the_way_is_refused() {
    let topic = topic("damaged", 1);
    let mut wire = Wire::connect();
    let good = batch(ANYONE, -1, &["a", "b"]);
    let mut damaged = BytesMut::from(&good[..]);
    let last = damaged.len() - 2;
    damaged[last] ^= 1;
    let answer = wire.produce(&topic, damaged.freeze());
    assert_eq!(answer.error_code, errors::CORRUPT_MESSAGE);
    // The connection goes on, and nothing was stored.
    assert_eq!(wire.produce(&topic, good).base_offset, 0);
}

#[test]
fn a_batch_that_does_not_hold_what_it_says_is_refused() {
    let topic = topic("lying", 1);
    let mut wire = Wire::connect();
    let good = batch(ANYONE, -1, &["a", "b"]);
    assert_ne!(
        wire.produce(&topic, good.slice(..40)).error_code,
        errors::NONE
    );
    assert_ne!(wire.produce(&topic, Bytes::new()).error_code, errors::NONE);
    let mut old = BytesMut::from(&good[..]);
    old[16] = 9;
    assert_ne!(wire.produce(&topic, old.freeze()).error_code, errors::NONE);
    assert_eq!(wire.produce(&topic, good).base_offset, 0);
}
