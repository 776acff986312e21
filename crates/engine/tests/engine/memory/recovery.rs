//! What a start finds, and what it refuses.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use floodmark_engine::runtime::{EngineError, Phase, RunOptions, StopSignal};
use floodmark_engine::units::Partition;

use super::rig::Rig;
use crate::events::{Event, Kind, reading};
use crate::model::SOURCE;

fn caught_up() -> RunOptions {
    RunOptions {
        until_caught_up: true,
        close_windows: false,
    }
}

#[test]
fn open_windows_wait_in_the_checkpoint() {
    let rig = Rig::new(1, 1, 64);
    let events = [reading(0, 5), reading(0, 20), reading(0, 65)];
    rig.append(&events[0].record());
    rig.append(&events[1].record());
    let first = rig
        .run(caught_up(), &StopSignal::new(), None)
        .expect("runs");
    assert_eq!(first.status.outputs["curated"].open_windows, 1);
    assert!(
        rig.windows.rows().is_empty(),
        "a window came out before its time"
    );
    rig.append(&events[2].record());
    let finished = rig.finish();
    rig.verify(&events, &finished);
}

#[test]
fn a_sink_that_stands_still_keeps_nobody_from_hearing_a_signal() {
    let rig = Rig::new(1, 1, 64);
    // More windows than a sink's queue holds.
    let events: Vec<Event> = (0..120).map(|minute| reading(0, minute * 60)).collect();
    events.iter().for_each(|event| rig.append(&event.record()));
    rig.stuck.store(true, Ordering::Relaxed);
    let stop = StopSignal::new();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| rig.run(RunOptions::default(), &stop, None));
        wait_until("the alerts are out", || rig.alerts.rows().len() == 120);
        stop.stop();
        wait_until("the signal is heard", || {
            rig.board.read().phase == Phase::Draining
        });
        rig.stuck.store(false, Ordering::Relaxed);
        run.join().expect("no panic").expect("the run ends well");
    });
    let finished = rig.finish();
    rig.verify(&events, &finished);
}

/// Lets runs end when a test fails, which waits for them.
struct Release<'a>(&'a Rig, [&'a StopSignal; 2]);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.door.open();
        self.1.iter().for_each(|signal| signal.stop());
    }
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "not yet: {what}"
        );
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn a_second_instance_fences_the_first() {
    let rig = Rig::new(1, 1, 64);
    rig.append(&reading(0, 5).record());
    let stop = StopSignal::new();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| rig.run(RunOptions::default(), &stop, None));
        while rig.alerts.rows().is_empty() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let second = rig.run(caught_up(), &StopSignal::new(), None);
        second.expect("the newer instance runs");
        let error = first
            .join()
            .expect("no panic")
            .expect_err("the older one is fenced");
        assert!(error.is_fenced(), "{error}");
    });
    let finished = rig.finish();
    rig.verify(&[reading(0, 5)], &finished);
}

#[test]
fn an_instance_that_was_replaced_before_it_had_read_its_state_is_fenced_and_loses_nothing() {
    let rig = Rig::new(1, 1, 64);
    // A window fires whose one row is carried by checkpoints.
    let events = [reading(0, 5), reading(0, 75)];
    events.iter().for_each(|event| rig.append(&event.record()));
    let carried = |files: &[String]| files.iter().any(|file| file.contains("carried"));
    let (never, stop) = (StopSignal::new(), StopSignal::new());
    std::thread::scope(|scope| {
        let _if_it_fails = Release(&rig, [&never, &stop]);
        let first = scope.spawn(|| rig.run(RunOptions::default(), &never, None));
        wait_until("a row is carried", || carried(&rig.newest_files()));
        rig.door.close();
        let sleeper = scope.spawn(|| rig.run(RunOptions::default(), &never, None));
        wait_until("it has claimed", || rig.door.is_waited_at());
        let error = first.join().expect("no panic").expect_err("replaced");
        assert!(error.is_fenced(), "{error}");
        let listed = rig.newest_files();
        assert!(carried(&listed), "{listed:?}");
        let owner = scope.spawn(|| rig.run(RunOptions::default(), &stop, None));
        wait_until("what the sleeper has to read is cleaned up", || {
            listed
                .iter()
                .all(|file| !rig.has_file(file) || !file.contains("carried"))
        });
        rig.door.open();
        let error = sleeper.join().expect("no panic").expect_err("replaced");
        assert!(error.is_fenced(), "{error}");
        assert!(error.to_string().contains("instance run-2 "), "{error}");
        stop.stop();
        owner.join().expect("no panic").expect("nobody disturbs it");
    });
    let finished = rig.finish();
    rig.verify(&events, &finished);
}

#[test]
fn a_position_that_retention_removed_is_an_error_that_names_both() {
    let rig = Rig::new(1, 1, 64);
    rig.append(&reading(0, 5).record());
    rig.run(caught_up(), &StopSignal::new(), None)
        .expect("runs");
    for second in 6..10 {
        rig.append(&reading(0, second).record());
    }
    rig.source
        .remove_below(Partition(0), floodmark_engine::units::Offset(3));
    let error = rig
        .run(caught_up(), &StopSignal::new(), None)
        .expect_err("a gap");
    let text = error.to_string();
    assert!(
        text.contains("next offset is 1") && text.contains("3..5"),
        "{text}"
    );
}

#[test]
fn a_damaged_checkpoint_is_refused_with_what_to_do() {
    let rig = Rig::new(1, 1, 64);
    rig.append(&reading(0, 5).record());
    rig.run(caught_up(), &StopSignal::new(), None)
        .expect("runs");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let newest = rig
            .store
            .list("manifest")
            .await
            .expect("lists")
            .into_iter()
            .max_by(|a, b| a.name.cmp(&b.name));
        let name = newest.expect("a manifest").name;
        let mut bytes = rig
            .store
            .get(&name)
            .await
            .expect("reads")
            .expect("is there")
            .to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        rig.store.put(&name, bytes.into()).await.expect("writes");
    });
    let error = rig
        .run(caught_up(), &StopSignal::new(), None)
        .expect_err("damage");
    assert!(matches!(error, EngineError::Checkpoint(_)), "{error}");
    assert!(error.to_string().contains("new checkpoint path"), "{error}");
}

#[test]
fn a_run_that_ends_as_asked_leaves_a_checkpoint_without_work() {
    let rig = Rig::new(1, 1, 64);
    rig.append(&reading(0, 5).record());
    rig.finish();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let newest = runtime.block_on(async {
        let mut manifests = rig.store.list("manifest").await.expect("lists");
        manifests.sort_by(|a, b| a.name.cmp(&b.name));
        let name = &manifests.last().expect("a manifest").name;
        rig.store.get(name).await.expect("reads").expect("is there")
    });
    let manifest = floodmark_engine::checkpoint::decode_manifest(&newest).expect("sound");
    assert!(manifest.sinks.len() == 4, "{manifest:?}");
    for (name, sink) in &manifest.sinks {
        assert!(
            sink.work.is_null() && sink.carried.is_none(),
            "{name}: {sink:?}"
        );
    }
}

#[test]
fn a_partition_that_appears_is_read_from_its_start() {
    let rig = Rig::new(1, 1, 64);
    rig.append(&reading(0, 5).record());
    rig.run(caught_up(), &StopSignal::new(), None)
        .expect("runs");
    let partition = rig.source.add_partition().0;
    let other = Event {
        partition,
        kind: Kind::Reading(7, Some(2), Some(70), None),
    };
    rig.append(&other.record());
    let finished = rig.finish();
    rig.verify(&[reading(0, 5), other], &finished);
}

#[test]
fn an_instance_that_slept_past_the_clean_up_of_old_checkpoints_is_fenced() {
    use floodmark_engine::checkpoint::{CheckpointStore, Stored, decode_manifest};
    let rig = Rig::new(1, 1, 64);
    rig.append(&reading(0, 5).record());
    rig.finish();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut manifests = rig.store.list("manifest").await.expect("lists");
        manifests.sort_by(|a, b| a.name.cmp(&b.name));
        let first = &manifests[0].name;
        let bytes = rig
            .store
            .get(first)
            .await
            .expect("reads")
            .expect("is there");
        // The sleeper's next epoch was taken, and then deleted as old.
        rig.store.delete(first).await.expect("deletes");
        let mut sleeper = decode_manifest(&bytes).expect("sound");
        sleeper.instance = "sleeper".to_owned();
        let mut store = CheckpointStore::new(rig.store.clone(), 3);
        assert_eq!(store.put(&sleeper).await.expect("puts"), Stored::Taken);
        assert!(rig.store.get(first).await.expect("reads").is_none());
    });
    let finished = rig.finish();
    rig.verify(&[reading(0, 5)], &finished);
}

#[test]
fn closing_a_window_far_in_the_future_makes_nothing_late_but_its_own_rows() {
    let rig = Rig::new(1, 1, 64);
    let future = Event {
        partition: 0,
        kind: Kind::Future,
    };
    rig.append(&reading(0, 5).record());
    rig.append(&future.record());
    rig.finish();
    rig.append(&reading(0, 65).record());
    rig.append(&future.record());
    let finished = rig.finish();
    let ledger = &finished.status.sources[SOURCE].ledger;
    assert_eq!(
        ledger.outputs["curated"].late, 1,
        "only the window that was closed"
    );
    let rows = rig.windows.rows();
    assert_eq!(rows.len(), 3, "{rows:?}");
}
