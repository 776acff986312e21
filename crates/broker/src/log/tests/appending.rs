use kafka_protocol::error::ResponseError;

use super::*;

fn refused_bytes(bytes: impl Into<Bytes>) -> ResponseError {
    let mut log = in_memory();
    let error = log.append(&bytes.into(), now(0)).unwrap_err();
    assert_eq!(log.end(), Offset(0));
    error.code()
}

fn changed(at: usize, value: &[u8]) -> Bytes {
    let mut batch = plain(2).bytes().to_vec();
    batch[at..at + value.len()].copy_from_slice(value);
    seal(&mut batch);
    batch.into()
}

#[test]
fn offsets_go_on_where_the_last_batch_ended_and_everything_else_stays_as_sent() {
    on_both(LIMITS, |mut log| {
        let (first, second) = (plain(3).bytes(), plain(2).bytes());
        let appended = log.append(&first, now(0)).unwrap();
        let expected = Appended {
            base: Offset(0),
            last: Offset(2),
            log_append_time: None,
        };
        assert_eq!(appended, expected);
        assert_eq!(log.append(&second, now(0)).unwrap().base, Offset(3));
        let everything = [placed(&first, 0), placed(&second, 3)].concat();
        assert_eq!(read(&log, 0, Isolation::Uncommitted).records, everything);
        assert_eq!(log.size_bytes(), everything.len() as u64);
    });
}

#[test]
fn a_compressed_batch_of_each_codec_passes_through() {
    on_both(LIMITS, |mut log| {
        for codec in 1..=4 {
            let mut batch = plain(3).with_attributes(codec).bytes().to_vec();
            batch.truncate(HEADER_BYTES);
            batch.extend_from_slice(b"not to be looked into");
            let batch = sealed(batch);
            let base = log.append(&batch, now(0)).unwrap().base;
            let records = read(&log, base.0, Isolation::Uncommitted).records;
            assert_eq!(records, placed(&batch, base.0));
        }
        let error = refused(&mut log, &plain(1).with_attributes(5));
        assert_eq!(error.code(), ResponseError::UnsupportedCompressionType);
    });
}

#[test]
fn bytes_that_are_not_exactly_one_batch_are_refused() {
    let batch = plain(2).bytes();
    for cut in 0..batch.len() {
        assert_eq!(
            refused_bytes(batch.slice(..cut)),
            ResponseError::InvalidRecord
        );
    }
    let two = [batch.as_ref(), batch.as_ref()].concat();
    assert_eq!(refused_bytes(two), ResponseError::InvalidRecord);
    let trailing = [batch.as_ref(), &[0]].concat();
    assert_eq!(refused_bytes(trailing), ResponseError::InvalidRecord);
}

#[test]
fn a_flipped_bit_anywhere_is_refused_unless_the_broker_overwrites_the_field() {
    let batch = plain(2).bytes();
    for at in (0..batch.len()).filter(|at| !(12..16).contains(at)) {
        let mut flipped = batch.to_vec();
        flipped[at] ^= 1;
        let code = refused_bytes(flipped);
        let expected = [ResponseError::InvalidRecord, ResponseError::CorruptMessage];
        assert!(expected.contains(&code), "byte {at}: {code:?}");
    }
}

#[test]
fn claims_that_a_client_may_not_make_are_refused() {
    let invalid = [
        ("a base offset", changed(0, &1_i64.to_be_bytes())),
        ("an old format", changed(16, &[1])),
        (
            "fewer offsets than records",
            changed(23, &0_i32.to_be_bytes()),
        ),
        ("no records", changed(57, &0_i32.to_be_bytes())),
        ("fewer records than there are", {
            let mut batch = plain(2).bytes().to_vec();
            batch[23..27].copy_from_slice(&0_i32.to_be_bytes());
            batch[57..61].copy_from_slice(&1_i32.to_be_bytes());
            sealed(batch)
        }),
        ("control records", plain(1).with_attributes(0x20).bytes()),
        ("a negative sequence", plain(1).by(7, 0, -1).bytes()),
        ("a negative epoch", plain(1).by(7, -1, 0).bytes()),
        ("a transaction of nobody", plain(1).transactional().bytes()),
        ("records that do not parse", changed(HEADER_BYTES, &[3])),
    ];
    for (claim, batch) in invalid {
        assert_eq!(
            refused_bytes(batch),
            ResponseError::InvalidRecord,
            "{claim}"
        );
    }
    let append_time = plain(1).with_attributes(0x08).bytes();
    assert_eq!(refused_bytes(append_time), ResponseError::InvalidTimestamp);
    assert_eq!(
        refused_bytes(changed(16, &[3])),
        ResponseError::CorruptMessage
    );
}

#[test]
fn a_batch_that_is_too_large_is_refused_by_the_limit_it_breaks() {
    on_both(LIMITS, |mut log| {
        let size = plain(1).bytes().len();
        log.set_limits(LogLimits {
            max_message_bytes: size - 1,
            ..LIMITS
        });
        let code = refused(&mut log, &plain(1)).code();
        assert_eq!(code, ResponseError::MessageTooLarge);
        log.set_limits(LogLimits {
            segment_bytes: size as u64 - 1,
            max_message_bytes: size,
            ..LIMITS
        });
        let code = refused(&mut log, &plain(1)).code();
        assert_eq!(code, ResponseError::RecordListTooLarge);
        log.set_limits(LIMITS);
        assert_eq!(append(&mut log, &plain(1)), 0);
    });
}

#[test]
fn a_highest_timestamp_that_is_not_true_is_put_right() {
    on_both(LIMITS, |mut log| {
        let honest = plain(2).at(&[5, 9]).bytes();
        let mut batch = honest.to_vec();
        batch[35..43].copy_from_slice(&i64::MAX.to_be_bytes());
        log.append(&sealed(batch), now(0)).unwrap();
        let records = read(&log, 0, Isolation::Uncommitted).records;
        assert_eq!(records, placed(&honest, 0));
    });
}

#[test]
fn memory_is_paid_for_refused_when_spent_and_given_back() {
    let budget = MemoryBudget::new(10_000);
    let mut log = PartitionLog::in_memory(LIMITS, budget.clone());
    let batch = plain(1).with_values_of(1_000);
    while log.append(&batch.bytes(), now(0)).is_ok() {}
    let code = refused(&mut log, &batch).code();
    assert_eq!(code, ResponseError::KafkaStorageError);
    assert!(code.is_retriable());
    assert!(budget.used() > 8_000 && budget.used() <= 10_000);

    log.delete_before(Offset(1)).unwrap();
    append(&mut log, &batch);
    drop(log);
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_write_that_fails_leaves_the_log_as_it_was_and_usable() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), LIMITS);
    append(&mut log, &plain(1).by(1, 0, 0));
    let Store::Segments(store) = &mut log.store else {
        unreachable!()
    };
    // A device that is always full, and cannot be truncated either.
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let file = std::mem::replace(&mut store.file, full);
    let error = refused(&mut log, &plain(1).by(1, 0, 1));
    assert_eq!(error.code(), ResponseError::KafkaStorageError);
    let code = refused(&mut log, &plain(1).by(1, 0, 1)).code();
    assert_eq!(code, ResponseError::KafkaStorageError);

    // There is room again. What the failed write has left behind goes first.
    let Store::Segments(store) = &mut log.store else {
        unreachable!()
    };
    store.file = file;
    let path = dir.path().join("00000000000000000000.log");
    let mut half = std::fs::read(&path).unwrap();
    half.extend_from_slice(&plain(5).bytes());
    std::fs::write(&path, half).unwrap();
    assert_eq!(append(&mut log, &plain(1).by(1, 0, 1)), 1);
    assert_eq!(
        bases(&read(&log, 0, Isolation::Uncommitted).records),
        [0, 1]
    );
    drop(log);
    let (log, recovered) = PartitionLog::open(dir.path(), LIMITS, Fsync::OnRoll).unwrap();
    assert_eq!((log.end(), recovered.bytes_cut), (Offset(2), 0));
}

#[test]
fn a_topic_may_give_all_records_of_a_batch_the_time_of_appending() {
    let limits = LogLimits {
        timestamps: TimestampRule::Append,
        ..LIMITS
    };
    on_both(limits, |mut log| {
        for codec in [0, 4] {
            let batch = plain(3).with_attributes(codec);
            let at = log.end();
            let appended = log.append(&batch.bytes(), now(5_000 + at.0)).unwrap();
            let stamp = Timestamp(5_000 + at.0);
            assert_eq!(appended.log_append_time, Some(stamp));
            let found = |time| log.offset_for_time(Timestamp(time)).unwrap();
            assert_eq!(found(stamp.0), Some((at, stamp)));
            assert_eq!(found(stamp.0 + 1), None);
            assert_eq!(log.offset_of_max_timestamp().unwrap(), Some((at, stamp)));
        }
    });
}

#[test]
fn timestamps_too_far_from_now_are_refused() {
    let limits = LogLimits {
        timestamps: TimestampRule::Producer {
            behind_ms: 100,
            ahead_ms: 10,
        },
        ..LIMITS
    };
    on_both(limits, |mut log| {
        for (timestamps, taken) in [
            (&[900, 1_010][..], true),
            (&[1_000, 1_011][..], false),
            (&[899, 1_000][..], false),
            (&[-1, -1][..], true),
        ] {
            let appended = log.append(&plain(2).at(timestamps).bytes(), now(1_000));
            let code = appended.map_err(|error| error.code()).err();
            let expected = (!taken).then_some(ResponseError::InvalidTimestamp);
            assert_eq!(code, expected, "{timestamps:?}");
        }
    });
}
