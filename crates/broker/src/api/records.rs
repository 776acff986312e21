//! Requests about a partition's records other than reading and writing them.

use std::collections::HashSet;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, DescribeProducersRequest,
    DescribeProducersResponse, ProducerId,
};

use super::{Context, coded};
use crate::core::Core;
use crate::sync::lock;
use crate::units::Offset;

/// Stands for the end of the partition.
const UP_TO_THE_END: i64 = -1;

/// Removes what lies before an offset.
pub(crate) fn delete_records(
    core: &Core,
    request: DeleteRecordsRequest,
    _context: &Context,
) -> DeleteRecordsResponse {
    let topics = request
        .topics
        .into_iter()
        .map(|topic| {
            let partitions = topic
                .partitions
                .iter()
                .map(|asked| {
                    let result = DeleteRecordsPartitionResult::default()
                        .with_partition_index(asked.partition_index);
                    match delete(core, &topic.name, asked.partition_index, asked.offset) {
                        Ok(start) => result.with_low_watermark(start.0),
                        Err(error) => result.with_low_watermark(-1).with_error_code(error.code()),
                    }
                })
                .collect();
            DeleteRecordsTopicResult::default()
                .with_name(topic.name)
                .with_partitions(partitions)
        })
        .collect();
    DeleteRecordsResponse::default().with_topics(topics)
}

fn delete(core: &Core, topic: &str, partition: i32, before: i64) -> Result<Offset, ResponseError> {
    let partition = core
        .topics
        .partition(topic, partition)
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    let _deleting = lock(&partition.deleting);
    let mut log = lock(&partition.log);
    let before = if before == UP_TO_THE_END {
        log.end()
    } else {
        Offset(before)
    };
    log.delete_before(before).map_err(|error| error.code())
}

/// Shows who produces into a partition.
pub(crate) fn describe_producers(
    core: &Core,
    request: DescribeProducersRequest,
    _context: &Context,
) -> DescribeProducersResponse {
    // Each once, however often it is named: an answer is as large as what there is.
    let mut seen = HashSet::new();
    let topics = request
        .topics
        .into_iter()
        .map(|topic| {
            let partitions = topic
                .partition_indexes
                .iter()
                .filter(|number| seen.insert((topic.name.clone(), **number)))
                .map(|number| producers(core, &topic.name, *number))
                .collect();
            TopicResponse::default()
                .with_name(topic.name)
                .with_partitions(partitions)
        })
        .collect();
    DescribeProducersResponse::default().with_topics(topics)
}

fn producers(core: &Core, topic: &str, number: i32) -> PartitionResponse {
    let response = PartitionResponse::default().with_partition_index(number);
    let Some(partition) = core.topics.partition(topic, number) else {
        let (error, message) = coded(ResponseError::UnknownTopicOrPartition);
        return response.with_error_code(error).with_error_message(message);
    };
    let log = lock(&partition.log);
    let active = log
        .producers()
        .map(|producer| {
            ProducerState::default()
                .with_producer_id(ProducerId(producer.producer.id))
                .with_producer_epoch(i32::from(producer.producer.epoch))
                .with_last_sequence(producer.last_sequence)
                .with_last_timestamp(producer.last_timestamp.0)
                .with_coordinator_epoch(0)
                .with_current_txn_start_offset(
                    producer.transaction_start.map_or(-1, |start| start.0),
                )
        })
        .collect();
    response.with_active_producers(active)
}
