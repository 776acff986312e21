//! Schedules that are written down instead of drawn: each shows one thing in a world without faults.

use std::sync::Arc;

use bytes::Bytes;
use floodmark_engine::checkpoint::{CheckpointError, CheckpointStore, Manifest, encode_manifest};
use floodmark_engine::units::{Epoch, Generation};

use super::bucket::{self, Ask, Request};
use super::instance::manifest;
use super::world::{Event, InstanceId, Life, Shared, World};
use super::{Idle, in_virtual_time};

/// Looks at the checkpoint.
const LOOKER: InstanceId = InstanceId(0);
/// Runs, and so puts checkpoints and deletes old ones.
const RUNNER: InstanceId = InstanceId(1);

/// Does `work`; `before` may interfere with the bucket before each request is served.
async fn scripted<T: Send + 'static>(
    world: &Shared,
    idle: &Idle,
    work: impl Future<Output = T> + Send + 'static,
    mut before: impl FnMut(&mut World, &Request),
) -> T {
    let work = tokio::spawn(work);
    loop {
        idle.wait().await;
        if work.is_finished() {
            return work.await.expect("no panic");
        }
        let mut guard = world.lock();
        match guard.next().expect("it waits for something") {
            Event::Request {
                from,
                request,
                reply,
            } => {
                before(&mut guard, &request);
                let answer = guard.serve(from, &request);
                let _ = reply.expect("nothing is given up").send(answer);
            }
            Event::Turn { go, .. } => {
                let _ = go.send(());
            }
            Event::Answer { .. } | Event::Chaos => unreachable!("nobody schedules these"),
        }
    }
}

fn world() -> Shared {
    let world = Shared::calm();
    world.lock().lives = vec![Life::default(); 2];
    world
}

fn checkpoint(epoch: u64) -> Manifest {
    manifest(Epoch(epoch), Generation(1), "runner", "runner", &[0])
}

impl World {
    fn put(&mut self, epoch: u64) {
        let bytes = encode_manifest(&checkpoint(epoch)).expect("a manifest");
        self.change(&path(epoch), put(bytes.into(), true));
        self.change("newest", put(format!("{epoch}\n").into(), false));
    }

    fn delete(&mut self, epoch: u64) {
        self.change(&path(epoch), Ask::Delete);
    }

    fn change(&mut self, path: &str, ask: Ask) {
        let request = Request {
            bucket: "checkpoint",
            path: path.to_owned(),
            ask,
        };
        self.serve(RUNNER, &request);
    }
}

fn put(bytes: Bytes, only_if_absent: bool) -> Ask {
    Ask::Put {
        bytes,
        only_if_absent,
    }
}

fn path(epoch: u64) -> String {
    format!("manifest/{epoch:020}.json")
}

/// Reads the newest checkpoint beside [a runner](beside_a_runner_that_takes).
fn newest_beside_a_runner_that_takes(more: u64) -> Result<Option<Manifest>, CheckpointError> {
    beside_a_runner_that_takes(
        more,
        |mut checkpoints| async move { checkpoints.newest().await },
    )
}

/// Does `look` while the runner puts as many more checkpoints, each in the moment in which one that was
/// listed is about to be read, and deletes that one.
fn beside_a_runner_that_takes<T, F>(more: u64, look: impl FnOnce(CheckpointStore) -> F) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    in_virtual_time(async move |idle: Arc<Idle>| {
        let world = world();
        world.lock().put(1);
        let store = bucket::store(&world, LOOKER, "checkpoint");
        let work = look(CheckpointStore::new(store, 1));
        let mut newest = 1;
        scripted(&world, &idle, work, |world, request| {
            let is_read = request.path == path(newest) && matches!(request.ask, Ask::Get);
            if is_read && newest <= more {
                newest += 1;
                world.put(newest);
                world.delete(newest - 1);
            }
        })
        .await
    })
}

#[test]
fn a_checkpoint_that_is_deleted_as_old_between_list_and_read_is_not_missed() {
    for more in 1..10 {
        let newest = newest_beside_a_runner_that_takes(more);
        let newest = newest.expect("nothing is lost").expect("there are some");
        assert_eq!(newest.epoch, Epoch(more + 1));
    }
}

#[test]
fn a_runner_that_is_always_faster_is_named_instead_of_a_loss() {
    let error = newest_beside_a_runner_that_takes(10).expect_err("it gives up");
    assert!(matches!(error, CheckpointError::Moving { .. }), "{error}");
}

#[test]
fn a_clean_up_beside_a_runner_finds_what_is_superseded_or_says_that_it_runs() {
    let superseded = |more| {
        beside_a_runner_that_takes(more, |checkpoints| async move {
            checkpoints.superseded(bucket::later()).await
        })
    };
    for more in 1..10 {
        assert!(superseded(more).expect("nothing is lost").is_empty());
    }
    let error = superseded(10).expect_err("it gives up");
    assert!(matches!(error, CheckpointError::Moving { .. }), "{error}");
}

#[test]
fn a_checkpoint_that_is_lost_while_nobody_runs_is_missed() {
    let newest = in_virtual_time(async |idle: Arc<Idle>| {
        let world = world();
        (1..=2).for_each(|epoch| world.lock().put(epoch));
        let store = bucket::store(&world, LOOKER, "checkpoint");
        let work = async move { CheckpointStore::new(store, 2).newest().await };
        let mut lost = false;
        scripted(&world, &idle, work, |world, request| {
            if matches!(request.ask, Ask::List) && !std::mem::replace(&mut lost, true) {
                let bucket = world.buckets.get_mut("checkpoint").expect("it is there");
                bucket.objects.remove(&path(2));
            }
        })
        .await
    });
    let error = newest.expect_err("it is lost");
    assert!(matches!(error, CheckpointError::Behind { .. }), "{error}");
}
