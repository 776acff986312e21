//! Much, many, large: legal, and what is too large is refused.

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseRecord, Producer};

use crate::support::{
    PATIENCE, flush, partition_count, producer, read, read_committed, send, settle, texts, topic,
    topic_with, unique, watermarks, write,
};
use crate::wire::{ANYONE, Wire, batch};

#[test]
fn ten_thousand_tiny_records_come_back() {
    let topic = topic("tiny", 1);
    let producer = producer(&[("linger.ms", "5")]);
    for number in 0..10_000 {
        send(&producer, &topic, 0, &number.to_string());
    }
    assert!(flush(&producer).iter().all(Result::is_ok));
    let values = texts(&read(&topic, &[]));
    assert_eq!(values.len(), 10_000);
    assert!(values.iter().zip(0..).all(|(v, n)| *v == n.to_string()));
}

#[test]
fn records_of_900_kilobytes_come_back() {
    let topic = topic("large", 2);
    let producer = producer(&[]);
    let value = |number: usize| {
        number
            .to_string()
            .repeat(900_000 / number.to_string().len())
    };
    for number in 0..20 {
        send(&producer, &topic, number % 2, &value(number as usize));
    }
    assert!(flush(&producer).iter().all(Result::is_ok));
    let mut found: Vec<_> = read(&topic, &[])
        .into_iter()
        .map(|row| (row.offset as usize * 2 + row.partition as usize, row.text()))
        .collect();
    found.sort();
    assert_eq!(found.len(), 20);
    for (number, text) in found {
        assert!(text == value(number), "record {number} is damaged");
    }
}

#[test]
fn a_record_larger_than_the_topic_allows_is_refused() {
    let limit = [("max.message.bytes", "10000")];
    let topic = topic_with("limited", 1, &limit);
    let producer = producer(&[
        ("message.max.bytes", "5000000"),
        ("compression.type", "none"),
    ]);
    send(&producer, &topic, 0, &"x".repeat(9_000));
    assert_eq!(flush(&producer), [Ok((0, 0))]);
    send(&producer, &topic, 0, &"x".repeat(11_000));
    assert_eq!(
        flush(&producer),
        [Err(RDKafkaErrorCode::MessageSizeTooLarge)]
    );
    send(&producer, &topic, 0, "small");
    assert_eq!(flush(&producer), [Ok((0, 1))]);
}

#[test]
fn a_record_larger_than_the_default_is_refused_and_a_topic_may_allow_it() {
    let settings = [
        ("message.max.bytes", "10000000"),
        ("compression.type", "none"),
    ];
    let producer = producer(&settings);
    let value = "x".repeat(5_000_000);
    let refusing = topic("refusing", 1);
    send(&producer, &refusing, 0, &value);
    assert_eq!(
        flush(&producer),
        [Err(RDKafkaErrorCode::MessageSizeTooLarge)]
    );
    let allowing = topic_with("allowing", 1, &[("max.message.bytes", "6000000")]);
    send(&producer, &allowing, 0, &value);
    assert_eq!(flush(&producer), [Ok((0, 0))]);
    let rows = read(&allowing, &[("fetch.message.max.bytes", "10000")]);
    assert_eq!(rows.len(), 1);
    assert!(rows[0].text() == value);
}

#[test]
fn a_topic_of_a_thousand_partitions_works() {
    let topic = topic("thousand", 1_000);
    assert_eq!(partition_count(&topic), Some(1_000));
    let producer = producer(&[]);
    for partition in 0..1_000 {
        send(&producer, &topic, partition, &partition.to_string());
    }
    let deliveries = flush(&producer);
    assert_eq!(deliveries.len(), 1_000);
    assert!(deliveries.iter().all(|d| matches!(d, Ok((_, 0)))));
    let mut rows = read(&topic, &[]);
    rows.sort_by_key(|row| row.partition);
    assert_eq!(rows.len(), 1_000);
    for (row, partition) in rows.iter().zip(0..) {
        assert_eq!(
            (row.partition, row.text()),
            (partition, partition.to_string())
        );
    }
}

#[test]
fn a_transaction_over_a_hundred_partitions_is_whole() {
    let topic = topic("hundred", 100);
    let id = unique("hundred");
    let producer = producer(&[("transactional.id", &id)]);
    producer.init_transactions(PATIENCE).expect("initialised");
    for commit in [true, false] {
        producer.begin_transaction().expect("begun");
        for partition in 0..100 {
            send(&producer, &topic, partition, &commit.to_string());
        }
        flush(&producer);
        if commit {
            settle(&producer).expect("committed");
        } else {
            producer.abort_transaction(PATIENCE).expect("aborted");
        }
    }
    let values = crate::support::eventually("all markers", || {
        let values = texts(&read_committed(&topic));
        (values.len() >= 100).then_some(values)
    });
    assert_eq!(values, vec!["true"; 100]);
}

#[test]
fn keys_and_headers_may_be_large_too() {
    let topic = topic("large-keys", 1);
    let producer = producer(&[]);
    let key = "k".repeat(300_000);
    let record = BaseRecord::to(&topic)
        .partition(0)
        .key(&key)
        .payload("v")
        .headers(
            rdkafka::message::OwnedHeaders::new().insert(rdkafka::message::Header {
                key: "h",
                value: Some(&key),
            }),
        );
    producer.send(record).map_err(|(e, _)| e).expect("queued");
    assert!(flush(&producer)[0].is_ok());
    let rows = read(&topic, &[]);
    assert_eq!(rows[0].key.as_deref(), Some(key.as_bytes()));
    assert_eq!(rows[0].headers[0].1.as_deref(), Some(key.as_bytes()));
}

#[test]
fn many_connections_are_served_side_by_side() {
    let topic = topic("connections", 1);
    let mut wires: Vec<_> = (0..200).map(|_| Wire::connect()).collect();
    for wire in &mut wires {
        wire.send_produce(&topic, batch(ANYONE, -1, &["x"]));
    }
    for wire in &mut wires {
        assert_eq!(wire.receive_produce().1.error_code, 0);
    }
    assert_eq!(watermarks(&topic, 0).1, 200);
}

#[test]
fn one_who_sends_half_a_request_keeps_nobody_waiting() {
    let topic = topic("half", 1);
    let mut half = std::net::TcpStream::connect(crate::support::brokers()).expect("connected");
    // A megabyte is announced, two bytes come.
    std::io::Write::write_all(&mut half, &[0, 16, 0, 0, 0, 0]).expect("sent");
    assert_eq!(write(&topic, 0, &["a", "b"]), [0, 1]);
    drop(half);
    assert_eq!(write(&topic, 0, &["c"]), [2]);
}
