//! The true numbers of a run, for people and for checks.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use floodmark_generator::Tally;
use serde::Serialize;

use super::Args;
use super::plan::{Ending, Plan};
use super::values::Output;
use crate::os::usage;

/// A run that ended well: everything counted here was delivered.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: &'static str,
    target: String,
    seed: u64,
    devices: u32,
    start: String,
    rate: Option<f64>,
    ended_by: Ending,
    #[serde(flatten)]
    tally: Tally,
    min_event_time: Option<String>,
    max_event_time: Option<String>,
    elapsed_s: f64,
    events_per_second: f64,
    cpu_seconds: f64,
}

impl Report {
    pub(super) fn new(
        args: &Args,
        plan: &Plan,
        tally: Tally,
        ended_by: Ending,
        elapsed: Duration,
    ) -> Self {
        let elapsed_s = elapsed.as_secs_f64();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            target: target(args),
            seed: plan.config.seed,
            devices: plan.config.devices,
            start: instant(plan.config.start_ms),
            rate: plan.rate,
            ended_by,
            min_event_time: tally.min_event_time_ms.map(instant),
            max_event_time: tally.max_event_time_ms.map(instant),
            events_per_second: tally.events as f64 / elapsed_s.max(1e-9),
            tally,
            elapsed_s,
            cpu_seconds: usage().cpu.as_secs_f64(),
        }
    }

    /// Writes the report as JSON.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        std::fs::write(path, text)
            .with_context(|| format!("cannot write the report to {}", path.display()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally {
            events,
            good,
            bad,
            late,
            anomalous,
            bytes,
            ..
        } = self.tally;
        let megabytes = bytes as f64 / 1e6;
        writeln!(
            f,
            "{events} events, {megabytes:.1} MB, to {} in {:.2} s ({:.0}/s)",
            self.target, self.elapsed_s, self.events_per_second
        )?;
        writeln!(f, "  good        {good}")?;
        writeln!(f, "  bad         {bad}")?;
        writeln!(f, "  late        {late}")?;
        writeln!(f, "  anomalous   {anomalous}")?;
        if let (Some(min), Some(max)) = (&self.min_event_time, &self.max_event_time) {
            writeln!(f, "  event time  {min} to {max}")?;
        }
        writeln!(f, "  seed {}, start {}", self.seed, self.start)
    }
}

fn target(args: &Args) -> String {
    match (&args.out, &args.topic, &args.brokers) {
        (Some(Output::File(path)), ..) => path.display().to_string(),
        (None, Some(topic), Some(brokers)) => format!("topic {topic} on {brokers}"),
        _ => "standard output".to_owned(),
    }
}

/// RFC 3339 with milliseconds; the bare number in the last hours of 9999, which `jiff` leaves out.
fn instant(time_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(time_ms) {
        Ok(instant) => format!("{instant:.3}"),
        Err(_) => time_ms.to_string(),
    }
}
