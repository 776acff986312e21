//! The source.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use floodmark_engine::source::kafka::{DEFAULT_PREFETCH_BYTES, KafkaReader, KafkaTopic};
use floodmark_engine::source::{PartitionEvent, Reader, SourceError};
use floodmark_engine::units::{Offset, Partition};
use floodmark_pipeline::{KafkaCluster, KafkaSource, OnLostPosition, Start};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset as NativeOffset, TopicPartitionList};

use super::support::{produce, produce_values, source};
use crate::servers::{PATIENCE, cluster, deadline, topic, unique};

fn reader(source: &KafkaSource, positions: &[(Partition, Offset)]) -> KafkaReader {
    let mut reader = KafkaReader::new("s", source, DEFAULT_PREFETCH_BYTES).expect("a reader");
    reader.assign(positions).expect("assigned");
    reader
}

/// Polls until every partition has caught up (or `most` records are there); returns the values and
/// moves `positions` on.
fn drain(
    reader: &mut KafkaReader,
    positions: &mut [(Partition, Offset)],
    most: usize,
) -> Result<Vec<String>, SourceError> {
    let until = Instant::now() + PATIENCE;
    let mut values = Vec::new();
    let mut next: BTreeMap<Partition, Offset> = positions.iter().copied().collect();
    let mut ends = BTreeMap::new();
    while ends.len() < positions.len() && values.len() < most {
        assert!(
            Instant::now() < until,
            "the reader stalls at {}",
            values.len()
        );
        let events = reader.poll(Duration::from_millis(100), 100, &mut |records| {
            for record in records {
                assert!(record.offset >= next[&record.partition], "offsets ascend");
                next.insert(record.partition, Offset(record.offset.0 + 1));
                let value = record.value.expect("a value");
                values.push(String::from_utf8_lossy(value).into_owned());
            }
        })?;
        for event in events {
            let PartitionEvent::CaughtUp {
                partition,
                next: end,
            } = event
            else {
                panic!("a topic does not end for good");
            };
            next.insert(partition, end);
            ends.insert(partition, end);
        }
    }
    for (partition, position) in positions {
        *position = next[partition];
    }
    Ok(values)
}

fn earliest(source: &KafkaSource) -> Vec<(Partition, Offset)> {
    let (topic, partitions) = KafkaTopic::open("s", source, deadline()).expect("the topic opens");
    topic
        .start_offsets(&partitions, Start::Earliest, deadline())
        .expect("offsets")
}

#[test]
fn every_record_is_read_once_across_restarts() {
    let cluster = cluster();
    let source = source(&cluster, &topic(&cluster, "once", 3, &[]));
    produce(&cluster, &source.topic, 0, 5_000);
    let mut positions = earliest(&source);
    let mut seen = Vec::new();
    for _ in 0..4 {
        let mut reader = reader(&source, &positions);
        seen.extend(drain(&mut reader, &mut positions, 1_000).expect("records"));
    }
    produce(&cluster, &source.topic, 5_000, 6_000);
    let mut reader = reader(&source, &positions);
    seen.extend(drain(&mut reader, &mut positions, usize::MAX).expect("records"));
    let mut seen: Vec<usize> = seen.iter().map(|v| v.parse().expect("a number")).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..6_000).collect::<Vec<_>>());
    assert!(reader.reachable());
}

#[test]
fn the_end_lies_past_transaction_markers_and_aborted_records_are_not_seen() {
    let cluster = cluster();
    let source = source(&cluster, &topic(&cluster, "markers", 1, &[]));
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &cluster.brokers)
        .set("transactional.id", unique("txn"))
        .create()
        .expect("a producer");
    producer.init_transactions(PATIENCE).expect("initialised");
    for (text, commit) in [("a", true), ("b", false), ("c", true)] {
        producer.begin_transaction().expect("begun");
        producer
            .send(BaseRecord::<(), str>::to(&source.topic).payload(text))
            .map_err(|(error, _)| error)
            .expect("sent");
        producer.flush(PATIENCE).expect("flushed");
        if commit {
            producer.commit_transaction(PATIENCE).expect("committed");
        } else {
            producer.abort_transaction(PATIENCE).expect("aborted");
        }
    }
    let (control, partitions) = KafkaTopic::open("s", &source, deadline()).expect("opens");
    let until = deadline();
    // The last marker is written after the commit has returned.
    while control.watermarks(&partitions, until).expect("watermarks")[0].high < Offset(6) {
        assert!(Instant::now() < until);
    }
    let mut positions = earliest(&source);
    let mut reader = reader(&source, &positions);
    let seen = drain(&mut reader, &mut positions, usize::MAX).expect("records");
    assert_eq!(seen, ["a", "c"]);
    assert_eq!(positions, [(Partition(0), Offset(6))]);
}

#[test]
fn a_start_time_begins_at_the_first_record_from_then_on() {
    let cluster = cluster();
    let source = source(&cluster, &topic(&cluster, "time", 1, &[]));
    produce_values(
        &cluster,
        &source.topic,
        (0..10).map(|i| (0, vec![b'0' + i])),
    );
    let (topic, partitions) = KafkaTopic::open("s", &source, deadline()).expect("opens");
    let at = |start| {
        topic
            .start_offsets(&partitions, start, deadline())
            .expect("offsets")[0]
            .1
    };
    assert_eq!(at(Start::Timestamp(0)), Offset(0));
    assert_eq!(at(Start::Timestamp(4_000_000_000_000)), Offset(10));
    assert_eq!(at(Start::Latest), Offset(10));
    assert_eq!(at(Start::Earliest), Offset(0));
}

fn delete_records(cluster: &KafkaCluster, topic: &str, before: i64) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &cluster.brokers)
        .create()
        .expect("an admin client");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, NativeOffset::Offset(before))
        .expect("a list");
    let deletion = admin.delete_records(&list, &AdminOptions::new());
    // The request is on its way when the call returns; the answer comes from the admin's thread.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(deletion).expect("records are deleted");
}

#[test]
fn a_lost_position_names_both_offsets_at_the_check_and_while_reading() {
    let cluster = cluster();
    let source = source(&cluster, &topic(&cluster, "lost", 1, &[]));
    produce_values(
        &cluster,
        &source.topic,
        (0..10).map(|i| (0, vec![b'0' + i])),
    );
    delete_records(&cluster, &source.topic, 6);
    let (topic, _) = KafkaTopic::open("s", &source, deadline()).expect("opens");
    let position = [(Partition(0), Offset(2))];
    let error = topic
        .check_positions(&position, OnLostPosition::Fail, deadline())
        .expect_err("the position is gone");
    let is_lost = |error: &SourceError| {
        matches!(
            error,
            SourceError::LostPosition {
                wanted: Offset(2),
                low: Offset(6),
                high: Offset(10),
                ..
            }
        )
    };
    assert!(is_lost(&error), "{error}");
    let replaced = topic
        .check_positions(&position, OnLostPosition::Earliest, deadline())
        .expect("replaced");
    assert_eq!(replaced[0].next, Offset(6));
    assert_eq!(replaced[0].replaces, Some(Offset(2)));

    let mut positions = position.to_vec();
    let mut reader = reader(&source, &position);
    let error = drain(&mut reader, &mut positions, 1).expect_err("the position is gone");
    assert!(is_lost(&error), "{error}");
}

#[test]
fn a_missing_topic_and_an_unreachable_broker_are_explained_in_time() {
    let cluster = cluster();
    let nowhere = source(&cluster, &unique("nowhere"));
    let error = KafkaTopic::open("s", &nowhere, deadline())
        .err()
        .expect("no such topic");
    assert!(
        error.to_string().contains("floodmark topics create"),
        "{error}"
    );

    let started = Instant::now();
    let mut elsewhere = nowhere;
    elsewhere.cluster.brokers = "127.0.0.1:9".to_owned();
    let limit = Duration::from_secs(3);
    let error = KafkaTopic::open("s", &elsewhere, started + limit)
        .err()
        .expect("no broker");
    assert!(
        matches!(error, SourceError::Misconfigured { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("127.0.0.1:9"), "{error}");
    assert!(started.elapsed() < limit + Duration::from_secs(2));
}

#[test]
fn progress_shows_in_the_consumer_group() {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let cluster = cluster();
    let source = source(&cluster, &topic(&cluster, "group", 1, &[]));
    produce_values(
        &cluster,
        &source.topic,
        (0..10).map(|i| (0, vec![b'0' + i])),
    );
    let (topic, _) = KafkaTopic::open("s", &source, deadline()).expect("opens");
    topic.commit_offsets(&[(Partition(0), Offset(7))]);
    let tool: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &cluster.brokers)
        .set("group.id", &source.group)
        .create()
        .expect("a consumer");
    let until = deadline();
    loop {
        let mut list = TopicPartitionList::new();
        list.add_partition(&source.topic, 0);
        let committed = tool.committed_offsets(list, PATIENCE).expect("offsets");
        if committed.elements()[0].offset() == NativeOffset::Offset(7) {
            break;
        }
        assert!(
            Instant::now() < until,
            "not committed, {} failures",
            topic.commit_failures()
        );
    }
}

#[test]
fn messages_are_given_back_when_the_callback_panics() {
    let cluster = cluster();
    let source = source(&cluster, &topic(&cluster, "panic", 1, &[]));
    produce_values(
        &cluster,
        &source.topic,
        (0..10).map(|i| (0, vec![b'0' + i])),
    );
    let mut reader = reader(&source, &earliest(&source));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let until = deadline();
        while Instant::now() < until {
            let _events = reader.poll(Duration::from_millis(100), 4, &mut |_| {
                panic!("in the callback")
            });
        }
    }));
    assert!(outcome.is_err());
    produce_values(&cluster, &source.topic, [(0, b"last".to_vec())].into_iter());
    let mut rest = [(Partition(0), Offset(0))];
    let seen = drain(&mut reader, &mut rest, 7).expect("the reader goes on");
    assert_eq!(seen.last().map(String::as_str), Some("last"));
}
