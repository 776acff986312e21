//! What comes out of a whole topic.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::job::{CAUGHT_UP, Job, read};
use super::seed;
use crate::events::simulated;

#[test]
fn windows_alerts_dead_letters_and_late_rows_equal_the_model_and_the_simulators_tally() {
    let job = Job::new();
    let (records, tally) = simulated(30_000, 100, 3);
    // Windows of the first half have fired when late rows of the second half come.
    let (first, second) = records.split_at(records.len() / 2);
    job.append(first);
    job.run_to(CAUGHT_UP).expect("runs");
    job.append(second);
    let finished = job.finish();
    let expected = job.verify(&records, &finished);
    assert_eq!(tally.events, records.len() as u64);
    assert_eq!(tally.bad, expected.bad);
    assert_eq!(tally.anomalous, expected.alerts as u64);
    // The mix must be there, or the comparison proves little.
    assert!(expected.windows > 4_000, "{expected:?}");
    assert!(expected.late > 0 && expected.late as u64 <= tally.late + tally.bad);
    assert!(expected.alerts > 100 && expected.bad > 100, "{expected:?}");
}

#[test]
fn results_of_a_stream_that_goes_on_while_runs_are_stopped_and_started_equal_the_model() {
    const STOPS: usize = 5;
    let mut random = SmallRng::seed_from_u64(seed());
    let job = Job::new();
    let (records, _) = simulated(12_000, 50, 3);
    let mut parts = records.chunks(records.len() / (STOPS + 1));
    let mut there = 0;
    for _ in 0..STOPS {
        let part = parts.next().expect("a part for each stop");
        let enough = there + random.random_range(0..=part.len()) as u64;
        there += part.len() as u64;
        let beside = || {
            for some in part.chunks(250) {
                job.append(some);
                std::thread::park_timeout(Duration::from_millis(random.random_range(0..20)));
            }
        };
        job.run_while(|status| read(status) >= enough, Duration::ZERO, beside);
    }
    parts.for_each(|part| job.append(part));
    let finished = job.finish();
    let expected = job.verify(&records, &finished);
    assert!(expected.late > 0 && expected.alerts > 0 && expected.bad > 0);
}

#[test]
fn a_second_run_finds_nothing_and_changes_nothing() {
    let job = Job::new();
    let (records, _) = simulated(2_000, 20, 3);
    job.append(&records);
    let finished = job.finish();
    job.verify(&records, &finished);
    let before = job.files("curated");
    let again = job.finish();
    assert_eq!(again.status.sources[crate::model::SOURCE].read_now, 0);
    assert!(job.files("curated") == before, "files changed");
    job.verify(&records, &again);
}
