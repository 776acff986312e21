use kafka_protocol::error::ResponseError;
use kafka_protocol::records::RecordBatchDecoder;

use super::*;

fn end(log: &mut PartitionLog, id: i64, epoch: i16, outcome: Outcome) -> Offset {
    log.append_marker(Producer { id, epoch }, outcome, now(77))
        .unwrap()
}

#[test]
fn a_batch_that_comes_again_is_answered_with_its_first_offsets() {
    on_both(LIMITS, |mut log| {
        for sequence in 0..6 {
            append(&mut log, &plain(2).by(1, 0, sequence * 2));
        }
        for sequence in 1..6_i32 {
            let again = plain(2).by(1, 0, sequence * 2);
            let appended = log.append(&again.bytes(), now(0)).unwrap();
            assert_eq!(appended.base, Offset(i64::from(sequence) * 2));
            assert_eq!(appended.last.0, appended.base.0 + 1);
            assert_eq!(appended.log_append_time, Some(Timestamp(1_001)));
        }
        assert_eq!(log.end(), Offset(12));
        // The sixth last is forgotten.
        let code = refused(&mut log, &plain(2).by(1, 0, 0)).code();
        assert_eq!(code, ResponseError::OutOfOrderSequenceNumber);
    });
}

#[test]
fn sequences_continue_and_begin_again_after_the_largest() {
    on_both(LIMITS, |mut log| {
        // A producer that nobody knows may begin anywhere.
        append(&mut log, &plain(3).by(1, 0, i32::MAX - 4));
        for gap in [i32::MAX - 4, i32::MAX, 0] {
            let code = refused(&mut log, &plain(1).by(1, 0, gap)).code();
            assert_eq!(code, ResponseError::OutOfOrderSequenceNumber, "{gap}");
        }
        // The two last before the wrap, and the two first after it.
        append(&mut log, &plain(4).by(1, 0, i32::MAX - 1));
        append(&mut log, &plain(1).by(1, 0, 2));
        assert_eq!(append(&mut log, &plain(4).by(1, 0, i32::MAX - 1)), 3);
        let producer = log.producers().next().unwrap();
        assert_eq!(producer.last_sequence, 2);
    });
}

#[test]
fn sequences_that_end_at_the_largest_go_on_at_zero() {
    on_both(LIMITS, |mut log| {
        append(&mut log, &plain(1).by(1, 0, i32::MAX));
        append(&mut log, &plain(1).by(1, 0, 0));
    });
}

#[test]
fn a_new_epoch_begins_at_zero_and_fences_the_old_one() {
    on_both(LIMITS, |mut log| {
        append(&mut log, &plain(1).by(1, 3, 0));
        let code = refused(&mut log, &plain(1).by(1, 4, 1)).code();
        assert_eq!(code, ResponseError::OutOfOrderSequenceNumber);
        append(&mut log, &plain(1).by(1, 4, 0));
        let code = refused(&mut log, &plain(1).by(1, 3, 1)).code();
        assert_eq!(code, ResponseError::InvalidProducerEpoch);
    });
}

#[test]
fn a_marker_is_what_kafka_writes() {
    let mut log = in_memory();
    end(&mut log, 9, 2, Outcome::Commit);
    let mut records = read(&log, 0, Isolation::Uncommitted).records;
    assert_eq!(records.len(), 78);
    let decoded = RecordBatchDecoder::decode(&mut records).unwrap();
    let [record] = decoded.records.as_slice() else {
        panic!("one record: {decoded:?}");
    };
    assert!(record.control && record.transactional);
    assert_eq!((record.producer_id, record.producer_epoch), (9, 2));
    assert_eq!((record.offset, record.timestamp), (0, 77));
    assert_eq!(record.key.as_deref(), Some([0, 0, 0, 1].as_slice()));
    assert_eq!(record.value.as_deref(), Some([0; 6].as_slice()));
}

#[test]
fn committed_readers_stop_at_the_first_open_transaction_and_are_told_what_was_aborted() {
    on_both(LIMITS, |mut log| {
        append(&mut log, &plain(1));
        append(&mut log, &plain(2).by(1, 0, 0).transactional());
        append(&mut log, &plain(2).by(2, 0, 0).transactional());
        assert_eq!(log.last_stable(), Offset(1));
        assert_eq!(bases(&read(&log, 0, Isolation::Committed).records), [0]);
        assert_eq!(
            bases(&read(&log, 0, Isolation::Uncommitted).records),
            [0, 1, 3]
        );
        assert!(read(&log, 1, Isolation::Committed).records.is_empty());

        assert_eq!(end(&mut log, 2, 0, Outcome::Abort), Offset(5));
        assert_eq!(log.last_stable(), Offset(1));
        assert_eq!(end(&mut log, 1, 0, Outcome::Commit), Offset(6));
        assert_eq!(log.last_stable(), Offset(7));
        let expected = [AbortedTransaction {
            producer_id: 2,
            first_offset: Offset(3),
        }];
        let all = read(&log, 0, Isolation::Committed);
        assert_eq!(bases(&all.records), [0, 1, 3, 5, 6]);
        assert_eq!(all.aborted, expected);
        assert_eq!(read(&log, 5, Isolation::Committed).aborted, expected);
        assert!(read(&log, 6, Isolation::Committed).aborted.is_empty());
        assert!(read(&log, 0, Isolation::Uncommitted).aborted.is_empty());
    });
}

#[test]
fn a_marker_without_a_transaction_is_harmless_and_fences() {
    on_both(LIMITS, |mut log| {
        append(&mut log, &plain(1).by(1, 0, 0).transactional());
        end(&mut log, 1, 0, Outcome::Abort);
        end(&mut log, 1, 0, Outcome::Abort);
        assert_eq!(read(&log, 0, Isolation::Committed).aborted.len(), 1);
        assert_eq!(log.last_stable(), log.end());

        end(&mut log, 1, 1, Outcome::Abort);
        let code = refused(&mut log, &plain(1).by(1, 0, 1).transactional()).code();
        assert_eq!(code, ResponseError::InvalidProducerEpoch);
        let stale = Producer { id: 1, epoch: 0 };
        let stale = log.append_marker(stale, Outcome::Commit, now(0));
        assert_eq!(
            stale.unwrap_err().code(),
            ResponseError::InvalidProducerEpoch
        );
        append(&mut log, &plain(1).by(1, 1, 0).transactional());
    });
}

#[test]
fn records_outside_of_the_open_transaction_are_refused() {
    on_both(LIMITS, |mut log| {
        append(&mut log, &plain(1).by(1, 0, 0).transactional());
        let code = refused(&mut log, &plain(1).by(1, 0, 1)).code();
        assert_eq!(code, ResponseError::InvalidTxnState);
    });
}

#[test]
fn a_transaction_can_end_when_the_memory_is_spent() {
    let budget = MemoryBudget::new(5_000);
    let mut log = PartitionLog::in_memory(LIMITS, budget.clone());
    append(&mut log, &plain(1).by(1, 0, 0).transactional());
    while log.append(&plain(1).bytes(), now(0)).is_ok() {}
    end(&mut log, 1, 0, Outcome::Commit);
    assert_eq!(log.last_stable(), log.end());
    log.delete_before(log.end()).unwrap();
    assert_eq!(budget.used(), 0);
}

#[test]
fn producers_are_described_and_forgotten_when_idle() {
    on_both(LIMITS, |mut log| {
        log.append(&plain(2).by(1, 5, 0).bytes(), now(100)).unwrap();
        let open = plain(1).by(2, 0, 0).transactional().at(&[42]);
        log.append(&open.bytes(), now(100)).unwrap();
        let mut producers: Vec<_> = log.producers().collect();
        producers.sort_by_key(|producer| producer.producer.id);
        let expected = [
            ActiveProducer {
                producer: Producer { id: 1, epoch: 5 },
                last_sequence: 1,
                last_timestamp: Timestamp(1_001),
                transaction_start: None,
            },
            ActiveProducer {
                producer: Producer { id: 2, epoch: 0 },
                last_sequence: 0,
                last_timestamp: Timestamp(42),
                transaction_start: Some(Offset(2)),
            },
        ];
        assert_eq!(producers, expected);
        log.expire_producers(now(1_099), 1_000);
        assert_eq!(log.producers().count(), 2);
        log.expire_producers(now(1_100), 1_000);
        let ids: Vec<_> = log
            .producers()
            .map(|producer| producer.producer.id)
            .collect();
        assert_eq!(ids, [2]);
        append(&mut log, &plain(1).by(1, 0, 17));
    });
}

#[test]
fn producers_that_are_made_up_take_bounded_memory_and_open_transactions_stay() {
    let mut log = in_memory();
    append(&mut log, &plain(1).by(0, 0, 0).transactional());
    for id in 1..45_000 {
        log.append(&plain(1).by(id, 0, 0).bytes(), now(id)).unwrap();
    }
    let known = log.producers().count();
    assert!((10_000..=20_000).contains(&known), "{known}");
    assert_eq!(log.last_stable(), Offset(0));
    // The newest one is known.
    assert_eq!(append(&mut log, &plain(1).by(44_999, 0, 0)), 44_999);
}
