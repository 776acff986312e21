//! What the simulator promises, held against its bytes.

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::Value;

use crate::{
    BadKind, Config, EventInfo, Kind, Simulator, Spacing, TEMPERATURE_LIMIT_C, Tally,
    VIBRATION_LIMIT_G,
};

fn troubled() -> Config {
    Config {
        devices: 500,
        anomalies: 0.02,
        late: 0.02,
        bad: 0.02,
        disorder: Duration::from_secs(5),
        ..Config::default()
    }
}

/// The first events of a simulation with what is said of them and their keys.
fn generate(config: &Config, count: usize) -> Vec<(EventInfo, String, Vec<u8>)> {
    let mut simulator = Simulator::new(config).unwrap();
    (0..count)
        .map(|_| {
            let mut bytes = Vec::new();
            let info = simulator.next_event(&mut bytes);
            let key = String::from_utf8(simulator.key().to_vec()).unwrap();
            (info, key, bytes)
        })
        .collect()
}

/// Event time, temperature, vibration and device of a record, if a decoder of the schema accepts it.
fn decode(bytes: &[u8]) -> Option<(i64, f64, f64, String)> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let object = value.as_object()?;
    let ts: Timestamp = object.get("ts")?.as_str()?.parse().ok()?;
    for text in ["status", "site", "line"] {
        object.get(text)?.as_str()?;
    }
    Some((
        ts.as_millisecond(),
        object.get("temperature_c")?.as_f64()?,
        object.get("vibration_g")?.as_f64()?,
        object.get("device_id")?.as_str()?.to_owned(),
    ))
}

fn tally(config: &Config, count: u64) -> Tally {
    let mut simulator = Simulator::new(config).unwrap();
    let mut tally = Tally::default();
    let mut bytes = Vec::new();
    for _ in 0..count {
        bytes.clear();
        let info = simulator.next_event(&mut bytes);
        tally.record(&info, bytes.len());
    }
    tally
}

#[test]
fn the_bytes_of_a_seed_never_change() {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for (_, key, bytes) in generate(&troubled(), 20_000) {
        for byte in key.bytes().chain(bytes).chain([b'\n']) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    assert_eq!(hash, 0xd63a_47fe_2e9d_2128, "{hash:#x}");
}

#[test]
fn another_seed_gives_other_bytes() {
    let other = Config {
        seed: 43,
        ..troubled()
    };
    assert_ne!(generate(&troubled(), 100), generate(&other, 100));
}

#[test]
fn what_is_said_of_an_event_holds_for_its_bytes() {
    for (info, key, bytes) in generate(&troubled(), 50_000) {
        let text = String::from_utf8_lossy(&bytes);
        match (info.kind, decode(&bytes)) {
            (Kind::Good, Some((time_ms, temperature, vibration, device))) => {
                assert_eq!(time_ms, info.event_time_ms, "{text}");
                assert_eq!(device, key, "{text}");
                let anomalous = temperature > TEMPERATURE_LIMIT_C || vibration > VIBRATION_LIMIT_G;
                assert_eq!(anomalous, info.anomalous, "{text}");
            }
            (Kind::Bad(_), None) => assert!(!info.late && !info.anomalous, "{text}"),
            (kind, _) => panic!("{kind:?} is not: {text}"),
        }
    }
}

#[test]
fn shares_are_about_what_was_asked_for() {
    let tally = tally(&troubled(), 200_000);
    let about = |part: u64, whole: u64| {
        let share = part as f64 / whole as f64;
        assert!((0.0185..0.0215).contains(&share), "{share}");
    };
    about(tally.bad, tally.events);
    about(tally.late, tally.events);
    about(tally.anomalous, tally.good);
    assert_eq!(tally.events, tally.good + tally.bad);
    for kind in BadKind::ALL {
        assert!(tally.bad_kinds.of(kind) > 300, "{kind:?}");
    }
}

#[test]
fn a_short_run_of_many_devices_has_its_share_of_anomalies_too() {
    let tally = tally(
        &Config {
            devices: 200_000,
            ..Config::default()
        },
        100_000,
    );
    assert!(
        (800..1_200).contains(&tally.anomalous),
        "{}",
        tally.anomalous
    );
}

#[test]
fn extreme_shares_are_kept() {
    for share in [0.0, 1.0] {
        let anomalies = Config {
            anomalies: share,
            ..Config::default()
        };
        assert_eq!(tally(&anomalies, 5_000).anomalous, (share * 5_000.0) as u64);
        let bad = Config {
            bad: share,
            ..Config::default()
        };
        assert_eq!(tally(&bad, 5_000).bad, (share * 5_000.0) as u64);
    }
}

#[test]
fn late_events_are_far_behind_and_the_others_within_the_disorder() {
    let config = troubled();
    let disorder_ms = config.disorder.as_millis() as i64;
    let mut order = Simulator::new(&config).unwrap();
    let mut newest = i64::MIN;
    let mut far = 0;
    for (info, ..) in generate(&config, 100_000) {
        let turn_ms = order.event_time_ms();
        order.next_event(&mut Vec::new());
        if info.kind != Kind::Good {
            continue;
        }
        if info.late {
            let behind = newest - info.event_time_ms - disorder_ms;
            assert!((120_000..600_000).contains(&behind), "{behind}");
        } else {
            let behind = turn_ms - info.event_time_ms;
            assert!((0..=disorder_ms).contains(&behind), "{behind}");
            far += u64::from(behind > disorder_ms * 9 / 10);
            newest = newest.max(info.event_time_ms);
        }
    }
    assert!((8_000..12_000).contains(&far), "{far}");
}

#[test]
fn a_stream_of_lines_has_one_record_a_line() {
    let config = Config {
        bad: 1.0,
        lines: true,
        ..Config::default()
    };
    for (_, _, bytes) in generate(&config, 20_000) {
        assert!(!bytes.is_empty() && !bytes.contains(&b'\n') && !bytes.contains(&b'\r'));
    }
}

#[test]
fn devices_spread_over_sites_and_lines() {
    let mut places = std::collections::BTreeSet::new();
    for (_, _, bytes) in generate(&Config::default(), 1_000) {
        let text = String::from_utf8(bytes).unwrap();
        places.insert(text.split_once("\"site\"").unwrap().1.to_owned());
    }
    assert_eq!(places.len(), 48);
}

#[test]
fn what_cannot_be_simulated_is_refused() {
    let refused = |config: Config| Simulator::new(&config).map(|_| ()).unwrap_err().to_string();
    mentions(
        &refused(Config {
            devices: 0,
            ..Config::default()
        }),
        "0 devices",
    );
    mentions(
        &refused(Config {
            late: 1.5,
            ..Config::default()
        }),
        "late events",
    );
    mentions(
        &refused(Config {
            bad: f64::NAN,
            ..Config::default()
        }),
        "bad records",
    );
    mentions(
        &refused(Config {
            start_ms: 0,
            ..Config::default()
        }),
        "1971",
    );
    mentions(
        &refused(Config {
            spacing: Spacing::PerSecond(0.0),
            ..Config::default()
        }),
        "event time must advance",
    );
    mentions(
        &refused(Config {
            spacing: Spacing::Interval(Duration::ZERO),
            ..Config::default()
        }),
        "event time must advance",
    );
}

fn mentions(message: &str, part: &str) {
    assert!(message.contains(part), "{message}");
}

#[test]
fn a_simulator_can_be_sent_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Simulator>();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn skipping_gives_the_same_following_bytes(
        seed: u64,
        devices in 1_u32..300,
        first in 0_u64..200,
        skipped in 0_u64..3_000,
        disorder_s in 0_u64..20,
        shares in (0.0..1.0_f64, 0.0..1.0_f64, 0.0..1.0_f64),
    ) {
        let config = Config {
            seed,
            devices,
            anomalies: shares.0,
            late: shares.1,
            bad: shares.2,
            disorder: Duration::from_secs(disorder_s),
            ..Config::default()
        };
        let mut walked = Simulator::new(&config).unwrap();
        let mut bytes = Vec::new();
        for _ in 0..first {
            walked.next_event(&mut bytes);
        }
        let mut leapt = walked.clone();
        leapt.skip(skipped);
        for _ in 0..skipped {
            walked.next_event(&mut bytes);
        }
        for _ in 0..150 {
            let (mut expected, mut got) = (Vec::new(), Vec::new());
            prop_assert_eq!(walked.next_event(&mut expected), leapt.next_event(&mut got));
            prop_assert_eq!(expected, got);
            prop_assert_eq!(walked.key(), leapt.key());
        }
    }
}
