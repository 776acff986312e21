//! Where each metric's values come from.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use floodmark_engine::runtime::{PartitionStatus, SourceStatus, Status};
use floodmark_engine::telemetry::{Distribution, LatencyOf, OutputMeter, Telemetry};
use floodmark_engine::watermark::{Standing, Watermark};

use super::names::Metric;
use crate::http::observer::{Observer, behind};
use crate::http::process::Usage;
use crate::http::sinks::sinks;
use crate::http::time::now_ms;

/// A value of a metric.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Count(u64),
    Number(f64),
    Distribution(Distribution),
}

/// Labels and value.
pub(super) type Series = (Vec<(&'static str, String)>, Value);

/// The run at the time of a scrape.
#[derive(Debug)]
pub(super) struct Snapshot {
    status: Status,
    telemetry: Telemetry,
    usage: Usage,
    stages: Vec<(&'static str, f64)>,
    ready: bool,
    pipeline: String,
    started_ms: i64,
    now_ms: i64,
}

impl Snapshot {
    pub(super) fn of(observer: &Arc<Observer>) -> Self {
        let status = observer.engine();
        let usage = observer.usage();
        Self {
            stages: observer.stages(&status, &usage).into_iter().collect(),
            ready: observer.readiness(&status).ready,
            pipeline: observer.pipeline().name.clone(),
            telemetry: observer.telemetry().clone(),
            started_ms: observer.started_ms(),
            now_ms: now_ms(),
            status,
            usage,
        }
    }

    /// All series of a metric; none while there is nothing to say.
    pub(super) fn series(&self, metric: Metric) -> Vec<Series> {
        match metric {
            Metric::SourceRecords
            | Metric::SourceBytes
            | Metric::SourceBatches
            | Metric::SourceReachable
            | Metric::WatermarkTimestamp
            | Metric::WatermarkLag => self.of_sources(metric),
            Metric::LedgerRecords => self.ledger(),
            Metric::SourceRefused => self.refused(),
            Metric::SourceLagRecords
            | Metric::SourceLagSeconds
            | Metric::PartitionWatermarkTimestamp
            | Metric::WatermarkHeldBack
            | Metric::PartitionIdle => self.of_partitions(metric),
            Metric::OpenWindows
            | Metric::OpenGroups
            | Metric::FiredWindows
            | Metric::OutputRows
            | Metric::OutputFiles
            | Metric::OutputBytes
            | Metric::OutputRefused => self.of_outputs(metric),
            Metric::OutputQueue
            | Metric::OutputQueueCapacity
            | Metric::OutputBlocked
            | Metric::CommitDuration
            | Metric::AlertLatency
            | Metric::WindowLatency => self.of_meters(metric),
            Metric::StageCpu => {
                let stages = self.stages.iter();
                let labelled = |stage: &str| vec![("stage", stage.to_owned())];
                stages
                    .map(|(stage, spent)| (labelled(stage), Value::Number(*spent)))
                    .collect()
            }
            Metric::Checkpoints
            | Metric::CheckpointFailures
            | Metric::CheckpointDuration
            | Metric::CheckpointBytes
            | Metric::CheckpointEpoch
            | Metric::CheckpointGeneration
            | Metric::CheckpointAge => one(self.of_checkpoints(metric)),
            Metric::Retries => {
                let retries = self.telemetry.retries();
                let targets = [("storage", retries.storage()), ("kafka", retries.kafka())];
                let labelled = |target: &str| vec![("target", target.to_owned())];
                targets
                    .map(|(target, count)| (labelled(target), Value::Count(count)))
                    .into()
            }
            Metric::BuildInfo => {
                let version = ("version", env!("CARGO_PKG_VERSION").to_owned());
                let pipeline = ("pipeline", self.pipeline.clone());
                vec![(vec![version, pipeline], Value::Count(1))]
            }
            Metric::State
            | Metric::LostSpans
            | Metric::Ready
            | Metric::MemoryLimit
            | Metric::ProcessCpu
            | Metric::ProcessMemory
            | Metric::ProcessThreads
            | Metric::ProcessFds
            | Metric::ProcessStart => one(self.of_process(metric)),
        }
    }

    fn of_sources(&self, metric: Metric) -> Vec<Series> {
        let value = |source: &SourceStatus| match metric {
            Metric::SourceRecords => Some(Value::Count(source.read_now)),
            Metric::SourceBytes => Some(Value::Count(source.bytes)),
            Metric::SourceBatches => Some(Value::Count(source.batches)),
            Metric::SourceReachable => Some(truth(source.reachable)),
            Metric::WatermarkTimestamp => source.watermark.map(timestamp),
            Metric::WatermarkLag => source
                .watermark
                .map(|watermark| Value::Number(behind(watermark, self.now_ms))),
            _ => None,
        };
        let sources = self.status.sources.iter();
        sources
            .filter_map(|(name, source)| Some((of_source(name), value(source)?)))
            .collect()
    }

    fn ledger(&self) -> Vec<Series> {
        let mut series = Vec::new();
        for (name, source) in &self.status.sources {
            for (output, counts) in &source.ledger.outputs {
                let classes = [
                    ("taken", counts.taken),
                    ("filtered", counts.filtered),
                    ("late", counts.late),
                ];
                for (class, count) in classes {
                    let mut labels = of_source(name);
                    labels.push(("output", output.clone()));
                    labels.push(("class", class.to_owned()));
                    series.push((labels, Value::Count(count)));
                }
            }
        }
        series
    }

    fn refused(&self) -> Vec<Series> {
        let mut series = Vec::new();
        for (name, source) in &self.status.sources {
            let ledger = &source.ledger;
            let classes = [
                ("bad", ledger.bad),
                ("null_time", ledger.null_time),
                ("future", ledger.future),
            ];
            for (class, count) in classes {
                let mut labels = of_source(name);
                labels.push(("class", class.to_owned()));
                series.push((labels, Value::Count(count)));
            }
        }
        series
    }

    fn of_partitions(&self, metric: Metric) -> Vec<Series> {
        let mut series = Vec::new();
        for (name, source) in &self.status.sources {
            for (partition, state) in &source.partitions {
                let held = source.held_back_by.map(|held| held.partition);
                let value = of_partition(metric, state, held == Some(*partition));
                if let Some(value) = value {
                    let mut labels = of_source(name);
                    labels.push(("partition", partition.to_string()));
                    series.push((labels, value));
                }
            }
        }
        series
    }

    fn of_outputs(&self, metric: Metric) -> Vec<Series> {
        let of_window = matches!(
            metric,
            Metric::OpenWindows | Metric::OpenGroups | Metric::FiredWindows
        );
        let has_windows = |name: &str| {
            let meter = self.telemetry.output(name);
            meter.is_some_and(|meter| meter.latency_of() == LatencyOf::Windows)
        };
        sinks(&self.status)
            .filter(|(_, name, _)| !of_window || has_windows(name))
            .map(|(label, _, output)| {
                let count = match metric {
                    Metric::OpenWindows => output.open_windows as u64,
                    Metric::OpenGroups => output.open_groups as u64,
                    Metric::FiredWindows => output.fired_windows,
                    Metric::OutputFiles => output.committed.files,
                    Metric::OutputBytes => output.committed.bytes,
                    Metric::OutputRefused => output.committed.refused,
                    _ => output.committed.rows,
                };
                (of_output(label), Value::Count(count))
            })
            .collect()
    }

    fn of_meters(&self, metric: Metric) -> Vec<Series> {
        let value = |meter: &OutputMeter| match metric {
            Metric::OutputQueue => Some(Value::Count(meter.queued())),
            Metric::OutputQueueCapacity => Some(Value::Count(meter.capacity())),
            Metric::OutputBlocked => Some(seconds(meter.blocked())),
            Metric::CommitDuration => Some(Value::Distribution(meter.commits())),
            Metric::AlertLatency => (meter.latency_of() == LatencyOf::Alerts)
                .then(|| Value::Distribution(meter.latency())),
            Metric::WindowLatency => (meter.latency_of() == LatencyOf::Windows)
                .then(|| Value::Distribution(meter.latency())),
            _ => None,
        };
        sinks(&self.status)
            .filter_map(|(label, name, _)| {
                let meter = self.telemetry.output(name)?;
                Some((of_output(label), value(&meter)?))
            })
            .collect()
    }

    fn of_checkpoints(&self, metric: Metric) -> Option<Value> {
        let checkpoint = &self.status.checkpoint;
        let newest = || self.telemetry.checkpoints().last().copied();
        match metric {
            Metric::Checkpoints => Some(Value::Count(checkpoint.completed)),
            Metric::CheckpointFailures => Some(Value::Count(checkpoint.failed.into())),
            Metric::CheckpointDuration => {
                Some(Value::Distribution(self.telemetry.checkpoint_seconds()))
            }
            Metric::CheckpointBytes => newest().map(|newest| Value::Count(newest.bytes)),
            Metric::CheckpointEpoch => Some(Value::Count(checkpoint.epoch.0)),
            Metric::CheckpointGeneration => Some(Value::Count(checkpoint.generation.0)),
            Metric::CheckpointAge => {
                let age = checkpoint.age_seconds;
                Some(Value::Number(age.unwrap_or(self.status.elapsed_seconds)))
            }
            _ => None,
        }
    }

    fn of_process(&self, metric: Metric) -> Option<Value> {
        match metric {
            Metric::State => Some(Value::Count(self.status.state_bytes as u64)),
            Metric::LostSpans => {
                let lost = self.telemetry.lost_spans().load(Ordering::Relaxed);
                Some(Value::Count(lost))
            }
            Metric::Ready => Some(truth(self.ready)),
            Metric::MemoryLimit => self.usage.memory_limit_bytes.map(Value::Count),
            Metric::ProcessCpu => Some(Value::Number(self.usage.cpu_seconds)),
            Metric::ProcessMemory => self.usage.resident_bytes.map(Value::Count),
            Metric::ProcessThreads => self.usage.threads.map(Value::Count),
            Metric::ProcessFds => self.usage.open_fds.map(Value::Count),
            Metric::ProcessStart => Some(Value::Number(self.started_ms as f64 / 1e3)),
            _ => None,
        }
    }
}

fn of_partition(metric: Metric, state: &PartitionStatus, holds_back: bool) -> Option<Value> {
    match metric {
        Metric::SourceLagRecords => state.lag.map(Value::Count),
        Metric::SourceLagSeconds => state.behind.map(seconds),
        Metric::PartitionWatermarkTimestamp => state.watermark.map(timestamp),
        Metric::WatermarkHeldBack => Some(truth(holds_back)),
        Metric::PartitionIdle => Some(truth(state.standing != Standing::Active)),
        _ => None,
    }
}

fn one(value: Option<Value>) -> Vec<Series> {
    value.map(|value| (Vec::new(), value)).into_iter().collect()
}

fn of_source(name: &str) -> Vec<(&'static str, String)> {
    vec![("source", name.to_owned())]
}

fn of_output(label: &str) -> Vec<(&'static str, String)> {
    vec![("output", label.to_owned())]
}

fn truth(holds: bool) -> Value {
    Value::Count(holds.into())
}

fn seconds(duration: Duration) -> Value {
    Value::Number(duration.as_secs_f64())
}

fn timestamp(watermark: Watermark) -> Value {
    Value::Number(watermark.0 as f64 / 1e3)
}
