//! Looks at the run and says what it saw.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use floodmark_engine::runtime::{
    DEAD_LETTER, HeldBackReason, LATE, OutputStatus, Phase, SourceStatus, Status, StatusBoard,
};
use floodmark_engine::telemetry::{LatencyOf, Telemetry};
use floodmark_engine::units::EventMicros;
use floodmark_engine::watermark::{Standing, Watermark};
use floodmark_pipeline::Pipeline;
use floodmark_sql::Plan;

use super::history::{History, NOTE_EVERY};
use super::process::{self, Usage};
use super::secrets::Secrets;
use super::sinks::{DEAD_LETTER_LABEL, LATE_LABEL, sinks};
use super::status as api;
use super::time::{instant, now_ms};

/// An answer that is no older than this is given again.
const FRESH: Duration = Duration::from_millis(200);

/// What the system says of the process is asked for no more often: a scraper and a dashboard that each
/// look once a second share it.
const USAGE_FRESH: Duration = Duration::from_millis(900);

/// Why the run failed, once it has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failure(Arc<OnceLock<String>>);

impl Failure {
    /// The run has failed; the first reason stays.
    pub(crate) fn is(&self, reason: String) {
        let _ = self.0.set(reason);
    }

    fn reason(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

/// What is looked at.
pub(crate) struct Subject {
    pipeline: Arc<Pipeline>,
    graph: Vec<api::Node>,
    secrets: Secrets,
    board: StatusBoard,
    telemetry: Telemetry,
    failure: Failure,
}

impl Subject {
    /// A run of `pipeline`, whose file's text is `file`.
    pub(crate) fn new(
        pipeline: &Arc<Pipeline>,
        plan: &Plan,
        file: &str,
        board: &StatusBoard,
        telemetry: &Telemetry,
        failure: &Failure,
    ) -> Self {
        Self {
            graph: super::graph::graph(pipeline, plan, file),
            secrets: Secrets::of(pipeline, |name| std::env::var(name).ok()),
            pipeline: Arc::clone(pipeline),
            board: board.clone(),
            telemetry: telemetry.clone(),
            failure: failure.clone(),
        }
    }
}

/// Looks at one run.
pub(super) struct Observer {
    subject: Subject,
    started_ms: i64,
    history: Mutex<History>,
    /// The last status that was made, and when.
    said: Mutex<Option<(Instant, Arc<str>)>>,
    /// What the system said last of the process, and when.
    usage: Mutex<Option<(Instant, Usage)>>,
}

/// Whether events flow, and what is waited for if they do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Readiness {
    pub(super) ready: bool,
    pub(super) waiting_for: Vec<String>,
}

impl Observer {
    pub(super) fn new(subject: Subject) -> Self {
        Self {
            subject,
            started_ms: now_ms(),
            history: Mutex::default(),
            said: Mutex::default(),
            usage: Mutex::default(),
        }
    }

    /// Notes where things stand, again and again.
    pub(super) async fn keep_looking(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(NOTE_EVERY);
        loop {
            ticks.tick().await;
            let status = self.engine();
            let mut history = lock(&self.history);
            history.note(Instant::now(), &status, &self.subject.telemetry);
        }
    }

    /// What the engine says.
    pub(super) fn engine(&self) -> Status {
        self.subject.board.read()
    }

    pub(super) fn telemetry(&self) -> &Telemetry {
        &self.subject.telemetry
    }

    pub(super) fn pipeline(&self) -> &Pipeline {
        &self.subject.pipeline
    }

    pub(super) fn secrets(&self) -> &Secrets {
        &self.subject.secrets
    }

    /// When the process began to serve, in milliseconds since the epoch.
    pub(super) fn started_ms(&self) -> i64 {
        self.started_ms
    }

    /// Why the run failed, if it has.
    pub(super) fn failure(&self) -> Option<String> {
        let reason = self.subject.failure.reason()?;
        Some(self.subject.secrets.cut_out(reason))
    }

    /// Whether events flow.
    pub(super) fn readiness(&self, status: &Status) -> Readiness {
        let waiting_for = match (self.failure(), status.phase) {
            (Some(failure), _) => vec![format!("failed: {failure}")],
            (None, Phase::Starting) => {
                let waiting = self.subject.telemetry.waiting_for();
                vec![waiting.unwrap_or_else(|| "starting".to_owned())]
            }
            (None, Phase::Running) => unreachable_sources(status),
            (None, Phase::Draining) => vec!["draining: what was read is being finished".to_owned()],
            (None, Phase::Finished) => vec!["finished".to_owned()],
        };
        Readiness {
            ready: waiting_for.is_empty(),
            waiting_for: waiting_for
                .iter()
                .map(|what| self.subject.secrets.cut_out(what))
                .collect(),
        }
    }

    /// The status as JSON, at most [`FRESH`] old.
    pub(super) fn status_json(&self) -> Arc<str> {
        fresh(&self.said, FRESH, || {
            // Of numbers and strings alone, which JSON can always hold.
            let json = serde_json::to_string(&self.status());
            json.unwrap_or_else(|_| "null".to_owned()).into()
        })
    }

    /// What the system says of the process, at most [`USAGE_FRESH`] old.
    pub(super) fn usage(&self) -> Usage {
        fresh(&self.usage, USAGE_FRESH, process::usage)
    }

    /// The status.
    pub(super) fn status(&self) -> api::ApiStatus {
        let status = self.engine();
        let Readiness { ready, waiting_for } = self.readiness(&status);
        let failure = self.failure();
        let now = now_ms();
        let history = lock(&self.history);
        let output = |label: &str, name: &str, output: &OutputStatus| {
            self.output(&history, label, name, output)
        };
        let outputs = status.outputs.iter();
        api::ApiStatus {
            pipeline: self.subject.pipeline.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            instance: status.instance.clone(),
            now: instant(now).unwrap_or_default(),
            started_at: instant(self.started_ms).unwrap_or_default(),
            phase: phase(status.phase, failure.is_some()),
            elapsed_seconds: status.elapsed_seconds,
            ready,
            waiting_for,
            failure,
            graph: self.subject.graph.clone(),
            sources: status
                .sources
                .iter()
                .map(|(name, source)| (name.clone(), self.source(&history, name, source, now)))
                .collect(),
            outputs: outputs
                .map(|(name, status)| (name.clone(), output(name, name, status)))
                .collect(),
            dead_letter: status
                .dead_letter
                .as_ref()
                .map(|status| output(DEAD_LETTER_LABEL, DEAD_LETTER, status)),
            late: status
                .late
                .as_ref()
                .map(|status| output(LATE_LABEL, LATE, status)),
            checkpoint: self.checkpoint(&status),
            state_bytes: status.state_bytes as u64,
            process: self.process(&status),
        }
    }

    fn source(
        &self,
        history: &History,
        name: &str,
        source: &SourceStatus,
        now: i64,
    ) -> api::Source {
        let (records_per_second, bytes_per_second) = history.source_rates(name);
        let sources = self.subject.pipeline.sources.iter();
        let event_time = sources
            .filter(|source| source.name == name)
            .find_map(|source| source.event_time.as_ref());
        let ledger = &source.ledger;
        let outputs = ledger.outputs.iter().map(|(name, counts)| {
            let counts = api::OutputLedger {
                taken: counts.taken,
                filtered: counts.filtered,
                late: counts.late,
            };
            (name.clone(), counts)
        });
        let trouble = source.trouble.as_ref();
        api::Source {
            records: source.read_now,
            bytes: source.bytes,
            batches: source.batches,
            records_per_second,
            bytes_per_second,
            ledger: api::Ledger {
                read: ledger.read,
                bad: ledger.bad,
                null_time: ledger.null_time,
                future: ledger.future,
                outputs: outputs.collect(),
            },
            watermark: source.watermark.and_then(at_watermark),
            watermark_delay_seconds: event_time.map(|time| time.delay.as_secs_f64()),
            event_time_lag_seconds: source.watermark.map(|at| behind(at, now)),
            held_back_by: source.held_back_by.map(|held| api::HeldBack {
                partition: held.partition.0,
                reason: reason(held.reason),
            }),
            reachable: source.reachable,
            trouble: trouble.map(|text| self.subject.secrets.cut_out(text)),
            lag_records: source.lag,
            lag_seconds: lag_seconds(source),
            partitions: partitions(source),
        }
    }

    fn output(
        &self,
        history: &History,
        label: &str,
        name: &str,
        output: &OutputStatus,
    ) -> api::Output {
        let meter = self.subject.telemetry.output(name);
        let meter = meter.as_deref();
        let measured = meter.filter(|meter| meter.latency_of() != LatencyOf::Nothing);
        let latency = measured.map(|meter| {
            let recent = history.recent(name, &meter.latency());
            api::Latency {
                count: recent.count(),
                p50_seconds: recent.quantile(0.50),
                p99_seconds: recent.quantile(0.99),
            }
        });
        let windows = output.windows.iter().map(|window| api::Window {
            start: at_event_time(window.start).unwrap_or_default(),
            end: at_event_time(window.end).unwrap_or_default(),
            groups: window.size.groups as u64,
            rows: window.size.rows,
        });
        api::Output {
            rows: output.committed.rows,
            files: output.committed.files,
            bytes: output.committed.bytes,
            refused: output.committed.refused,
            rows_per_second: history.output_rate(label),
            open_windows: output.open_windows as u64,
            open_groups: output.open_groups as u64,
            windows: windows.collect(),
            fired_windows: output.fired_windows,
            queue: api::Queue {
                length: meter.map_or(0, |meter| meter.queued()),
                capacity: meter.map_or(0, |meter| meter.capacity()),
                blocked_seconds: meter.map_or(0.0, |meter| meter.blocked().as_secs_f64()),
            },
            latency,
            commit: api::Commit {
                count: meter.map_or(0, |meter| meter.commits().count()),
                last_seconds: meter
                    .and_then(|meter| meter.last_commit())
                    .map(|took| took.as_secs_f64()),
            },
        }
    }

    fn checkpoint(&self, status: &Status) -> api::Checkpoint {
        let recent = self.subject.telemetry.checkpoints();
        let checkpoint = &status.checkpoint;
        api::Checkpoint {
            epoch: checkpoint.epoch.0,
            generation: checkpoint.generation.0,
            completed: checkpoint.completed,
            failed: u64::from(checkpoint.failed),
            last_seconds: checkpoint.last_seconds,
            last_bytes: recent.last().map(|last| last.bytes),
            age_seconds: checkpoint.age_seconds,
            recent: recent
                .iter()
                .map(|record| api::CheckpointRecord {
                    epoch: record.epoch.0,
                    at: instant(record.at_ms).unwrap_or_default(),
                    seconds: record.took.as_secs_f64(),
                    bytes: record.bytes,
                })
                .collect(),
        }
    }

    fn process(&self, status: &Status) -> api::Process {
        let usage = self.usage();
        api::Process {
            cpu_seconds: usage.cpu_seconds,
            resident_bytes: usage.resident_bytes,
            memory_limit_bytes: usage.memory_limit_bytes,
            threads: usage.threads,
            stages: self.stages(status, &usage),
        }
    }

    /// CPU seconds by what they were spent on.
    pub(super) fn stages(&self, status: &Status, usage: &Usage) -> BTreeMap<&'static str, f64> {
        let workers = status.stages;
        let meters = sinks(status).filter_map(|(_, name, _)| self.subject.telemetry.output(name));
        let sink: Duration = meters.map(|meter| meter.cpu()).sum();
        let mut stages = usage.others.clone();
        stages.extend([
            ("fetch", workers.fetch.as_secs_f64()),
            ("decode", workers.decode.as_secs_f64()),
            ("sql", workers.sql.as_secs_f64()),
            ("window", workers.window.as_secs_f64()),
            ("sink", sink.as_secs_f64()),
        ]);
        stages
    }
}

/// Age of the last record processed, of the partition that is furthest behind.
fn lag_seconds(source: &SourceStatus) -> Option<f64> {
    let behind = source.partitions.values().filter_map(|state| state.behind);
    behind.max().map(|behind| behind.as_secs_f64())
}

fn partitions(source: &SourceStatus) -> BTreeMap<String, api::Partition> {
    let known =
        |offset: floodmark_engine::units::Offset| (offset.0 != i64::MAX).then_some(offset.0);
    let partitions = source.partitions.iter().map(|(id, state)| {
        let partition = api::Partition {
            start_offset: state.start_offset.0,
            next_offset: state.next_offset.0,
            end_offset: state.end_offset.and_then(known),
            lag_records: state.lag,
            lag_seconds: state.behind.map(|behind| behind.as_secs_f64()),
            watermark: state.watermark.and_then(at_watermark),
            standing: match state.standing {
                Standing::Active => "active",
                Standing::Idle => "idle",
                Standing::Ended => "ended",
            },
            max_event_time: state.max_event_time.and_then(at_event_time),
        };
        (id.to_string(), partition)
    });
    partitions.collect()
}

fn unreachable_sources(status: &Status) -> Vec<String> {
    let sources = status.sources.iter();
    let silent = sources.filter(|(_, source)| !source.reachable);
    silent
        .map(|(name, source)| {
            let trouble = source.trouble.as_deref();
            format!("source '{name}': {}", trouble.unwrap_or("does not answer"))
        })
        .collect()
}

fn phase(phase: Phase, failed: bool) -> &'static str {
    match phase {
        _ if failed => "failed",
        Phase::Starting => "starting",
        Phase::Running => "running",
        Phase::Draining => "draining",
        Phase::Finished => "finished",
    }
}

fn reason(reason: HeldBackReason) -> &'static str {
    match reason {
        HeldBackReason::Unreachable => "unreachable",
        HeldBackReason::Empty => "empty",
        HeldBackReason::Future => "future",
        HeldBackReason::Behind => "behind",
        HeldBackReason::Silent => "silent",
        HeldBackReason::Slow => "slow",
    }
}

fn at_watermark(watermark: Watermark) -> Option<String> {
    instant(watermark.0)
}

fn at_event_time(at: EventMicros) -> Option<String> {
    instant(at.0.div_euclid(1_000))
}

/// What was made last, if it is no older than `limit`, else what `make` makes.
fn fresh<T: Clone>(
    last: &Mutex<Option<(Instant, T)>>,
    limit: Duration,
    make: impl FnOnce() -> T,
) -> T {
    let mut last = lock(last);
    match &*last {
        Some((at, value)) if at.elapsed() < limit => value.clone(),
        _ => {
            let value = make();
            *last = Some((Instant::now(), value.clone()));
            value
        }
    }
}

/// Seconds by which a watermark is behind the clock.
pub(super) fn behind(watermark: Watermark, now_ms: i64) -> f64 {
    now_ms.saturating_sub(watermark.0) as f64 / 1e3
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
