//! The shipped pipeline over topics and directories of a test's own; runs come and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use floodmark_engine::connect::{connect, new_instance};
use floodmark_engine::runtime::{
    EngineError, Finished, RunOptions, Status, StatusBoard, StopSignal, keep_running,
};
use floodmark_engine::sink::kafka::{KafkaAheadSink, RecordShape, SinkTarget};
use floodmark_engine::telemetry::Telemetry;
use floodmark_engine::units::{Offset, Partition};
use floodmark_pipeline::{KafkaCluster, Pipeline};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset as NativeOffset, TopicPartitionList};
use serde_json::Value;

use super::place::{self, Place};
use crate::kafka::support::produce_records;
use crate::model::{self, DeadLetter, Expected, Nulls, Record, Seen};
use crate::mortal::{self, Death};
use crate::servers::{self, PATIENCE, cluster, deadline, read_committed, unique};

/// What users get.
const PIPELINE: &str = include_str!("../../../../../pipelines/sensors.toml");

/// Ends when everything is read; open windows stay in the checkpoint.
pub(super) const CAUGHT_UP: RunOptions = RunOptions {
    until_caught_up: true,
    close_windows: false,
};

/// Ends when everything is read, and fires all windows.
const CLOSED: RunOptions = RunOptions {
    until_caught_up: true,
    close_windows: true,
};

/// A topic of the job's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    Source,
    Alerts,
    Dead,
}

impl Topic {
    pub(super) const ALL: [Self; 3] = [Self::Source, Self::Alerts, Self::Dead];
}

pub(super) struct Job {
    name: String,
    cluster: KafkaCluster,
    place: Place,
    tokio: tokio::runtime::Runtime,
    workers: usize,
    batch_rows: usize,
}

impl Job {
    /// A job with its three topics.
    pub(super) fn new() -> Self {
        let job = Self::without_topics();
        job.create(&Topic::ALL, &[]);
        job
    }

    pub(super) fn without_topics() -> Self {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        Self {
            name: unique("job"),
            cluster: cluster(),
            place: Place::new(),
            tokio,
            workers: 2,
            batch_rows: 256,
        }
    }

    /// The same job with other numbers from its next run on.
    pub(super) fn size(&mut self, workers: usize, batch_rows: usize) {
        (self.workers, self.batch_rows) = (workers, batch_rows);
    }

    pub(super) fn cluster(&self) -> &KafkaCluster {
        &self.cluster
    }

    pub(super) fn topic(&self, topic: Topic) -> String {
        match topic {
            Topic::Source => format!("{}-events", self.name),
            Topic::Alerts => format!("{}-alerts", self.name),
            Topic::Dead => format!("{}-dead", self.name),
        }
    }

    pub(super) fn create(&self, topics: &[Topic], config: &[(&str, &str)]) {
        let names: Vec<String> = topics.iter().map(|topic| self.topic(*topic)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        servers::create(&self.cluster, &names, 3, config);
    }

    /// Writes records to the source topic.
    pub(super) fn append(&self, records: &[Record]) {
        let source = self.topic(Topic::Source);
        produce_records(&self.cluster, &source, records.iter().cloned());
    }

    fn pipeline(&self) -> Pipeline {
        let mut text = PIPELINE.to_owned();
        let quoted = |text: &dyn std::fmt::Display| format!("\"{text}\"");
        let location = |part| quoted(&self.place.location(part));
        for (shipped, ours) in [
            ("\"sensors\"", quoted(&self.name)),
            ("\"sensor_events\"", quoted(&self.topic(Topic::Source))),
            ("\"sensor_alerts\"", quoted(&self.topic(Topic::Alerts))),
            ("\"sensor_events_dead\"", quoted(&self.topic(Topic::Dead))),
            ("\"s3://rt-stream/curated\"", location("curated")),
            ("\"s3://rt-stream/late\"", location("late")),
            ("\"s3://rt-stream/_chk\"", location("_chk")),
            // Often, so that much happens between checkpoints and much is cut by them.
            (
                "interval = \"10 seconds\"",
                "interval = \"50 ms\"".to_owned(),
            ),
        ] {
            assert!(text.contains(shipped), "sensors.toml has no {shipped}");
            text = text.replace(shipped, &ours);
        }
        let (workers, batch_rows) = (self.workers, self.batch_rows);
        text += &format!("\n[engine]\nworkers = {workers}\nbatch_rows = {batch_rows}\n");
        let brokers = |name: &str| (name == "KAFKA_BROKERS").then(|| self.cluster.brokers.clone());
        let parsed = floodmark_pipeline::parse(&text, &brokers);
        let (mut pipeline, _) = parsed.expect("a valid pipeline");
        pipeline.storage = self.place.storage();
        pipeline
    }

    /// One run as the binary does it, on this thread.
    pub(super) fn run(
        &self,
        options: RunOptions,
        stop: &StopSignal,
        board: &StatusBoard,
        death: Option<Death>,
    ) -> Result<Finished, EngineError> {
        let pipeline = Arc::new(self.pipeline());
        let plan = Arc::new(floodmark_sql::plan(&pipeline).expect("valid queries"));
        let connect = || {
            let parts = connect(
                Arc::clone(&pipeline),
                Arc::clone(&plan),
                new_instance(),
                options.until_caught_up,
                self.tokio.handle().clone(),
                Telemetry::new(0),
            )?;
            Ok(match death {
                Some(death) => mortal::until(death, parts),
                None => parts,
            })
        };
        keep_running(connect, options, stop, board)
    }

    /// Opens the alerts' sink as an instance does that does not know that it was replaced: that fences
    /// the producer of the one that runs.
    pub(super) fn open_alerts(&self) {
        let target = SinkTarget {
            pipeline: self.name.clone(),
            output: "alerts".to_owned(),
            lineage: self.name.clone(),
            cluster: self.cluster.clone(),
            topic: self.topic(Topic::Alerts),
            commit_interval: Duration::ZERO,
            retries: floodmark_engine::telemetry::Retries::default(),
        };
        let shape = RecordShape::Json {
            key: None,
            headers: Vec::new(),
        };
        KafkaAheadSink::open(target, shape, &[]).expect("it opens");
    }

    /// A run that ends by itself.
    pub(super) fn run_to(&self, options: RunOptions) -> Result<Finished, EngineError> {
        self.run(options, &StopSignal::new(), &StatusBoard::new(), None)
    }

    /// Reads the topic to its end and closes all windows.
    pub(super) fn finish(&self) -> Finished {
        self.run_to(CLOSED).expect("the last run succeeds")
    }

    /// Runs until `enough` holds and for a while after it, then asks the run to stop; meanwhile does
    /// `beside`.
    pub(super) fn run_while(
        &self,
        enough: impl Fn(&Status) -> bool,
        after: Duration,
        beside: impl FnOnce(),
    ) -> Finished {
        let (stop, board) = (StopSignal::new(), StatusBoard::new());
        std::thread::scope(|scope| {
            let run = scope.spawn(|| self.run(RunOptions::default(), &stop, &board, None));
            beside();
            wait_for(&board, enough, || run.is_finished());
            std::thread::sleep(after);
            stop.stop();
            let outcome = run.join().expect("no panic");
            outcome.expect("a run that is stopped succeeds")
        })
    }

    /// What readers of the outputs see. Offsets are shown to the group in passing, so that is waited for.
    pub(super) fn seen(&self, finished: &Finished) -> Seen {
        let mut seen = Seen {
            windows: self.windows(),
            alerts: self.alerts(),
            dead: self.dead_letters(),
            shown: BTreeMap::new(),
            late: Vec::new(),
        };
        for (_, file) in self.files("late") {
            seen.late.extend(place::rows(file));
        }
        for row in &seen.late {
            assert_eq!(row["topic"], self.topic(Topic::Source), "{row}");
        }
        let status = &finished.status.sources[model::SOURCE].partitions;
        let next: BTreeMap<_, _> = status.iter().map(|(p, s)| (*p, s.next_offset)).collect();
        let until = deadline();
        while seen.shown != next && Instant::now() < until {
            seen.shown = self.shown(next.keys());
        }
        seen
    }

    /// Compares everything that became visible with what the records demand.
    pub(super) fn verify(&self, records: &[Record], finished: &Finished) -> Expected {
        let seen = self.seen(finished);
        let expected = model::verify(Nulls::Refused, records, &seen, finished);
        let status = &finished.status;
        let counted = |output: &Option<floodmark_engine::runtime::OutputStatus>| {
            output.as_ref().map(|output| output.committed.rows)
        };
        assert_eq!(counted(&status.late), Some(seen.late.len() as u64), "late");
        assert_eq!(counted(&status.dead_letter), Some(expected.bad), "dead");
        let files = self.files("curated").len() as u64;
        assert_eq!(status.outputs["curated"].committed.files, files, "files");
        expected
    }

    /// The job's Parquet files.
    pub(super) fn files(&self, part: &str) -> Vec<(String, bytes::Bytes)> {
        self.place.parquet_files(part, &self.tokio)
    }

    /// Rows of the windows, each in the directory of its date and hour.
    fn windows(&self) -> Vec<Value> {
        let mut windows = Vec::new();
        for (name, file) in self.files("curated") {
            for row in place::rows(file) {
                let start = row["window_start"].as_str().expect("a timestamp");
                let (date, hour) = (&start[..10], &start[11..13]);
                let directory = format!("date={date}/hour={hour}/");
                assert!(name.starts_with(&directory), "{row} in {name}");
                windows.push(row);
            }
        }
        windows
    }

    /// Rows of the alerts, each with its device as the record's key.
    fn alerts(&self) -> Vec<Value> {
        let alert = |record: servers::Seen| {
            let value = record.value.expect("a value");
            let row: Value = serde_json::from_slice(&value).expect("JSON");
            let device = row["device_id"].as_str().map(str::as_bytes);
            assert_eq!(record.key.as_deref(), device, "key of {row}");
            row
        };
        let seen = read_committed(&self.cluster, &self.topic(Topic::Alerts));
        seen.into_iter().map(alert).collect()
    }

    /// Dead letters, their origin read from the records' headers.
    pub(super) fn dead_letters(&self) -> Vec<DeadLetter> {
        let source = self.topic(Topic::Source);
        let letter = |record: servers::Seen| {
            let header = |name: &str| {
                let mut named = record.headers.iter().filter(|(known, _)| known == name);
                let (_, value) = named.next()?;
                assert!(named.next().is_none(), "header {name} twice");
                Some(String::from_utf8(value.clone()).expect("text"))
            };
            let number = |name| header(name).expect("the header is there").parse::<i64>();
            assert_eq!(header("floodmark.topic").as_ref(), Some(&source));
            assert!(number("floodmark.timestamp").expect("a number") > 0);
            DeadLetter {
                place: (
                    number("floodmark.partition").expect("a number") as i32,
                    number("floodmark.offset").expect("a number"),
                ),
                reason: header("floodmark.reason").expect("a reason"),
                truncated_from: header("floodmark.truncated_from")
                    .map(|bytes| bytes.parse().expect("a number")),
                key: record.key,
                value: record.value,
            }
        };
        let seen = read_committed(&self.cluster, &self.topic(Topic::Dead));
        seen.into_iter().map(letter).collect()
    }

    /// Offsets of the consumer group that the job shows its progress in.
    fn shown<'a>(
        &self,
        partitions: impl Iterator<Item = &'a Partition>,
    ) -> BTreeMap<Partition, Offset> {
        let tool: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.cluster.brokers)
            .set("group.id", format!("floodmark-{}", self.name))
            .create()
            .expect("a consumer");
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic(Topic::Source), partition.0);
        }
        let committed = tool.committed_offsets(list, PATIENCE).expect("offsets");
        let offset = |element: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            let partition = Partition(element.partition());
            match element.offset() {
                NativeOffset::Offset(offset) => Some((partition, Offset(offset))),
                _ => None,
            }
        };
        committed
            .elements()
            .into_iter()
            .filter_map(offset)
            .collect()
    }
}

/// Waits until a run's status is as wanted; a run that ends before has failed, and its join says why.
pub(super) fn wait_for(
    board: &StatusBoard,
    enough: impl Fn(&Status) -> bool,
    ended: impl Fn() -> bool,
) {
    let until = deadline();
    while !ended() && !enough(&board.read()) {
        assert!(Instant::now() < until, "{:?}", board.read());
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Records that the job has read since its first start.
pub(super) fn read(status: &Status) -> u64 {
    let source = status.sources.get(model::SOURCE);
    source.map_or(0, |source| source.ledger.read)
}
