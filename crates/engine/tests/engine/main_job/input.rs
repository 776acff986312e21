//! Input that no one would send on purpose: nothing stops, all is counted, what is bad is kept.

use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use serde_json::{Value, json};

use super::job::{Job, Topic};
use crate::model::{Record, SOURCE};

const PARTITIONS: usize = 3;
const LARGE: usize = 2_000_000;

fn event(ts: &str) -> Value {
    json!({"device_id": "MTR-00001", "ts": ts, "temperature_c": 20.0, "vibration_g": 0.1})
}

/// A good event with one field replaced.
fn with(name: &str, value: Value) -> Vec<u8> {
    let mut event = event("2025-08-17T12:00:30Z");
    event[name] = value;
    event.to_string().into_bytes()
}

/// A good event with bytes before its closing brace.
fn ending_in(more: &str) -> Vec<u8> {
    let mut event = event("2025-08-17T12:00:30Z").to_string();
    event.pop();
    (event + more).into_bytes()
}

fn nested(levels: usize) -> Vec<u8> {
    let (open, close) = ("[".repeat(levels), "]".repeat(levels));
    ending_in(&format!(",\"extra\":{open}{close}}}"))
}

fn bad_values() -> Vec<Option<Vec<u8>>> {
    let mut values = vec![
        b"".to_vec(),
        b"{}".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"true".to_vec(),
        b"7".to_vec(),
        b"\"text\"".to_vec(),
        b"{".to_vec(),
        b"}".to_vec(),
        b"\x00".to_vec(),
        b"\xef\xbb\xbf".to_vec(),
        b" ".to_vec(),
        ending_in(""),
        ending_in("}x"),
        ending_in(",\"site\":\"\u{fe}\"}")
            .into_iter()
            .map(|byte| if byte == 0xc3 { 0xff } else { byte })
            .collect(),
        nested(20_000),
        vec![b'['; 20_000],
    ];
    for ts in [
        json!("yesterday"),
        json!(""),
        Value::Null,
        json!("2025-02-30T00:00:00Z"),
        json!("2025-08-17T25:00:00Z"),
    ] {
        values.push(with("ts", ts));
    }
    for (name, value) in [
        ("device_id", Value::Null),
        ("temperature_c", json!("hot")),
        ("temperature_c", json!([1])),
        ("vibration_g", json!(true)),
    ] {
        values.push(with(name, value));
    }
    let mut random = SmallRng::seed_from_u64(1);
    for _ in 0..500 {
        let mut bytes = vec![0; random.random_range(1..300)];
        random.fill_bytes(&mut bytes);
        // No JSON begins so, whatever follows.
        bytes[0] |= 0x80;
        values.push(bytes);
    }
    let mut values: Vec<_> = values.into_iter().map(Some).collect();
    values.push(None);
    values
}

fn good_values() -> Vec<Vec<u8>> {
    let mut values = vec![
        with("device_id", json!(7)),
        with("device_id", json!("")),
        with("device_id", json!("\u{e4}\u{4e2d}\u{1f600}\"\\/\n")),
        with("site", json!("x".repeat(100_000))),
        with("temperature_c", json!(1e308)),
        with("vibration_g", json!(-1e-308)),
        with("extra", json!({"a": [1, {"b": null}]})),
        nested(20),
    ];
    let mut filtered = event("2025-08-17T12:00:30Z");
    (filtered["temperature_c"], filtered["vibration_g"]) = (Value::Null, Value::Null);
    values.push(filtered.to_string().into_bytes());
    let padded = format!(" \n\t{} \r\n", event("2025-08-17T12:00:31Z"));
    values.push(padded.into_bytes());
    // Calendars end here.
    for ts in [
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00.001Z",
        "9999-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999Z",
    ] {
        values.push(event(ts).to_string().into_bytes());
        let mut hot = event(ts);
        hot["temperature_c"] = json!(99);
        values.push(hot.to_string().into_bytes());
    }
    values
}

/// Values in turn to the partitions, every seventh without a key.
fn spread(values: impl IntoIterator<Item = Option<Vec<u8>>>) -> Vec<Record> {
    let record = |(index, value): (usize, _)| Record {
        partition: (index % PARTITIONS) as i32,
        key: (index % 7 != 0).then(|| format!("key-{index}").into_bytes()),
        value,
    };
    values.into_iter().enumerate().map(record).collect()
}

#[test]
fn bad_input_of_every_kind_is_kept_with_its_origin_and_stops_nothing() {
    let job = Job::new();
    let (bad, good) = (bad_values(), good_values());
    let bad_count = bad.len() as u64;
    // Good ones in between, in every partition.
    let mut values: Vec<_> = good.into_iter().map(Some).collect();
    values.extend(bad);
    let step = values.len() / 3 + 1;
    let order = (0..step).flat_map(|at| (at..values.len()).step_by(step));
    let records = spread(order.map(|at| values[at].clone()));
    assert_eq!(records.len(), values.len());
    job.append(&records);
    let finished = job.finish();
    let expected = job.verify(&records, &finished);
    assert_eq!(expected.bad, bad_count, "the model knows them all");
    let ledger = &finished.status.sources[SOURCE].ledger;
    assert_eq!(ledger.future, 4, "event times beyond max_future");
}

#[test]
fn an_event_time_in_the_year_9999_makes_nothing_late() {
    let job = Job::new();
    let mut values = vec!["9999-12-31T23:59:59Z".to_owned(); PARTITIONS];
    for second in 0..60 {
        values.extend(vec![format!("2025-08-17T12:00:{second:02}Z"); PARTITIONS]);
    }
    let value = |ts: String| Some(event(&ts).to_string().into_bytes());
    let records = spread(values.into_iter().map(value));
    job.append(&records);
    let finished = job.finish();
    let expected = job.verify(&records, &finished);
    assert_eq!(expected.late, 0);
}

fn large_values() -> Vec<Option<Vec<u8>>> {
    let mut random = vec![0; LARGE];
    SmallRng::seed_from_u64(2).fill_bytes(&mut random);
    random[0] |= 0x80;
    vec![
        Some(vec![b'x'; LARGE]),
        Some(random),
        Some(ending_in(&format!(
            ",\"extra\":\"{}\"}}",
            "x".repeat(LARGE)
        ))),
        Some(ending_in(&format!(",\"extra\":\"{}", "x".repeat(LARGE)))),
        Some(event("2025-08-17T12:00:31Z").to_string().into_bytes()),
    ]
}

/// Reads large records with topics of such limits; returns what became of the dead letters.
fn large(limit_of_dead: &str) -> Vec<Option<usize>> {
    let job = Job::without_topics();
    job.create(&[Topic::Source], &[("max.message.bytes", "4000000")]);
    job.create(&[Topic::Alerts], &[]);
    job.create(&[Topic::Dead], &[("max.message.bytes", limit_of_dead)]);
    let records = spread(large_values());
    job.append(&records);
    let finished = job.finish();
    let expected = job.verify(&records, &finished);
    assert_eq!(expected.bad, 3);
    let dead = job.dead_letters();
    dead.iter().map(|letter| letter.truncated_from).collect()
}

#[test]
fn messages_of_two_megabytes_are_read_and_kept_whole() {
    assert_eq!(large("4000000"), [None; 3]);
}

#[test]
fn a_dead_letter_topic_that_takes_one_megabyte_stops_nothing_and_says_what_it_cut() {
    assert!(large("1000000").iter().all(Option::is_some));
}
