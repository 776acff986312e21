//! `ListOffsets`: where a partition begins, ends, or was at a time.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::{Context, LEADER_EPOCH};
use crate::core::Core;
use crate::sync::lock;
use crate::units::{Offset, Timestamp};

/// Asks for the end.
const LATEST: i64 = -1;
/// Asks for the beginning.
const EARLIEST: i64 = -2;
/// Asks for the record with the greatest timestamp.
const MAX_TIMESTAMP: i64 = -3;
/// Asks for the beginning on the broker's own disk, which here is all there is.
const EARLIEST_LOCAL: i64 = -4;

/// Answers each partition asked about.
pub(crate) fn list_offsets(
    core: &Core,
    request: ListOffsetsRequest,
    context: &Context,
) -> ListOffsetsResponse {
    let committed = request.isolation_level != 0;
    let topics = request
        .topics
        .into_iter()
        .map(|topic| {
            let partitions = topic
                .partitions
                .iter()
                .map(|asked| {
                    let answer = find(core, &topic.name, asked, committed);
                    describe(asked.partition_index, answer, context)
                })
                .collect();
            ListOffsetsTopicResponse::default()
                .with_name(topic.name)
                .with_partitions(partitions)
        })
        .collect();
    ListOffsetsResponse::default().with_topics(topics)
}

/// An offset and the timestamp of the record there, where somebody asked for a record.
type Found = (Offset, Timestamp);

const NO_TIMESTAMP: Timestamp = Timestamp(-1);
const NOTHING: Found = (Offset(-1), NO_TIMESTAMP);

fn find(
    core: &Core,
    topic: &str,
    asked: &ListOffsetsPartition,
    committed: bool,
) -> Result<Found, ResponseError> {
    let partition = core
        .topics
        .partition(topic, asked.partition_index)
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    let log = lock(&partition.log);
    let end = if committed {
        log.last_stable()
    } else {
        log.end()
    };
    Ok(match asked.timestamp {
        LATEST => (end, NO_TIMESTAMP),
        EARLIEST | EARLIEST_LOCAL => (log.start(), NO_TIMESTAMP),
        MAX_TIMESTAMP => log
            .offset_of_max_timestamp()
            .map_err(|error| error.code())?
            .unwrap_or(NOTHING),
        time if time >= 0 => log
            .offset_for_time(Timestamp(time))
            .map_err(|error| error.code())?
            .filter(|(offset, _)| *offset < end)
            .unwrap_or(NOTHING),
        _ => return Err(ResponseError::UnsupportedVersion),
    })
}

fn describe(
    index: i32,
    answer: Result<Found, ResponseError>,
    context: &Context,
) -> ListOffsetsPartitionResponse {
    let response = ListOffsetsPartitionResponse::default().with_partition_index(index);
    match answer {
        Ok((offset, timestamp)) => response
            .with_offset(offset.0)
            .with_timestamp(timestamp.0)
            .with_leader_epoch(if context.version >= 4 && offset.0 >= 0 {
                LEADER_EPOCH
            } else {
                -1
            }),
        Err(error) => response
            .with_offset(-1)
            .with_timestamp(-1)
            .with_error_code(error.code()),
    }
}
