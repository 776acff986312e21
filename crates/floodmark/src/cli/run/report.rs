//! The report of a run: what a script wants to know at its end.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use floodmark_engine::ledger::Ledger;
use floodmark_engine::runtime::{CheckpointStatus, OutputStatus, Phase, Status};
use serde::Serialize;

use crate::os::Usage;

/// The report. Times are RFC 3339 in UTC, sizes bytes.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    version: &'static str,
    pipeline: &'a str,
    /// Whether the run ended as it should.
    finished: bool,
    elapsed_seconds: f64,
    /// From connecting until the first records had been processed.
    first_records_seconds: Option<f64>,
    cpu_seconds: f64,
    peak_memory_bytes: u64,
    /// The least of the sources' watermarks.
    watermark: Option<String>,
    sources: BTreeMap<&'a str, SourceReport<'a>>,
    outputs: &'a BTreeMap<String, OutputStatus>,
    dead_letter: Option<&'a OutputStatus>,
    late: Option<&'a OutputStatus>,
    checkpoint: &'a CheckpointStatus,
}

#[derive(Debug, Serialize)]
struct SourceReport<'a> {
    /// Records read by this run.
    read_now: u64,
    /// Since the pipeline's first start.
    ledger: &'a Ledger,
    watermark: Option<String>,
    lag: Option<u64>,
    partitions: BTreeMap<String, PartitionReport>,
}

#[derive(Debug, Serialize)]
struct PartitionReport {
    start_offset: i64,
    next_offset: i64,
    watermark: Option<String>,
}

fn instant(watermark: floodmark_engine::watermark::Watermark) -> Option<String> {
    jiff::Timestamp::from_millisecond(watermark.0)
        .ok()
        .map(|instant| instant.to_string())
}

impl<'a> Report<'a> {
    pub(super) fn new(
        pipeline: &'a str,
        status: &'a Status,
        elapsed: Duration,
        usage: Usage,
    ) -> Self {
        let sources = status.sources.iter().map(|(name, source)| {
            let partitions = source.partitions.iter().map(|(id, partition)| {
                let report = PartitionReport {
                    start_offset: partition.start_offset.0,
                    next_offset: partition.next_offset.0,
                    watermark: partition.watermark.and_then(instant),
                };
                (id.to_string(), report)
            });
            let report = SourceReport {
                read_now: source.read_now,
                ledger: &source.ledger,
                watermark: source.watermark.and_then(instant),
                lag: source.lag,
                partitions: partitions.collect(),
            };
            (name.as_str(), report)
        });
        let watermarks = status.sources.values().map(|source| source.watermark);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            pipeline,
            finished: status.phase == Phase::Finished,
            elapsed_seconds: elapsed.as_secs_f64(),
            first_records_seconds: status.first_records_seconds,
            cpu_seconds: usage.cpu.as_secs_f64(),
            peak_memory_bytes: usage.peak_memory_bytes,
            watermark: watermarks.min().flatten().and_then(instant),
            sources: sources.collect(),
            outputs: &status.outputs,
            dead_letter: status.dead_letter.as_ref(),
            late: status.late.as_ref(),
            checkpoint: &status.checkpoint,
        }
    }

    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut json = serde_json::to_vec_pretty(self).context("encoding the report")?;
        json.push(b'\n');
        std::fs::write(path, json)
            .with_context(|| format!("writing the report to {}", path.display()))
    }
}
