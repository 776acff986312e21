//! `Produce`: batches into partitions.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};

use super::{Context, Refused, text};
use crate::core::Core;
use crate::log::{self, Appended};
use crate::sync::lock;
use crate::units::{Offset, TopicPartition};

/// First version that explains an error in words.
const MESSAGES: i16 = 8;
/// First version that shows where the log begins.
const LOG_START: i16 = 5;

/// Where a batch went, and where its log begins.
struct Placed {
    appended: Appended,
    start: Offset,
}

/// Appends each partition's batch; nothing is answered to a producer with `acks=0`.
pub(crate) fn produce(
    core: &Core,
    request: ProduceRequest,
    context: &Context,
) -> Option<ProduceResponse> {
    let acks = request.acks;
    let transactional_id = request.transactional_id.as_ref().map(|id| id.as_str());
    let mut responses = Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data {
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let appended = if matches!(acks, -1..=1) {
                let records = data.records.unwrap_or_default();
                append(
                    core,
                    &topic.name,
                    data.index,
                    &records,
                    transactional_id,
                    context,
                )
            } else {
                Err(ResponseError::InvalidRequiredAcks.into())
            };
            partitions.push(describe(data.index, appended, context));
        }
        responses.push(
            TopicProduceResponse::default()
                .with_name(topic.name)
                .with_partition_responses(partitions),
        );
    }
    (acks != 0).then(|| ProduceResponse::default().with_responses(responses))
}

fn append(
    core: &Core,
    topic: &str,
    partition: i32,
    records: &[u8],
    transactional_id: Option<&str>,
    context: &Context,
) -> Result<Placed, Refused> {
    let found = core
        .topics
        .partition(topic, partition)
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    // While the transactions are locked none can end, so no batch lands behind its transaction's marker.
    let transactions = match log::transactional_producer(records) {
        None => None,
        Some(producer) => {
            let transactions = lock(&core.transactions);
            let id = transactional_id.ok_or(ResponseError::InvalidTxnState)?;
            let place = TopicPartition {
                topic: topic.to_owned(),
                partition,
            };
            transactions.verify_produce(id, producer, &place)?;
            Some(transactions)
        }
    };
    let mut log = lock(&found.log);
    let appended = log.append(records, context.now).map_err(|error| Refused {
        code: error.code(),
        reason: error.to_string(),
    })?;
    let start = log.start();
    drop((log, transactions));
    found.wake();
    Ok(Placed { appended, start })
}

fn describe(
    index: i32,
    placed: Result<Placed, Refused>,
    context: &Context,
) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index);
    match placed {
        Ok(Placed { appended, start }) => response
            .with_base_offset(appended.base.0)
            .with_log_append_time_ms(appended.log_append_time.map_or(-1, |time| time.0))
            .with_log_start_offset(if context.version >= LOG_START {
                start.0
            } else {
                -1
            }),
        Err(refused) => response
            .with_error_code(refused.code.code())
            .with_base_offset(-1)
            .with_log_append_time_ms(-1)
            .with_error_message((context.version >= MESSAGES).then(|| text(refused.reason))),
    }
}
