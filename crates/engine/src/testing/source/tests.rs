use super::*;
use crate::testing::source_promises::{Fixture, Values, every_promise_holds};

const FIRST: Partition = Partition(0);
const SECOND: Partition = Partition(1);

fn connector(source: &MemorySource) -> MemoryConnector {
    source.connector(Start::Earliest, OnLostPosition::Fail)
}

fn poll(reader: &mut dyn Reader) -> (usize, Vec<PartitionEvent>) {
    let mut records = 0;
    let events = reader.poll(Duration::from_millis(1), 10, &mut |polled| {
        records += polled.len();
    });
    (records, events.unwrap())
}

#[test]
fn keeps_the_promises_of_a_source() {
    struct Few(MemorySource);
    impl Fixture for Few {
        fn connector(&self) -> Arc<dyn Connector> {
            Arc::new(connector(&self.0))
        }
        fn expected(&self) -> Values {
            let values = |values: [&str; 3]| values.map(|v| v.as_bytes().to_vec()).to_vec();
            Values::from([
                (FIRST, values(["a", "b", "c"])),
                (SECOND, values(["", "y", "z"])),
                (Partition(2), vec![]),
            ])
        }
    }
    let source = MemorySource::new("events", "topic", 3);
    for value in ["a", "b", "c"] {
        source.append_value(FIRST, value.as_bytes());
    }
    source.append(SECOND, 5, Some(b"key"), None);
    source.leave_gap(SECOND, 2);
    source.append_value(SECOND, b"y");
    source.append_value(SECOND, b"z");
    source.leave_gap(SECOND, 1);
    source.end(SECOND);
    every_promise_holds(&Few(source));
}

#[test]
fn what_is_appended_wakes_a_reader() {
    let source = MemorySource::new("events", "topic", 1);
    let mut reader = connector(&source).reader(&[(FIRST, Offset(0))]).unwrap();
    assert_eq!(poll(reader.as_mut()).1.len(), 1);
    let appender = std::thread::spawn(move || source.append_value(FIRST, b"a"));
    let mut records = 0;
    reader
        .poll(Duration::from_secs(60), 10, &mut |polled| {
            records = polled.len();
        })
        .unwrap();
    assert_eq!((records, appender.join().unwrap()), (1, Offset(0)));
}

#[test]
fn a_full_partition_does_not_starve_the_others() {
    let source = MemorySource::new("events", "topic", 2);
    for _ in 0..100 {
        source.append_value(FIRST, b"a");
    }
    source.append_value(SECOND, b"b");
    let mut reader = connector(&source)
        .reader(&[(FIRST, Offset(0)), (SECOND, Offset(0))])
        .unwrap();
    poll(reader.as_mut());
    let mut seen = Vec::new();
    let mut note = |polled: &[RawRecord<'_>]| seen.extend(polled.iter().map(|r| r.partition));
    reader
        .poll(Duration::from_millis(1), 10, &mut note)
        .unwrap();
    assert!(seen.contains(&SECOND));
}

#[test]
fn a_removed_position_is_lost_unless_the_file_chooses_the_earliest() {
    let source = MemorySource::new("events", "topic", 1);
    for _ in 0..5 {
        source.append_value(FIRST, b"a");
    }
    source.remove_below(FIRST, Offset(3));
    let failing = connector(&source);
    let position = [(FIRST, Offset(1))];
    let error = failing.resume(&position).unwrap_err().to_string();
    assert!(error.contains("is 1") && error.contains("3..5"), "{error}");
    let moving = source.connector(Start::Earliest, OnLostPosition::Earliest);
    assert_eq!(moving.resume(&position).unwrap(), [(FIRST, Offset(3))]);
    let mut reader = failing.reader(&position).unwrap();
    let outcome = reader.poll(Duration::ZERO, 10, &mut |_| panic!("nothing to read"));
    assert!(matches!(outcome, Err(SourceError::LostPosition { .. })));
}

#[test]
fn an_unreachable_source_answers_nothing_and_delivers_nothing() {
    let source = MemorySource::new("events", "topic", 1);
    let connector = connector(&source);
    let mut reader = connector.reader(&[(FIRST, Offset(0))]).unwrap();
    source.append_value(FIRST, b"a");
    source.set_reachable(false);
    assert!(connector.partitions().is_err() && connector.ends(&[FIRST]).is_err());
    assert_eq!(poll(reader.as_mut()), (0, vec![]));
    source.set_reachable(true);
    assert_eq!(poll(reader.as_mut()).0, 1);
}

#[test]
fn starts_where_it_is_told_to() {
    let source = MemorySource::new("events", "topic", 1);
    for timestamp_ms in [10, 20, 30] {
        source.append(FIRST, timestamp_ms, None, Some(b"a"));
    }
    let start = |start| {
        source
            .connector(start, OnLostPosition::Fail)
            .start(&[FIRST])
            .unwrap()[0]
            .1
    };
    assert_eq!(start(Start::Earliest), Offset(0));
    assert_eq!(start(Start::Latest), Offset(3));
    assert_eq!(start(Start::Timestamp(15)), Offset(1));
    assert_eq!(start(Start::Timestamp(31)), Offset(3));
    let new = source.add_partition();
    assert_eq!(
        connector(&source).start_of_new(&[new]).unwrap(),
        [(new, Offset(0))]
    );
    assert_eq!(connector(&source).partitions().unwrap(), [FIRST, new]);
}

#[test]
fn positions_are_shown_to_the_test() {
    let source = MemorySource::new("events", "topic", 1);
    connector(&source)
        .show_positions(&[(FIRST, Offset(7))])
        .unwrap();
    assert_eq!(source.shown(), BTreeMap::from([(FIRST, Offset(7))]));
}
