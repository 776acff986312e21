//! The epoch sink on a cluster, and the producer below it. These tests live here because only the crate
//! can make a commit permit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, Int64Array, RecordBatch};
use floodmark_pipeline::KafkaCluster;
use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka_sys::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::producer::TransactionalProducer;
use super::records::Records;
use super::{KafkaEpochSink, RecordShape, SinkTarget};
use crate::servers::{Seen, cluster, read_committed, topic};
use crate::sink::{CommitPermit, OutputRows, PreCommit, Sink, SinkError};
use crate::telemetry::Retries;
use crate::units::Epoch;

fn target(stem: &str) -> SinkTarget {
    let cluster = cluster();
    let topic = topic(&cluster, stem, 2, &[]);
    SinkTarget {
        pipeline: topic.clone(),
        output: "windows".to_owned(),
        lineage: "first".to_owned(),
        cluster,
        topic,
        commit_interval: Duration::from_millis(50),
        retries: Retries::default(),
    }
}

fn open(target: &SinkTarget) -> KafkaEpochSink {
    let shape = RecordShape::Json {
        key: None,
        headers: Vec::new(),
    };
    KafkaEpochSink::open(target.clone(), shape).expect("the sink opens")
}

fn rows(values: &[i64]) -> OutputRows {
    let column = Arc::new(Int64Array::from(values.to_vec())) as Arc<dyn Array>;
    let batch = RecordBatch::try_from_iter([("n", column)]).expect("a batch");
    OutputRows {
        batch,
        origin: None,
    }
}

fn committed_values(target: &SinkTarget) -> Vec<i64> {
    let value = |record: Seen| {
        let value = record.value.expect("a value");
        let row: serde_json::Value = serde_json::from_slice(&value).expect("JSON");
        row["n"].as_i64().expect("a number")
    };
    let seen = read_committed(&target.cluster, &target.topic);
    let mut values: Vec<i64> = seen.into_iter().map(value).collect();
    values.sort_unstable();
    values
}

#[test]
fn an_epoch_is_sent_once_wherever_the_instance_dies() {
    let target = target("epoch");
    let mut first = open(&target);
    first.write(rows(&[1, 2]), &[]).expect("written");
    let epoch_1 = first.pre_commit(Epoch(1), false).expect("staged");
    first.write(rows(&[3]), &[]).expect("of the next epoch");
    first.commit(&CommitPermit::new(Epoch(1))).expect("sent");
    // The same commit again, then death between the next pre-commit and its commit.
    first
        .commit(&CommitPermit::new(Epoch(1)))
        .expect("nothing left to do");
    let epoch_2 = first.pre_commit(Epoch(2), false).expect("staged");
    std::mem::forget(first);
    assert_eq!(committed_values(&target), [1, 2]);

    let mut second = open(&target);
    assert_eq!(second.stamped(), Some(Epoch(1)));
    let sent = second
        .restore(&CommitPermit::new(Epoch(2)), epoch_2.clone())
        .expect("sent");
    assert_eq!(sent.rows, 1);
    std::mem::forget(second);

    // Death after the send and before anyone knew: the stamp knows.
    let mut third = open(&target);
    let sent = third
        .restore(&CommitPermit::new(Epoch(2)), epoch_2)
        .expect("skipped");
    assert_eq!(sent.rows, 1, "counted for the dead, not sent again");
    let older = third
        .restore(&CommitPermit::new(Epoch(1)), epoch_1)
        .expect("skipped");
    assert_eq!(older.rows, 2);
    assert_eq!(committed_values(&target), [1, 2, 3]);
}

#[test]
fn an_epoch_without_rows_leaves_nothing_and_a_new_lineage_starts_over() {
    let mut target = target("lineage");
    let mut sink = open(&target);
    sink.pre_commit(Epoch(1), false).expect("staged");
    sink.commit(&CommitPermit::new(Epoch(1)))
        .expect("nothing to send");
    assert_eq!(sink.stamped(), None);
    sink.write(rows(&[1]), &[]).expect("written");
    sink.pre_commit(Epoch(9), true).expect("staged");
    sink.commit(&CommitPermit::new(Epoch(9))).expect("sent");
    drop(sink);
    target.lineage = "second".to_owned();
    let mut sink = open(&target);
    assert_eq!(sink.stamped(), None);
    let again = PreCommit {
        work: serde_json::Value::Null,
        carried: vec![rows(&[1]).batch],
    };
    let sent = sink
        .restore(&CommitPermit::new(Epoch(1)), again)
        .expect("sent");
    assert_eq!(sent.rows, 1);
    drop(sink);
    assert_eq!(committed_values(&target), [1, 1]);
}

#[test]
fn an_older_instance_is_fenced_when_it_commits() {
    let target = target("fence");
    let mut zombie = open(&target);
    zombie.write(rows(&[1]), &[]).expect("written");
    zombie.pre_commit(Epoch(1), false).expect("staged");
    let _successor = open(&target);
    let error = zombie
        .commit(&CommitPermit::new(Epoch(1)))
        .expect_err("fenced");
    assert!(matches!(error, SinkError::Fenced { .. }), "{error}");
    assert!(committed_values(&target).is_empty());
}

/// An output on a cluster of librdkafka's own, for what a real one is hard to bring to.
fn mocked_target(brokers: &MockCluster<'_, impl rdkafka::client::ClientContext>) -> SinkTarget {
    SinkTarget {
        pipeline: "p".to_owned(),
        output: "alerts".to_owned(),
        lineage: "first".to_owned(),
        cluster: KafkaCluster {
            brokers: brokers.bootstrap_servers(),
            properties: BTreeMap::new(),
        },
        topic: "alerts".to_owned(),
        commit_interval: Duration::from_millis(50),
        retries: Retries::default(),
    }
}

/// Here, one coordinator that answers and one that cannot be reached.
#[test]
fn a_coordinator_that_cannot_be_reached_ends_the_run_and_does_not_hang_it() {
    const TRANSACTIONS: i32 = 1;
    const MARKS: i32 = 2;
    let brokers = MockCluster::new(2).expect("a cluster");
    brokers
        .create_topic("alerts", 1, 1)
        .expect("the output's topic");
    let leader = brokers.partition_leader("alerts", 0, Some(TRANSACTIONS));
    leader.expect("a leader that stays");
    let target = mocked_target(&brokers);
    let id = MockCoordinator::Transaction(target.transactional_id());
    brokers.coordinator(id, TRANSACTIONS).expect("set");
    let group = MockCoordinator::Group(target.group());
    brokers.coordinator(group, MARKS).expect("set");
    let mut mark = TopicPartitionList::new();
    mark.add_partition_offset("alerts", 0, Offset::Offset(7))
        .expect("a mark");
    let (mut producer, _) =
        TransactionalProducer::connect(&target, &|_| Ok(TopicPartitionList::new()))
            .expect("opened");
    let nothing = Records::default();
    let limit = Duration::from_secs(30);
    producer
        .commit_within(limit, &nothing, &mark)
        .expect("both coordinators answer");

    brokers.broker_down(MARKS).expect("down");
    let began = Instant::now();
    let limit = Duration::from_secs(3);
    for _ in 0..2 {
        let error = producer
            .commit_within(limit, &nothing, &mark)
            .expect_err("no coordinator");
        let text = error.to_string();
        assert!(matches!(error, SinkError::Failed { .. }), "{text}");
        assert!(text.contains(&target.group()), "{text}");
        assert!(text.contains("start again"), "{text}");
    }
    drop(producer);
    assert!(began.elapsed() < Duration::from_secs(60), "it hung");
}

/// The broker refuses the transaction's first partition.
#[test]
fn a_right_that_was_taken_away_is_named_with_what_to_allow() {
    let brokers = MockCluster::new(1).expect("a cluster");
    brokers
        .create_topic("alerts", 1, 1)
        .expect("the output's topic");
    let target = mocked_target(&brokers);
    let (mut producer, _) =
        TransactionalProducer::connect(&target, &|_| Ok(TopicPartitionList::new()))
            .expect("opened");
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    brokers.request_errors(RDKafkaApiKey::AddPartitionsToTxn, &[refused]);
    let mut mark = TopicPartitionList::new();
    mark.add_partition_offset("alerts", 0, Offset::Offset(7))
        .expect("a mark");
    let mut records = Records::default();
    let shape = RecordShape::Json {
        key: None,
        headers: Vec::new(),
    };
    records
        .add(&rows(&[1]).batch, &shape, 1_000)
        .expect("it fits");

    let began = Instant::now();
    let error = producer
        .commit_within(Duration::from_secs(30), &records, &mark)
        .expect_err("not allowed");

    let text = error.to_string();
    assert!(matches!(error, SinkError::Misconfigured { .. }), "{text}");
    assert!(text.contains("Allow this user to"), "{text}");
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "it waited in vain"
    );
}
