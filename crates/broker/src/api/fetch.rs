//! `Fetch`: batches out of partitions, waiting for enough of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse, ProducerId};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::{Context, LEADER_EPOCH};
use crate::core::Core;
use crate::log::{Isolation, ReadError};
use crate::memory::Paid;
use crate::sync::lock;
use crate::topics::Partition;
use crate::units::Offset;

/// A response holds at most so many bytes of records, apart from a first batch that is larger.
const MAX_RESPONSE_BYTES: usize = 16 << 20;
/// Longest wait that a client may ask for.
const MAX_WAIT: Duration = Duration::from_mins(5);
/// What large responses together may hold until their clients have read them. When it is taken, a
/// response to `Fetch` holds one batch: everybody goes on, more slowly.
pub(crate) const RESPONSE_BUDGET_BYTES: usize = 256 << 20;

/// Reads what was asked for; waits until there are `min_bytes` of it, something went wrong, or the
/// client's time is up. Beside it comes what pays for it until it is written.
pub(crate) async fn fetch(
    core: &Core,
    request: FetchRequest,
    context: &Context,
) -> (FetchResponse, Option<Paid>) {
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(MAX_WAIT);
    let deadline = Instant::now() + wait;
    let enough = usize::try_from(request.min_bytes).unwrap_or(0);
    let limit = usize::try_from(request.max_bytes)
        .unwrap_or(0)
        .min(MAX_RESPONSE_BYTES);
    let woken = Arc::new(Notify::new());
    loop {
        // Registered before reading, so that nothing appended in between is missed.
        let partitions = partitions(core, &request);
        let waiting: Vec<_> = partitions
            .iter()
            .flatten()
            .map(|partition| partition.wait(&woken))
            .collect();
        // Taken for each reading, so that a client that waits holds nothing.
        let mut paid = pay(core, limit);
        let room = paid.as_ref().map_or(0, Paid::bytes);
        let read = read_all(&request, &partitions, room, context);
        if let Some(paid) = &mut paid {
            paid.keep(read.bytes);
        }
        let done = read.bytes >= enough || read.failed || waiting.is_empty();
        if done {
            return (read.response, paid);
        }
        drop(paid);
        if timeout_at(deadline, woken.notified()).await.is_err() {
            return (read.response, pay(core, read.bytes));
        }
    }
}

/// Pays for records, or for none of them: then there is room for a first batch only.
fn pay(core: &Core, bytes: usize) -> Option<Paid> {
    core.responses.pay(bytes).or_else(|| core.responses.pay(0))
}

/// The partitions asked for, in the order of the request; nothing where there is none.
fn partitions(core: &Core, request: &FetchRequest) -> Vec<Option<Arc<Partition>>> {
    let mut found = Vec::new();
    for topic in &request.topics {
        let known = core.topics.get(&topic.topic);
        found.extend(topic.partitions.iter().map(|asked| {
            known
                .as_ref()
                .and_then(|topic| topic.partition(asked.partition))
        }));
    }
    found
}

struct ReadAll {
    response: FetchResponse,
    bytes: usize,
    failed: bool,
}

fn read_all(
    request: &FetchRequest,
    partitions: &[Option<Arc<Partition>>],
    limit: usize,
    context: &Context,
) -> ReadAll {
    let isolation = if request.isolation_level == 0 {
        Isolation::Uncommitted
    } else {
        Isolation::Committed
    };
    let mut found = partitions.iter();
    let (mut bytes, mut failed) = (0, false);
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut answers = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let partition = found.next().and_then(Option::as_ref);
            let room = usize::try_from(asked.partition_max_bytes)
                .unwrap_or(0)
                .min(limit.saturating_sub(bytes));
            let epoch = if context.version >= 9 {
                asked.current_leader_epoch
            } else {
                -1
            };
            let from = Offset(asked.fetch_offset);
            // The first batch always comes, however large, or the reader would be stuck at it.
            let answer = check_epoch(epoch)
                .and_then(|()| read(partition, from, isolation, room, bytes == 0));
            let answer = match answer {
                Ok((data, size)) => {
                    bytes += size;
                    data
                }
                Err(error) => {
                    failed = true;
                    error.describe()
                }
            };
            answers.push(answer.with_partition_index(asked.partition));
        }
        responses.push(
            FetchableTopicResponse::default()
                .with_topic(topic.topic.clone())
                .with_partitions(answers),
        );
    }
    ReadAll {
        response: FetchResponse::default().with_responses(responses),
        bytes,
        failed,
    }
}

/// What a partition answers instead of records.
struct Failed {
    code: ResponseError,
    high_watermark: i64,
    start: i64,
}

impl From<ResponseError> for Failed {
    fn from(code: ResponseError) -> Self {
        Self {
            code,
            high_watermark: -1,
            start: -1,
        }
    }
}

impl Failed {
    fn describe(&self) -> PartitionData {
        PartitionData::default()
            .with_error_code(self.code.code())
            .with_high_watermark(self.high_watermark)
            .with_last_stable_offset(-1)
            .with_log_start_offset(self.start)
            .with_aborted_transactions(None)
            .with_preferred_read_replica(BrokerId(-1))
            .with_records(Some(Bytes::new()))
    }
}

fn check_epoch(epoch: i32) -> Result<(), Failed> {
    match epoch {
        -1 | LEADER_EPOCH => Ok(()),
        newer if newer > LEADER_EPOCH => Err(ResponseError::UnknownLeaderEpoch.into()),
        _ => Err(ResponseError::FencedLeaderEpoch.into()),
    }
}

fn read(
    partition: Option<&Arc<Partition>>,
    from: Offset,
    isolation: Isolation,
    room: usize,
    at_least_one: bool,
) -> Result<(PartitionData, usize), Failed> {
    let partition = partition.ok_or(ResponseError::UnknownTopicOrPartition)?;
    let read = lock(&partition.log)
        .read(from, isolation, room, at_least_one)
        .map_err(|error| match error {
            ReadError::OutOfRange { start, end } => Failed {
                code: ResponseError::OffsetOutOfRange,
                high_watermark: end.0,
                start: start.0,
            },
            error @ ReadError::Storage(_) => {
                tracing::error!(%error, "cannot read a partition");
                ResponseError::KafkaStorageError.into()
            }
        })?;
    let aborted = (isolation == Isolation::Committed).then(|| {
        read.aborted
            .iter()
            .map(|aborted| {
                AbortedTransaction::default()
                    .with_producer_id(ProducerId(aborted.producer_id))
                    .with_first_offset(aborted.first_offset.0)
            })
            .collect()
    });
    let size = read.records.len();
    let data = PartitionData::default()
        .with_high_watermark(read.high_watermark.0)
        .with_last_stable_offset(read.last_stable.0)
        .with_log_start_offset(read.start.0)
        .with_aborted_transactions(aborted)
        .with_preferred_read_replica(BrokerId(-1))
        .with_records(Some(read.records));
    Ok((data, size))
}
