use super::*;
use crate::testing::ManualClock;
use crate::testing::source_promises::{Fixture, Values, every_promise_holds};

const NOW_MS: i64 = 1_755_434_096_789;

fn settings(rate: Option<f64>, count: Option<u64>) -> GeneratorSource {
    GeneratorSource {
        rate,
        devices: 10,
        seed: 7,
        count,
        anomalies: 0.1,
        late: 0.1,
        bad: 0.1,
        disorder: Duration::from_secs(5),
    }
}

fn connector(settings: &GeneratorSource, wall_ms: i64) -> GeneratorConnector {
    let clock = Arc::new(ManualClock::at(wall_ms));
    GeneratorConnector::new("events", settings, clock).unwrap()
}

/// Values and timestamps of one poll, and what was learned.
fn poll(reader: &mut dyn Reader, max: usize) -> (Vec<(i64, Vec<u8>)>, Vec<PartitionEvent>) {
    let mut records = Vec::new();
    let timeout = Duration::from_millis(1);
    let events = reader.poll(timeout, max, &mut |polled| {
        let polled = polled.iter();
        records.extend(polled.map(|r| (r.timestamp_ms, r.value.unwrap_or_default().to_vec())));
    });
    (records, events.unwrap())
}

#[test]
fn keeps_the_promises_of_a_source() {
    struct Sixty(GeneratorSource);
    impl Fixture for Sixty {
        fn connector(&self) -> Arc<dyn Connector> {
            Arc::new(connector(&self.0, NOW_MS))
        }
        fn expected(&self) -> Values {
            let mut simulator = connector(&self.0, NOW_MS).simulator().unwrap();
            let values = (0..60).map(|_| {
                let mut value = Vec::new();
                simulator.next_event(&mut value);
                value
            });
            Values::from([(PARTITION, values.collect())])
        }
    }
    every_promise_holds(&Sixty(settings(None, Some(60))));
}

#[test]
fn a_restart_goes_on_with_the_same_bytes_whatever_the_clock_says() {
    let settings = settings(None, Some(1_000));
    let first = connector(&settings, NOW_MS);
    let mut reader = first.reader(&[(PARTITION, Offset(0))]).unwrap();
    let whole = poll(reader.as_mut(), 1_000).0;
    assert_eq!(whole.len(), 1_000);
    for next in [0, 1, 499, 999] {
        let again = connector(&settings, NOW_MS + 86_400_000);
        again.adopt(&[(PARTITION, first.topic(PARTITION))]);
        assert_eq!(again.topic(PARTITION), first.topic(PARTITION));
        let mut reader = again.reader(&[(PARTITION, Offset(next))]).unwrap();
        let rest = poll(reader.as_mut(), 1_000).0;
        let values = |records: &[(i64, Vec<u8>)]| -> Vec<Vec<u8>> {
            records.iter().map(|(_, value)| value.clone()).collect()
        };
        assert_eq!(values(&rest), values(&whole[next as usize..]));
    }
}

#[test]
fn a_rate_is_kept_by_the_wall_clock_and_caught_up_with_after_a_pause() {
    let clock = Arc::new(ManualClock::at(NOW_MS));
    let connector =
        GeneratorConnector::new("events", &settings(Some(10.0), None), clock.clone()).unwrap();
    assert_eq!(connector.topic(PARTITION), format!("generator@{NOW_MS}"));
    let mut reader = connector.reader(&[(PARTITION, Offset(0))]).unwrap();
    let caught_up = |next| PartitionEvent::CaughtUp {
        partition: PARTITION,
        next: Offset(next),
    };

    let (records, events) = poll(reader.as_mut(), 100);
    assert_eq!((records.len(), records[0].0), (1, NOW_MS));
    assert_eq!(events, [caught_up(1)]);
    assert_eq!(poll(reader.as_mut(), 100), (vec![], vec![]));

    clock.advance(Duration::from_millis(250));
    let (records, events) = poll(reader.as_mut(), 100);
    assert_eq!((records.len(), records[0].0), (2, NOW_MS + 250));
    assert_eq!(events, [caught_up(3)]);

    clock.advance(Duration::from_secs(60));
    assert_eq!(
        connector.ends(&[PARTITION]).unwrap(),
        [(PARTITION, Offset(603))]
    );
    let (records, events) = poll(reader.as_mut(), 100);
    assert_eq!((records.len(), events), (100, vec![]));
    while poll(reader.as_mut(), 100).1.is_empty() {}
    assert_eq!(poll(reader.as_mut(), 100), (vec![], vec![]));

    clock.set_wall(NOW_MS - 1_000);
    assert_eq!(poll(reader.as_mut(), 100), (vec![], vec![]));
}

#[test]
fn a_count_ends_the_partition_also_after_a_restart() {
    let connector = connector(&settings(None, Some(5)), NOW_MS);
    let end = [
        PartitionEvent::CaughtUp {
            partition: PARTITION,
            next: Offset(5),
        },
        PartitionEvent::Ended {
            partition: PARTITION,
        },
    ];
    for (next, left) in [(0, 5), (3, 2), (5, 0)] {
        let mut reader = connector.reader(&[(PARTITION, Offset(next))]).unwrap();
        let (records, events) = poll(reader.as_mut(), 100);
        assert_eq!((records.len(), &events[..]), (left, &end[..]));
        assert_eq!(poll(reader.as_mut(), 100), (vec![], vec![]));
    }
}

#[test]
fn without_a_rate_the_last_event_lies_at_the_clock() {
    let start_of = |count| connector(&settings(None, count), NOW_MS).topic(PARTITION);
    assert_eq!(
        start_of(Some(600)),
        format!("generator@{}", NOW_MS - 60_000)
    );
    assert_eq!(start_of(None), format!("generator@{}", NOW_MS - 86_400_000));
}

#[test]
fn the_origin_names_everything_that_the_bytes_depend_on_but_the_beginning() {
    let origin = |settings: &GeneratorSource, at| connector(settings, at).origin();
    let base = settings(Some(5.0), None);
    assert_eq!(origin(&base, NOW_MS), origin(&base, NOW_MS + 1));
    assert_eq!(
        origin(&base, NOW_MS),
        origin(&settings(Some(5.0), Some(9)), NOW_MS)
    );
    assert_ne!(origin(&base, NOW_MS), origin(&settings(None, None), NOW_MS));
    let other_seed = GeneratorSource {
        seed: 8,
        ..base.clone()
    };
    assert_ne!(origin(&base, NOW_MS), origin(&other_seed, NOW_MS));
}

#[test]
fn a_checkpoint_of_something_else_is_refused() {
    let connector = connector(&settings(None, Some(5)), NOW_MS);
    assert!(connector.resume(&[(Partition(1), Offset(3))]).is_err());
    connector.adopt(&[(PARTITION, "sensor_events".to_owned())]);
    let error = connector.partitions().unwrap_err().to_string();
    assert!(
        error.contains("'sensor_events'") && error.contains("new checkpoint path"),
        "{error}"
    );
    // A beginning that the simulator cannot take.
    connector.adopt(&[(PARTITION, "generator@-5".to_owned())]);
    let error = connector.reader(&[]).err().unwrap().to_string();
    assert!(error.contains("1971"), "{error}");
}

#[test]
fn settings_out_of_bounds_are_refused_at_once() {
    let clock = Arc::new(ManualClock::at(NOW_MS));
    let settings = GeneratorSource {
        devices: 0,
        ..settings(None, None)
    };
    let error = GeneratorConnector::new("events", &settings, clock)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("0 devices"), "{error}");
}
