//! What decoding costs, in nanoseconds of one core for each record, beside `serde_json` reading
//! the same records into a struct.
//!
//! `cargo bench -p floodmark-engine --profile dev --bench decode` reuses the build of `cargo test`;
//! a word after `--` selects the cases whose name contains it. The machine's other work shows in
//! the figures, so each is the best of several rounds, and the two decoders take turns.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use floodmark_engine::decode::JsonDecoder;
use floodmark_pipeline::{Column, Span, SqlType, TimestampFormat};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde::Deserialize;

/// Few enough that a round ends before the scheduler interrupts it.
const RECORDS: usize = 2 * BATCH_ROWS;
const BATCH_ROWS: usize = 8_192;
const ROUNDS: usize = 60;

/// The reference event.
#[derive(Deserialize)]
#[expect(dead_code, reason = "read by nobody: the bench measures its making")]
struct Event {
    device_id: String,
    ts: String,
    temperature_c: Option<f64>,
    vibration_g: Option<f64>,
    status: Option<String>,
    site: Option<String>,
    line: Option<String>,
}

fn columns() -> Vec<Column> {
    let column = |name: &str, ty, nullable| Column {
        name: name.into(),
        ty,
        nullable,
        timestamp_format: TimestampFormat::Rfc3339,
        span: Span::default(),
    };
    vec![
        column("device_id", SqlType::String, false),
        column("ts", SqlType::Timestamp, false),
        column("temperature_c", SqlType::Double, true),
        column("vibration_g", SqlType::Double, true),
        column("status", SqlType::String, true),
        column("site", SqlType::String, true),
        column("line", SqlType::String, true),
    ]
}

/// The fields of one event, as they stand in the record.
fn fields(rng: &mut SmallRng, at: usize) -> [String; 7] {
    let (second, milli) = (at / 1000 % 60, at % 1000);
    let status = if rng.random_bool(0.99) { "OK" } else { "WARN" };
    [
        format!("\"device_id\":\"MTR-{:05}\"", rng.random_range(0..1000)),
        format!(
            "\"ts\":\"2025-08-17T12:{:02}:{second:02}.{milli:03}Z\"",
            at / 60_000 % 60
        ),
        format!("\"temperature_c\":{:.1}", rng.random_range(60.0..95.0)),
        format!("\"vibration_g\":{:.2}", rng.random_range(0.05..0.6)),
        format!("\"status\":\"{status}\""),
        format!("\"site\":\"fab{}\"", rng.random_range(1..5)),
        format!("\"line\":\"L{:02}\"", rng.random_range(1..20)),
    ]
}

/// All records one after the other, as a fetch leaves them, and where each ends.
struct Records {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Records {
    fn new(mut record: impl FnMut(&mut SmallRng, usize, &mut String)) -> Self {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut bytes = String::new();
        let mut ends = Vec::with_capacity(RECORDS);
        for at in 0..RECORDS {
            record(&mut rng, at, &mut bytes);
            ends.push(bytes.len());
        }
        Self {
            bytes: bytes.into_bytes(),
            ends,
        }
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, &end)| &self.bytes[start..end])
    }
}

fn reference(out: &mut String, fields: &[String]) {
    let _ = write!(out, "{{{}}}", fields.join(","));
}

fn cases() -> Vec<(&'static str, Records)> {
    let plain = |rng: &mut SmallRng, at, out: &mut String| reference(out, &fields(rng, at));
    vec![
        ("reference", Records::new(plain)),
        (
            "spaces after : and ,",
            Records::new(|rng, at, out| {
                let fields = fields(rng, at).map(|field| field.replacen("\":", "\": ", 1));
                let _ = write!(out, "{{{}}}", fields.join(", "));
            }),
        ),
        (
            "shuffled fields",
            Records::new(|rng, at, out| {
                let mut fields = fields(rng, at);
                fields.shuffle(rng);
                reference(out, &fields);
            }),
        ),
        (
            "three unknown fields",
            Records::new(|rng, at, out| {
                let mut fields = fields(rng, at).to_vec();
                fields.insert(2, format!("\"firmware\":\"{}.4.1\"", at % 7));
                fields.insert(5, format!("\"position\":{{\"x\":{at},\"y\":[1,2,3]}}"));
                fields.push("\"battery\":null".to_owned());
                reference(out, &fields);
            }),
        ),
        (
            "half the fields absent or null",
            Records::new(|rng, at, out| {
                let mut fields = fields(rng, at).to_vec();
                "\"temperature_c\":null".clone_into(&mut fields[2]);
                fields.truncate(4);
                reference(out, &fields);
            }),
        ),
        (
            "1 % bad",
            Records::new(|rng, at, out| {
                let mut fields = fields(rng, at);
                if rng.random_bool(0.01) {
                    "\"temperature_c\":\"warm\"".clone_into(&mut fields[2]);
                }
                reference(out, &fields);
            }),
        ),
    ]
}

fn floodmark(records: &Records, decoder: &mut JsonDecoder) -> usize {
    let mut bad = 0;
    for record in records.iter() {
        if decoder.decode(record).is_err() {
            bad += 1;
        }
        if decoder.rows() == BATCH_ROWS {
            black_box(
                decoder
                    .finish()
                    .expect("the schema is one that Arrow knows"),
            );
        }
    }
    black_box(
        decoder
            .finish()
            .expect("the schema is one that Arrow knows"),
    );
    bad
}

fn serde(records: &Records) -> usize {
    let mut bad = 0;
    for record in records.iter() {
        match serde_json::from_slice::<Event>(record) {
            Ok(event) => drop(black_box(event)),
            Err(_) => bad += 1,
        }
    }
    bad
}

fn timed(work: impl FnOnce() -> usize) -> Duration {
    let start = Instant::now();
    black_box(work());
    start.elapsed()
}

fn main() {
    let only = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    println!(
        "{:32} {:>8} {:>10} {:>11} {:>6}",
        "ns a record", "bytes", "floodmark", "serde_json", "ratio"
    );
    for (name, records) in cases() {
        if only
            .as_ref()
            .is_some_and(|only| !name.contains(only.as_str()))
        {
            continue;
        }
        let mut decoder = JsonDecoder::new(&columns(), BATCH_ROWS);
        let bad = floodmark(&records, &mut decoder);
        assert_eq!(
            bad,
            serde(&records),
            "both refuse the same number of records"
        );
        let mut best = [Duration::MAX; 2];
        for _ in 0..ROUNDS {
            best[0] = best[0].min(timed(|| floodmark(&records, &mut decoder)));
            best[1] = best[1].min(timed(|| serde(&records)));
        }
        let [ours, theirs] = best.map(|best| best.as_nanos() as f64 / RECORDS as f64);
        let bytes = records.bytes.len() / RECORDS;
        println!(
            "{name:32} {bytes:8} {ours:10.0} {theirs:11.0} {:6.1}",
            theirs / ours
        );
    }
}
