//! The sink ahead of the checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, UInt32Array,
};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::col;
use floodmark_engine::rows::Origin;
use floodmark_engine::sink::kafka::{
    CursorPlace, CursorSource, KafkaAheadSink, RecordShape, SinkTarget,
};
use floodmark_engine::sink::{OutputRows, Progress, Sink, SinkError};
use floodmark_engine::units::{Epoch, Offset, Partition, SourceId};
use floodmark_pipeline::KafkaCluster;

use crate::servers::{Seen, cluster, read_committed, topic, unique};

const SOURCE: SourceId = SourceId(0);

fn target(cluster: &KafkaCluster, topic: &str) -> SinkTarget {
    SinkTarget {
        pipeline: topic.to_owned(),
        output: "alerts".to_owned(),
        lineage: "lineage".to_owned(),
        cluster: cluster.clone(),
        topic: topic.to_owned(),
        commit_interval: Duration::from_millis(50),
        retries: floodmark_engine::telemetry::Retries::default(),
    }
}

fn place(place: CursorPlace) -> CursorSource {
    CursorSource {
        source: SOURCE,
        place,
        renewed: BTreeMap::new(),
    }
}

fn plain() -> RecordShape {
    RecordShape::Json {
        key: None,
        headers: Vec::new(),
    }
}

/// Rows `from..to` of a partition: the value says where each came from.
fn rows(partition: i32, from: i64, to: i64) -> (OutputRows, [Progress; 1]) {
    let offsets: Vec<i64> = (from..to).collect();
    let ids: Vec<String> = offsets.iter().map(|o| format!("{partition}-{o}")).collect();
    let count = offsets.len();
    let id = Arc::new(StringArray::from(ids)) as ArrayRef;
    let origin = Origin {
        source: SOURCE,
        partition: Int32Array::from(vec![partition; count]),
        offset: Int64Array::from(offsets),
        timestamp: Int64Array::from(vec![0; count]),
        row: UInt32Array::from_iter_values(0..count as u32),
    };
    let batch = RecordBatch::try_from_iter([("id", id)]).expect("a batch");
    let next = Offset(to);
    let progress = [Progress {
        source: SOURCE,
        partition: Partition(partition),
        next,
    }];
    (
        OutputRows {
            batch,
            origin: Some(origin),
        },
        progress,
    )
}

fn write(sink: &mut KafkaAheadSink, partition: i32, from: i64, to: i64) {
    let (rows, progress) = rows(partition, from, to);
    sink.write(rows, &progress).expect("written");
}

fn ids(seen: &[Seen]) -> Vec<String> {
    let mut ids: Vec<String> = seen
        .iter()
        .map(|record| {
            let value = record.value.as_deref().expect("a value");
            let row: serde_json::Value = serde_json::from_slice(value).expect("JSON");
            row["id"].as_str().expect("text").to_owned()
        })
        .collect();
    ids.sort_unstable();
    ids
}

fn expected(partitions: i32, to: i64) -> Vec<String> {
    let mut ids: Vec<String> = (0..partitions)
        .flat_map(|p| (0..to).map(move |o| format!("{p}-{o}")))
        .collect();
    ids.sort_unstable();
    ids
}

/// Every instance replays everything from the start, as after a restart from an old checkpoint,
/// and dies at another step.
fn dies_at_every_step(cluster: &KafkaCluster, place_of: impl Fn(&str) -> CursorPlace) {
    let source = topic(cluster, "source", 3, &[]);
    let out = topic(cluster, "out", 2, &[]);
    let target = target(cluster, &out);
    for step in 0..4 {
        let place = place(place_of(&source));
        let mut sink =
            KafkaAheadSink::open(target.clone(), plain(), &[place]).expect("the sink opens");
        let reach = (step + 1) * 25;
        for partition in 0..3 {
            write(&mut sink, partition, 0, reach / 2);
        }
        if step % 2 == 1 {
            sink.pre_commit(Epoch(1), false).expect("committed");
        }
        for partition in 0..3 {
            write(&mut sink, partition, reach / 2, reach);
        }
        match step {
            // Died with a transaction open, as if by SIGKILL: the producer is never told.
            0 | 1 => std::mem::forget(sink),
            // Stopped in order, nothing committed.
            2 => drop(sink),
            _ => {
                sink.pre_commit(Epoch(2), true).expect("committed");
            }
        }
    }
    assert_eq!(ids(&read_committed(cluster, &out)), expected(3, 100));
}

#[test]
fn each_row_is_seen_once_wherever_instances_die() {
    let cluster = cluster();
    dies_at_every_step(&cluster, |source| CursorPlace::Topic(source.to_owned()));
}

#[test]
fn a_source_outside_the_cluster_is_seen_once_too() {
    let cluster = cluster();
    dies_at_every_step(&cluster, |_| CursorPlace::Note("files".to_owned()));
}

#[test]
fn a_zombie_is_fenced_and_its_rows_are_not_seen() {
    let cluster = cluster();
    let source = topic(&cluster, "source", 3, &[]);
    let out = topic(&cluster, "out", 1, &[]);
    let open = || {
        let place = place(CursorPlace::Topic(source.clone()));
        KafkaAheadSink::open(target(&cluster, &out), plain(), &[place]).expect("the sink opens")
    };
    let mut zombie = open();
    write(&mut zombie, 0, 0, 10);
    let mut successor = open();
    let error = zombie.pre_commit(Epoch(1), false).expect_err("fenced");
    assert!(matches!(error, SinkError::Fenced { .. }), "{error}");
    write(&mut successor, 0, 0, 10);
    successor.pre_commit(Epoch(1), false).expect("committed");
    assert_eq!(ids(&read_committed(&cluster, &out)), expected(1, 10));
}

#[test]
fn rows_become_visible_by_themselves_after_the_commit_interval() {
    let cluster = cluster();
    let source = topic(&cluster, "source", 3, &[]);
    let out = topic(&cluster, "out", 1, &[]);
    let place = place(CursorPlace::Topic(source));
    let mut sink =
        KafkaAheadSink::open(target(&cluster, &out), plain(), &[place]).expect("the sink opens");
    let mut took = Vec::new();
    for round in 0..40 {
        write(&mut sink, 0, round * 10, round * 10 + 10);
        let mut wait = Some(Duration::ZERO);
        if round > 0 {
            // Not before its time; only a row after a silence goes out at once.
            let polled = sink.poll().expect("polled");
            assert_eq!(polled.0.rows, 0);
            wait = polled.1;
        }
        std::thread::sleep(wait.expect("rows are waiting"));
        let started = Instant::now();
        let (committed, wait) = sink.poll().expect("polled");
        took.push(started.elapsed());
        assert_eq!((committed.rows, wait), (10, None));
    }
    took.sort_unstable();
    eprintln!("commit: p50 {:?}, p99 {:?}", took[20], took[39]);
    assert_eq!(read_committed(&cluster, &out).len(), 400);
}

#[test]
fn keys_and_headers_come_from_expressions() {
    let cluster = cluster();
    let source = topic(&cluster, "source", 3, &[]);
    let out = topic(&cluster, "out", 1, &[]);
    let (rows, progress) = rows(2, 7, 8);
    let id: Arc<dyn PhysicalExpr> = col("id", &rows.batch.schema()).expect("a column");
    let shape = RecordShape::Json {
        key: Some(id.clone()),
        headers: vec![("origin".to_owned(), id)],
    };
    let place = place(CursorPlace::Topic(source));
    let mut sink =
        KafkaAheadSink::open(target(&cluster, &out), shape, &[place]).expect("the sink opens");
    sink.write(rows, &progress).expect("written");
    sink.pre_commit(Epoch(1), true).expect("committed");
    assert_eq!(
        read_committed(&cluster, &out),
        [Seen {
            key: Some(b"2-7".to_vec()),
            value: Some(br#"{"id":"2-7"}"#.to_vec()),
            headers: vec![("origin".to_owned(), b"2-7".to_vec())],
        }]
    );
}

#[test]
fn a_dead_letter_is_the_raw_record_cut_to_what_the_topic_takes() {
    let cluster = cluster();
    let source = topic(&cluster, "source", 3, &[]);
    let out = topic(&cluster, "dead", 1, &[("max.message.bytes", "3000000")]);
    let large = vec![0xff_u8; 10_000_000];
    let values: Vec<Option<&[u8]>> = vec![Some(b"\x00not json"), None, Some(&large)];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("value", Arc::new(BinaryArray::from(values))),
        (
            "key",
            Arc::new(BinaryArray::from(vec![Some(&b"k"[..]), None, None])),
        ),
        ("topic", Arc::new(StringArray::from(vec!["events"; 3]))),
        ("partition", Arc::new(Int32Array::from(vec![1; 3]))),
        ("offset", Arc::new(Int64Array::from(vec![4, 5, 6]))),
        ("timestamp", Arc::new(Int64Array::from(vec![99; 3]))),
        (
            "reason",
            Arc::new(StringArray::from(vec!["no JSON", "null", "too long"])),
        ),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    let (OutputRows { origin, .. }, progress) = rows(1, 4, 7);
    let place = place(CursorPlace::Topic(source));
    let mut sink = KafkaAheadSink::open(target(&cluster, &out), RecordShape::DeadLetter, &[place])
        .expect("the sink opens");
    sink.write(OutputRows { batch, origin }, &progress)
        .expect("written");
    sink.pre_commit(Epoch(1), true).expect("committed");
    let seen = read_committed(&cluster, &out);
    let header = |record: &Seen, name: &str| {
        let found = record.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    };
    assert_eq!(seen[0].value.as_deref(), Some(&b"\x00not json"[..]));
    assert_eq!(seen[0].key.as_deref(), Some(&b"k"[..]));
    let origin: BTreeMap<_, _> = seen[0].headers.iter().cloned().collect();
    assert_eq!(origin["floodmark.topic"], b"events");
    assert_eq!(origin["floodmark.partition"], b"1");
    assert_eq!(origin["floodmark.offset"], b"4");
    assert_eq!(origin["floodmark.timestamp"], b"99");
    assert_eq!(origin["floodmark.reason"], b"no JSON");
    assert_eq!(header(&seen[0], "floodmark.truncated_from"), None);
    assert_eq!(seen[1].value, None);
    let kept = seen[2].value.as_ref().expect("a value").len();
    assert!((2_900_000..3_000_000).contains(&kept), "{kept}");
    assert_eq!(
        header(&seen[2], "floodmark.truncated_from").as_deref(),
        Some("10000000")
    );
}

#[test]
fn a_row_the_topic_does_not_take_is_named_before_it_is_sent() {
    let cluster = cluster();
    let source = topic(&cluster, "source", 3, &[]);
    let out = topic(&cluster, "small", 1, &[("max.message.bytes", "2000")]);
    let place = place(CursorPlace::Topic(source));
    let mut sink =
        KafkaAheadSink::open(target(&cluster, &out), plain(), &[place]).expect("the sink opens");
    let id = Arc::new(StringArray::from(vec!["x".repeat(3_000)])) as ArrayRef;
    let (mut rows, progress) = rows(0, 0, 1);
    rows.batch = RecordBatch::try_from_iter([("id", id)]).expect("a batch");
    let error = sink
        .write(rows, &progress)
        .expect_err("too large")
        .to_string();
    assert!(
        error.contains("max.message.bytes") && error.contains("2000"),
        "{error}"
    );
    // Many rows that fit are no batch that does not.
    for at in 0..5 {
        write(&mut sink, 0, at * 100, at * 100 + 100);
    }
    sink.pre_commit(Epoch(1), true).expect("committed");
}

#[test]
fn a_missing_topic_is_explained_when_the_sink_opens() {
    let cluster = cluster();
    let missing = target(&cluster, &unique("missing"));
    let error = KafkaAheadSink::open(missing, plain(), &[])
        .err()
        .expect("no such topic");
    assert!(
        error.to_string().contains("floodmark topics create"),
        "{error}"
    );
}
