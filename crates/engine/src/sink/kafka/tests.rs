//! The epoch sink on a cluster. These tests live here because only the crate can make a commit permit.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, Int64Array, RecordBatch};

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
