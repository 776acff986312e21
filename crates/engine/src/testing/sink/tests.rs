//! The sinks in memory keep the contract themselves.

use arrow::array::{Int32Array, Int64Array, UInt32Array};

use super::*;
use crate::rows::Origin;
use crate::testing::ManualClock;

const SOURCE: SourceId = SourceId(0);
const PARTITION: Partition = Partition(3);

fn rows(offsets: &[i64]) -> OutputRows {
    let values: arrow::array::ArrayRef = Arc::new(Int64Array::from(offsets.to_vec()));
    let origin = Origin {
        source: SOURCE,
        partition: Int32Array::from(vec![PARTITION.0; offsets.len()]),
        offset: Int64Array::from(offsets.to_vec()),
        timestamp: Int64Array::from(vec![-1; offsets.len()]),
        row: UInt32Array::from_iter_values(0..offsets.len() as u32),
    };
    let batch = RecordBatch::try_from_iter([("n", values)]).unwrap();
    OutputRows {
        batch,
        origin: Some(origin),
    }
}

fn progress(next: i64) -> [Progress; 1] {
    [Progress {
        source: SOURCE,
        partition: PARTITION,
        next: Offset(next),
    }]
}

fn shown(table: &MemoryTable) -> Vec<i64> {
    table
        .rows()
        .iter()
        .map(|row| row["n"].as_i64().unwrap())
        .collect()
}

fn permit(epoch: u64) -> CommitPermit {
    CommitPermit::new(Epoch(epoch))
}

#[test]
fn rows_show_when_their_epoch_is_committed_and_not_before() {
    let table = MemoryTable::new();
    let mut sink = table.sink(Generation(1), 0);
    sink.write(rows(&[1, 2]), &[]).unwrap();
    let work = sink.pre_commit(Epoch(1), false).unwrap();
    assert!(work.carried.is_empty());
    sink.write(rows(&[3]), &[]).unwrap();
    assert!(shown(&table).is_empty());
    assert_eq!(sink.commit(&permit(1)).unwrap().rows, 2);
    assert_eq!(sink.commit(&permit(1)).unwrap().rows, 2);
    assert_eq!(shown(&table), [1, 2]);
    sink.pre_commit(Epoch(2), true).unwrap();
    sink.commit(&permit(2)).unwrap();
    assert_eq!(shown(&table), [1, 2, 3]);
}

#[test]
fn a_crash_before_the_manifest_leaves_nothing_and_one_after_it_is_rolled_forward() {
    let table = MemoryTable::new();
    let mut sink = table.sink(Generation(1), 0);
    sink.write(rows(&[1]), &[]).unwrap();
    sink.pre_commit(Epoch(1), false).unwrap();
    drop(sink);
    let mut sink = table.sink(Generation(2), 0);
    sink.write(rows(&[1]), &[]).unwrap();
    let work = sink.pre_commit(Epoch(1), false).unwrap();
    drop(sink);
    for generation in [3, 4] {
        let mut sink = table.sink(Generation(generation), 0);
        assert_eq!(sink.restore(&permit(1), work.clone()).unwrap().rows, 1);
        assert_eq!(shown(&table), [1]);
    }
    assert_eq!(table.orphans(), 1);
}

#[test]
fn rows_of_an_open_file_are_carried_over_a_crash() {
    let table = MemoryTable::new();
    let mut sink = table.sink(Generation(1), 3);
    sink.write(rows(&[1, 2]), &[]).unwrap();
    let work = sink.pre_commit(Epoch(1), false).unwrap();
    assert_eq!(sink.commit(&permit(1)).unwrap(), Committed::default());
    sink.write(rows(&[77]), &[]).unwrap();
    drop(sink);
    let mut sink = table.sink(Generation(2), 3);
    assert_eq!(
        sink.restore(&permit(1), work).unwrap(),
        Committed::default()
    );
    sink.write(rows(&[3]), &[]).unwrap();
    assert!(sink.pre_commit(Epoch(3), false).unwrap().carried.is_empty());
    assert_eq!(sink.commit(&permit(3)).unwrap().rows, 3);
    assert_eq!(shown(&table), [1, 2, 3]);
}

#[test]
fn a_sink_that_was_taken_over_from_is_fenced() {
    let table = MemoryTable::new();
    let clock = Arc::new(ManualClock::at(0));
    let mut zombie = table.sink(Generation(1), 0);
    let mut ahead = table.sink_ahead(Generation(1), Duration::ZERO, clock);
    zombie.write(rows(&[1]), &[]).unwrap();
    ahead.write(rows(&[1]), &progress(2)).unwrap();
    let _successor = table.sink(Generation(2), 0);
    let fenced = |error| matches!(error, SinkError::Fenced { .. });
    assert!(fenced(zombie.pre_commit(Epoch(1), false).unwrap_err()));
    assert!(fenced(ahead.poll().unwrap_err()));
    assert!(shown(&table).is_empty());
}

#[test]
fn calls_out_of_order_fail() {
    let table = MemoryTable::new();
    let mut sink = table.sink(Generation(1), 0);
    assert!(sink.commit(&permit(1)).is_err());
    sink.pre_commit(Epoch(1), false).unwrap();
    assert!(sink.restore(&permit(1), PreCommit::default()).is_err());
    assert!(sink.pre_commit(Epoch(2), false).is_err());
    assert!(sink.commit(&permit(2)).is_err());
    sink.commit(&permit(1)).unwrap();
    sink.pre_commit(Epoch(2), true).unwrap();
    assert!(sink.write(rows(&[1]), &[]).is_err());
}

#[test]
fn ahead_of_the_checkpoint_rows_and_cursor_show_at_once() {
    let table = MemoryTable::new();
    let clock = Arc::new(ManualClock::at(0));
    let every = Duration::from_millis(50);
    let mut sink = table.sink_ahead(Generation(1), every, clock.clone());
    sink.write(rows(&[4, 6]), &progress(9)).unwrap();
    assert_eq!(sink.poll().unwrap(), (Committed::default(), Some(every)));
    assert_eq!(
        (shown(&table), table.cursor(SOURCE, PARTITION)),
        (vec![], None)
    );
    clock.advance(every);
    let (committed, wait) = sink.poll().unwrap();
    assert_eq!((committed.rows, wait), (2, None));
    assert_eq!(
        (shown(&table), table.cursor(SOURCE, PARTITION)),
        (vec![4, 6], Some(Offset(9)))
    );
}

#[test]
fn ahead_of_the_checkpoint_a_successor_does_not_send_again() {
    let table = MemoryTable::new();
    let clock = Arc::new(ManualClock::at(0));
    let mut sink = table.sink_ahead(Generation(1), Duration::ZERO, clock.clone());
    sink.write(rows(&[1, 2]), &progress(5)).unwrap();
    sink.pre_commit(Epoch(1), false).unwrap();
    sink.commit(&permit(1)).unwrap();
    sink.write(rows(&[5]), &progress(6)).unwrap();
    drop(sink);
    let mut sink = table.sink_ahead(Generation(2), Duration::ZERO, clock);
    sink.write(rows(&[1, 2, 5, 7]), &progress(8)).unwrap();
    sink.pre_commit(Epoch(2), true).unwrap();
    // Two new ones, and two that its predecessor sent without living to report them.
    assert_eq!(sink.poll().unwrap().0.rows, 4);
    assert_eq!(shown(&table), [1, 2, 5, 7]);
}
