//! What the job must make of its topic, computed record by record without the engine.
//!
//! The model reads each record by itself and puts it where the pipeline file says it belongs: a window,
//! an alert, the dead letters, nowhere. What was late depends on how far the watermark had come, so the
//! late output is believed, but each of its claims must be possible.

use std::collections::{BTreeMap, BTreeSet};

use floodmark_engine::runtime::Finished;
use floodmark_engine::units::{Offset, Partition};
use jiff::civil::DateTime;
use serde_json::Value;

/// Name of the source in the pipeline file.
pub(crate) const SOURCE: &str = "sensor_events";

const SECOND: i64 = 1_000_000;
const DELAY: i64 = 10 * SECOND;
const WINDOW: i64 = 60 * SECOND;
const MAX_FUTURE: i64 = 300 * SECOND;
const HOT: f64 = 85.0;
const SHAKING: f64 = 0.5;
/// Averages are sums in another order.
const AVG_TOLERANCE: f64 = 1e-9;

/// A record of the topic; its offset is its place among those of its partition.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
}

/// What the pipeline file says of a device or time that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nulls {
    /// A device may be null; a record without a time has no place.
    Allowed,
    /// `NOT NULL`: the record is bad.
    Refused,
}

/// Partition and offset.
pub(crate) type Place = (i32, i64);

/// What readers of the outputs see, and where the source's own tools say that the job stands.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) windows: Vec<Value>,
    pub(crate) alerts: Vec<Value>,
    pub(crate) late: Vec<Value>,
    pub(crate) dead: Vec<DeadLetter>,
    pub(crate) shown: BTreeMap<Partition, Offset>,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DeadLetter {
    pub(crate) place: Place,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) reason: String,
    /// Bytes of the record, if the topic of dead letters does not take as many.
    pub(crate) truncated_from: Option<usize>,
}

/// What the model expected, for whoever knows more about the records.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub(crate) windows: usize,
    pub(crate) alerts: usize,
    pub(crate) late: usize,
    pub(crate) bad: u64,
}

type WindowKey = (i64, Option<String>);
type Alert = (Option<String>, i64, Option<u64>, Option<u64>);

/// What a record is.
enum Fate {
    Bad,
    NullTime,
    Reading(Reading),
}

struct Reading {
    device: Option<String>,
    at: i64,
    temperature: Option<f64>,
    vibration: Option<f64>,
}

#[derive(Debug, Default)]
struct Aggregate {
    events: u64,
    sum: f64,
    temperatures: u64,
    vibration: Option<f64>,
}

#[derive(Default)]
struct Model {
    late: BTreeMap<Place, i64>,
    windows: BTreeMap<WindowKey, Aggregate>,
    alerts: Vec<Alert>,
    dead: BTreeMap<Place, Record>,
    next: BTreeMap<i32, i64>,
    newest: BTreeMap<i32, i64>,
    bad: u64,
    null_time: u64,
    future: u64,
    filtered: u64,
    not_alerts: u64,
}

/// Compares everything that became visible with what the records demand.
pub(crate) fn verify(
    nulls: Nulls,
    records: &[Record],
    seen: &Seen,
    finished: &Finished,
) -> Expected {
    let mut model = Model {
        late: late_rows(&seen.late),
        ..Model::default()
    };
    let now = jiff::Timestamp::now().as_microsecond();
    for record in records {
        model.feed(record, nulls, now + MAX_FUTURE);
    }
    model.check_windows(&seen.windows);
    model.check_alerts(&seen.alerts);
    model.check_dead_letters(&seen.dead);
    model.check_ledger(seen, finished, records.len() as u64);
    for (partition, next) in &model.next {
        let partition = Partition(*partition);
        assert_eq!(
            seen.shown.get(&partition),
            Some(&Offset(*next)),
            "offset shown of partition {partition}"
        );
        let status = &finished.status.sources[SOURCE].partitions[&partition];
        assert_eq!(status.next_offset, Offset(*next), "partition {partition}");
    }
    Expected {
        windows: model.windows.len(),
        alerts: model.alerts.len(),
        late: model.late.len(),
        bad: model.bad,
    }
}

impl Model {
    fn feed(&mut self, record: &Record, nulls: Nulls, future_from: i64) {
        let next = self.next.entry(record.partition).or_insert(0);
        let place = (record.partition, *next);
        *next += 1;
        match decode(record.value.as_deref(), nulls) {
            Fate::Bad => {
                self.bad += 1;
                self.dead.insert(place, record.clone());
            }
            Fate::NullTime => {
                self.null_time += 1;
                self.dead.insert(place, record.clone());
            }
            Fate::Reading(reading) => self.take(place, reading, future_from),
        }
    }

    fn take(&mut self, place: Place, reading: Reading, future_from: i64) {
        let Reading {
            device,
            at,
            temperature,
            vibration,
        } = reading;
        if temperature.is_some_and(|t| t > HOT) || vibration.is_some_and(|v| v > SHAKING) {
            let bits = |value: Option<f64>| value.map(f64::to_bits);
            self.alerts
                .push((device.clone(), at, bits(temperature), bits(vibration)));
        } else {
            self.not_alerts += 1;
        }
        let start = at - at.rem_euclid(WINDOW);
        if temperature.is_none() && vibration.is_none() {
            self.filtered += 1;
            assert!(
                !self.late.contains_key(&place),
                "the filtered row at {place:?} is late"
            );
        } else if let Some(claimed) = self.late.get(&place) {
            assert_eq!(*claimed, start, "window of the late row at {place:?}");
            // The source's watermark is never ahead of that of a partition which is delivering.
            let reached = self.newest.get(&place.0).map(|newest| newest - DELAY);
            assert!(
                reached >= Some(start + WINDOW),
                "the row at {place:?} is not late: {reached:?}"
            );
        } else {
            let window = self.windows.entry((start, device)).or_default();
            window.events += 1;
            window.sum += temperature.unwrap_or_default();
            window.temperatures += u64::from(temperature.is_some());
            window.vibration = match (window.vibration, vibration) {
                (Some(most), Some(now)) => Some(most.max(now)),
                (most, now) => most.or(now),
            };
        }
        if at > future_from {
            self.future += 1;
        } else {
            let newest = self.newest.entry(place.0).or_insert(at);
            *newest = at.max(*newest);
        }
    }

    fn check_windows(&self, rows: &[Value]) {
        let mut seen = BTreeSet::new();
        for row in rows {
            let start = micros(&row["window_start"]);
            assert_eq!(micros(&row["window_end"]), start + WINDOW, "{row}");
            let key = (start, text(row, "device_id"));
            assert!(seen.insert(key.clone()), "window {key:?} came out twice");
            let expected = self.windows.get(&key);
            let expected = expected.unwrap_or_else(|| panic!("window {key:?} should not exist"));
            assert_eq!(row["events"], expected.events, "events of {key:?}");
            let avg = number(row, "avg_temperature_c");
            let wanted =
                (expected.temperatures > 0).then(|| expected.sum / expected.temperatures as f64);
            let same = match (avg, wanted) {
                (Some(avg), Some(wanted)) => {
                    (avg - wanted).abs() <= AVG_TOLERANCE * avg.abs().max(wanted.abs())
                }
                (avg, wanted) => avg == wanted,
            };
            assert!(same, "average of {key:?}: {avg:?}, not {wanted:?}");
            let most = number(row, "max_vibration_g");
            assert_eq!(most, expected.vibration, "maximum of {key:?}");
        }
        for key in self.windows.keys() {
            assert!(seen.contains(key), "window {key:?} is missing");
        }
    }

    fn check_alerts(&mut self, rows: &[Value]) {
        let alert = |row: &Value| {
            let bits = |name| number(row, name).map(f64::to_bits);
            (
                text(row, "device_id"),
                micros(&row["ts"]),
                bits("temperature_c"),
                bits("vibration_g"),
            )
        };
        let mut seen: Vec<Alert> = rows.iter().map(alert).collect();
        seen.sort();
        self.alerts.sort();
        assert_eq!(seen, self.alerts, "alerts");
    }

    fn check_dead_letters(&self, letters: &[DeadLetter]) {
        let mut seen = BTreeSet::new();
        for letter in letters {
            let place = letter.place;
            assert!(seen.insert(place), "dead letter of {place:?} twice");
            let Some(record) = self.dead.get(&place) else {
                panic!("dead letter of {place:?}, which is not bad: {letter:?}");
            };
            assert_eq!(letter.key, record.key, "key of {place:?}");
            assert!(!letter.reason.trim().is_empty(), "no reason at {place:?}");
            if let Some(bytes) = letter.truncated_from {
                let whole = record.value.as_deref().unwrap_or_default();
                assert_eq!(bytes, whole.len(), "bytes of {place:?}");
                let kept = letter.value.as_deref().unwrap_or_default();
                assert!(
                    kept.len() < whole.len() && whole.starts_with(kept),
                    "what is kept of {place:?} is not its beginning"
                );
            } else {
                assert!(letter.value == record.value, "bytes of {place:?}");
            }
        }
        for (place, record) in &self.dead {
            assert!(
                seen.contains(place),
                "no dead letter of {place:?}: {:?}",
                record.value
            );
        }
    }

    fn check_ledger(&self, seen: &Seen, finished: &Finished, records: u64) {
        let status = &finished.status;
        let ledger = &status.sources[SOURCE].ledger;
        ledger.check(SOURCE).expect("the ledger balances");
        assert_eq!(ledger.read, records, "read");
        assert_eq!(
            (ledger.bad, ledger.null_time, ledger.future),
            (self.bad, self.null_time, self.future),
            "bad, without a time, in the future"
        );
        let (curated, alerts) = (&ledger.outputs["curated"], &ledger.outputs["alerts"]);
        assert_eq!(
            (curated.filtered, curated.late),
            (self.filtered, self.late.len() as u64),
            "filtered and late"
        );
        assert_eq!(
            (alerts.taken, alerts.filtered, alerts.late),
            (self.alerts.len() as u64, self.not_alerts, 0),
            "alerts and other rows"
        );
        let committed = |name: &str| status.outputs[name].committed.rows as usize;
        assert_eq!(committed("curated"), seen.windows.len(), "windows counted");
        assert_eq!(committed("alerts"), seen.alerts.len(), "alerts counted");
    }
}

/// A record as any reader of JSON takes it.
fn decode(value: Option<&[u8]>, nulls: Nulls) -> Fate {
    let Some(Ok(Value::Object(event))) = value.map(serde_json::from_slice) else {
        return Fate::Bad;
    };
    let field = |name: &str| event.get(name).filter(|value| !value.is_null());
    for name in ["device_id", "status", "site", "line"] {
        if !field(name).is_none_or(|value| value.is_string() || value.is_i64()) {
            return Fate::Bad;
        }
    }
    for name in ["temperature_c", "vibration_g"] {
        if !field(name).is_none_or(Value::is_number) {
            return Fate::Bad;
        }
    }
    let device = field("device_id").map(|device| match device {
        Value::String(text) => text.clone(),
        // As on Spark, a number stands for its own text.
        other => other.to_string(),
    });
    let at = match field("ts") {
        None => None,
        Some(Value::String(text)) => match instant(text) {
            None => return Fate::Bad,
            at => at,
        },
        Some(_) => return Fate::Bad,
    };
    match at {
        _ if nulls == Nulls::Refused && (device.is_none() || at.is_none()) => Fate::Bad,
        None => Fate::NullTime,
        Some(at) => Fate::Reading(Reading {
            device,
            at,
            temperature: field("temperature_c").and_then(Value::as_f64),
            vibration: field("vibration_g").and_then(Value::as_f64),
        }),
    }
}

/// Microseconds of an RFC 3339 timestamp in UTC, of any year there is; and the end of the last window.
fn instant(text: &str) -> Option<i64> {
    if text == "+10000-01-01T00:00:00Z" {
        return instant("9999-12-31T23:59:00Z").map(|last| last + WINDOW);
    }
    let local = text.strip_suffix('Z')?;
    if local.len() < "2025-08-17T12:00:00".len() || local.as_bytes()[10] != b'T' {
        return None;
    }
    let local: DateTime = local.parse().ok()?;
    let epoch = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    i64::try_from(epoch.duration_until(local).as_micros()).ok()
}

fn micros(value: &Value) -> i64 {
    let text = value.as_str().expect("a timestamp is text");
    instant(text).unwrap_or_else(|| panic!("not a timestamp in UTC: {text}"))
}

fn text(row: &Value, name: &str) -> Option<String> {
    let value = row.get(name).filter(|value| !value.is_null())?;
    Some(value.as_str().expect("text").to_owned())
}

fn number(row: &Value, name: &str) -> Option<f64> {
    let value = row.get(name).filter(|value| !value.is_null())?;
    Some(value.as_f64().expect("a number"))
}

/// The windows that the late output says rows have missed, by the rows' places.
fn late_rows(rows: &[Value]) -> BTreeMap<Place, i64> {
    let mut late = BTreeMap::new();
    for row in rows {
        let place = place(row);
        assert_eq!(row["output"], "curated", "{row}");
        let twice = late.insert(place, micros(&row["window_start"]));
        assert!(twice.is_none(), "{place:?} is in the late output twice");
    }
    late
}

/// Where a row of the late output came from.
fn place(row: &Value) -> Place {
    let partition = row["partition"].as_i64().expect("a number") as i32;
    (partition, row["offset"].as_i64().expect("a number"))
}
