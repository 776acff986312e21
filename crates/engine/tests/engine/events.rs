//! Records for the topic: random ones, and those of the simulator.

use floodmark_generator::{Batch, Config, Simulator, Spacing, Tally};
use proptest::prelude::*;

use crate::model::Record;

/// Event times are seconds after this one, 2025-08-17T12:00:00Z.
const BASE: i64 = 1_755_432_000;

/// A record of a kind.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) partition: i32,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// Second of the event, device, temperature, vibration in hundredths (none: null).
    Reading(i64, Option<u8>, Option<i32>, Option<u8>),
    /// Not JSON, or of the wrong type.
    Bad(&'static str),
    /// No event time.
    NullTime,
    /// Kafka's null value.
    Null,
    /// An event time centuries ahead.
    Future,
}

/// A reading hot enough for an alert.
pub(crate) fn reading(partition: i32, second: i64) -> Event {
    Event {
        partition,
        kind: Kind::Reading(second, Some(1), Some(90), None),
    }
}

impl Event {
    /// The event as a producer writes it.
    pub(crate) fn record(&self) -> Record {
        let value = match &self.kind {
            Kind::Reading(second, device, temperature, vibration) => {
                let null = || "null".to_owned();
                let ts = jiff::Timestamp::from_second(BASE + second).expect("of this century");
                let device = device.map_or_else(null, |d| format!("\"d{d}\""));
                let temperature = temperature.map_or_else(null, |t| t.to_string());
                let vibration = vibration.map_or_else(null, |v| format!("0.{v:02}"));
                Some(format!(
                    "{{\"device_id\":{device},\"ts\":\"{ts}\",\"temperature_c\":{temperature},\
                     \"vibration_g\":{vibration}}}"
                ))
            }
            Kind::Bad(text) => Some((*text).to_owned()),
            Kind::NullTime => Some("{\"device_id\":\"d0\",\"temperature_c\":90}".to_owned()),
            Kind::Null => None,
            Kind::Future => Some(
                "{\"device_id\":\"d0\",\"ts\":\"2999-01-01T00:00:00Z\",\"temperature_c\":70}"
                    .to_owned(),
            ),
        };
        Record {
            partition: self.partition,
            key: (!matches!(self.kind, Kind::NullTime)).then(|| b"key".to_vec()),
            value: value.map(String::into_bytes),
        }
    }
}

/// The records of events, in order.
pub(crate) fn records(events: &[Event]) -> Vec<Record> {
    events.iter().map(Event::record).collect()
}

/// Random events: time goes on in each partition by itself; some events are far behind it.
pub(crate) fn events(
    partitions: i32,
    count: impl Into<prop::collection::SizeRange>,
) -> impl Strategy<Value = Vec<Event>> {
    let reading = (
        0..8_i64,
        prop::option::weighted(0.9, 0..4_u8),
        prop::option::weighted(0.9, 60..95_i32),
        prop::option::weighted(0.5, 0..60_u8),
        prop::bool::weighted(0.1),
    );
    let kind = prop_oneof![
        20 => reading.prop_map(|r| (Some(r), None)),
        1 => Just((None, Some(Kind::Bad("{\"ts\":")))),
        1 => Just((None, Some(Kind::Bad("{\"ts\":\"2025-08-17T12:00:00Z\",\"temperature_c\":\"hot\"}")))),
        1 => Just((None, Some(Kind::NullTime))),
        1 => Just((None, Some(Kind::Null))),
        1 => Just((None, Some(Kind::Future))),
    ];
    prop::collection::vec((0..partitions, kind), count).prop_map(move |drawn| {
        let mut now = vec![0_i64; partitions as usize];
        let event = |(partition, kind): (i32, (Option<_>, Option<Kind>))| {
            let kind = match kind {
                (Some((step, device, temperature, vibration, straggler)), _) => {
                    let now = &mut now[partition as usize];
                    *now += step;
                    let at = if straggler { (*now - 150).max(0) } else { *now };
                    Kind::Reading(at, device, temperature, vibration)
                }
                (None, other) => other.unwrap_or(Kind::Null),
            };
            Event { partition, kind }
        };
        drawn.into_iter().map(event).collect()
    })
}

/// Events of the simulator with every trouble that it knows: devices to partitions by their number,
/// each reporting every ten seconds, as many as `count`. The tally is the truth about them.
pub(crate) fn simulated(count: usize, devices: u32, partitions: i32) -> (Vec<Record>, Tally) {
    let config = Config {
        devices,
        spacing: Spacing::Interval(std::time::Duration::from_secs(10)),
        anomalies: 0.01,
        late: 0.01,
        bad: 0.005,
        disorder: std::time::Duration::from_secs(5),
        ..Config::default()
    };
    let mut simulator = Simulator::new(&config).expect("a valid simulation");
    let (mut batch, mut tally) = (Batch::default(), Tally::default());
    simulator.fill(&mut batch, count, &mut tally);
    let record = |(key, value): (&[u8], &[u8])| {
        let digits = key.iter().filter(|byte| byte.is_ascii_digit());
        let device = digits.fold(0_i32, |n, digit| n * 10 + i32::from(digit - b'0'));
        Record {
            partition: device % partitions,
            key: Some(key.to_vec()),
            value: Some(value.to_vec()),
        }
    };
    (batch.records().map(record).collect(), tally)
}
