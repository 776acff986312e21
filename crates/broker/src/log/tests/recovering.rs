use std::fs;
use std::path::PathBuf;

use proptest::collection::vec;
use proptest::prelude::*;

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
    settle(&mut log);
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

    // The way out is one.
    let LogError::Damaged { position, .. } = error else {
        panic!("{text}");
    };
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(position).unwrap();
    for base in [2, 4, 6, 8, 10] {
        let _ = fs::remove_file(dir.path().join(format!("{base:020}.log")));
    }
    let mut log = open(dir.path(), limits);
    let end = log.end().0;
    assert!(end < 4);
    assert_eq!(append(&mut log, &plain(2)), end);
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
    settle(&mut log);
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
    open(dir.path(), LIMITS).close().unwrap();
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

#[test]
fn a_write_that_was_cut_off_within_a_record_that_holds_a_batch_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let (path, last) = three_batches(dir.path());
    let mut bytes = fs::read(path).unwrap();
    bytes.truncate(last + HEADER_BYTES);
    bytes.extend(placed(&plain(3).bytes(), 1_000));
    bytes[last + 8..last + 12].copy_from_slice(&9_999_i32.to_be_bytes());
    assert_eq!(opened(&bytes).unwrap().1.records, 4);
}

proptest! {
    #[test]
    fn any_bytes_are_opened_or_refused(bytes in vec(any::<u8>(), 0..400)) {
        let _ = recovery::inspect(bytes.as_slice(), bytes.len() as u64, Offset(0));
    }

    /// Whoever can write the files can make the checksums match.
    #[test]
    fn a_log_whose_batches_say_anything_can_be_used(
        changes in vec((0..3_usize, 16..90_usize, prop_oneof![any::<u8>(), Just(0xff), Just(0x7f)]), 0..12),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (path, last) = three_batches(dir.path());
        let size = last / 2;
        let mut bytes = fs::read(path).unwrap();
        for (batch, at, value) in changes {
            if let Some(byte) = bytes.get_mut(batch * size + at) {
                *byte = value;
            }
            for batch in bytes.chunks_mut(size) {
                seal(batch);
            }
        }
        if let Ok((mut log, _)) = opened(&bytes) {
            for from in log.start().0..=log.end().0.min(10) {
                let _ = log.read(Offset(from), Isolation::Committed, 1_000, true);
                let _ = log.read(Offset(from), Isolation::Uncommitted, 0, false);
            }
            for time in [i64::MIN, -1, 0, 1_001, i64::MAX] {
                let _ = log.offset_for_time(Timestamp(time));
            }
            let _ = log.offset_of_max_timestamp();
            let _ = log.append(&plain(2).by(1, 0, 4).bytes(), now(0));
            let _ = log.append_marker(Producer { id: 1, epoch: 0 }, Outcome::Abort, now(0));
            log.expire_producers(now(i64::MAX), 0);
            log.set_limits(LogLimits { retention_ms: 0, retention_bytes: 0, ..LIMITS });
            retain(&mut log, now(i64::MAX));
            let _ = log.delete_before(log.end());
        }
    }
}
