//! The topic as the coordinator's [`Connector`].

use std::time::{Duration, Instant};

use floodmark_pipeline::{KafkaSource, OnLostPosition, Source, Start};

use super::{DEFAULT_PREFETCH_BYTES, KafkaReader, KafkaTopic};
use crate::kafka::admin::CONNECT_TIMEOUT;
use crate::source::{Connector, Reader, SourceError};
use crate::units::{Offset, Partition};

/// Longest wait for an answer while the pipeline runs; long enough for a broker to restart.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// A Kafka source's control side.
pub struct KafkaConnector {
    source_name: String,
    source: KafkaSource,
    start: Start,
    on_lost_position: OnLostPosition,
    topic: KafkaTopic,
    partitions_at_open: usize,
}

impl KafkaConnector {
    /// Connects and looks the topic up; fails within [`CONNECT_TIMEOUT`].
    pub fn open(source: &Source, kafka: &KafkaSource) -> Result<Self, SourceError> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let (topic, partitions) = KafkaTopic::open(&source.name, kafka, deadline)?;
        Ok(Self {
            source_name: source.name.clone(),
            source: kafka.clone(),
            start: source.start,
            on_lost_position: source.on_lost_position,
            topic,
            partitions_at_open: partitions.len(),
        })
    }

    /// Group commits that failed.
    pub fn commit_failures(&self) -> u64 {
        self.topic.commit_failures()
    }
}

fn query_deadline() -> Instant {
    Instant::now() + QUERY_TIMEOUT
}

impl Connector for KafkaConnector {
    fn origin(&self) -> String {
        format!("kafka:{}", self.source.topic)
    }

    fn topic(&self, _partition: Partition) -> String {
        self.source.topic.clone()
    }

    fn partitions(&self) -> Result<Vec<Partition>, SourceError> {
        self.topic.partitions(query_deadline())
    }

    fn start(&self, partitions: &[Partition]) -> Result<Vec<(Partition, Offset)>, SourceError> {
        self.topic
            .start_offsets(partitions, self.start, query_deadline())
    }

    fn start_of_new(
        &self,
        partitions: &[Partition],
    ) -> Result<Vec<(Partition, Offset)>, SourceError> {
        self.topic
            .start_offsets(partitions, Start::Earliest, query_deadline())
    }

    fn resume(
        &self,
        positions: &[(Partition, Offset)],
    ) -> Result<Vec<(Partition, Offset)>, SourceError> {
        let checked =
            self.topic
                .check_positions(positions, self.on_lost_position, query_deadline())?;
        for position in &checked {
            if let Some(lost) = position.replaces {
                tracing::warn!(
                    source = self.source_name,
                    partition = position.partition.0,
                    lost = lost.0,
                    next = position.next.0,
                    "position lost, going on at the earliest offset"
                );
            }
        }
        Ok(checked.into_iter().map(|p| (p.partition, p.next)).collect())
    }

    fn ends(&self, partitions: &[Partition]) -> Result<Vec<(Partition, Offset)>, SourceError> {
        self.topic
            .start_offsets(partitions, Start::Latest, query_deadline())
    }

    fn reader(&self, positions: &[(Partition, Offset)]) -> Result<Box<dyn Reader>, SourceError> {
        // Each reader's share of what the source may hold goes by its share of the partitions.
        let share = positions.len().max(1) as f64 / self.partitions_at_open.max(1) as f64;
        let prefetch = (DEFAULT_PREFETCH_BYTES as f64 * share.min(1.0)) as usize;
        let mut reader = KafkaReader::new(&self.source_name, &self.source, prefetch)?;
        reader.assign(positions)?;
        Ok(Box::new(reader))
    }

    fn show_positions(&self, positions: &[(Partition, Offset)]) -> Result<(), SourceError> {
        self.topic.commit_offsets(positions);
        Ok(())
    }
}
