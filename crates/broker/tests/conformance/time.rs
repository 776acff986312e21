//! Offsets by time, and whose time it is.

use std::time::{SystemTime, UNIX_EPOCH};

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest};
use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::BaseRecord;

use crate::support::{
    PATIENCE, consumer, flush, positions, producer, read, topic, topic_with, unique,
};
use crate::wire::{Wire, errors, topic_name};

/// Writes one record for each time, each in a batch of its own.
fn write_at(topic: &str, times: &[i64]) {
    let producer = producer(&[]);
    for time in times {
        let record = BaseRecord::<(), str>::to(topic)
            .partition(0)
            .payload("x")
            .timestamp(*time);
        producer.send(record).map_err(|(e, _)| e).expect("queued");
        assert!(flush(&producer)[0].is_ok());
    }
}

/// Error, timestamp and offset that a partition answers for a time.
fn list(topic: &str, partition: i32, time: i64) -> (i16, i64, i64) {
    let partition = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_current_leader_epoch(-1)
        .with_timestamp(time);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![topic]);
    let answer = Wire::connect().call(&request, 7);
    let found = &answer.topics[0].partitions[0];
    (found.error_code, found.timestamp, found.offset)
}

#[test]
fn offsets_are_found_by_time() {
    let topic = topic("by-time", 1);
    let base = 1_700_000_000_000;
    // Times need not ascend: the first record at or after the time asked for counts.
    write_at(
        &topic,
        &[base, base + 100, base + 50, base + 300, base + 200],
    );
    let at = |time| list(&topic, 0, time);
    assert_eq!(at(0), (errors::NONE, base, 0));
    assert_eq!(at(base), (errors::NONE, base, 0));
    assert_eq!(at(base + 1), (errors::NONE, base + 100, 1));
    assert_eq!(at(base + 50), (errors::NONE, base + 100, 1));
    assert_eq!(at(base + 101), (errors::NONE, base + 300, 3));
    assert_eq!(at(base + 300), (errors::NONE, base + 300, 3));
    assert_eq!(at(base + 301), (errors::NONE, -1, -1));
    // -1: latest, -2: earliest, -3: the newest time.
    assert_eq!(at(-1), (errors::NONE, -1, 5));
    assert_eq!(at(-2), (errors::NONE, -1, 0));
    assert_eq!(at(-3), (errors::NONE, base + 300, 3));
}

#[test]
fn a_time_within_a_batch_finds_its_record() {
    let topic = topic("within", 1);
    let producer = producer(&[("linger.ms", "200")]);
    for number in 0..100 {
        let record = BaseRecord::<(), str>::to(&topic)
            .partition(0)
            .payload("x")
            .timestamp(1_700_000_000_000 + number * 10);
        producer.send(record).map_err(|(e, _)| e).expect("queued");
    }
    assert!(flush(&producer).iter().all(Result::is_ok));
    let found = list(&topic, 0, 1_700_000_000_415);
    assert_eq!(found, (errors::NONE, 1_700_000_000_420, 42));
}

#[test]
fn an_empty_partition_has_no_times() {
    let topic = topic("no-times", 1);
    assert_eq!(list(&topic, 0, 0), (errors::NONE, -1, -1));
    assert_eq!(list(&topic, 0, -1), (errors::NONE, -1, 0));
    assert_eq!(list(&topic, 0, -2), (errors::NONE, -1, 0));
    assert_eq!(list(&topic, 0, -3), (errors::NONE, -1, -1));
    assert_eq!(list(&topic, 7, -1).0, errors::UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn a_client_asks_for_several_partitions_at_once() {
    let topic = topic("several", 3);
    write_at(&topic, &[1_000, 2_000]);
    let asked: Vec<_> = (0..3).map(|p| (p, Offset::Offset(1_500))).collect();
    let found = consumer(&unique("several"), &[])
        .offsets_for_times(positions(&topic, &asked), PATIENCE)
        .expect("an answer");
    let offsets: Vec<_> = found.elements().iter().map(|e| e.offset()).collect();
    assert_eq!(offsets, [Offset::Offset(1), Offset::End, Offset::End]);
}

#[test]
fn a_time_more_than_an_hour_ahead_is_refused() {
    let topic = topic("ahead", 1);
    let producer = producer(&[]);
    for (ahead, expected) in [
        (50 * 60_000, Ok((0, 0))),
        (70 * 60_000, Err(RDKafkaErrorCode::InvalidTimestamp)),
        (0, Ok((0, 1))),
    ] {
        let record = BaseRecord::<(), str>::to(&topic)
            .partition(0)
            .payload("x")
            .timestamp(now() + ahead);
        producer.send(record).map_err(|(e, _)| e).expect("queued");
        assert_eq!(flush(&producer), [expected], "{ahead} ms ahead");
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_millis() as i64
}

#[test]
fn a_topic_may_take_the_brokers_time_instead_of_the_producers() {
    let properties = [("message.timestamp.type", "LogAppendTime")];
    let topic = topic_with("append-time", 1, &properties);
    let before = now();
    write_at(&topic, &[1_000, 2_000]);
    let after = now();
    let rows = read(&topic, &[]);
    assert_eq!(rows.len(), 2);
    for row in rows {
        let time = row.timestamp.expect("a time");
        assert!((before..=after).contains(&time), "{before} {time} {after}");
    }
}
