//! What becomes of the rows that a sink was given: when they are visible, how long that took, what a
//! few of them look like.
//!
//! A sink says how *many* rows became visible, in the order in which it was given them as far as that
//! order matters to people (files of several partitions may overtake each other). So what is written
//! waits here in line, and as many rows as have become visible leave it.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{Int32Type, Int64Type};
use serde_json::{Value, json};

use super::meter::{LatencyOf, OutputMeter};
use super::samples::{MAX_SAMPLE_BYTES, SampleKind, Samples};
use super::{FiredWindow, rfc3339};
use crate::clock::Clock;
use crate::rows::Origin;
use crate::sink::kafka::json::{JsonRows, write_base64};
use crate::sink::{OutputRows, Progress, Sink};
use crate::units::{EventMicros, Offset, Partition, SourceId};

/// Most samples a second of one output: more than anybody reads.
const SAMPLES_A_SECOND: u32 = 50;

/// Most samples that wait for their rows to become visible; older ones are passed over.
const MOST_WAITING: usize = 500;

/// What is known of rows beside themselves when they are handed to a sink.
#[derive(Debug, Clone, Default)]
pub(crate) enum Told {
    /// Nothing.
    #[default]
    Nothing,
    /// Event time of each row, microseconds since the epoch.
    EventTimes(ScalarBuffer<i64>),
    /// They are the results of a window.
    Window(FiredWindow),
}

/// What a sink shows to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shows {
    /// Rows of a stateless output.
    Alerts,
    /// Results of windows, which are shown when the window fires.
    Windows,
    /// Dead letters.
    DeadLetters,
    /// Late rows.
    Late,
}

impl Shows {
    fn kind(self) -> Option<SampleKind> {
        match self {
            Self::Alerts => Some(SampleKind::Alert),
            Self::Windows => None,
            Self::DeadLetters => Some(SampleKind::DeadLetter),
            Self::Late => Some(SampleKind::Late),
        }
    }
}

/// Rows that were written together.
#[derive(Debug)]
struct Written {
    /// How many are not visible yet.
    rows: u64,
    times: ScalarBuffer<i64>,
    window_end: Option<EventMicros>,
    samples: Vec<Value>,
    skipped: u64,
}

impl Written {
    /// Whether nothing is to be told when they are visible.
    fn is_plain(&self) -> bool {
        self.times.is_empty() && self.window_end.is_none() && self.samples.is_empty()
    }
}

/// Follows the rows of one sink. Belongs to its thread.
pub(crate) struct SinkWatch {
    name: String,
    shows: Shows,
    meter: Arc<OutputMeter>,
    samples: Samples,
    clock: Arc<dyn Clock>,
    line: VecDeque<Written>,
    waiting: usize,
    /// Second of the wall clock that samples are counted in, and how many it has had.
    second: (i64, u32),
    /// Passed over since the last sample.
    skipped: u64,
    /// Below these offsets an earlier instance has shown the rows, until that is passed.
    resumed: BTreeMap<(SourceId, Partition), Option<Offset>>,
}

impl SinkWatch {
    pub(crate) fn new(
        name: &str,
        shows: Shows,
        meter: Arc<OutputMeter>,
        samples: Samples,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            shows,
            meter,
            samples,
            clock,
            line: VecDeque::new(),
            waiting: 0,
            second: (0, 0),
            skipped: 0,
            resumed: BTreeMap::new(),
        }
    }

    /// The meter of this output.
    pub(crate) fn meter(&self) -> &Arc<OutputMeter> {
        &self.meter
    }

    /// Rows are about to be written.
    pub(crate) fn writes(
        &mut self,
        rows: &OutputRows,
        progress: &[Progress],
        told: Told,
        sink: &dyn Sink,
    ) {
        let count = rows.batch.num_rows() as u64;
        if count == 0 {
            return;
        }
        let was_shown = self.was_shown(rows.origin.as_ref(), progress, sink);
        let is_new = |row: usize| was_shown.as_ref().is_none_or(|shown| !shown[row]);
        let (times, window_end) = match told {
            // What is not measured is not kept: rows may wait a minute for a file to be closed.
            Told::EventTimes(_) if self.meter.latency_of() != LatencyOf::Alerts => {
                (ScalarBuffer::from(Vec::new()), None)
            }
            Told::EventTimes(times) if was_shown.is_none() => (times, None),
            Told::EventTimes(times) => {
                let new = times.iter().enumerate().filter(|(row, _)| is_new(*row));
                (new.map(|(_, time)| *time).collect(), None)
            }
            Told::Window(window) => (ScalarBuffer::from(Vec::new()), Some(window.end)),
            Told::Nothing => (ScalarBuffer::from(Vec::new()), None),
        };
        let new = was_shown.as_ref().map_or(count, |shown| {
            shown.iter().filter(|shown| !**shown).count() as u64
        });
        let samples = match self.shows.kind() {
            Some(_) if self.samples.are_kept() => self.pick(rows, &is_new),
            _ => Vec::new(),
        };
        let skipped = match samples.len() {
            0 => 0,
            _ => std::mem::take(&mut self.skipped),
        };
        self.skipped += new.saturating_sub(samples.len() as u64);
        self.waiting += samples.len();
        self.wait_in_line(Written {
            rows: count,
            times,
            window_end,
            samples,
            skipped,
        });
        self.forget_old_samples();
    }

    /// Rows of which nothing is to be told join those before them.
    fn wait_in_line(&mut self, written: Written) {
        if let Some(last) = self.line.back_mut()
            && last.is_plain()
            && written.is_plain()
        {
            last.rows += written.rows;
            return;
        }
        self.line.push_back(written);
    }

    /// This many rows, the oldest, have become visible by a commit that took so long.
    pub(crate) fn shown(&mut self, mut rows: u64, took: Duration) {
        self.meter.committed(took);
        let now_ms = self.clock.wall_ms();
        while rows > 0 {
            let Some(first) = self.line.front_mut() else {
                return;
            };
            let visible = rows.min(first.rows);
            rows -= visible;
            first.rows -= visible;
            if first.rows > 0 {
                return;
            }
            if let Some(written) = self.line.pop_front() {
                self.is_visible(written, now_ms);
            }
        }
    }

    fn is_visible(&mut self, written: Written, now_ms: i64) {
        let now = now_ms.saturating_mul(1_000);
        let latency = self.meter.latency_histogram();
        match (self.meter.latency_of(), written.window_end) {
            (LatencyOf::Alerts, _) => latency.observe_ages(now, &written.times),
            (LatencyOf::Windows, Some(end)) => latency.observe_ages(now, &[end.0]),
            _ => {}
        }
        self.waiting -= written.samples.len();
        let Some(kind) = self.shows.kind() else {
            return;
        };
        let output = (kind == SampleKind::Alert).then_some(self.name.as_str());
        let mut skipped = written.skipped;
        for sample in written.samples {
            self.samples.push(kind, now_ms, output, sample, skipped);
            skipped = 0;
        }
    }

    /// Which rows an earlier instance has shown, after its last checkpoint; `None` if none of these.
    fn was_shown(
        &mut self,
        origin: Option<&Origin>,
        progress: &[Progress],
        sink: &dyn Sink,
    ) -> Option<Vec<bool>> {
        let origin = origin?;
        let mut behind = false;
        for step in progress {
            let at = (step.source, step.partition);
            let resumed = self
                .resumed
                .entry(at)
                .or_insert_with(|| sink.resumed_at(step.source, step.partition));
            behind |= resumed.is_some();
        }
        if !behind {
            return None;
        }
        let places = origin.partition.values().iter().zip(origin.offset.values());
        let shown = places.map(|(partition, offset)| {
            let resumed = self.resumed.get(&(origin.source, Partition(*partition)));
            resumed.is_some_and(|at| at.is_some_and(|at| *offset < at.0))
        });
        let shown = shown.collect();
        for step in progress {
            let resumed = self.resumed.get_mut(&(step.source, step.partition));
            if let Some(at) = resumed
                && at.is_some_and(|at| step.next >= at)
            {
                *at = None;
            }
        }
        Some(shown)
    }

    /// Takes samples of a batch, as many as this second still has room for.
    fn pick(&mut self, rows: &OutputRows, is_new: &dyn Fn(usize) -> bool) -> Vec<Value> {
        let second = self.clock.wall_ms().div_euclid(1_000);
        if self.second.0 != second {
            self.second = (second, 0);
        }
        let room = (SAMPLES_A_SECOND - self.second.1) as usize;
        let count = rows.batch.num_rows();
        let picked: Vec<usize> = (0..count).filter(|row| is_new(*row)).take(room).collect();
        self.second.1 += picked.len() as u32;
        let shown = match self.shows {
            Shows::DeadLetters => picked
                .iter()
                .map(|row| dead_letter(&rows.batch, *row))
                .collect(),
            Shows::Late => {
                json_rows(&rows.batch, &picked).map(|rows| rows.into_iter().map(late_row).collect())
            }
            Shows::Alerts | Shows::Windows => json_rows(&rows.batch, &picked),
        };
        shown.unwrap_or_default()
    }

    fn forget_old_samples(&mut self) {
        let mut line = self.line.iter_mut();
        while self.waiting > MOST_WAITING
            && let Some(written) = line.next()
        {
            self.waiting -= written.samples.len();
            self.skipped += written.samples.len() as u64 + written.skipped;
            written.skipped = 0;
            written.samples.clear();
        }
    }
}

/// Rows as the JSON that a Kafka sink writes; one that is too long is cut and is text then.
fn json_rows(batch: &RecordBatch, rows: &[usize]) -> Option<Vec<Value>> {
    let objects = JsonRows::new(batch).ok()?;
    let mut text = Vec::new();
    let value = |row: &usize| {
        text.clear();
        objects.write(*row, &mut text);
        if text.len() > MAX_SAMPLE_BYTES {
            return cut_text(&text).0;
        }
        serde_json::from_slice(&text).unwrap_or(Value::Null)
    };
    Some(rows.iter().map(value).collect())
}

/// The beginning of bytes as text, null if they are none, and whether they are text.
fn cut_text(bytes: &[u8]) -> (Value, bool) {
    let cut = &bytes[..bytes.len().min(MAX_SAMPLE_BYTES)];
    match std::str::from_utf8(cut) {
        Ok(text) => (text.into(), true),
        // Cut inside a character.
        Err(error) if error.error_len().is_none() && bytes.len() > cut.len() => {
            let text = std::str::from_utf8(&cut[..error.valid_up_to()]);
            (text.unwrap_or_default().into(), true)
        }
        Err(_) => (Value::Null, false),
    }
}

/// A late row, the row itself no longer as text in it.
fn late_row(mut late: Value) -> Value {
    if let Some(row) = late.get_mut("row")
        && let Some(parsed) = row
            .as_str()
            .and_then(|text| serde_json::from_str(text).ok())
    {
        *row = parsed;
    }
    late
}

fn dead_letter(batch: &RecordBatch, row: usize) -> Option<Value> {
    let column = |name| batch.column_by_name(name);
    let value = column("value")?.as_binary_opt::<i32>()?;
    let bytes = value.is_valid(row).then(|| value.value(row));
    let (text, is_text) = bytes.map_or((Value::Null, true), cut_text);
    let timestamp = column("timestamp")?
        .as_primitive_opt::<Int64Type>()?
        .value(row);
    let base64 = (!is_text).then(|| {
        let bytes = bytes.unwrap_or_default();
        let mut quoted = Vec::new();
        write_base64(&bytes[..bytes.len().min(MAX_SAMPLE_BYTES)], &mut quoted);
        serde_json::from_slice(&quoted).unwrap_or(Value::Null)
    });
    Some(json!({
        "topic": column("topic")?.as_string_opt::<i32>()?.value(row),
        "partition": column("partition")?.as_primitive_opt::<Int32Type>()?.value(row),
        "offset": column("offset")?.as_primitive_opt::<Int64Type>()?.value(row),
        "timestamp": (timestamp >= 0).then(|| rfc3339(EventMicros(timestamp.saturating_mul(1_000)))),
        "reason": column("reason")?.as_string_opt::<i32>()?.value(row),
        "bytes": text,
        "bytes_base64": base64,
        "length": bytes.map(<[u8]>::len),
    }))
}
