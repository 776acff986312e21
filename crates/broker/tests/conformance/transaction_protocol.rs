//! Transactions, request by request: what is refused, and with which error.

use std::collections::BTreeSet;

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, BrokerId, EndTxnRequest,
    InitProducerIdRequest, ListOffsetsRequest, OffsetFetchRequest, ProducerId,
    TxnOffsetCommitRequest,
};

use crate::support::{eventually, read_committed, texts, topic, unique};
use crate::wire::{
    Fetch, Identity, READ_COMMITTED, Wire, errors, group_id, records, topic_name,
    transactional_batch, transactional_id,
};

/// Versions in which clients add partitions themselves and keep their epoch over transactions.
const ADD_PARTITIONS: i16 = 3;
const ADD_OFFSETS: i16 = 3;
const OFFSET_COMMIT: i16 = 3;
const END: i16 = 3;
const OFFSET_FETCH: i16 = 8;
const INIT: i16 = 4;
const LIST_OFFSETS: i16 = 7;

/// A transactional id and the connection of its owner.
struct Owner {
    wire: Wire,
    id: String,
    me: Identity,
    sequence: i32,
}

impl Owner {
    fn new(prefix: &str) -> Self {
        Self::of(unique(prefix))
    }

    fn of(id: String) -> Self {
        let mut wire = Wire::connect();
        let me = wire.transactional(&id);
        Self {
            wire,
            id,
            me,
            sequence: 0,
        }
    }

    /// Adds partitions, each topic with its own; returns the error of each.
    fn add(&mut self, partitions: &[(&str, i32)]) -> Vec<i16> {
        let topics = partitions.iter().map(|(topic, partition)| {
            AddPartitionsToTxnTopic::default()
                .with_name(topic_name(topic))
                .with_partitions(vec![*partition])
        });
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(transactional_id(&self.id))
            .with_v3_and_below_producer_id(ProducerId(self.me.id))
            .with_v3_and_below_producer_epoch(self.me.epoch)
            .with_v3_and_below_topics(topics.collect());
        // A transaction that ends leaves its id busy for a moment.
        eventually("the end of the transaction before", || {
            let answer = self.wire.call(&request, ADD_PARTITIONS);
            let topics = answer.results_by_topic_v3_and_below;
            let found: Vec<_> = partitions
                .iter()
                .map(|(name, _)| {
                    let topic = topics.iter().find(|t| t.name == topic_name(name));
                    topic.expect("an answer").results_by_partition[0].partition_error_code
                })
                .collect();
            (!found.contains(&errors::CONCURRENT_TRANSACTIONS)).then_some(found)
        })
    }

    fn produce(&mut self, topic: &str, value: &str) -> i16 {
        let batch = transactional_batch(self.me, self.sequence, &[value]);
        let answer = self.wire.produce_as(Some(&self.id), topic, 0, batch);
        if answer.error_code == errors::NONE {
            self.sequence += 1;
        }
        answer.error_code
    }

    fn end(&mut self, commit: bool) -> i16 {
        let request = EndTxnRequest::default()
            .with_transactional_id(transactional_id(&self.id))
            .with_producer_id(ProducerId(self.me.id))
            .with_producer_epoch(self.me.epoch)
            .with_committed(commit);
        eventually("the end of the transaction", || {
            let error = self.wire.call(&request, END).error_code;
            (error != errors::CONCURRENT_TRANSACTIONS).then_some(error)
        })
    }

    fn add_offsets(&mut self, group: &str) -> i16 {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(transactional_id(&self.id))
            .with_producer_id(ProducerId(self.me.id))
            .with_producer_epoch(self.me.epoch)
            .with_group_id(group_id(group));
        eventually("the end of the transaction before", || {
            let error = self.wire.call(&request, ADD_OFFSETS).error_code;
            let busy = [errors::CONCURRENT_TRANSACTIONS, 14, 15, 16];
            (!busy.contains(&error)).then_some(error)
        })
    }

    fn commit_offset(&mut self, group: &str, topic: &str, offset: i64) -> i16 {
        let partition = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(0)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(-1);
        let topic = TxnOffsetCommitRequestTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![partition]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(transactional_id(&self.id))
            .with_group_id(group_id(group))
            .with_producer_id(ProducerId(self.me.id))
            .with_producer_epoch(self.me.epoch)
            .with_generation_id(-1)
            .with_topics(vec![topic]);
        eventually("the group's coordinator", || {
            let answer = self.wire.call(&request, OFFSET_COMMIT);
            let error = answer.topics[0].partitions[0].error_code;
            (![14, 15, 16].contains(&error)).then_some(error)
        })
    }

    /// The offset of a group, with the error of its partition.
    fn fetch_offset(&mut self, group: &str, topic: &str, stable: bool) -> (i64, i16) {
        let topic = OffsetFetchRequestTopics::default()
            .with_name(topic_name(topic))
            .with_partition_indexes(vec![0]);
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(group_id(group))
            .with_topics(Some(vec![topic]));
        let request = OffsetFetchRequest::default()
            .with_groups(vec![group])
            .with_require_stable(stable);
        let answer = self.wire.call(&request, OFFSET_FETCH);
        let partition = &answer.groups[0].topics[0].partitions[0];
        (partition.committed_offset, partition.error_code)
    }
}

#[test]
fn a_fetch_names_the_aborted_transactions_and_the_last_stable_offset() {
    let topic = topic("aborted", 1);
    let mut owner = Owner::new("aborted");
    for (value, commit) in [("a", true), ("b", false), ("c", true)] {
        assert_eq!(owner.add(&[(&topic, 0)]), [errors::NONE]);
        assert_eq!(owner.produce(&topic, value), errors::NONE);
        assert_eq!(owner.end(commit), errors::NONE);
    }
    assert_eq!(owner.add(&[(&topic, 0)]), [errors::NONE]);
    assert_eq!(owner.produce(&topic, "open"), errors::NONE);

    let committed = Fetch {
        isolation: READ_COMMITTED,
        ..Fetch::at(&topic, 0)
    };
    // One fetch need not bring everything.
    let (mut found, mut aborted) = (Vec::new(), BTreeSet::new());
    while found.len() < 6 {
        let data = owner.wire.fetch(&Fetch {
            offset: found.len() as i64,
            ..committed
        });
        assert_eq!((data.high_watermark, data.last_stable_offset), (7, 6));
        let more = records(&data);
        assert!(!more.is_empty(), "nothing at {}", found.len());
        found.extend(more);
        let list = data.aborted_transactions.expect("a list");
        aborted.extend(list.iter().map(|a| (a.producer_id.0, a.first_offset)));
    }
    assert_eq!(aborted, BTreeSet::from([(owner.me.id, 2)]));
    let offsets: Vec<_> = found.iter().map(|r| (r.offset, r.control)).collect();
    let expected = [0, 1, 2, 3, 4, 5].map(|offset| (offset, offset % 2 == 1));
    assert_eq!(offsets, expected, "markers included");
    // A marker's key: version 0, and 1 for a commit, 0 for an abort.
    let markers = found.iter().filter(|r| r.control);
    let kinds: Vec<_> = markers.map(|r| r.key.clone().expect("a key")[3]).collect();
    assert_eq!(kinds, [1, 0, 1]);

    // Who reads everything needs no list.
    for offset in 0..7 {
        let data = owner.wire.fetch(&Fetch::at(&topic, offset));
        assert_eq!(records(&data)[0].offset, offset);
        assert_eq!(data.aborted_transactions.unwrap_or_default(), []);
    }
    // What was aborted before the place that is read from does not matter there.
    let later = owner.wire.fetch(&Fetch {
        offset: 4,
        ..committed
    });
    assert_eq!(later.aborted_transactions.unwrap_or_default(), []);
    assert_eq!(owner.end(false), errors::NONE);
}

#[test]
fn the_latest_offset_is_the_last_stable_one_for_readers_of_committed_records() {
    let topic = topic("latest-stable", 1);
    let mut owner = Owner::new("latest-stable");
    owner.add(&[(&topic, 0)]);
    owner.produce(&topic, "open");
    for (isolation, expected) in [(0, 1), (READ_COMMITTED, 0)] {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(0)
            .with_current_leader_epoch(-1)
            .with_timestamp(-1);
        let topic = ListOffsetsTopic::default()
            .with_name(topic_name(&topic))
            .with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(isolation)
            .with_topics(vec![topic]);
        let answer = owner.wire.call(&request, LIST_OFFSETS);
        assert_eq!(answer.topics[0].partitions[0].offset, expected);
    }
    owner.end(false);
}

#[test]
fn a_batch_for_a_partition_that_is_not_in_the_transaction_is_refused() {
    let topic = topic("not-in", 1);
    let mut owner = Owner::new("not-in");
    assert_eq!(owner.produce(&topic, "a"), errors::INVALID_TXN_STATE);
    assert_eq!(owner.add(&[(&topic, 0)]), [errors::NONE]);
    assert_eq!(owner.produce(&topic, "b"), errors::NONE);
    assert_eq!(owner.end(true), errors::NONE);
    eventually("the record", || {
        (texts(&read_committed(&topic)) == ["b"]).then_some(())
    });
    // The transaction is over: the next one has to add its partitions again.
    assert_eq!(owner.produce(&topic, "c"), errors::INVALID_TXN_STATE);
}

#[test]
fn partitions_are_added_all_or_none() {
    let topic = topic("all-or-none", 1);
    let unknown = unique("unknown");
    let mut owner = Owner::new("all-or-none");
    assert_eq!(
        owner.add(&[(&topic, 0), (&unknown, 0)]),
        [
            errors::OPERATION_NOT_ATTEMPTED,
            errors::UNKNOWN_TOPIC_OR_PARTITION
        ]
    );
    assert_eq!(owner.produce(&topic, "a"), errors::INVALID_TXN_STATE);
}

#[test]
fn a_transaction_ends_once_and_one_way() {
    let topic = topic("once", 1);
    let mut owner = Owner::new("once");
    // There is none yet.
    assert_eq!(owner.end(true), errors::INVALID_TXN_STATE);
    assert_eq!(owner.add(&[(&topic, 0)]), [errors::NONE]);
    assert_eq!(owner.end(true), errors::NONE);
    // A client that lost the answer asks again.
    assert_eq!(owner.end(true), errors::NONE);
    assert_eq!(owner.end(false), errors::INVALID_TXN_STATE);
    assert_eq!(owner.add(&[(&topic, 0)]), [errors::NONE]);
    assert_eq!(owner.end(false), errors::NONE);
    assert_eq!(owner.end(false), errors::NONE);
    assert_eq!(owner.end(true), errors::INVALID_TXN_STATE);
}

#[test]
fn only_the_newest_owner_of_an_id_is_served() {
    let topic = topic("owner", 1);
    let mut old = Owner::new("owner");
    assert_eq!(old.add(&[(&topic, 0)]), [errors::NONE]);
    assert_eq!(old.produce(&topic, "old"), errors::NONE);
    let mut new = Owner::of(old.id.clone());
    assert_eq!(new.me.id, old.me.id);
    assert!(new.me.epoch > old.me.epoch);
    assert_eq!(old.add(&[(&topic, 0)]), [errors::PRODUCER_FENCED]);
    assert_eq!(old.end(true), errors::PRODUCER_FENCED);
    assert_eq!(old.add_offsets("any"), errors::PRODUCER_FENCED);
    assert_eq!(old.produce(&topic, "late"), errors::INVALID_PRODUCER_EPOCH);

    let stranger = Identity {
        id: new.me.id + 1_000_000,
        ..new.me
    };
    let me = std::mem::replace(&mut new.me, stranger);
    let unknown = [errors::INVALID_PRODUCER_ID_MAPPING];
    assert_eq!(new.add(&[(&topic, 0)]), unknown);
    assert_eq!(new.end(true), errors::INVALID_PRODUCER_ID_MAPPING);
    new.me = me;
    assert_eq!(new.add(&[(&topic, 0)]), [errors::NONE]);
    assert_eq!(new.end(true), errors::NONE);
}

#[test]
fn an_owner_that_goes_on_after_an_error_gets_its_next_epoch() {
    let mut owner = Owner::new("goes-on");
    let mut init = |id: i64, epoch| {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(transactional_id(&owner.id)))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(epoch);
        let answer = owner.wire.call(&request, INIT);
        (
            answer.error_code,
            answer.producer_id.0,
            answer.producer_epoch,
        )
    };
    let Identity { id, epoch } = owner.me;
    assert_eq!(init(id, epoch), (errors::NONE, id, epoch + 1));
    // A retry of the same request, whose answer was lost.
    assert_eq!(init(id, epoch), (errors::NONE, id, epoch + 1));
    assert_eq!(init(id, epoch + 1), (errors::NONE, id, epoch + 2));
    assert_eq!(init(id, epoch).0, errors::PRODUCER_FENCED);
}

#[test]
fn a_timeout_that_is_no_time_or_too_long_is_refused() {
    let mut wire = Wire::connect();
    for timeout in [0, -1, 900_001] {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(transactional_id(&unique("timeout"))))
            .with_transaction_timeout_ms(timeout)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let error = eventually("the coordinator", || {
            let error = wire.call(&request, INIT).error_code;
            (![14, 15, 16].contains(&error)).then_some(error)
        });
        assert_eq!(error, errors::INVALID_TRANSACTION_TIMEOUT, "{timeout} ms");
    }
}

#[test]
fn an_offset_in_an_open_transaction_is_unstable() {
    let topic = topic("unstable", 1);
    let group = unique("unstable");
    let mut owner = Owner::new("unstable");
    assert_eq!(owner.add_offsets(&group), errors::NONE);
    assert_eq!(owner.commit_offset(&group, &topic, 7), errors::NONE);
    let unstable = (-1, errors::UNSTABLE_OFFSET_COMMIT);
    assert_eq!(owner.fetch_offset(&group, &topic, true), unstable);
    assert_eq!(
        owner.fetch_offset(&group, &topic, false),
        (-1, errors::NONE)
    );
    assert_eq!(owner.end(true), errors::NONE);
    eventually("the offset", || {
        (owner.fetch_offset(&group, &topic, true) == (7, errors::NONE)).then_some(())
    });
}
