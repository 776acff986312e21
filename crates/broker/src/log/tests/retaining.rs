use super::*;

const SMALL_SEGMENTS: LogLimits = LogLimits {
    segment_bytes: 300,
    ..LIMITS
};

fn files(dir: &Path) -> usize {
    let files = std::fs::read_dir(dir).unwrap();
    files
        .filter(|file| file.as_ref().unwrap().path().extension().is_some())
        .count()
}

#[test]
fn deleted_records_stay_deleted_over_a_restart_and_their_files_go() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), SMALL_SEGMENTS);
    for _ in 0..20 {
        append(&mut log, &plain(2));
    }
    let before = files(dir.path());
    assert_eq!(log.delete_before(Offset(25)).unwrap(), Offset(25));
    assert!(files(dir.path()) < before / 2 + 1);
    // Less than that is done already, more than there is cannot be.
    assert_eq!(log.delete_before(Offset(3)).unwrap(), Offset(25));
    assert!(log.delete_before(Offset(41)).is_err());
    assert!(log.delete_before(Offset(-2)).is_err());
    drop(log);
    let log = open(dir.path(), SMALL_SEGMENTS);
    assert_eq!((log.start(), log.end()), (Offset(25), Offset(40)));
    assert_eq!(bases(&read(&log, 25, Isolation::Committed).records)[0], 24);
}

#[test]
fn everything_can_be_deleted_and_offsets_go_on() {
    on_both(SMALL_SEGMENTS, |mut log| {
        for _ in 0..5 {
            append(&mut log, &plain(2));
        }
        assert_eq!(log.delete_before(Offset(10)).unwrap(), Offset(10));
        assert_eq!(
            (log.start(), log.end(), log.size_bytes()),
            (Offset(10), Offset(10), 0)
        );
        assert!(read(&log, 10, Isolation::Committed).records.is_empty());
        assert_eq!(append(&mut log, &plain(1)), 10);
        assert_eq!(bases(&read(&log, 10, Isolation::Committed).records), [10]);
    });
}

#[test]
fn what_is_too_old_goes_from_the_oldest_on() {
    on_both(SMALL_SEGMENTS, |mut log| {
        for time in 0..20 {
            append(&mut log, &plain(2).at(&[time * 100, time * 100]));
        }
        assert_eq!(retain(&mut log, now(1 << 40)), 0, "no limit is set");
        log.set_limits(LogLimits {
            retention_ms: 1_000,
            ..SMALL_SEGMENTS
        });
        assert_eq!(retain(&mut log, now(1_000)), 0);
        assert!(retain(&mut log, now(1_501)) > 0);
        // The record of 500 ms is too old by 1; its segment may hold younger ones.
        assert!((1..=12).contains(&log.start().0), "{:?}", log.start());
        retain(&mut log, now(1 << 40));
        assert_eq!(
            (log.start(), log.end(), log.size_bytes()),
            (Offset(40), Offset(40), 0)
        );
    });
}

#[test]
fn what_is_too_much_goes_and_the_limit_stays_filled() {
    on_both(SMALL_SEGMENTS, |mut log| {
        for _ in 0..20 {
            append(&mut log, &plain(2));
        }
        log.set_limits(LogLimits {
            retention_bytes: 700,
            ..SMALL_SEGMENTS
        });
        assert!(retain(&mut log, now(0)) > 0);
        assert!(
            (700..1_000).contains(&log.size_bytes()),
            "{}",
            log.size_bytes()
        );
        assert_eq!(retain(&mut log, now(0)), 0);
        assert_eq!(
            bases(&read(&log, log.start().0, Isolation::Committed).records)[0],
            log.start().0
        );
    });
}

#[test]
fn producers_are_known_after_a_restart_although_their_records_are_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), SMALL_SEGMENTS);
    append(&mut log, &plain(2).by(1, 0, 0));
    append(&mut log, &plain(2).by(2, 0, 0).transactional());
    for _ in 0..10 {
        append(&mut log, &plain(2));
    }
    log.delete_before(log.end()).unwrap();
    let producers = log.producers.clone();
    append(&mut log, &plain(2));
    drop(log);
    let mut log = open(dir.path(), SMALL_SEGMENTS);
    assert_eq!(log.producers.first_open(), producers.first_open());
    assert_eq!(log.last_stable(), log.start());
    assert_eq!(append(&mut log, &plain(2).by(1, 0, 0)), 0, "a duplicate");
    append(&mut log, &plain(2).by(1, 0, 2));
}
