use super::*;

/// Segments of some batches each.
const SMALL_SEGMENTS: LogLimits = LogLimits {
    segment_bytes: 300,
    ..LIMITS
};

#[test]
fn whole_batches_are_read_from_the_one_that_holds_the_offset() {
    on_both(LIMITS, |mut log| {
        for _ in 0..4 {
            append(&mut log, &plain(3));
        }
        let size = plain(3).bytes().len();
        let read = |from, max, at_least_one| {
            let read = log.read(Offset(from), Isolation::Uncommitted, max, at_least_one);
            bases(&read.unwrap().records)
        };
        assert_eq!(read(4, 2 * size, true), [3, 6]);
        assert_eq!(read(5, 2 * size - 1, false), [3]);
        assert_eq!(read(6, size - 1, true), [6]);
        assert_eq!(read(6, size - 1, false), [0; 0]);
        assert_eq!(read(6, 0, true), [6]);
        assert_eq!(read(12, usize::MAX, true), [0; 0]);
    });
}

#[test]
fn a_batch_larger_than_the_index_interval_is_read_whole() {
    on_both(LIMITS, |mut log| {
        for records in [1, 200, 2, 300, 1] {
            append(&mut log, &plain(records).with_values_of(100));
        }
        for (from, base) in [
            (1, 1),
            (150, 1),
            (200, 1),
            (201, 201),
            (203, 203),
            (502, 203),
        ] {
            let read = log.read(Offset(from), Isolation::Uncommitted, 1, true);
            assert_eq!(bases(&read.unwrap().records), [base], "{from}");
        }
    });
}

#[test]
fn offsets_that_are_not_there_are_out_of_range() {
    on_both(LIMITS, |mut log| {
        append(&mut log, &plain(3));
        append(&mut log, &plain(3));
        log.delete_before(Offset(2)).unwrap();
        for from in [-1, 1, 7] {
            match log.read(Offset(from), Isolation::Uncommitted, 1, true) {
                Err(ReadError::OutOfRange { start, end }) => {
                    assert_eq!((start, end), (Offset(2), Offset(6)));
                }
                other => panic!("{from}: {other:?}"),
            }
        }
        let read = read(&log, 2, Isolation::Committed);
        assert_eq!(bases(&read.records), [0, 3]);
        assert_eq!(
            (read.start, read.last_stable, read.high_watermark),
            (Offset(2), Offset(6), Offset(6))
        );
    });
}

#[test]
fn a_reader_that_follows_sees_every_segment() {
    on_both(SMALL_SEGMENTS, |mut log| {
        let written: Vec<_> = (0..40).map(|_| append(&mut log, &plain(2))).collect();
        let (mut from, mut seen) = (0, Vec::new());
        while from < log.end().0 {
            let batches = bases(&read(&log, from, Isolation::Uncommitted).records);
            from = batches.last().unwrap() + 2;
            seen.extend(batches);
        }
        assert_eq!(seen, written);
    });
}

#[test]
fn the_first_record_at_a_time_is_found_within_its_batch() {
    on_both(SMALL_SEGMENTS, |mut log| {
        append(&mut log, &plain(3).at(&[100, 300, 200]));
        append(&mut log, &plain(2).at(&[150, 160]));
        for late in 0..30 {
            append(&mut log, &plain(2).at(&[400 + 2 * late, 401 + 2 * late]));
        }
        let find = |timestamp| {
            log.offset_for_time(Timestamp(timestamp))
                .unwrap()
                .map(|(offset, at)| (offset.0, at.0))
        };
        assert_eq!(find(-5), Some((0, 100)));
        assert_eq!(find(101), Some((1, 300)));
        assert_eq!(find(301), Some((5, 400)));
        assert_eq!(find(433), Some((38, 433)));
        assert_eq!(find(460), None);
        assert_eq!(
            log.offset_of_max_timestamp().unwrap(),
            Some((Offset(64), Timestamp(459)))
        );
    });
}

#[test]
fn times_of_deleted_records_are_not_found() {
    on_both(SMALL_SEGMENTS, |mut log| {
        append(&mut log, &plain(3).at(&[900, 800, 10]));
        append(&mut log, &plain(3).at(&[20, 30, 20]));
        append(&mut log, &plain(1).at(&[25]));
        log.delete_before(Offset(2)).unwrap();
        let find =
            |log: &PartitionLog, timestamp| log.offset_for_time(Timestamp(timestamp)).unwrap();
        assert_eq!(find(&log, 5), Some((Offset(2), Timestamp(10))));
        assert_eq!(find(&log, 26), Some((Offset(4), Timestamp(30))));
        assert_eq!(find(&log, 500), None);
        log.delete_before(Offset(3)).unwrap();
        assert_eq!(find(&log, 5), Some((Offset(3), Timestamp(20))));
        assert_eq!(
            log.offset_of_max_timestamp().unwrap(),
            Some((Offset(4), Timestamp(30)))
        );
    });
}

#[test]
fn a_compressed_batch_is_never_answered_later_than_right() {
    on_both(LIMITS, |mut log| {
        append(&mut log, &plain(3).at(&[10, 50, 20]).with_attributes(4));
        append(&mut log, &plain(3).at(&[60, 70, 80]).with_attributes(4));
        let find = |timestamp| log.offset_for_time(Timestamp(timestamp)).unwrap();
        assert_eq!(find(5), Some((Offset(0), Timestamp(10))));
        assert_eq!(find(40), Some((Offset(0), Timestamp(40))));
        assert_eq!(find(55), Some((Offset(3), Timestamp(60))));
        assert_eq!(find(81), None);
        assert_eq!(
            log.offset_of_max_timestamp().unwrap(),
            Some((Offset(5), Timestamp(80)))
        );
    });
}

#[test]
fn an_empty_log_has_nothing() {
    on_both(LIMITS, |log| {
        assert!(read(&log, 0, Isolation::Committed).records.is_empty());
        assert_eq!(log.offset_for_time(Timestamp(0)).unwrap(), None);
        assert_eq!(log.offset_of_max_timestamp().unwrap(), None);
        assert_eq!(
            (log.start(), log.end(), log.size_bytes()),
            (Offset(0), Offset(0), 0)
        );
    });
}
