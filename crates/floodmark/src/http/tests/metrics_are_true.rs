//! Every metric that is promised is there after a real run, with the value that is known from what
//! was put in and what came out.

use std::path::Path;
use std::sync::atomic::Ordering;

use super::client::{Events, PATIENCE, get, get_with, wait_for};
use super::job::{Job, TOPICS, broker, file, produce};
use super::outside::{Page, committed, newest_manifest, parquet_files, parse, sizes};
use super::truth::{DELAY_MS, DEVICES, MINUTE_MS, MINUTES, Truth};
use crate::http::metrics::Metric;

/// What is compared.
struct Comparison<'a> {
    page: Page,
    truth: &'a Truth,
    start_ms: i64,
    directory: &'a Path,
    brokers: &'a str,
    now_ms: i64,
}

/// As many as if a collector had been away for two checkpoints.
const LOST_SPANS: u64 = 24;

/// Times are whole milliseconds; as seconds in binary they are not exact.
const ROUNDING: f64 = 1e-6;

impl Comparison<'_> {
    fn value(&self, series: &str) -> f64 {
        let found = self.page.get(series).copied();
        found.unwrap_or_else(|| panic!("no {series} in {:#?}", self.page.keys()))
    }

    fn is(&self, series: &str, expected: impl Into<f64>) {
        assert_eq!(self.value(series), expected.into(), "{series}");
    }

    fn lies(&self, series: &str, from: f64, to: f64) {
        let value = self.value(series);
        assert!(
            (from - ROUNDING..=to + ROUNDING).contains(&value),
            "{series}: {value}, expected {from} to {to}"
        );
    }

    fn of_source(&self, name: &str, expected: f64) {
        self.is(&format!("{name}{{source=\"sensor_events\"}}"), expected);
    }

    fn of_partition(&self, name: &str, expected: f64) {
        let labels = "source=\"sensor_events\",partition=\"0\"";
        self.is(&format!("{name}{{{labels}}}"), expected);
    }

    fn of_outputs(&self, name: &str, expected: [f64; 4]) {
        for (output, expected) in ["curated", "alerts", "dead_letter", "late"]
            .iter()
            .zip(expected)
        {
            self.is(&format!("{name}{{output=\"{output}\"}}"), expected);
        }
    }

    fn fired(&self) -> f64 {
        self.truth.fired(self.start_ms) as f64
    }

    /// Compares one metric; the match over all of them is what makes sure that none is forgotten.
    fn compare(&self, metric: Metric) {
        let name = metric.about().name();
        let (truth, name) = (self.truth, name.as_str());
        let newest = (truth.newest_ms - DELAY_MS) as f64 / 1e3;
        match metric {
            Metric::SourceRecords => self.of_source(name, truth.records.len() as f64),
            Metric::SourceBytes => self.of_source(name, truth.bytes() as f64),
            Metric::SourceBatches => {
                let series = format!("{name}{{source=\"sensor_events\"}}");
                self.lies(&series, 2.0, truth.records.len() as f64);
            }
            Metric::LedgerRecords => self.ledger(name),
            Metric::SourceRefused => {
                for (class, count) in [
                    ("bad", truth.bad),
                    ("null_time", truth.null_time),
                    ("future", truth.future),
                ] {
                    let labels = format!("source=\"sensor_events\",class=\"{class}\"");
                    self.is(&format!("{name}{{{labels}}}"), count as f64);
                }
            }
            Metric::SourceLagRecords | Metric::SourceLagSeconds | Metric::PartitionIdle => {
                self.of_partition(name, 0.0);
            }
            Metric::SourceReachable => self.of_source(name, 1.0),
            Metric::WatermarkTimestamp => self.of_source(name, newest),
            Metric::PartitionWatermarkTimestamp => self.of_partition(name, newest),
            Metric::WatermarkLag => {
                let lag = self.now_ms as f64 / 1e3 - newest;
                let series = format!("{name}{{source=\"sensor_events\"}}");
                self.lies(&series, lag - PATIENCE.as_secs_f64(), lag);
            }
            Metric::WatermarkHeldBack => self.of_partition(name, 1.0),
            Metric::OpenWindows | Metric::OpenGroups | Metric::FiredWindows | Metric::State => {
                self.windows(metric, name);
            }
            Metric::OutputRows
            | Metric::OutputFiles
            | Metric::OutputBytes
            | Metric::OutputRefused
            | Metric::OutputQueue
            | Metric::OutputQueueCapacity
            | Metric::OutputBlocked => self.outputs(metric, name),
            Metric::CommitDuration | Metric::AlertLatency | Metric::WindowLatency => {
                self.durations(metric, name);
            }
            Metric::Checkpoints
            | Metric::CheckpointFailures
            | Metric::CheckpointDuration
            | Metric::CheckpointBytes
            | Metric::CheckpointEpoch
            | Metric::CheckpointGeneration
            | Metric::CheckpointAge => self.checkpoints(metric, name),
            Metric::StageCpu
            | Metric::Retries
            | Metric::LostSpans
            | Metric::Ready
            | Metric::MemoryLimit
            | Metric::BuildInfo
            | Metric::ProcessCpu
            | Metric::ProcessMemory
            | Metric::ProcessThreads
            | Metric::ProcessFds
            | Metric::ProcessStart => self.process(metric, name),
        }
    }

    fn ledger(&self, name: &str) {
        let truth = self.truth;
        let not_alerts = truth.good - truth.alerts + truth.filtered + truth.future + truth.late;
        for (output, class, count) in [
            ("curated", "taken", truth.good + truth.future),
            ("curated", "filtered", truth.filtered),
            ("curated", "late", truth.late),
            ("alerts", "taken", truth.alerts),
            ("alerts", "filtered", not_alerts),
            ("alerts", "late", 0),
        ] {
            let labels = format!("source=\"sensor_events\",output=\"{output}\",class=\"{class}\"");
            self.is(&format!("{name}{{{labels}}}"), count as f64);
        }
    }

    fn windows(&self, metric: Metric, name: &str) {
        // The rest of the minutes, and the window of the reading that is far ahead.
        let open = MINUTES as f64 - self.fired() + 1.0;
        let curated = format!("{name}{{output=\"curated\"}}");
        match metric {
            Metric::OpenWindows => self.is(&curated, open),
            Metric::OpenGroups => self.is(&curated, (open - 1.0) * DEVICES as f64 + 1.0),
            Metric::FiredWindows => self.is(&curated, self.fired()),
            _ => self.lies(name, 1.0, 1e7),
        }
    }

    fn outputs(&self, metric: Metric, name: &str) {
        let truth = self.truth;
        let files = |output: &str| parquet_files(&self.directory.join(output));
        let (curated, late) = (files("curated"), files("late"));
        let dead = truth.bad + truth.null_time;
        match metric {
            Metric::OutputRows => {
                let windows = self.fired() * DEVICES as f64;
                let (alerts, _) = committed(self.brokers, TOPICS[1], truth.alerts);
                let (buried, _) = committed(self.brokers, TOPICS[2], dead);
                assert_eq!((alerts, buried), (truth.alerts as f64, dead as f64));
                self.of_outputs(name, [windows, alerts, buried, truth.late as f64]);
            }
            Metric::OutputFiles => {
                self.of_outputs(name, [curated.len() as f64, 0.0, 0.0, late.len() as f64]);
            }
            Metric::OutputBytes => {
                let (_, alerts) = committed(self.brokers, TOPICS[1], truth.alerts);
                self.is(&format!("{name}{{output=\"curated\"}}"), sizes(&curated));
                self.is(&format!("{name}{{output=\"late\"}}"), sizes(&late));
                self.is(&format!("{name}{{output=\"alerts\"}}"), alerts);
                // Headers are among them.
                let (_, dead) = committed(self.brokers, TOPICS[2], dead);
                self.lies(&format!("{name}{{output=\"dead_letter\"}}"), dead, 1e6);
            }
            Metric::OutputQueueCapacity => self.of_outputs(name, [16.0; 4]),
            Metric::OutputBlocked => {
                self.lies(&format!("{name}{{output=\"curated\"}}"), 0.0, 1e3);
            }
            // Nothing is refused, nothing waits any more.
            _ => self.of_outputs(name, [0.0; 4]),
        }
    }

    fn durations(&self, metric: Metric, name: &str) {
        let truth = self.truth;
        match metric {
            Metric::CommitDuration => {
                for output in ["curated", "alerts", "dead_letter", "late"] {
                    let series = |what: &str| format!("{name}_{what}{{output=\"{output}\"}}");
                    self.lies(&series("count"), 1.0, 1e6);
                    self.lies(&series("sum"), 1e-6, 1e3);
                    let all = format!("{name}_bucket{{output=\"{output}\",le=\"+Inf\"}}");
                    self.is(&all, self.value(&series("count")));
                }
            }
            Metric::AlertLatency => {
                self.is(
                    &format!("{name}_count{{output=\"alerts\"}}"),
                    truth.alerts as f64,
                );
                let mean =
                    self.value(&format!("{name}_sum{{output=\"alerts\"}}")) / truth.alerts as f64;
                let oldest = (self.now_ms - self.start_ms) as f64 / 1e3;
                let newest = oldest - (MINUTES * 60) as f64 - 2.0 * PATIENCE.as_secs_f64();
                assert!((newest..oldest).contains(&mean), "{mean}");
            }
            _ => {
                self.is(&format!("{name}_count{{output=\"curated\"}}"), self.fired());
                let mean = self.value(&format!("{name}_sum{{output=\"curated\"}}")) / self.fired();
                let oldest = (self.now_ms - self.start_ms - MINUTE_MS) as f64 / 1e3;
                assert!((0.0..oldest).contains(&mean), "{mean}");
            }
        }
    }

    fn checkpoints(&self, metric: Metric, name: &str) {
        let completed = self.value("floodmark_checkpoints_total");
        match metric {
            Metric::Checkpoints => self.lies(name, 2.0, newest_manifest(self.directory)),
            Metric::CheckpointFailures => self.is(name, 0.0),
            Metric::CheckpointDuration => {
                self.is(&format!("{name}_count"), completed);
                self.lies(&format!("{name}_sum"), 1e-6, 1e3);
            }
            Metric::CheckpointBytes => self.lies(name, 1_000.0, 1e6),
            Metric::CheckpointEpoch => self.is(name, newest_manifest(self.directory)),
            Metric::CheckpointGeneration => self.is(name, 1.0),
            _ => self.lies(name, 0.0, 2.0 * PATIENCE.as_secs_f64()),
        }
    }

    fn process(&self, metric: Metric, name: &str) {
        match metric {
            Metric::StageCpu => {
                let stages = ["fetch", "decode", "sql", "window", "sink"];
                let series = stages.map(|stage| format!("{name}{{stage=\"{stage}\"}}"));
                let all: f64 = series.iter().map(|series| self.value(series)).sum();
                assert!(all > 0.0, "{series:?}");
            }
            Metric::Retries => {
                self.is(&format!("{name}{{target=\"storage\"}}"), 0.0);
                self.is(&format!("{name}{{target=\"kafka\"}}"), 0.0);
            }
            Metric::LostSpans => self.is(name, LOST_SPANS as f64),
            // The run is over.
            Metric::Ready => self.is(name, 0.0),
            Metric::MemoryLimit => {
                assert!(self.page.get(name).is_none_or(|limit| *limit > 1e6));
            }
            Metric::BuildInfo => {
                let version = env!("CARGO_PKG_VERSION");
                self.is(
                    &format!("{name}{{version=\"{version}\",pipeline=\"sensors\"}}"),
                    1.0,
                );
            }
            Metric::ProcessCpu => self.lies(name, 1e-3, 1e6),
            Metric::ProcessMemory => self.lies(name, 1e6, 1e12),
            Metric::ProcessThreads => self.lies(name, 2.0, 1e4),
            Metric::ProcessFds => self.lies(name, 3.0, 1e6),
            _ => {
                let now = self.now_ms as f64 / 1e3;
                self.lies(name, now - 10.0 * PATIENCE.as_secs_f64(), now);
            }
        }
    }
}

#[test]
fn every_metric_is_there_after_a_run_with_the_value_that_is_true() {
    let broker = broker();
    let directory = tempfile::tempdir().expect("a directory");
    let brokers = broker.address().to_string();
    let file = file(&brokers, directory.path());
    let now_ms = crate::http::time::now_ms();
    let start_ms = (now_ms / MINUTE_MS - 60) * MINUTE_MS;
    let mut truth = Truth::of(start_ms);
    produce(&broker, &truth.records);

    let job = Job::start(&file);
    // Whoever does not read holds nothing up.
    let silent: Vec<Events> = (0..5)
        .map(|_| Events::open(job.address(), None).expect("a place"))
        .collect();
    let fired = truth.fired(start_ms);
    job.wait_until("fired windows", |status| {
        let output = status.outputs.get("curated");
        output.is_some_and(|output| output.fired_windows == fired)
    });
    produce(&broker, &truth.come_late(start_ms));
    let late = truth.late;
    job.wait_until("late rows", |status| {
        let late_output = status.late.as_ref();
        late_output.is_some_and(|output| output.committed.rows == late)
    });
    wait_for("readiness", || {
        let page = parse(&get(job.address(), "/metrics").body);
        (page.get("floodmark_ready") == Some(&1.0)).then_some(())
    });
    job.telemetry
        .lost_spans()
        .fetch_add(LOST_SPANS, Ordering::Relaxed);
    job.drain();
    let accept = "Accept: application/openmetrics-text\r\n";
    let open_metrics = get_with(job.address(), "/metrics", accept).body;
    let comparison = Comparison {
        page: parse(&get(job.address(), "/metrics").body),
        truth: &truth,
        start_ms,
        directory: directory.path(),
        brokers: &brokers,
        now_ms: crate::http::time::now_ms(),
    };
    for metric in Metric::ALL {
        comparison.compare(*metric);
        let name = metric.about().name();
        assert!(
            *metric == Metric::MemoryLimit || open_metrics.contains(&name),
            "{name}"
        );
    }
    samples_are_true(&job, &truth);
    drop(silent);
    job.end().expect("ends well");

    // What is counted since the pipeline's first start goes on; the rest begins anew.
    let again = Job::start(&file);
    again.wait_until("readiness", |status| status.checkpoint.completed > 0);
    let page = parse(&get(again.address(), "/metrics").body);
    assert_eq!(page["floodmark_checkpoint_generation"], 2.0);
    assert_eq!(
        page["floodmark_source_records_total{source=\"sensor_events\"}"],
        0.0
    );
    for (series, value) in &comparison.page {
        if series.starts_with("floodmark_ledger") || series.starts_with("floodmark_output_rows") {
            assert_eq!(page.get(series), Some(value), "{series}");
        }
    }
    again.drain();
    again.end().expect("ends well");
}

/// Samples show what was put in.
fn samples_are_true(job: &Job, truth: &Truth) {
    let samples = |kind: &str| {
        let path = format!("/api/samples?kind={kind}&limit=500");
        get(job.address(), &path)
            .json()
            .as_array()
            .expect("a list")
            .clone()
    };
    let alerts = samples("alert");
    assert!(!alerts.is_empty() && alerts.len() as u64 <= truth.alerts);
    assert_eq!(alerts[0]["output"], "alerts");
    assert_eq!(alerts[0]["row"]["temperature_c"], 90.0);
    let dead = samples("dead_letter");
    assert_eq!(dead.len() as u64, truth.bad + truth.null_time);
    assert!(
        dead.iter()
            .any(|letter| letter["row"]["bytes"] == "{\"device_id\":")
    );
    assert!(
        dead.iter()
            .all(|letter| letter["row"]["topic"] == TOPICS[0])
    );
    let late = samples("late");
    assert_eq!(late.len() as u64, truth.late);
    assert_eq!(late[0]["row"]["output"], "curated");
    assert_eq!(late[0]["row"]["row"]["temperature_c"], 20.0);
    let windows = samples("window");
    assert!(
        windows
            .iter()
            .all(|window| window["row"]["groups"] == DEVICES)
    );
    assert!(
        windows
            .iter()
            .all(|window| window["row"]["rows"] == DEVICES * 6)
    );
    assert!(!samples("checkpoint").is_empty());
}
