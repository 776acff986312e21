//! The requests of transactional and idempotent producers, and of the tools that look after them.
//!
//! Versions: `InitProducerId` 0-4, `AddPartitionsToTxn` 0-3, `AddOffsetsToTxn` 0-4, `TxnOffsetCommit` 0-4,
//! `EndTxn` 0-4, `ListTransactions` 0-1, `DescribeTransactions` 0, `WriteTxnMarkers` 1. What is newer is
//! "transactions v2" or goes from broker to broker.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::describe_transactions_response::{
    TopicData, TransactionState as DescribedTransaction,
};
use kafka_protocol::messages::list_transactions_response::TransactionState as ListedTransaction;
use kafka_protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequestTopic;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse, DescribeTransactionsRequest, DescribeTransactionsResponse,
    EndTxnRequest, EndTxnResponse, InitProducerIdRequest, InitProducerIdResponse,
    ListTransactionsRequest, ListTransactionsResponse, ProducerId, TopicName, TransactionalId,
    TxnOffsetCommitRequest, TxnOffsetCommitResponse, WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::Context;
use super::host::{Host, Member};
use crate::journal::CommittedOffset;
use crate::transaction::{EffectError, InitProducer, Outcome, Phase, TransactionState};
use crate::units::{Now, Offset, Producer, TopicPartition};

/// Length of the longest metadata of a committed offset: Kafka's default of `offset.metadata.max.bytes`.
const MAX_OFFSET_METADATA_BYTES: usize = 4096;

/// Gives a producer its id and epoch.
pub(crate) fn init_producer_id(
    host: &impl Host,
    request: InitProducerIdRequest,
    context: &Context,
) -> InitProducerIdResponse {
    let current = current_producer(&request);
    let id = request.transactional_id;
    let result = current.and_then(|current| {
        let request = InitProducer {
            id: id.as_ref().map(|id| id.as_str()),
            timeout_ms: request.transaction_timeout_ms,
            current,
        };
        host.transactions()
            .init_producer(request, context.now, host)
    });
    match result {
        Ok(producer) => InitProducerIdResponse::default()
            .with_producer_id(ProducerId(producer.id))
            .with_producer_epoch(producer.epoch),
        Err(error) => InitProducerIdResponse::default()
            .with_error_code(since(4, error, context).code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1),
    }
}

/// What the producer says it is already: both id and epoch, or neither.
fn current_producer(request: &InitProducerIdRequest) -> Result<Option<Producer>, ResponseError> {
    match (request.producer_id.0, request.producer_epoch) {
        (-1, -1) => Ok(None),
        (-1, _) | (_, -1) => Err(ResponseError::InvalidRequest),
        (id, epoch) => Ok(Some(Producer { id, epoch })),
    }
}

/// Adds partitions to a transaction: all of them, or none if one does not exist.
pub(crate) fn add_partitions_to_txn(
    host: &impl Host,
    request: AddPartitionsToTxnRequest,
    context: &Context,
) -> AddPartitionsToTxnResponse {
    let topics = request.v3_and_below_topics;
    let mut partitions = BTreeSet::new();
    let mut unknown = BTreeSet::new();
    for topic in &topics {
        for partition in &topic.partitions {
            let partition = topic_partition(&topic.name, *partition);
            if host.has_partition(&partition) {
                partitions.insert(partition);
            } else {
                unknown.insert(partition);
            }
        }
    }
    let result = if unknown.is_empty() {
        let producer = Producer {
            id: request.v3_and_below_producer_id.0,
            epoch: request.v3_and_below_producer_epoch,
        };
        let id = request.v3_and_below_transactional_id.as_str();
        host.transactions()
            .add_partitions(id, producer, &partitions, context.now, host)
            .map_err(|error| since(2, error, context))
    } else {
        Err(ResponseError::OperationNotAttempted)
    };
    let results = topics.into_iter().map(|topic| {
        let results = topic.partitions.iter().map(|partition| {
            let is_unknown = unknown.contains(&topic_partition(&topic.name, *partition));
            let unknown = Err(ResponseError::UnknownTopicOrPartition);
            let result = if is_unknown { unknown } else { result };
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*partition)
                .with_partition_error_code(code(result))
        });
        let results = results.collect();
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name)
            .with_results_by_partition(results)
    });
    AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results.collect())
}

/// Adds a group to a transaction.
pub(crate) fn add_offsets_to_txn(
    host: &impl Host,
    request: AddOffsetsToTxnRequest,
    context: &Context,
) -> AddOffsetsToTxnResponse {
    let producer = Producer {
        id: request.producer_id.0,
        epoch: request.producer_epoch,
    };
    let (id, group) = (request.transactional_id, request.group_id);
    let result = host
        .transactions()
        .add_group(&id, producer, &group, context.now, host)
        .map_err(|error| since(2, error, context));
    AddOffsetsToTxnResponse::default().with_error_code(code(result))
}

/// Adds offsets to a transaction. Partitions that do not exist are refused each on its own.
pub(crate) fn txn_offset_commit(
    host: &impl Host,
    request: TxnOffsetCommitRequest,
    context: &Context,
) -> TxnOffsetCommitResponse {
    let group = request.group_id.as_str();
    let (offsets, refused) = sort_offsets(host, &request.topics, context.now);
    let member = Member {
        generation: request.generation_id,
        id: request.member_id.as_str(),
        instance: request.group_instance_id.as_deref(),
    };
    let producer = Producer {
        id: request.producer_id.0,
        epoch: request.producer_epoch,
    };
    let result = if group.is_empty() {
        Err(ResponseError::InvalidGroupId)
    } else {
        host.transactions().add_offsets(
            request.transactional_id.as_str(),
            producer,
            (group, &offsets),
            || host.check_member(group, &member, context.now),
            context.now,
            host,
        )
    }
    .map_err(|error| match error {
        // In Kafka these come from the group's partition, which speaks to all versions alike.
        ResponseError::ProducerFenced => ResponseError::InvalidProducerEpoch,
        ResponseError::ConcurrentTransactions => ResponseError::CoordinatorNotAvailable,
        other => other,
    });
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let at = topic_partition(&topic.name, partition.partition_index);
            let result = refused.get(&at).map_or(result, |error| Err(*error));
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code(result))
        });
        let partitions = partitions.collect();
        TxnOffsetCommitResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions)
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}

/// Offsets that a transaction may take, and the reasons why it may not take others.
type SortedOffsets = (
    Vec<(TopicPartition, CommittedOffset)>,
    BTreeMap<TopicPartition, ResponseError>,
);

fn sort_offsets(
    host: &impl Host,
    topics: &[TxnOffsetCommitRequestTopic],
    now: Now,
) -> SortedOffsets {
    let mut offsets = Vec::new();
    let mut refused = BTreeMap::new();
    for topic in topics {
        for partition in &topic.partitions {
            let at = topic_partition(&topic.name, partition.partition_index);
            let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
            if !host.has_partition(&at) {
                refused.insert(at, ResponseError::UnknownTopicOrPartition);
            } else if metadata.len() > MAX_OFFSET_METADATA_BYTES {
                refused.insert(at, ResponseError::OffsetMetadataTooLarge);
            } else {
                let committed = CommittedOffset {
                    offset: Offset(partition.committed_offset),
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: metadata.to_owned(),
                    at: now.wall,
                };
                offsets.push((at, committed));
            }
        }
    }
    (offsets, refused)
}

/// Commits or aborts a transaction.
pub(crate) fn end_txn(
    host: &impl Host,
    request: EndTxnRequest,
    context: &Context,
) -> EndTxnResponse {
    let producer = Producer {
        id: request.producer_id.0,
        epoch: request.producer_epoch,
    };
    let id = request.transactional_id;
    let result = host
        .transactions()
        .end(&id, producer, outcome(request.committed), context.now, host)
        .map_err(|error| since(2, error, context));
    EndTxnResponse::default().with_error_code(code(result))
}

/// Lists transactional ids, by state, producer and age.
pub(crate) fn list_transactions(
    host: &impl Host,
    request: ListTransactionsRequest,
    context: &Context,
) -> ListTransactionsResponse {
    let (states, unknown): (Vec<StrBytes>, Vec<StrBytes>) = request
        .state_filters
        .into_iter()
        .partition(|name| is_state_name(name));
    let any_state = states.is_empty() && unknown.is_empty();
    let states: HashSet<&str> = states.iter().map(|name| name.as_str()).collect();
    let producers: HashSet<i64> = request.producer_id_filters.iter().map(|id| id.0).collect();
    let matches = |state: &TransactionState| {
        let age = context.now.wall.0.saturating_sub(state.started.0);
        (any_state || states.contains(state.phase.name()))
            && (producers.is_empty() || producers.contains(&state.producer.id))
            && (request.duration_filter < 0 || age > request.duration_filter)
    };
    let transactions = host.transactions();
    let listed = transactions.iter().filter(|(_, state)| matches(state));
    let listed = listed.map(|(id, state)| {
        ListedTransaction::default()
            .with_transactional_id(TransactionalId(StrBytes::from_string(id.to_owned())))
            .with_producer_id(ProducerId(state.producer.id))
            .with_transaction_state(StrBytes::from_static_str(state.phase.name()))
    });
    ListTransactionsResponse::default()
        .with_transaction_states(listed.collect())
        .with_unknown_state_filters(unknown)
}

/// The states that Kafka knows, those included that do not occur here.
fn is_state_name(name: &str) -> bool {
    let here = [
        Phase::Empty,
        Phase::Ongoing,
        Phase::Ending(Outcome::Commit),
        Phase::Ending(Outcome::Abort),
        Phase::Ended(Outcome::Commit),
        Phase::Ended(Outcome::Abort),
    ];
    here.iter().any(|phase| phase.name() == name) || ["Dead", "PrepareEpochFence"].contains(&name)
}

/// Describes transactional ids.
pub(crate) fn describe_transactions(
    host: &impl Host,
    request: DescribeTransactionsRequest,
    _context: &Context,
) -> DescribeTransactionsResponse {
    let transactions = host.transactions();
    let described = request.transactional_ids.into_iter().map(|id| {
        let description = match transactions.get(&id) {
            Some(state) => describe(state, transactions.unmarked_partitions(&id)),
            None if id.is_empty() => DescribedTransaction::default()
                .with_error_code(ResponseError::InvalidRequest.code()),
            None => DescribedTransaction::default()
                .with_error_code(ResponseError::TransactionalIdNotFound.code()),
        };
        description.with_transactional_id(id)
    });
    DescribeTransactionsResponse::default().with_transaction_states(described.collect())
}

fn describe(
    state: &TransactionState,
    partitions: BTreeSet<TopicPartition>,
) -> DescribedTransaction {
    let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics
            .entry(partition.topic)
            .or_default()
            .push(partition.partition);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        TopicData::default()
            .with_topic(TopicName(StrBytes::from_string(topic)))
            .with_partitions(partitions)
    });
    DescribedTransaction::default()
        .with_transaction_state(StrBytes::from_static_str(state.phase.name()))
        .with_transaction_timeout_ms(state.timeout_ms)
        .with_transaction_start_time_ms(state.started.0)
        .with_producer_id(ProducerId(state.producer.id))
        .with_producer_epoch(state.producer.epoch)
        .with_topics(topics.collect())
}

/// Ends hanging transactions on partitions, for an operator: `kafka-transactions.sh abort`.
pub(crate) fn write_txn_markers(
    host: &impl Host,
    request: WriteTxnMarkersRequest,
    context: &Context,
) -> WriteTxnMarkersResponse {
    let results = request.markers.into_iter().map(|marker| {
        let producer = Producer {
            id: marker.producer_id.0,
            epoch: marker.producer_epoch,
        };
        let outcome = outcome(marker.transaction_result);
        let topics = marker.topics.into_iter().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|index| {
                let partition = topic_partition(&topic.name, *index);
                let result = write_marker(host, &partition, producer, outcome, context.now);
                WritableTxnMarkerPartitionResult::default()
                    .with_partition_index(*index)
                    .with_error_code(code(result))
            });
            let partitions = partitions.collect();
            WritableTxnMarkerTopicResult::default()
                .with_name(topic.name)
                .with_partitions(partitions)
        });
        WritableTxnMarkerResult::default()
            .with_producer_id(marker.producer_id)
            .with_topics(topics.collect())
    });
    WriteTxnMarkersResponse::default().with_markers(results.collect())
}

fn write_marker(
    host: &impl Host,
    partition: &TopicPartition,
    producer: Producer,
    outcome: Outcome,
    now: Now,
) -> Result<(), ResponseError> {
    if producer.id < 0 || producer.epoch < 0 {
        return Err(ResponseError::InvalidRequest);
    }
    if !host.has_partition(partition) {
        return Err(ResponseError::UnknownTopicOrPartition);
    }
    host.write_marker(partition, producer, outcome, now)
        .map_err(|error| match error {
            EffectError::Fenced { .. } => ResponseError::InvalidProducerEpoch,
            EffectError::Log { .. } | EffectError::Journal(_) | EffectError::Offsets { .. } => {
                ResponseError::KafkaStorageError
            }
        })
}

/// `PRODUCER_FENCED` was given a code of its own late: versions before know `INVALID_PRODUCER_EPOCH`.
fn since(version: i16, error: ResponseError, context: &Context) -> ResponseError {
    match error {
        ResponseError::ProducerFenced if context.version < version => {
            ResponseError::InvalidProducerEpoch
        }
        other => other,
    }
}

fn code(result: Result<(), ResponseError>) -> i16 {
    result.map_or_else(|error| error.code(), |()| 0)
}

fn outcome(committed: bool) -> Outcome {
    if committed {
        Outcome::Commit
    } else {
        Outcome::Abort
    }
}

fn topic_partition(topic: &TopicName, partition: i32) -> TopicPartition {
    TopicPartition {
        topic: topic.as_str().to_owned(),
        partition,
    }
}

#[cfg(test)]
mod tests;
