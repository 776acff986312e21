use std::fs;
use std::path::PathBuf;

use super::*;

const FIRST: &str = "00000000000000000000.log";

/// A log of one segment whose last batch begins at the position that is returned.
fn three_batches(dir: &Path) -> (PathBuf, usize) {
    let mut log = open(dir, LIMITS);
    append(&mut log, &plain(2).by(1, 0, 0));
    append(&mut log, &plain(2).by(1, 0, 2).transactional());
    let last = log.size_bytes() as usize;
    append(&mut log, &plain(2).by(1, 0, 4).transactional());
    (dir.join(FIRST), last)
}

/// Opens a log whose one segment has these bytes.
fn opened(bytes: &[u8]) -> Result<(PartitionLog, Recovered), LogError> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FIRST), bytes).unwrap();
    PartitionLog::open(dir.path(), LIMITS, Fsync::OnRoll)
}

#[test]
fn a_log_that_is_opened_again_is_as_it_was() {
    for closed in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), LIMITS);
        append(&mut log, &plain(2).by(1, 0, 0).transactional());
        append(&mut log, &plain(2).by(2, 0, 0).transactional());
        append(&mut log, &plain(1).by(3, 1, 9));
        let aborted = Producer { id: 1, epoch: 0 };
        log.append_marker(aborted, Outcome::Abort, now(5)).unwrap();
        let before = read(&log, 0, Isolation::Uncommitted);
        let committed = read(&log, 0, Isolation::Committed);
        let producers = log.producers.clone();
        if closed {
            log.close().unwrap();
        } else {
            drop(log);
        }
        let (mut log, recovered) = PartitionLog::open(dir.path(), LIMITS, Fsync::Always).unwrap();
        let expected = Recovered {
            records: 6,
            bytes_cut: 0,
        };
        assert_eq!(recovered, expected);
        assert_eq!(read(&log, 0, Isolation::Uncommitted), before);
        assert_eq!(read(&log, 0, Isolation::Committed), committed);
        let by_id = |producers: &Producers| {
            let mut active: Vec<_> = producers.active().collect();
            active.sort_by_key(|active| active.producer.id);
            active
        };
        assert_eq!(by_id(&log.producers), by_id(&producers));
        assert_eq!(
            append(&mut log, &plain(2).by(2, 0, 0).transactional()),
            2,
            "a duplicate"
        );
        assert_eq!(append(&mut log, &plain(2).by(2, 0, 2).transactional()), 6);
    }
}

#[test]
fn a_write_that_was_cut_off_at_any_byte_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let (path, last) = three_batches(dir.path());
    let bytes = fs::read(path).unwrap();
    for length in last..bytes.len() {
        let (mut log, recovered) = opened(&bytes[..length]).unwrap();
        let expected = Recovered {
            records: 4,
            bytes_cut: (length - last) as u64,
        };
        assert_eq!(recovered, expected, "{length} of {}", bytes.len());
        assert_eq!((log.end(), log.last_stable()), (Offset(4), Offset(2)));
        assert_eq!(append(&mut log, &plain(2).by(1, 0, 4).transactional()), 4);
        assert_eq!(read(&log, 0, Isolation::Uncommitted).records, bytes);
    }
}

#[test]
fn zeros_that_a_power_failure_leaves_are_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let (path, last) = three_batches(dir.path());
    let mut bytes = fs::read(path).unwrap();
    bytes.resize(bytes.len() + 5_000, 0);
    assert_eq!(opened(&bytes).unwrap().1.bytes_cut, 5_000);
    bytes[last..].fill(0);
    assert_eq!(opened(&bytes).unwrap().1.records, 4);
}

#[test]
fn a_flipped_byte_is_an_error_if_records_follow_and_the_end_of_the_log_if_not() {
    let dir = tempfile::tempdir().unwrap();
    let (path, last) = three_batches(dir.path());
    let bytes = fs::read(path).unwrap();
    let size = plain(2).bytes().len();
    for at in 0..bytes.len() {
        for bit in [0x01, 0x80] {
            let mut flipped = bytes.clone();
            flipped[at] ^= bit;
            match opened(&flipped) {
                Ok((_, recovered)) if at >= last => assert_eq!(recovered.records, 4, "byte {at}"),
                Err(LogError::Damaged { position, .. }) if at < last => {
                    assert_eq!(position, (at / size * size) as u64, "byte {at}");
                }
                other => panic!("byte {at}: {other:?}"),
            }
        }
    }
}

#[test]
fn damage_in_a_full_segment_names_the_file_and_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let limits = LogLimits {
        segment_bytes: 200,
        ..LIMITS
    };
    let mut log = open(dir.path(), limits);
    for _ in 0..6 {
        append(&mut log, &plain(2));
    }
    drop(log);
    let path = dir.path().join(FIRST);
    let mut bytes = fs::read(&path).unwrap();
    bytes.pop();
    fs::write(&path, &bytes).unwrap();
    let error = PartitionLog::open(dir.path(), limits, Fsync::OnRoll).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(FIRST) && text.contains("truncate the file to"),
        "{text}"
    );

    fs::remove_file(&path).unwrap();
    let second = dir.path().join("00000000000000000004.log");
    assert!(second.exists());
    fs::rename(second, dir.path().join("00000000000000000003.log")).unwrap();
    assert!(PartitionLog::open(dir.path(), limits, Fsync::OnRoll).is_err());
}

#[test]
fn a_missing_segment_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let limits = LogLimits {
        segment_bytes: 100,
        ..LIMITS
    };
    let mut log = open(dir.path(), limits);
    for _ in 0..3 {
        append(&mut log, &plain(2));
    }
    drop(log);
    fs::remove_file(dir.path().join("00000000000000000002.log")).unwrap();
    let error = PartitionLog::open(dir.path(), limits, Fsync::OnRoll).unwrap_err();
    assert!(matches!(error, LogError::Missing { .. }), "{error}");
}

#[test]
fn a_start_beyond_the_end_is_where_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    three_batches(dir.path());
    fs::write(dir.path().join("start"), "50\n").unwrap();
    let mut log = open(dir.path(), LIMITS);
    assert_eq!(
        (log.start(), log.end(), log.size_bytes()),
        (Offset(50), Offset(50), 0)
    );
    assert_eq!(append(&mut log, &plain(1)), 50);
    drop(log);
    assert_eq!(open(dir.path(), LIMITS).end(), Offset(51));
}

#[test]
fn small_files_that_are_damaged_do_no_harm_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    three_batches(dir.path());
    let log = open(dir.path(), LIMITS);
    log.close().unwrap();
    // The producers are rebuilt.
    let path = dir.path().join("producers");
    let mut text = fs::read(&path).unwrap();
    *text.last_mut().unwrap() ^= 1;
    fs::write(&path, text).unwrap();
    let mut log = open(dir.path(), LIMITS);
    assert_eq!(
        append(&mut log, &plain(2).by(1, 0, 4).transactional()),
        4,
        "a duplicate"
    );
    drop(log);
    // Deleted records do not come back unasked.
    fs::write(dir.path().join("start"), "x").unwrap();
    let error = PartitionLog::open(dir.path(), LIMITS, Fsync::OnRoll).unwrap_err();
    assert!(matches!(error, LogError::Start { .. }), "{error}");
}

#[test]
fn producers_beyond_the_end_of_the_log_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (path, last) = three_batches(dir.path());
    open(dir.path(), LIMITS).close().unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(last as u64 + 9).unwrap();
    let (mut log, recovered) = PartitionLog::open(dir.path(), LIMITS, Fsync::OnRoll).unwrap();
    assert_eq!((recovered.records, recovered.bytes_cut), (4, 9));
    assert_eq!(
        append(&mut log, &plain(2).by(1, 0, 4).transactional()),
        4,
        "not a duplicate"
    );
    assert_eq!(log.end(), Offset(6));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_opened_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        let _ = recovery::inspect(bytes.as_slice(), bytes.len() as u64, Offset(0));
    }
}
