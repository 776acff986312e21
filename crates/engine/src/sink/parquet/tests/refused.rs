//! What the sink does not go on from, and what it says instead.

use super::*;

#[test]
fn work_staged_elsewhere_and_rows_of_another_query_are_refused() {
    let mut world = World::new();
    let mut sink = world.open();
    let work = serde_json::json!({ "location": "s3://old/place", "files": [], "open": [] });
    let refused = sink.restore(
        &permit(1),
        PreCommit {
            work,
            carried: Vec::new(),
        },
    );
    assert!(
        matches!(refused, Err(SinkError::Misconfigured { .. })),
        "{refused:?}"
    );

    let other = rows(0..3, 1).batch.project(&[0]).expect("a column");
    let refused = sink.restore(
        &permit(1),
        PreCommit {
            work: serde_json::Value::Null,
            carried: vec![other],
        },
    );
    assert!(
        matches!(refused, Err(SinkError::Misconfigured { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_staged_file_that_vanished_is_an_error_that_names_it() {
    let mut world = World::new();
    let mut sink = world.open();
    write(&mut sink, 0..10, 1);
    sink.pre_commit(Epoch(1), false).expect("pre-committed");
    let pattern = format!("{}/**/.*.staged", world.directory.path().display());
    for hidden in glob::glob(&pattern).expect("a pattern") {
        std::fs::remove_file(hidden.expect("a file")).expect("removed");
    }
    let error = sink
        .commit(&permit(1))
        .expect_err("the rows are gone")
        .to_string();
    assert!(
        error.contains("place=s0/part-0000000001") && error.contains("missing"),
        "{error}"
    );
}

#[test]
fn after_an_error_that_lost_rows_nothing_can_be_pre_committed() {
    let mut world = World::new();
    let mut sink = world.open();
    write(&mut sink, 0..10, 1);
    // A file stands where the rows' directory must be.
    std::fs::write(world.directory.path().join("place=s0"), "in the way").expect("written");
    let error = sink
        .pre_commit(Epoch(1), false)
        .expect_err("no directory")
        .to_string();
    assert!(
        error.contains("place=s0/part-") && error.contains("another path"),
        "{error}"
    );
    assert!(matches!(
        sink.pre_commit(Epoch(1), false),
        Err(SinkError::Failed { .. })
    ));
    assert!(matches!(
        sink.write(rows(0..1, 1), &[]),
        Err(SinkError::Failed { .. })
    ));
}
