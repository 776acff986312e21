//! Runs that are stopped, that die, that are replaced.

use std::time::Duration;

use floodmark_engine::runtime::{Phase, RunOptions, Status, StatusBoard, StopSignal};
use floodmark_engine::units::Generation;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::job::{CAUGHT_UP, Job, wait_for};
use super::seed;
use crate::events::{events, reading, records};
use crate::model::Record;
use crate::mortal::Death;

/// Random cases.
const CASES: usize = 10;

/// Some checkpoints later.
const SOON: Duration = Duration::from_millis(300);

/// How a run before the last one ends.
#[derive(Debug, Clone)]
enum End {
    /// Asked to stop when it has run for so long: drains and checkpoints.
    Stopped(Duration),
    /// Dies: what is not committed is gone, what is in the air stays there.
    Dies(Death),
    /// Loses its producer at this time to an instance that had been replaced and slept; goes on by itself,
    /// and is asked to stop soon after.
    Ousted(Duration),
}

fn ends() -> impl Strategy<Value = Vec<End>> {
    let end = prop_oneof![
        (0..200_u64).prop_map(|millis| End::Stopped(Duration::from_millis(millis))),
        (0..200_i64).prop_map(|records| End::Dies(Death::AfterRecords(records))),
        (0..30_i64).prop_map(|step| End::Dies(Death::AtSinkStep(step))),
        (0..400_u64).prop_map(|millis| End::Ousted(Duration::from_millis(millis))),
    ];
    prop::collection::vec(end, 1..5)
}

fn running(status: &Status) -> bool {
    status.phase == Phase::Running
}

fn run_through(job: &Job, records: &[Record], ends: &[End]) {
    // Each run finds a further part of the records; the last one finds them all.
    let part = records.len() / (ends.len() + 1);
    let mut rest = records;
    for end in ends {
        let (now, later) = rest.split_at(part);
        job.append(now);
        rest = later;
        match end {
            End::Stopped(after) => {
                job.run_while(running, *after, || ());
            }
            End::Ousted(at) => {
                let finished = job.run_while(running, SOON, || {
                    std::thread::sleep(*at);
                    job.open_alerts();
                });
                eprintln!("{end:?}: {:?}", finished.status.checkpoint.generation);
            }
            End::Dies(death) => {
                let (stop, board) = (StopSignal::new(), StatusBoard::new());
                // It lives if there is too little to do.
                let outcome = job.run(CAUGHT_UP, &stop, &board, Some(*death)).err();
                eprintln!("{death:?}: {outcome:?}");
            }
        }
    }
    job.append(rest);
}

#[test]
fn every_result_comes_out_once_whatever_stops_or_dies() {
    let cases = (
        events(3, 200..1_500),
        ends(),
        1..4_usize,
        prop::sample::select(vec![7_usize, 64, 4_096]),
    );
    let seed = [seed().to_le_bytes(), [1; 8]].concat();
    let rng = TestRng::from_seed(RngAlgorithm::XorShift, &seed);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
    // A case mostly waits for servers: side by side they take little longer than one.
    std::thread::scope(|scope| {
        for _ in 0..CASES {
            let case = cases.new_tree(&mut runner).expect("a case").current();
            scope.spawn(move || {
                let (events, ends, workers, batch_rows) = case;
                eprintln!("{workers} workers, batches of {batch_rows}: {ends:?}");
                let mut job = Job::new();
                job.size(workers, batch_rows);
                let records = records(&events);
                run_through(&job, &records, &ends);
                let finished = job.finish();
                job.verify(&records, &finished);
            });
        }
    });
}

#[test]
fn a_second_instance_fences_the_first() {
    let job = Job::new();
    let records = records(&[reading(0, 5), reading(1, 6), reading(2, 70)]);
    job.append(&records);
    let (stop, board) = (StopSignal::new(), StatusBoard::new());
    std::thread::scope(|scope| {
        let first = scope.spawn(|| job.run(RunOptions::default(), &stop, &board, None));
        let running =
            |status: &Status| status.phase == Phase::Running && super::job::read(status) > 0;
        wait_for(&board, running, || first.is_finished());
        job.run_to(CAUGHT_UP).expect("the newer instance runs");
        let error = first.join().expect("no panic").err();
        let error = error.expect("the older one is fenced");
        assert!(error.is_fenced(), "{error}");
    });
    let finished = job.finish();
    job.verify(&records, &finished);
}

#[test]
fn an_owner_whose_producer_was_fenced_by_an_instance_that_had_been_replaced_begins_anew() {
    let job = Job::new();
    let (before, after) = (
        records(&[reading(0, 5)]),
        records(&[reading(1, 6), reading(2, 70)]),
    );
    job.append(&before);
    let (stop, board) = (StopSignal::new(), StatusBoard::new());
    std::thread::scope(|scope| {
        let owner = scope.spawn(|| job.run(RunOptions::default(), &stop, &board, None));
        let running =
            |status: &Status| status.phase == Phase::Running && super::job::read(status) > 0;
        wait_for(&board, running, || owner.is_finished());
        // It had claimed the checkpoint before the owner did, and slept until now.
        job.open_alerts();
        job.append(&after);
        let again = |status: &Status| running(status) && status.checkpoint.generation.0 > 1;
        wait_for(&board, again, || owner.is_finished());
        stop.stop();
        let finished = owner.join().expect("no panic").expect("it has gone on");
        assert_eq!(finished.status.checkpoint.generation, Generation(2));
    });
    let finished = job.finish();
    job.verify(&[before, after].concat(), &finished);
}

#[test]
fn open_windows_survive_a_restart_with_another_number_of_workers() {
    let mut job = Job::new();
    let of = |seconds: std::ops::Range<i64>| {
        let events: Vec<_> = seconds.map(|s| reading((s % 3) as i32, s)).collect();
        records(&events)
    };
    let mut all = of(0..50);
    job.append(&all);
    for workers in [1, 3, 2] {
        job.size(workers, 16);
        let finished = job.run_to(CAUGHT_UP).expect("runs");
        assert_eq!(finished.status.outputs["curated"].committed.rows, 0);
        assert_eq!(finished.status.outputs["curated"].open_windows, 1);
    }
    let rest = of(50..200);
    job.append(&rest);
    all.extend(rest);
    job.size(3, 16);
    let finished = job.finish();
    let expected = job.verify(&all, &finished);
    assert_eq!(expected.windows, 4);
}

#[test]
fn a_job_whose_windows_were_closed_goes_on_with_later_ones() {
    let job = Job::new();
    let mut all = records(&[reading(0, 5), reading(1, 65), reading(2, 125)]);
    job.append(&all);
    let finished = job.finish();
    job.verify(&all, &finished);
    let later = records(&[reading(0, 185), reading(1, 190), reading(2, 250)]);
    job.append(&later);
    all.extend(later);
    let finished = job.finish();
    let expected = job.verify(&all, &finished);
    assert_eq!((expected.windows, expected.late), (5, 0));
}
