//! A worker's reader: the partitions it was given, many borrowed records a poll.

use std::time::{Duration, Instant};

use floodmark_pipeline::KafkaSource;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::native::{FetchQueue, Gather, Notice};
use crate::kafka::admin::serve_events;
use crate::kafka::{
    ClientEvents, KafkaTrouble, Role, Verdict, classify, client_config, create_failed, explain,
};
use crate::source::{PartitionEvent, RawRecord, Reader, SourceError};
use crate::units::{Offset, Partition};

/// Bytes of records that all readers of a source together keep fetched ahead.
pub const DEFAULT_PREFETCH_BYTES: usize = 48 << 20;

/// With fewer messages than `enough`, a poll waits a moment for more: a batch costs the engine
/// about as much as this many rows.
const GATHER: Gather = Gather {
    enough: 256,
    wait: Duration::from_millis(1),
};

/// Longest query for a partition's bounds when its position turns out to be lost.
const BOUNDS_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the client's own events (log lines, errors, statistics) are looked at.
const EVENTS_EVERY: Duration = Duration::from_millis(100);

/// Reads partitions of one Kafka topic.
///
/// Connection trouble, broker restarts and leader changes are ridden out by the client:
/// [`poll`](Reader::poll) delivers nothing meanwhile and [`reachable`](KafkaReader::reachable) is
/// false.
pub struct KafkaReader {
    source_name: String,
    brokers: String,
    topic: String,
    queue: FetchQueue,
    notices: Vec<Notice>,
    served: Option<Instant>,
}

impl KafkaReader {
    /// Makes a reader without partitions. `prefetch_bytes` bounds what it holds fetched ahead:
    /// a source's [`DEFAULT_PREFETCH_BYTES`] divided by the number of its readers.
    pub fn new(
        source_name: &str,
        source: &KafkaSource,
        prefetch_bytes: usize,
    ) -> Result<Self, SourceError> {
        let attempted = || format!("read topic '{}' for source '{source_name}'", source.topic);
        let role = Role::Reader {
            prefetch_kib: (prefetch_bytes / 1024).max(1024),
        };
        let consumer: BaseConsumer<ClientEvents> = client_config(&source.cluster, &role)
            .create_with_context(ClientEvents::default())
            .map_err(|error| create_failed(attempted(), &error))?;
        let queue =
            FetchQueue::new(consumer, &source.topic).ok_or_else(|| SourceError::Failed {
                attempted: attempted(),
                reason: "the client could not make its queue".to_owned(),
            })?;
        Ok(Self {
            source_name: source_name.to_owned(),
            brokers: source.cluster.brokers.clone(),
            topic: source.topic.clone(),
            queue,
            notices: Vec::new(),
            served: None,
        })
    }

    /// Whether the brokers that lead this reader's partitions are connected, as of a second ago.
    /// While they are not, silence says nothing about the topic.
    pub fn reachable(&self) -> bool {
        self.queue.consumer().context().log().connected()
    }

    /// Stops reading a partition; records fetched but not polled are dropped.
    pub fn release(&mut self, partition: Partition) {
        self.queue.stop(partition);
    }

    fn serve_events(&mut self) {
        if self.served.is_none_or(|at| at.elapsed() >= EVENTS_EVERY) {
            serve_events(self.queue.consumer());
            self.served = Some(Instant::now());
        }
    }

    /// What a notice means to the engine: an event, nothing (the client retries), or the end.
    fn interpret(&self, notice: &Notice) -> Result<Option<PartitionEvent>, SourceError> {
        match notice.code {
            RDKafkaErrorCode::PartitionEOF => Ok(Some(PartitionEvent::CaughtUp {
                partition: notice.partition,
                next: notice.offset,
            })),
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
                Err(self.lost_position(notice))
            }
            code if classify(code) == Verdict::Transient => {
                tracing::debug!(
                    source = self.source_name,
                    partition = notice.partition.0,
                    reason = notice.reason,
                    "fetch failed, the client retries"
                );
                Ok(None)
            }
            code => Err(self.refused(code, &notice.reason)),
        }
    }

    fn lost_position(&self, notice: &Notice) -> SourceError {
        let bounds =
            self.queue
                .consumer()
                .fetch_watermarks(&self.topic, notice.partition.0, BOUNDS_TIMEOUT);
        match bounds {
            Ok((low, high)) => SourceError::LostPosition {
                source_name: self.source_name.clone(),
                partition: notice.partition,
                wanted: notice.offset,
                low: Offset(low),
                high: Offset(high),
            },
            Err(error) => self.explain(&error).into(),
        }
    }

    fn refused(&self, code: RDKafkaErrorCode, reason: &str) -> SourceError {
        match self.explain(&KafkaError::MessageConsumption(code)) {
            KafkaTrouble::Failed { attempted, .. } if !reason.is_empty() => SourceError::Failed {
                attempted,
                reason: reason.to_owned(),
            },
            trouble => trouble.into(),
        }
    }

    fn explain(&self, error: &KafkaError) -> KafkaTrouble {
        explain(
            format!(
                "read topic '{}' on {} for source '{}'",
                self.topic, self.brokers, self.source_name
            ),
            &self.brokers,
            error,
            self.queue.consumer().context().log(),
        )
    }
}

impl Reader for KafkaReader {
    fn poll(
        &mut self,
        timeout: Duration,
        max: usize,
        on_records: &mut dyn FnMut(&[RawRecord<'_>]),
    ) -> Result<Vec<PartitionEvent>, SourceError> {
        self.serve_events();
        let mut notices = std::mem::take(&mut self.notices);
        self.queue
            .poll(timeout, GATHER, max, &mut notices, on_records);
        let mut events = Vec::new();
        let mut outcome = Ok(());
        for notice in notices.drain(..) {
            match self.interpret(&notice) {
                Ok(Some(event)) => {
                    // An end is news: it came over a live connection.
                    self.queue.consumer().context().log().set_connected(true);
                    events.push(event);
                }
                Ok(None) => {}
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        self.notices = notices;
        outcome.map(|()| events)
    }

    fn assign(&mut self, partitions: &[(Partition, Offset)]) -> Result<(), SourceError> {
        for &(partition, next) in partitions {
            self.queue
                .start(partition, next)
                .map_err(|code| self.refused(code, ""))?;
        }
        Ok(())
    }
}
