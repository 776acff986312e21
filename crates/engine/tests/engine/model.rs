//! What the job must make of its topic, computed row by row without the engine.

use std::collections::{BTreeMap, BTreeSet};

use floodmark_engine::runtime::Finished;
use floodmark_engine::units::{Offset, Partition};
use proptest::prelude::*;
use serde_json::Value;

use crate::rig::Rig;

/// Event times are seconds after this one, 2025-08-17T12:00:00Z.
const BASE: i64 = 1_755_432_000;
const DELAY: i64 = 10;
const WINDOW: i64 = 60;

/// A record of the topic.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) partition: i32,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// Second of the event, device (none: null), temperature (none: null, filtered by the view).
    Reading(i64, Option<u8>, Option<i32>),
    /// Not JSON, or of the wrong type.
    Bad(&'static str),
    /// No event time.
    NullTime,
    /// Kafka's null value.
    Null,
    /// An event time centuries ahead.
    Future,
}

pub(crate) fn events(partitions: i32, most: usize) -> impl Strategy<Value = Vec<Event>> {
    let reading = (
        0..8_i64,
        prop::option::weighted(0.9, 0..4_u8),
        prop::option::weighted(0.9, 60..95_i32),
        prop::bool::weighted(0.1),
    );
    let kind = prop_oneof![
        20 => reading.prop_map(|r| (Some(r), None)),
        1 => Just((None, Some(Kind::Bad("{\"ts\":")))),
        1 => Just((None, Some(Kind::Bad("{\"ts\":\"2025-08-17T12:00:00Z\",\"temperature\":\"hot\"}")))),
        1 => Just((None, Some(Kind::NullTime))),
        1 => Just((None, Some(Kind::Null))),
        1 => Just((None, Some(Kind::Future))),
    ];
    prop::collection::vec((0..partitions, kind), 0..most).prop_map(move |drawn| {
        // Time goes on in each partition by itself; some events are far behind it.
        let mut now = vec![0_i64; partitions as usize];
        let event = |(partition, kind): (i32, (Option<_>, Option<Kind>))| {
            let kind = match kind {
                (Some((step, device, temperature, straggler)), _) => {
                    let now = &mut now[partition as usize];
                    *now += step;
                    let at = if straggler { (*now - 150).max(0) } else { *now };
                    Kind::Reading(at, device, temperature)
                }
                (None, other) => other.unwrap_or(Kind::Null),
            };
            Event { partition, kind }
        };
        drawn.into_iter().map(event).collect()
    })
}

/// Writes an event to the topic.
pub(crate) fn append(rig: &Rig, event: &Event) {
    let value = match &event.kind {
        Kind::Reading(second, device, temperature) => {
            let ts = rfc3339(BASE + second);
            let device = device.map_or("null".to_owned(), |d| format!("\"d{d}\""));
            let temperature = temperature.map_or("null".to_owned(), |t| t.to_string());
            Some(format!(
                "{{\"device\":{device},\"ts\":\"{ts}\",\"temperature\":{temperature}}}"
            ))
        }
        Kind::Bad(text) => Some((*text).to_owned()),
        Kind::NullTime => Some("{\"device\":\"d0\",\"temperature\":90}".to_owned()),
        Kind::Null => None,
        Kind::Future => Some(
            "{\"device\":\"d0\",\"ts\":\"2999-01-01T00:00:00Z\",\"temperature\":70}".to_owned(),
        ),
    };
    let value = value.as_ref().map(String::as_bytes);
    rig.source
        .append(Partition(event.partition), -1, Some(b"key"), value);
}

fn rfc3339(second: i64) -> String {
    jiff::Timestamp::from_second(second)
        .expect("a second of this century")
        .to_string()
}

fn micros(text: &Value) -> i64 {
    let text = text.as_str().expect("a timestamp is text");
    let instant: jiff::Timestamp = text.parse().expect("RFC 3339");
    instant.as_microsecond()
}

type WindowKey = (i64, Option<String>);

#[derive(Debug, Default, PartialEq)]
struct Aggregate {
    n: u64,
    sum: i64,
    top: i64,
}

/// Compares everything that became visible with what the events demand.
pub(crate) fn verify(rig: &Rig, events: &[Event], finished: &Finished) {
    let late = late_rows(rig);
    let mut offsets: BTreeMap<i32, i64> = BTreeMap::new();
    let mut newest: BTreeMap<i32, i64> = BTreeMap::new();
    let mut windows: BTreeMap<WindowKey, Aggregate> = BTreeMap::new();
    let mut alerts: Vec<(Option<String>, i64, i64)> = Vec::new();
    let mut dead: BTreeSet<(i32, i64)> = BTreeSet::new();
    let (mut bad, mut null_time, mut filtered, mut future) = (0, 0, 0, 0);
    let far = jiff::Timestamp::from_second(32_472_144_000).expect("the year 2999");
    for event in events {
        let next = offsets.entry(event.partition).or_insert(0);
        let place = (event.partition, *next);
        *next += 1;
        let (at, device, temperature) = match &event.kind {
            Kind::Bad(_) | Kind::Null => {
                bad += 1;
                dead.insert(place);
                continue;
            }
            Kind::NullTime => {
                null_time += 1;
                dead.insert(place);
                continue;
            }
            Kind::Future => {
                future += 1;
                (far.as_second(), Some("d0".to_owned()), Some(70))
            }
            Kind::Reading(second, device, temperature) => {
                let device = device.map(|d| format!("d{d}"));
                (BASE + second, device, *temperature)
            }
        };
        let start = at - at.rem_euclid(WINDOW);
        match temperature {
            None => {
                filtered += 1;
                assert!(!late.contains_key(&place), "a filtered row is not late");
            }
            Some(temperature) => {
                if temperature > 85 {
                    alerts.push((device.clone(), at * 1_000_000, i64::from(temperature)));
                }
                if let Some(claimed) = late.get(&place) {
                    assert_eq!(
                        *claimed,
                        start * 1_000_000,
                        "window of the late row at {place:?}"
                    );
                    let reached = newest.get(&event.partition).map(|newest| newest - DELAY);
                    assert!(
                        reached >= Some(start + WINDOW),
                        "the row at {place:?} is not late: {reached:?}"
                    );
                } else {
                    let window = windows.entry((start * 1_000_000, device)).or_default();
                    window.n += 1;
                    window.sum += i64::from(temperature);
                    window.top = window.top.max(i64::from(temperature));
                }
            }
        }
        if !matches!(event.kind, Kind::Future) {
            let newest = newest.entry(event.partition).or_insert(at);
            *newest = at.max(*newest);
        }
    }
    assert_eq!(visible_windows(rig), windows);
    assert_eq!(visible_alerts(rig), sorted(alerts));
    let buried = dead_letters(rig);
    assert_eq!(buried.len(), dead.len(), "dead letters: {buried:?}");
    assert_eq!(buried.into_iter().collect::<BTreeSet<_>>(), dead);

    let ledger = &finished.status.sources["events"].ledger;
    ledger.check("events").expect("the ledger balances");
    assert_eq!(ledger.read, events.len() as u64);
    assert_eq!(
        (ledger.bad, ledger.null_time, ledger.future),
        (bad, null_time, future)
    );
    assert_eq!(ledger.outputs["windows"].filtered, filtered);
    assert_eq!(ledger.outputs["windows"].late, late.len() as u64);
    for (name, table) in [("windows", &rig.windows), ("alerts", &rig.alerts)] {
        let counted = finished.status.outputs[name].committed.rows;
        assert_eq!(
            counted,
            table.rows().len() as u64,
            "rows counted for {name}"
        );
    }
    let shown = rig.source.shown();
    for (partition, next) in offsets {
        assert_eq!(shown[&Partition(partition)], Offset(next), "offsets shown");
    }
}

fn late_rows(rig: &Rig) -> BTreeMap<(i32, i64), i64> {
    let mut late = BTreeMap::new();
    for row in rig.late.rows() {
        let partition = row["partition"].as_i64().expect("a number") as i32;
        let offset = row["offset"].as_i64().expect("a number");
        let twice = late.insert((partition, offset), micros(&row["window_start"]));
        assert!(
            twice.is_none(),
            "{partition}/{offset} is in the late output twice"
        );
    }
    late
}

fn visible_windows(rig: &Rig) -> BTreeMap<WindowKey, Aggregate> {
    let mut windows = BTreeMap::new();
    for row in rig.windows.rows() {
        let n = row["n"].as_u64().expect("a count");
        let mean = row["mean"].as_f64().expect("a mean");
        let aggregate = Aggregate {
            n,
            sum: (mean * n as f64).round() as i64,
            top: row["top"].as_f64().expect("a maximum") as i64,
        };
        let device = row.get("device").and_then(Value::as_str).map(str::to_owned);
        let key = (micros(&row["start"]), device);
        let twice = windows.insert(key.clone(), aggregate);
        assert!(twice.is_none(), "window {key:?} came out twice");
    }
    windows
}

fn visible_alerts(rig: &Rig) -> Vec<(Option<String>, i64, i64)> {
    let alert = |row: Value| {
        let device = row.get("device").and_then(Value::as_str).map(str::to_owned);
        let temperature = row["temperature"].as_f64().expect("a temperature") as i64;
        (device, micros(&row["ts"]), temperature)
    };
    sorted(rig.alerts.rows().into_iter().map(alert).collect())
}

fn sorted<T: Ord>(mut rows: Vec<T>) -> Vec<T> {
    rows.sort();
    rows
}

fn dead_letters(rig: &Rig) -> Vec<(i32, i64)> {
    let place = |row: &Value| {
        let partition = row["partition"].as_i64().expect("a number") as i32;
        (partition, row["offset"].as_i64().expect("a number"))
    };
    rig.dead.rows().iter().map(place).collect()
}
