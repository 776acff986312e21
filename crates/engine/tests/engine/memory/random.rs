//! The reference job against the model, whatever the partitions, batches, workers and restarts.

use std::time::Duration;

use floodmark_engine::runtime::{RunOptions, StopSignal};
use proptest::prelude::*;

use super::rig::Rig;
use crate::events::{Event, events};
use crate::mortal::Death;

/// How a run before the last one ends.
#[derive(Debug, Clone)]
enum End {
    /// Asked to stop after so many milliseconds: drains and checkpoints.
    Stopped(u64),
    /// Dies: what is not committed is gone.
    Dies(Death),
}

fn ends() -> impl Strategy<Value = Vec<End>> {
    let end = prop_oneof![
        (0..25_u64).prop_map(End::Stopped),
        (0..300_i64).prop_map(|records| End::Dies(Death::AfterRecords(records))),
        (0..60_i64).prop_map(|step| End::Dies(Death::AtSinkStep(step))),
    ];
    prop::collection::vec(end, 0..4)
}

fn run_through(rig: &Rig, events: &[Event], ends: &[End]) {
    // Each run finds a further part of the events; the last one finds them all.
    let part = events.len() / (ends.len() + 1);
    let mut rest = events;
    for end in ends {
        let (now, later) = rest.split_at(part);
        now.iter().for_each(|event| rig.append(&event.record()));
        rest = later;
        let stop = StopSignal::new();
        match end {
            End::Stopped(after) => {
                let (signal, after) = (stop.clone(), Duration::from_millis(*after));
                let waiter = std::thread::spawn(move || {
                    std::thread::park_timeout(after);
                    signal.stop();
                });
                rig.run(RunOptions::default(), &stop, None)
                    .expect("a run that is stopped succeeds");
                waiter.join().expect("the waiter ends");
            }
            End::Dies(death) => {
                let options = RunOptions {
                    until_caught_up: true,
                    close_windows: false,
                };
                // It lives if the topic has too few records for that.
                let _ = rig.run(options, &stop, Some(*death));
            }
        }
    }
    rest.iter().for_each(|event| rig.append(&event.record()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn every_result_comes_out_once_whatever_stops_or_dies(
        events in events(3, 600),
        ends in ends(),
        workers in 1..4_usize,
        batch_rows in prop::sample::select(vec![1_usize, 7, 64, 4_096]),
    ) {
        let rig = Rig::new(3, workers, batch_rows);
        run_through(&rig, &events, &ends);
        let finished = rig.finish();
        rig.verify(&events, &finished);
    }
}

#[test]
fn an_empty_topic_ends_at_once() {
    let rig = Rig::new(3, 2, 64);
    let finished = rig.finish();
    rig.verify(&[], &finished);
}
