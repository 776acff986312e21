//! `floodmark generate`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use serde_json::Value;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

fn generate(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_floodmark"));
    command.arg("generate").args(flags);
    command
}

fn run(flags: &[&str]) -> Output {
    generate(flags).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// How many of these records are good, bad and anomalous, by the schema and limits alone.
fn count<'a>(records: impl Iterator<Item = &'a [u8]>) -> (u64, u64, u64) {
    let (mut good, mut bad, mut anomalous) = (0, 0, 0);
    for record in records {
        let reading = serde_json::from_slice::<Value>(record)
            .ok()
            .and_then(|value| {
                value["device_id"].as_str()?;
                value["ts"].as_str()?.parse::<jiff::Timestamp>().ok()?;
                Some((
                    value["temperature_c"].as_f64()?,
                    value["vibration_g"].as_f64()?,
                ))
            });
        match reading {
            None => bad += 1,
            Some((temperature, vibration)) => {
                good += 1;
                anomalous += u64::from(temperature > 85.0 || vibration > 0.5);
            }
        }
    }
    (good, bad, anomalous)
}

#[test]
fn the_same_seed_and_start_give_the_same_bytes() {
    let flags = [
        "--out",
        "-",
        "--rate",
        "max",
        "--count",
        "20000",
        "--start",
        "2025-08-17T12:00:00Z",
        "--bad",
        "0.01",
        "--late",
        "0.01",
        "--disorder",
        "5s",
    ];
    let (first, second) = (run(&flags), run(&flags));
    assert!(first.status.success());
    assert_eq!(first.stdout, second.stdout);
    assert_eq!(first.stdout.split(|byte| *byte == b'\n').count(), 20_001);
    let other = run(&[&flags[..], &["--seed", "43"]].concat());
    assert_ne!(first.stdout, other.stdout);
}

#[test]
fn standard_output_holds_events_and_standard_error_the_summary() {
    let output = run(&[
        "--out",
        "-",
        "--rate",
        "max",
        "--count",
        "2",
        "--start",
        "2025-08-17",
    ]);
    let events = text(&output.stdout);
    let first = r#"{"device_id":"MTR-01000","ts":"2025-08-17T00:00:00.000Z","temperature_c":"#;
    assert!(events.starts_with(first), "{events}");
    assert_eq!(events.lines().count(), 2);
    let summary = text(&output.stderr);
    assert!(
        summary.contains("2 events,") && summary.contains("anomalous"),
        "{summary}"
    );
}

#[test]
fn the_report_states_what_the_file_holds() {
    let dir = tempfile::tempdir().unwrap();
    let (out, report) = (
        dir.path().join("events.jsonl"),
        dir.path().join("report.json"),
    );
    let output = run(&[
        "--out",
        out.to_str().unwrap(),
        "--report",
        report.to_str().unwrap(),
        "--rate",
        "max",
        "--count",
        "50000",
        "--devices",
        "300",
        "--bad",
        "0.02",
        "--late",
        "0.02",
        "--anomalies",
        "0.03",
        "--disorder",
        "2s",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("50000 events"));
    let bytes = std::fs::read(&out).unwrap();
    let records = bytes
        .strip_suffix(b"\n")
        .unwrap()
        .split(|byte| *byte == b'\n');
    let (good, bad, anomalous) = count(records);
    let report = json(&report);
    assert_eq!(report["events"], 50_000);
    assert_eq!(report["good"], good);
    assert_eq!(report["bad"], bad);
    assert_eq!(report["anomalous"], anomalous);
    assert_eq!(report["ended_by"], "count");
    let late = report["late"].as_u64().unwrap();
    assert!((800..1_200).contains(&late), "{late}");
    let kinds = report["bad_kinds"].as_object().unwrap();
    assert_eq!(kinds.values().filter_map(Value::as_u64).sum::<u64>(), bad);
}

#[test]
fn a_rate_is_kept() {
    let started = Instant::now();
    let output = run(&["--out", "-", "--rate", "200", "--for", "1s"]);
    let events = text(&output.stdout).lines().count();
    assert_eq!(events, 200);
    assert!(started.elapsed() >= Duration::from_millis(990));
}

#[test]
fn a_signal_ends_a_run_properly() {
    let dir = tempfile::tempdir().unwrap();
    let (out, report) = (
        dir.path().join("events.jsonl"),
        dir.path().join("report.json"),
    );
    let child = generate(&[
        "--out",
        out.to_str().unwrap(),
        "--report",
        report.to_str().unwrap(),
        "--rate",
        "500",
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    wait_until("something is written", || {
        std::fs::metadata(&out).is_ok_and(|file| file.len() > 0)
    });
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines = std::fs::read_to_string(&out).unwrap().lines().count();
    let report = json(&report);
    assert_eq!(report["events"], lines);
    assert_eq!(report["ended_by"], "signal");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = generate(&["--out", "-", "--rate", "max"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn wrong_usage_is_explained_with_exit_code_2() {
    for (flags, explanation) in [
        (&["--rate", "5"][..], "<--topic <TOPIC>|--out <FILE>>"),
        (&["--topic", "t"], "--brokers"),
        (
            &["--out", "-", "--topic", "t", "--brokers", "b"],
            "cannot be used with",
        ),
        (&["--out", "-", "--rate", "fast"], "or max"),
        (&["--out", "-", "--late", "2"], "between 0 and 1"),
        (&["--out", "-", "--for", "5"], "10 minutes"),
        (
            &["--out", "-", "--rate", "max", "--speed", "2"],
            "--interval",
        ),
        (&["--out", "events.gz"], "| gzip"),
        (&["--out", "-", "--start", "1969-01-01"], "1971"),
    ] {
        let output = run(flags);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {message}");
        assert!(message.contains(explanation), "{flags:?}: {message}");
    }
}

#[test]
fn what_cannot_be_written_is_named() {
    let output = run(&["--out", "/nonexistent/events.jsonl", "--count", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(
        message.contains("cannot create /nonexistent/events.jsonl"),
        "{message}"
    );
}

#[test]
fn help_has_examples() {
    let help = text(&run(&["--help"]).stdout);
    assert!(
        help.contains("Examples:") && help.contains("--late 0.01 --bad 0.001"),
        "{help}"
    );
}

#[test]
fn a_broker_out_of_reach_is_named_within_ten_seconds() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let started = Instant::now();
    let output = run(&[
        "--brokers",
        &port.to_string(),
        "--topic",
        "t",
        "--count",
        "1",
    ]);
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(
        message.contains(&format!("that a Kafka broker listens on {port}")),
        "{message}"
    );
}

#[test]
fn properties_take_variables_and_no_message_shows_a_value() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("events", 1, 1).unwrap();
    let with = |property: &str| {
        let brokers = cluster.bootstrap_servers();
        let flags = ["--brokers", &brokers, "--topic", "events", "--count", "1"];
        let mut command = generate(&[&flags[..], &["--kafka", property]].concat());
        command.env("WORD", "hunter2").env("NUMBER", "1000");
        command.env_remove("UNSET").output().unwrap()
    };
    let filled = with("queue.buffering.max.messages=${NUMBER}");
    assert!(filled.status.success(), "{}", text(&filled.stderr));
    for (property, code, explanation) in [
        ("hunter2", 2, "--kafka takes KEY=VALUE"),
        ("sasl.password:hunter2", 2, "--kafka takes KEY=VALUE"),
        ("sasl.password=hunter2${UNSET}", 2, "`UNSET` is not set"),
        ("sasl.pasword=${WORD}", 1, "No such configuration property"),
        ("security.protocol=${WORD}", 1, "security.protocol"),
    ] {
        let output = with(property);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{property}: {message}");
        assert!(message.contains(explanation), "{property}: {message}");
        assert!(!message.contains("hunter2"), "{property}: {message}");
    }
}

#[test]
fn a_topic_that_does_not_exist_is_not_created() {
    let cluster = MockCluster::new(1).unwrap();
    let output = run(&[
        "--brokers",
        &cluster.bootstrap_servers(),
        "--topic",
        "nowhere",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(
        message.contains("topic 'nowhere' does not exist on"),
        "{message}"
    );
    assert!(message.contains("floodmark topics create"), "{message}");
}

#[test]
fn an_event_that_is_not_delivered_is_an_error() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("events", 1, 1).unwrap();
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::Produce, &[refused; 100]);
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report.json");
    let output = run(&[
        "--brokers",
        &cluster.bootstrap_servers(),
        "--topic",
        "events",
        "--rate",
        "max",
        "--count",
        "1000",
        "--report",
        report.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(
        message.contains("could not be delivered to topic 'events'"),
        "{message}"
    );
    assert!(!report.exists());
}

#[test]
fn every_event_arrives_in_the_topic_and_each_device_in_one_partition() {
    const EVENTS: usize = 30_000;
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("events", 3, 1).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report.json");
    let output = run(&[
        "--brokers",
        &cluster.bootstrap_servers(),
        "--topic",
        "events",
        "--rate",
        "max",
        "--count",
        &EVENTS.to_string(),
        "--devices",
        "100",
        "--bad",
        "0.05",
        "--anomalies",
        "0.05",
        "--report",
        report.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let records = consume(&cluster.bootstrap_servers(), "events", 3, EVENTS);
    let report = json(&report);
    let (good, bad, anomalous) = count(records.iter().map(|record| &record.value[..]));
    assert_eq!(report["good"], good);
    assert_eq!(report["bad"], bad);
    assert_eq!(report["anomalous"], anomalous);
    let mut partitions: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for record in &records {
        partitions
            .entry(&record.key)
            .or_default()
            .insert(record.partition);
    }
    assert_eq!(partitions.len(), 100);
    assert!(partitions.values().all(|partitions| partitions.len() == 1));
    // As a Java producer places it.
    assert_eq!(
        partitions["MTR-00001"],
        BTreeSet::from([java_partition(b"MTR-00001", 3)])
    );
}

struct Record {
    partition: i32,
    key: String,
    value: Vec<u8>,
}

/// Reads so many records of a topic, and makes sure that there are no more.
fn consume(brokers: &str, topic: &str, partitions: i32, events: usize) -> Vec<Record> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test")
        .set("enable.partition.eof", "false")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment
            .add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut records = Vec::new();
    let started = Instant::now();
    while records.len() < events && started.elapsed() < PATIENCE {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let message = message.unwrap();
            records.push(Record {
                partition: message.partition(),
                key: text(message.key().unwrap()),
                value: message.payload().unwrap().to_vec(),
            });
        }
    }
    assert_eq!(records.len(), events);
    let end: i64 = (0..partitions)
        .map(|partition| {
            consumer
                .fetch_watermarks(topic, partition, PATIENCE)
                .unwrap()
                .1
        })
        .sum();
    assert_eq!(end, events as i64);
    records
}

/// The partition that the Java client gives a key: `toPositive(murmur2(key)) % partitions`.
fn java_partition(key: &[u8], partitions: u32) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ key.len() as u32;
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        let word = u32::from_le_bytes(word.try_into().unwrap()).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ (word ^ (word >> 24)).wrapping_mul(M);
    }
    for (place, byte) in words.remainder().iter().enumerate().rev() {
        hash ^= u32::from(*byte) << (8 * place);
        if place == 0 {
            hash = hash.wrapping_mul(M);
        }
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^= hash >> 15;
    ((hash & 0x7fff_ffff) % partitions) as i32
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
