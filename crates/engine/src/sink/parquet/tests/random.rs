//! Rows, checkpoints, waits and crashes in any order: every row is seen once.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Write { rows: i64, sites: i64 },
    Checkpoint { committed: bool },
    Wait { seconds: i64 },
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..300_i64, 1..40_i64).prop_map(|(rows, sites)| Step::Write { rows, sites }),
        2 => any::<bool>().prop_map(|committed| Step::Checkpoint { committed }),
        1 => (0..40_i64).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_row_is_seen_once(
        steps in proptest::collection::vec(step(), 1..25),
        roll in 0..60_u64,
        target in 500..50_000_u64,
        group in 1..400_usize,
    ) {
        let mut world = World::new();
        world.config.roll_interval = Some(Duration::from_secs(roll));
        world.config.target_file_bytes = target;
        world.config.row_group_rows = group;
        let mut sink = world.open();
        // The source: the next number to write, and where the newest manifest says it is.
        let (mut next, mut epoch) = (0, 0);
        let mut manifest: Option<(u64, i64, PreCommit)> = None;
        for step in steps {
            match step {
                Step::Write { rows, sites } => {
                    write(&mut sink, next..next + rows, sites);
                    next += rows;
                }
                Step::Checkpoint { committed } => {
                    epoch += 1;
                    let work = sink.pre_commit(Epoch(epoch), false).expect("pre-committed");
                    manifest = Some((epoch, next, stored(&work)));
                    if committed {
                        sink.commit(&permit(epoch)).expect("committed");
                    } else {
                        // The instance dies between manifest and commit.
                        (sink, next) = restarted(&mut world, sink, manifest.as_ref());
                    }
                }
                Step::Wait { seconds } => {
                    world.clock.0.fetch_add(seconds * 1000, Ordering::Relaxed);
                }
                Step::Crash => (sink, next) = restarted(&mut world, sink, manifest.as_ref()),
            }
            epoch = manifest.as_ref().map_or(0, |(epoch, _, _)| *epoch);
        }
        sink.pre_commit(Epoch(epoch + 1), true).expect("pre-committed");
        sink.commit(&permit(epoch + 1)).expect("committed");
        prop_assert_eq!(world.seen(), once(0..next));
    }
}

fn restarted(
    world: &mut World,
    dead: ParquetSink,
    manifest: Option<&(u64, i64, PreCommit)>,
) -> (ParquetSink, i64) {
    drop(dead);
    let mut sink = world.open();
    let Some((epoch, next, work)) = manifest else {
        return (sink, 0);
    };
    sink.restore(&permit(*epoch), stored(work))
        .expect("restored");
    (sink, *next)
}
