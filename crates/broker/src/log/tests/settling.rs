use std::fs;

use super::*;
use crate::log::error::LogError;
use crate::log::segment::Name;

/// Two batches of two records a segment.
const TWO_BATCHES: LogLimits = LogLimits {
    segment_bytes: 200,
    ..LIMITS
};

/// A log of `batches` batches in segments of two.
fn log_of(dir: &Path, batches: i32) -> PartitionLog {
    let mut log = open(dir, TWO_BATCHES);
    for batch in 0..batches {
        append(&mut log, &plain(2).by(1, 0, 2 * batch));
    }
    log
}

fn is_settled(name: &str) -> bool {
    Name::read(name).expect("a segment's").is_settled
}

fn copy(dir: &Path) -> tempfile::TempDir {
    let copied = tempfile::tempdir().unwrap();
    for file in fs::read_dir(dir).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copied.path().join(file.file_name())).unwrap();
    }
    copied
}

fn all(log: &PartitionLog) -> Bytes {
    let mut records = Vec::new();
    let mut from = log.start();
    while from < log.end() {
        let part = read(log, from.0, Isolation::Uncommitted).records;
        from = Offset(bases(&part).last().unwrap() + 2);
        records.extend_from_slice(&part);
    }
    records.into()
}

#[test]
fn a_full_segment_is_followed_at_once_and_named_for_it_until_it_is_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log_of(dir.path(), 5);
    let names = |endings: [&str; 3]| -> Vec<String> {
        let bases = [0, 4, 8].into_iter().zip(endings);
        bases
            .map(|(base, ending)| format!("{base:020}.{ending}"))
            .collect()
    };
    assert_eq!(segments(dir.path()), names(["log", "tail", "tail"]));
    let records = all(&log);

    let settling = log.settling().unwrap();
    assert!(log.settled(&settling, settling.carry_out()));
    assert_eq!(segments(dir.path()), names(["log", "log", "tail"]));
    // A second time changes nothing.
    assert!(log.settled(&settling, Settled::OnDisk));
    assert_eq!(segments(dir.path()), names(["log", "log", "tail"]));
    assert_eq!(settle(&mut log), 1);
    assert_eq!(segments(dir.path()), names(["log"; 3]));
    assert_eq!(all(&log), records);
    append(&mut log, &plain(2));
    assert_eq!(all(&log).len(), records.len() / 5 * 6);
}

#[test]
fn where_each_batch_is_synced_a_segment_has_its_name_from_the_start() {
    let dir = tempfile::tempdir().unwrap();
    drop(log_of(dir.path(), 5));
    let mut log = PartitionLog::open(dir.path(), TWO_BATCHES, Fsync::Always)
        .unwrap()
        .0;
    for _ in 0..3 {
        append(&mut log, &plain(2));
    }
    assert!(log.settling().is_none());
    let names = segments(dir.path());
    assert_eq!(names.len(), 4);
    assert!(names.iter().all(|name| is_settled(name)), "{names:?}");
}

#[test]
fn a_log_is_used_while_its_segments_are_brought_to_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log_of(dir.path(), 3);
    // As long as this is not carried out, the disk is standing still.
    let settling = log.settling().unwrap();
    for batch in 3..9 {
        append(&mut log, &plain(2).by(1, 0, 2 * batch));
    }
    assert_eq!(bases(&all(&log)), [0, 2, 4, 6, 8, 10, 12, 14, 16]);
    assert_eq!(log.delete_before(Offset(6)).unwrap(), Offset(6));
    assert!(log.settled(&settling, settling.carry_out()));
    assert_eq!(settle(&mut log), 3);
    assert_eq!(bases(&all(&log)), [6, 8, 10, 12, 14, 16]);
    log.close().unwrap();
    drop(log);
    assert_eq!(open(dir.path(), TWO_BATCHES).end(), Offset(18));
}

#[test]
fn the_end_of_the_process_takes_nothing_whatever_was_on_the_disk() {
    for on_disk in 0..=4 {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log_of(dir.path(), 9);
        for _ in 0..on_disk {
            let settling = log.settling().unwrap();
            assert!(log.settled(&settling, settling.carry_out()));
        }
        let records = all(&log);
        drop(log);
        let (mut log, recovered) =
            PartitionLog::open(dir.path(), TWO_BATCHES, Fsync::OnRoll).unwrap();
        assert_eq!((recovered.records, recovered.bytes_cut), (18, 0));
        assert_eq!(all(&log), records);
        assert_eq!(append(&mut log, &plain(2).by(1, 0, 16)), 16, "a duplicate");
        assert_eq!(append(&mut log, &plain(2).by(1, 0, 18)), 18);
        assert_eq!(settle(&mut log), 4 - on_disk);
    }
}

#[test]
fn what_a_power_failure_takes_of_full_segments_is_cut_and_the_log_goes_on_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log_of(dir.path(), 9);
    let size = plain(2).bytes().len() as u64;
    let settling = log.settling().unwrap();
    assert!(log.settled(&settling, settling.carry_out()));
    // Written down when the log was longer than what is left of it.
    log.keep_producers().unwrap();
    drop(log);
    let names = segments(dir.path());
    assert!(is_settled(&names[1]) && !is_settled(&names[2]));
    // From the second segment on nothing is known to be on the disk.
    for (place, name) in names.iter().enumerate().take(4).skip(1) {
        for kept in 0..2 * size {
            let failed = copy(dir.path());
            let path = failed.path().join(name);
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_len(kept).unwrap();
            if kept % 2 == 0 {
                // Some file systems leave zeros.
                file.set_len(2 * size).unwrap();
            }
            // A batch may end in zeros itself.
            let left = fs::read(&path).unwrap();
            let was = fs::read(dir.path().join(name)).unwrap();
            let batches = left.chunks(size as usize).zip(was.chunks(size as usize));
            let whole = batches.take_while(|(left, was)| left == was).count();
            assert!(whole < 2);
            let (mut log, recovered) =
                PartitionLog::open(failed.path(), TWO_BATCHES, Fsync::OnRoll).unwrap();
            let end = (4 * place + 2 * whole) as u64;
            assert_eq!((log.end().0 as u64, recovered.records), (end, end));
            assert_eq!(segments(failed.path()), names[..=place]);
            let sequence = i32::try_from(end).unwrap();
            assert_eq!(append(&mut log, &plain(2).by(1, 0, sequence)) as u64, end);
            drop(log);
            let again = PartitionLog::open(failed.path(), TWO_BATCHES, Fsync::OnRoll);
            assert_eq!(again.unwrap().1.bytes_cut, 0);
        }
        let failed = copy(dir.path());
        fs::remove_file(failed.path().join(name)).unwrap();
        let log = open(failed.path(), TWO_BATCHES);
        assert_eq!(
            log.end().0,
            4 * place as i64,
            "a name that was not on the disk"
        );
        assert_eq!(segments(failed.path()), names[..place]);
    }
}

#[test]
fn damage_before_the_recovery_point_is_an_error_and_nothing_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log_of(dir.path(), 9);
    let settling = log.settling().unwrap();
    assert!(log.settled(&settling, settling.carry_out()));
    drop(log);
    let names = segments(dir.path());
    let path = dir.path().join(&names[0]);
    let mut bytes = fs::read(&path).unwrap();
    bytes.pop();
    fs::write(&path, bytes).unwrap();
    let error = PartitionLog::open(dir.path(), TWO_BATCHES, Fsync::OnRoll).unwrap_err();
    assert!(matches!(error, LogError::Damaged { .. }), "{error}");
    assert_eq!(segments(dir.path()), names);
}

#[test]
fn a_disk_that_fails_takes_no_more_records_until_a_start_has_read_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log_of(dir.path(), 3);
    let settling = log.settling().unwrap();
    let failure = || LogError::Io {
        action: "sync",
        path: dir.path().to_owned(),
        source: std::io::Error::other("a test's"),
    };
    assert!(!log.settled(&settling, Settled::Later(failure())));
    append(&mut log, &plain(2).by(1, 0, 6));
    let settling = log.settling().expect("it is tried again");
    assert!(!log.settled(&settling, Settled::Failed(failure())));
    assert!(log.settling().is_none());
    let error = refused(&mut log, &plain(2).by(1, 0, 8));
    let text = error.to_string();
    assert!(text.contains("start the broker again"), "{text}");
    assert_eq!(bases(&all(&log)), [0, 2, 4, 6]);
    assert!(log.close().is_err());
    drop(log);
    let mut log = open(dir.path(), TWO_BATCHES);
    assert_eq!(append(&mut log, &plain(2).by(1, 0, 8)), 8);
    assert_eq!(settle(&mut log), 2);
}
