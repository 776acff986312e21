use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use kafka_protocol::messages::GroupId;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic,
};
use kafka_protocol::protocol::Encodable;

use super::*;
use crate::journal::Entry;
use crate::transaction::tests::world::World;
use crate::transaction::{Effects, Transactions};

/// A broker with one topic, `events`, of two partitions, and groups that have generation 5.
struct Broker {
    world: World,
    transactions: Mutex<Transactions>,
}

impl Effects for Broker {
    fn record(&self, entry: &Entry) -> Result<(), EffectError> {
        self.world.record(entry)
    }

    fn write_marker(
        &self,
        partition: &TopicPartition,
        producer: Producer,
        outcome: Outcome,
        now: Now,
    ) -> Result<(), EffectError> {
        self.world.write_marker(partition, producer, outcome, now)
    }

    fn hold_offsets(
        &self,
        group: &str,
        producer_id: i64,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) {
        self.world.hold_offsets(group, producer_id, offsets);
    }

    fn commit_offsets(
        &self,
        group: &str,
        producer_id: i64,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<(), EffectError> {
        self.world.commit_offsets(group, producer_id, offsets)
    }

    fn release_offsets(
        &self,
        group: &str,
        producer_id: i64,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) {
        self.world.release_offsets(group, producer_id, offsets);
    }
}

impl Host for Broker {
    fn transactions(&self) -> MutexGuard<'_, Transactions> {
        self.transactions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn has_partition(&self, partition: &TopicPartition) -> bool {
        partition.topic == "events" && (0..2).contains(&partition.partition)
    }

    fn check_member(
        &self,
        _group: &str,
        member: &Member<'_>,
        _now: Now,
    ) -> Result<(), ResponseError> {
        match member.generation {
            -1 | 5 => Ok(()),
            _ => Err(ResponseError::IllegalGeneration),
        }
    }
}

impl Broker {
    fn new() -> Self {
        Self {
            world: World::new(),
            transactions: Mutex::default(),
        }
    }

    fn context(&self, version: i16) -> Context {
        Context {
            version,
            client_id: "test".to_owned(),
            peer: ([127, 0, 0, 1], 1).into(),
            local: ([127, 0, 0, 1], 9092).into(),
            now: self.world.now(),
        }
    }

    fn init(&self, version: i16, current: (i64, i16)) -> InitProducerIdResponse {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(id("app")))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(current.0))
            .with_producer_epoch(current.1);
        let response = init_producer_id(self, request, &self.context(version));
        encodes(&response, version);
        response
    }

    fn registered(&self) -> Producer {
        let response = self.init(4, (-1, -1));
        assert_eq!(response.error_code, 0);
        Producer {
            id: response.producer_id.0,
            epoch: response.producer_epoch,
        }
    }

    fn add(
        &self,
        version: i16,
        producer: Producer,
        topics: &[(&str, &[i32])],
    ) -> Vec<(String, i32, i16)> {
        let topics = topics.iter().map(|(topic, partitions)| {
            AddPartitionsToTxnTopic::default()
                .with_name(name(topic))
                .with_partitions(partitions.to_vec())
        });
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(id("app"))
            .with_v3_and_below_producer_id(ProducerId(producer.id))
            .with_v3_and_below_producer_epoch(producer.epoch)
            .with_v3_and_below_topics(topics.collect());
        let response = add_partitions_to_txn(self, request, &self.context(version));
        encodes(&response, version);
        let topics = response.results_by_topic_v3_and_below.iter();
        topics
            .flat_map(|topic| {
                topic.results_by_partition.iter().map(|result| {
                    (
                        topic.name.to_string(),
                        result.partition_index,
                        result.partition_error_code,
                    )
                })
            })
            .collect()
    }

    fn add_group(&self, version: i16, producer: Producer) -> i16 {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(id("app"))
            .with_producer_id(ProducerId(producer.id))
            .with_producer_epoch(producer.epoch)
            .with_group_id(GroupId(StrBytes::from_static_str("readers")));
        let response = add_offsets_to_txn(self, request, &self.context(version));
        encodes(&response, version);
        response.error_code
    }

    fn commit_offsets_of(
        &self,
        version: i16,
        producer: Producer,
        generation: i32,
        partitions: &[(&str, i32, &str)],
    ) -> Vec<i16> {
        let topics = partitions.iter().map(|(topic, partition, metadata)| {
            let partition = TxnOffsetCommitRequestPartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(7)
                .with_committed_metadata(Some(StrBytes::from_string((*metadata).to_owned())));
            TxnOffsetCommitRequestTopic::default()
                .with_name(name(topic))
                .with_partitions(vec![partition])
        });
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(id("app"))
            .with_producer_id(ProducerId(producer.id))
            .with_producer_epoch(producer.epoch)
            .with_group_id(GroupId(StrBytes::from_static_str("readers")))
            .with_generation_id(generation)
            .with_topics(topics.collect());
        let response = txn_offset_commit(self, request, &self.context(version));
        encodes(&response, version);
        let topics = response.topics.iter();
        topics
            .flat_map(|topic| {
                topic
                    .partitions
                    .iter()
                    .map(|partition| partition.error_code)
            })
            .collect()
    }

    fn end(&self, version: i16, producer: Producer, committed: bool) -> i16 {
        let request = EndTxnRequest::default()
            .with_transactional_id(id("app"))
            .with_producer_id(ProducerId(producer.id))
            .with_producer_epoch(producer.epoch)
            .with_committed(committed);
        let response = end_txn(self, request, &self.context(version));
        encodes(&response, version);
        response.error_code
    }

    fn list(
        &self,
        states: &[&str],
        producers: &[i64],
        duration: i64,
    ) -> (Vec<String>, Vec<String>) {
        let states = states
            .iter()
            .map(|state| StrBytes::from_string((*state).to_owned()));
        let request = ListTransactionsRequest::default()
            .with_state_filters(states.collect())
            .with_producer_id_filters(producers.iter().copied().map(ProducerId).collect())
            .with_duration_filter(duration);
        let response = list_transactions(self, request, &self.context(1));
        encodes(&response, 1);
        let listed = response.transaction_states.iter();
        (
            listed
                .map(|state| state.transaction_state.to_string())
                .collect(),
            response
                .unknown_state_filters
                .iter()
                .map(|state| state.to_string())
                .collect(),
        )
    }
}

fn id(text: &'static str) -> TransactionalId {
    TransactionalId(StrBytes::from_static_str(text))
}

fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}

fn encodes(response: &impl Encodable, version: i16) {
    response
        .encode(&mut BytesMut::new(), version)
        .expect("the version has all fields that are set");
}

const FENCED: i16 = 90;
const OLD_EPOCH: i16 = 47;

#[test]
fn a_transaction_goes_through_in_every_version() {
    for version in 0..=4 {
        let broker = Broker::new();
        let producer = broker.registered();
        assert_eq!(
            broker.add(version.min(3), producer, &[("events", &[0, 1])]),
            [("events".to_owned(), 0, 0), ("events".to_owned(), 1, 0)]
        );
        assert_eq!(broker.add_group(version, producer), 0);
        let generation = if version < 3 { -1 } else { 5 };
        assert_eq!(
            broker.commit_offsets_of(version, producer, generation, &[("events", 0, "")]),
            [0]
        );
        assert_eq!(broker.end(version, producer, true), 0);
        assert_eq!(broker.world.committed("readers"), [7]);
    }
}

#[test]
fn a_fenced_producer_is_told_so_in_the_words_of_its_version() {
    let broker = Broker::new();
    let old = broker.registered();
    broker.registered();
    for version in 0..=4 {
        let expected = if version < 2 { OLD_EPOCH } else { FENCED };
        let added = broker.add(version.min(3), old, &[("events", &[0])]);
        assert_eq!(added, [("events".to_owned(), 0, expected)]);
        assert_eq!(broker.add_group(version, old), expected);
        assert_eq!(broker.end(version, old, true), expected);
        assert_eq!(
            broker.commit_offsets_of(version, old, -1, &[("events", 0, "")]),
            [OLD_EPOCH]
        );
    }
    assert_eq!(broker.init(3, (old.id, old.epoch)).error_code, OLD_EPOCH);
    assert_eq!(broker.init(4, (old.id, old.epoch)).error_code, FENCED);
}

#[test]
fn a_refused_registration_carries_no_producer() {
    let broker = Broker::new();
    for current in [(-1, 3), (3, -1)] {
        let response = broker.init(4, current);
        assert_eq!(response.error_code, ResponseError::InvalidRequest.code());
        assert_eq!((response.producer_id.0, response.producer_epoch), (-1, -1));
    }
}

#[test]
fn an_unknown_partition_keeps_the_others_out_of_the_transaction() {
    let broker = Broker::new();
    let producer = broker.registered();
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    let not_tried = ResponseError::OperationNotAttempted.code();
    assert_eq!(
        broker.add(3, producer, &[("events", &[0, 2]), ("nothing", &[0])]),
        [
            ("events".to_owned(), 0, not_tried),
            ("events".to_owned(), 2, unknown),
            ("nothing".to_owned(), 0, unknown)
        ]
    );
    assert_eq!(broker.list(&["Ongoing"], &[], -1).0.len(), 0);
}

#[test]
fn offsets_are_refused_each_for_its_own_reason() {
    let broker = Broker::new();
    let producer = broker.registered();
    let invalid_state = ResponseError::InvalidTxnState.code();
    assert_eq!(
        broker.commit_offsets_of(3, producer, 5, &[("events", 0, "")]),
        [invalid_state]
    );
    broker.add_group(3, producer);
    let large = "m".repeat(MAX_OFFSET_METADATA_BYTES + 1);
    let refused = broker.commit_offsets_of(
        3,
        producer,
        5,
        &[
            ("events", 0, &large),
            ("nothing", 0, ""),
            ("events", 1, "fine"),
        ],
    );
    let too_large = ResponseError::OffsetMetadataTooLarge.code();
    assert_eq!(
        refused,
        [too_large, ResponseError::UnknownTopicOrPartition.code(), 0]
    );
    let stale = broker.commit_offsets_of(3, producer, 4, &[("events", 0, "")]);
    assert_eq!(stale, [ResponseError::IllegalGeneration.code()]);
}

#[test]
fn transactions_are_listed_by_state_producer_and_age() {
    let broker = Broker::new();
    let producer = broker.registered();
    assert_eq!(broker.list(&[], &[], -1).0, ["Empty"]);
    broker.add(3, producer, &[("events", &[0])]);
    broker.world.pass(std::time::Duration::from_millis(100));
    assert_eq!(broker.list(&[], &[], -1).0, ["Ongoing"]);
    assert_eq!(
        broker.list(&["Ongoing", "Dead", "Odd"], &[], -1),
        (vec!["Ongoing".into()], vec!["Odd".into()])
    );
    assert_eq!(broker.list(&["CompleteCommit"], &[], -1).0.len(), 0);
    assert_eq!(
        broker.list(&["Odd"], &[], -1).0.len(),
        0,
        "an unknown state matches nothing"
    );
    assert_eq!(broker.list(&[], &[producer.id], -1).0.len(), 1);
    assert_eq!(broker.list(&[], &[producer.id + 1], -1).0.len(), 0);
    assert_eq!(broker.list(&[], &[], 99).0.len(), 1);
    assert_eq!(broker.list(&[], &[], 100).0.len(), 0);
}

#[test]
fn a_transaction_is_described_with_its_partitions() {
    let broker = Broker::new();
    let producer = broker.registered();
    broker.add(3, producer, &[("events", &[1, 0])]);
    let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![
        id("app"),
        id("other"),
        id(""),
    ]);
    let response = describe_transactions(&broker, request, &broker.context(0));
    encodes(&response, 0);
    let [app, other, empty] = &response.transaction_states[..] else {
        panic!("three answers");
    };
    assert_eq!(app.transaction_state.as_str(), "Ongoing");
    assert_eq!(app.transaction_timeout_ms, 60_000);
    assert_eq!(app.transaction_start_time_ms, broker.world.now().wall.0);
    assert_eq!(
        (app.producer_id.0, app.producer_epoch),
        (producer.id, producer.epoch)
    );
    assert_eq!(app.topics[0].partitions, [0, 1]);
    assert_eq!(
        other.error_code,
        ResponseError::TransactionalIdNotFound.code()
    );
    assert_eq!(other.transactional_id, id("other"));
    assert_eq!(empty.error_code, ResponseError::InvalidRequest.code());
}

#[test]
fn an_operator_ends_a_hanging_transaction() {
    let broker = Broker::new();
    let hanging = Producer { id: 9, epoch: 3 };
    let partition = topic_partition(&name("events"), 0);
    broker.world.append(&partition, hanging, 1);
    let topics = ["events", "nothing"].map(|topic| {
        WritableTxnMarkerTopic::default()
            .with_name(name(topic))
            .with_partition_indexes(vec![0])
    });
    let marker = WritableTxnMarker::default()
        .with_producer_id(ProducerId(9))
        .with_producer_epoch(3)
        .with_topics(topics.to_vec());
    let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
    let response = write_txn_markers(&broker, request, &broker.context(1));
    encodes(&response, 1);
    let codes: Vec<i16> = response.markers[0]
        .topics
        .iter()
        .map(|topic| topic.partitions[0].error_code)
        .collect();
    assert_eq!(codes, [0, ResponseError::UnknownTopicOrPartition.code()]);
    assert_eq!(
        broker.world.markers(&partition),
        [(hanging, Outcome::Abort)]
    );
}
