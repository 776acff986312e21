//! What every source promises, run against each of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::source::{Connector, END_UNKNOWN, PartitionEvent, Reader};
use crate::units::{Offset, Partition};

/// Longest wait for a source to hand over what stands in it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Timeout of a poll.
const POLL: Duration = Duration::from_millis(5);
/// As many records a poll as nobody has.
const ALL: usize = 1_000_000;

/// A source with the same few records (at least three in some partition) in every instance.
pub trait Fixture {
    /// An instance, as a new process would make it.
    fn connector(&self) -> Arc<dyn Connector>;

    /// The values that stand in each partition.
    fn expected(&self) -> Values;
}

/// Values of each partition, in order.
pub type Values = BTreeMap<Partition, Vec<Vec<u8>>>;

/// Offsets and values of each partition.
type Records = BTreeMap<Partition, Vec<(Offset, Vec<u8>)>>;

/// Positions.
type Positions = Vec<(Partition, Offset)>;

/// Runs everything.
pub fn every_promise_holds(fixture: &dyn Fixture) {
    partitions_and_names_are_stable(fixture);
    every_record_comes_once_and_in_order(fixture);
    how_polls_are_cut_does_not_matter(fixture);
    any_position_can_be_resumed_from(fixture);
    only_assigned_partitions_are_read(fixture);
    a_poll_without_records_hands_over_nothing(fixture);
}

/// A connector as after a restart: it knows the names that `before` had for its partitions.
fn restarted(fixture: &dyn Fixture, before: &dyn Connector) -> Arc<dyn Connector> {
    let partitions = before.partitions().expect("partitions");
    let names: Vec<_> = partitions.iter().map(|p| (*p, before.topic(*p))).collect();
    let connector = fixture.connector();
    connector.adopt(&names);
    connector
}

fn beginning(connector: &dyn Connector) -> Positions {
    let partitions = connector.partitions().expect("partitions");
    connector.start_of_new(&partitions).expect("start")
}

/// What one reader handed over.
#[derive(Default)]
struct Seen {
    records: Records,
    positions: BTreeMap<Partition, Offset>,
    at_end: BTreeMap<Partition, bool>,
}

impl Seen {
    /// Polls once and checks what holds of every poll.
    fn poll(&mut self, reader: &mut dyn Reader, max: usize) {
        let mut calls = 0;
        let events = reader.poll(POLL, max, &mut |records| {
            calls += 1;
            assert!(
                !records.is_empty() && records.len() <= max,
                "{} records",
                records.len()
            );
            for record in records {
                let position = self.positions.get(&record.partition);
                assert!(
                    position.is_none_or(|p| record.offset >= *p),
                    "{record:?}, {position:?}"
                );
                self.positions
                    .insert(record.partition, Offset(record.offset.0 + 1));
                self.at_end.insert(record.partition, false);
                let value = record.value.unwrap_or_default().to_vec();
                self.records
                    .entry(record.partition)
                    .or_default()
                    .push((record.offset, value));
            }
        });
        assert!(calls <= 1, "records of a poll come in one call");
        for event in events.expect("poll") {
            match event {
                PartitionEvent::CaughtUp { partition, next } => {
                    let position = self.positions.insert(partition, next);
                    assert!(
                        position.is_none_or(|p| next >= p),
                        "{partition} went back to {next}"
                    );
                    self.at_end.insert(partition, true);
                }
                PartitionEvent::Ended { partition } => {
                    let at_end = self.at_end.get(&partition);
                    assert_eq!(at_end, Some(&true), "partition {partition} ended elsewhere");
                }
            }
        }
    }

    fn values(&self) -> Values {
        let partitions = self.records.iter();
        let values = partitions.map(|(partition, records)| {
            (
                *partition,
                records.iter().map(|(_, value)| value.clone()).collect(),
            )
        });
        values.collect()
    }
}

/// Reads until every partition stands at its end.
fn read_all(connector: &dyn Connector, positions: &[(Partition, Offset)], max: usize) -> Seen {
    let partitions: Vec<Partition> = positions.iter().map(|(partition, _)| *partition).collect();
    let ends = connector.ends(&partitions).expect("ends");
    let mut reader = connector.reader(positions).expect("reader");
    let mut seen = Seen::default();
    for (partition, next) in positions {
        seen.positions.insert(*partition, *next);
        seen.at_end.insert(*partition, false);
    }
    let deadline = Instant::now() + PATIENCE;
    let done = |seen: &Seen| {
        ends.iter().all(|(partition, end)| {
            seen.at_end[partition] && (*end == END_UNKNOWN || seen.positions[partition] >= *end)
        })
    };
    while !done(&seen) {
        assert!(
            Instant::now() < deadline,
            "stuck at {:?} of {ends:?}",
            seen.positions
        );
        seen.poll(reader.as_mut(), max);
    }
    seen
}

fn non_empty(values: Values) -> Values {
    values
        .into_iter()
        .filter(|(_, values)| !values.is_empty())
        .collect()
}

fn partitions_and_names_are_stable(fixture: &dyn Fixture) {
    let connector = fixture.connector();
    let partitions = connector.partitions().expect("partitions");
    let expected: Vec<Partition> = fixture.expected().into_keys().collect();
    assert_eq!(partitions, expected);
    let again = restarted(fixture, connector.as_ref());
    assert_eq!(again.partitions().expect("partitions"), partitions);
    assert_eq!(again.origin(), connector.origin());
    for partition in partitions {
        assert_eq!(again.topic(partition), connector.topic(partition));
    }
}

fn every_record_comes_once_and_in_order(fixture: &dyn Fixture) {
    let connector = fixture.connector();
    let seen = read_all(connector.as_ref(), &beginning(connector.as_ref()), ALL);
    assert_eq!(seen.values(), non_empty(fixture.expected()));
    for (partition, records) in &seen.records {
        let last = records.last().map_or(Offset(0), |(offset, _)| *offset);
        assert!(
            seen.positions[partition] > last,
            "an end lies past the last record"
        );
    }
}

fn how_polls_are_cut_does_not_matter(fixture: &dyn Fixture) {
    let first = fixture.connector();
    let whole = read_all(first.as_ref(), &beginning(first.as_ref()), ALL);
    for max in [1, 2, 7] {
        let connector = restarted(fixture, first.as_ref());
        let cut = read_all(connector.as_ref(), &beginning(connector.as_ref()), max);
        assert_eq!(cut.records, whole.records, "{max} records a poll");
    }
}

fn any_position_can_be_resumed_from(fixture: &dyn Fixture) {
    let first = fixture.connector();
    let whole = read_all(first.as_ref(), &beginning(first.as_ref()), ALL);
    for (partition, records) in &whole.records {
        for (read, (offset, _)) in records.iter().enumerate() {
            let connector = restarted(fixture, first.as_ref());
            let position = [(*partition, Offset(offset.0 + 1))];
            let resumed = connector.resume(&position).expect("resume");
            assert_eq!(resumed, position);
            let rest = read_all(connector.as_ref(), &resumed, 2);
            let rest = rest.records.get(partition).map_or(&[][..], Vec::as_slice);
            assert_eq!(rest, &records[read + 1..], "after {} records", read + 1);
        }
        let at_end = [(*partition, whole.positions[partition])];
        let connector = restarted(fixture, first.as_ref());
        let resumed = connector.resume(&at_end).expect("resume");
        assert!(
            read_all(connector.as_ref(), &resumed, ALL)
                .records
                .is_empty()
        );
    }
}

fn only_assigned_partitions_are_read(fixture: &dyn Fixture) {
    let connector = fixture.connector();
    let expected = non_empty(fixture.expected());
    let mut together = connector.reader(&[]).expect("reader");
    let mut seen = Seen::default();
    for position in beginning(connector.as_ref()) {
        let alone = read_all(connector.as_ref(), &[position], 3).values();
        let mine = expected
            .get(&position.0)
            .map(|values| (position.0, values.clone()));
        assert_eq!(alone, mine.into_iter().collect());
        // Added one by one, they come to the same.
        together.assign(&[position]).expect("assign");
        seen.poll(together.as_mut(), 1);
    }
    let deadline = Instant::now() + PATIENCE;
    while seen.values() != expected {
        assert!(Instant::now() < deadline, "stuck at {:?}", seen.positions);
        seen.poll(together.as_mut(), 3);
    }
}

fn a_poll_without_records_hands_over_nothing(fixture: &dyn Fixture) {
    let connector = fixture.connector();
    let mut reader = connector.reader(&[]).expect("reader");
    let begun = Instant::now();
    let events = reader.poll(POLL, ALL, &mut |_| panic!("there is nothing to hand over"));
    assert_eq!(events.expect("poll"), []);
    // Far longer than asked for; machines are slow at times.
    assert!(begun.elapsed() < Duration::from_secs(5));
}
