//! `/api/events` and `/api/samples`.

use floodmark_engine::telemetry::SampleKind;

use super::client::{Events, get, wait_for};
use super::job::Served;
use crate::http::events::MAX_CLIENTS;

fn take(served: &Served, number: u64) {
    let samples = served.telemetry.samples();
    samples.take(SampleKind::Log, 1_000, None, || number.into());
}

fn number(event: &super::client::Event) -> u64 {
    let sample: serde_json::Value = serde_json::from_str(&event.data).expect("JSON");
    sample["row"].as_u64().expect("a number")
}

#[test]
fn a_client_gets_the_status_at_once_and_again_and_samples_as_they_come() {
    let served = Served::start();
    take(&served, 1);
    let mut events = Events::open(served.address(), None).expect("a stream");
    let first = events.next();
    assert_eq!(first.retry, Some(1_000));
    let status = events.next();
    assert_eq!(status.name, "status");
    let status: serde_json::Value = serde_json::from_str(&status.data).expect("JSON");
    assert_eq!(status["pipeline"], "sensors");
    take(&served, 2);
    // Only what came after it did.
    assert_eq!(number(&events.sample()), 2);
    loop {
        if events.next().name == "status" {
            break;
        }
    }
}

#[test]
fn a_client_that_comes_again_gets_what_it_has_missed_and_nothing_twice() {
    let served = Served::start();
    let mut events = Events::open(served.address(), None).expect("a stream");
    for number in 1..=3 {
        take(&served, number);
    }
    let seen: Vec<_> = (0..2).map(|_| events.sample()).collect();
    assert_eq!(seen.iter().map(number).collect::<Vec<_>>(), [1, 2]);
    drop(events);
    for number in 4..=5 {
        take(&served, number);
    }
    let mut events = Events::open(served.address(), seen[1].id).expect("a stream");
    let missed: Vec<_> = (0..3).map(|_| events.sample()).collect();
    assert_eq!(missed.iter().map(number).collect::<Vec<_>>(), [3, 4, 5]);
    assert!(missed.windows(2).all(|pair| pair[0].id < pair[1].id));
}

#[test]
fn one_client_too_many_is_told_so_until_another_leaves() {
    let served = Served::start();
    let open = || Events::open(served.address(), None);
    let mut clients: Vec<Events> = (0..MAX_CLIENTS).map(|_| open().expect("a place")).collect();
    assert_eq!(open().err(), Some(503));
    assert_eq!(get(served.address(), "/healthz").status, 200);
    clients.pop();
    // Its leaving shows at the next write to it.
    clients.push(wait_for("place", || open().ok()));
    assert_eq!(clients.len(), MAX_CLIENTS);
}

#[test]
fn samples_are_listed_newest_first() {
    let served = Served::start();
    for number in 1..=700 {
        take(&served, number);
    }
    let rows = |path: &str| -> Vec<u64> {
        let samples = get(served.address(), path).json();
        let samples = samples.as_array().expect("a list").iter();
        samples
            .map(|sample| sample["row"].as_u64().expect("a number"))
            .collect()
    };
    assert_eq!(rows("/api/samples?kind=log&limit=3"), [700, 699, 698]);
    let all = rows("/api/samples?kind=log&limit=100000");
    assert_eq!((all.len(), all.last()), (500, Some(&201)));
    assert!(rows("/api/samples?kind=late").is_empty());
}

#[test]
fn a_client_that_reads_nothing_holds_nobody_up() {
    let served = Served::start();
    let _silent: Vec<Events> = (0..10)
        .map(|_| Events::open(served.address(), None).expect("a place"))
        .collect();
    let mut reading = Events::open(served.address(), None).expect("a place");
    // Far more than the connections' buffers hold.
    let text = "x".repeat(4 << 10);
    for round in 0..40_u64 {
        for _ in 0..100 {
            let row = || serde_json::json!([round, text]);
            served
                .telemetry
                .samples()
                .take(SampleKind::Late, 1_000, None, row);
        }
        // The engine's side has gone on at once; so does the one who reads.
        reading.sample();
    }
}
