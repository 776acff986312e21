//! The coordinator's view of a topic: its partitions, where they begin and end, and the consumer
//! group that shows progress to Kafka's own tools.

use std::time::{Duration, Instant};

use floodmark_pipeline::{KafkaSource, OnLostPosition, Start};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset as NativeOffset, TopicPartitionList};

use crate::kafka::admin::{fetch_metadata, remaining, serve_events, topic_partitions};
use crate::kafka::{
    ClientEvents, KafkaTrouble, Role, Verdict, classify, client_config, create_failed, explain,
};
use crate::source::SourceError;
use crate::units::{Offset, Partition};

/// The offsets that a `read_committed` reader of a partition can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// Partition.
    pub partition: Partition,
    /// First offset there is.
    pub low: Offset,
    /// One past the last offset of a settled transaction (Kafka's last stable offset).
    pub high: Offset,
}

/// A position after it was checked against what the topic holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Partition.
    pub partition: Partition,
    /// Where to read from.
    pub next: Offset,
    /// The lost position this one replaces, if the file chose to go on at the earliest offset.
    pub replaces: Option<Offset>,
}

/// A source's topic. Every call may block up to the deadline it is given.
pub struct KafkaTopic {
    source_name: String,
    brokers: String,
    topic: String,
    client: BaseConsumer<ClientEvents>,
}

/// Pause between two tries of a query that met a leader change.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Longest single try of a query.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);

impl KafkaTopic {
    /// Connects and looks the topic up; returns it and its partitions.
    pub fn open(
        source_name: &str,
        source: &KafkaSource,
        deadline: Instant,
    ) -> Result<(Self, Vec<Partition>), SourceError> {
        let role = Role::GroupOffsets {
            group: source.group.clone(),
        };
        let client = client_config(&source.cluster, &role)
            .create_with_context(ClientEvents::default())
            .map_err(|error| {
                create_failed(
                    format!("read topic '{}' for source '{source_name}'", source.topic),
                    &error,
                )
            })?;
        let topic = Self {
            source_name: source_name.to_owned(),
            brokers: source.cluster.brokers.clone(),
            topic: source.topic.clone(),
            client,
        };
        let partitions = topic.partitions(deadline)?;
        Ok((topic, partitions))
    }

    /// The topic's partitions now; a topic may gain some while it is read.
    pub fn partitions(&self, deadline: Instant) -> Result<Vec<Partition>, SourceError> {
        let found = fetch_metadata(&self.client, &self.topic, deadline)
            .and_then(|metadata| topic_partitions(&metadata, &self.topic))
            .map_err(|error| self.explain("look up the partitions of", &error))?;
        match found {
            Some(count) => Ok((0..count).map(|p| Partition(p as i32)).collect()),
            None => Err(SourceError::Missing {
                attempted: format!("source '{}'", self.source_name),
                reason: format!("topic '{}' does not exist on {}", self.topic, self.brokers),
                hint: "Create it with `floodmark topics create FILE`".to_owned(),
            }),
        }
    }

    /// First and end offsets of `partitions`, in their order.
    pub fn watermarks(
        &self,
        partitions: &[Partition],
        deadline: Instant,
    ) -> Result<Vec<Watermarks>, SourceError> {
        let low = self.offsets(partitions, NativeOffset::Beginning, deadline)?;
        let high = self.offsets(partitions, NativeOffset::End, deadline)?;
        Ok(low
            .into_iter()
            .zip(high)
            .map(|((partition, low), (_, high))| Watermarks {
                partition,
                low,
                high,
            })
            .collect())
    }

    /// Offsets of the first records at or after `timestamp_ms`, in the order of `partitions`;
    /// where there is none, the partition's end.
    pub fn offsets_for_times(
        &self,
        partitions: &[Partition],
        timestamp_ms: i64,
        deadline: Instant,
    ) -> Result<Vec<(Partition, Offset)>, SourceError> {
        // The list's offsets are timestamps on the way in; negative ones have other meanings.
        let wanted = NativeOffset::Offset(timestamp_ms.max(0));
        let mut found = self.offsets(partitions, wanted, deadline)?;
        if found.iter().any(|(_, offset)| offset.0 < 0) {
            let ends = self.offsets(partitions, NativeOffset::End, deadline)?;
            for (entry, end) in found.iter_mut().zip(ends) {
                if entry.1.0 < 0 {
                    *entry = end;
                }
            }
        }
        Ok(found)
    }

    /// Where to begin without a checkpoint, in the order of `partitions`.
    pub fn start_offsets(
        &self,
        partitions: &[Partition],
        start: Start,
        deadline: Instant,
    ) -> Result<Vec<(Partition, Offset)>, SourceError> {
        match start {
            Start::Earliest => self.offsets(partitions, NativeOffset::Beginning, deadline),
            Start::Latest => self.offsets(partitions, NativeOffset::End, deadline),
            Start::Timestamp(ms) => self.offsets_for_times(partitions, ms, deadline),
        }
    }

    /// Checks that a checkpoint's positions still exist. A lost one is an error, or with
    /// [`OnLostPosition::Earliest`] replaced by the first offset there is; never a silent jump.
    pub fn check_positions(
        &self,
        positions: &[(Partition, Offset)],
        on_lost: OnLostPosition,
        deadline: Instant,
    ) -> Result<Vec<Position>, SourceError> {
        let partitions: Vec<Partition> = positions.iter().map(|(p, _)| *p).collect();
        let there_are = self.partitions(deadline)?;
        let (known, gone): (Vec<_>, Vec<_>) =
            partitions.iter().partition(|p| there_are.contains(p));
        let mut bounds = self.watermarks(&known, deadline)?;
        // A topic made anew can have fewer partitions than before.
        bounds.extend(gone.into_iter().map(|partition| Watermarks {
            partition,
            low: Offset(0),
            high: Offset(0),
        }));
        let check = |&(partition, wanted): &(Partition, Offset)| {
            let bounds = bounds
                .iter()
                .find(|bounds| bounds.partition == partition)
                .copied()
                .unwrap_or(Watermarks {
                    partition,
                    low: Offset(0),
                    high: Offset(0),
                });
            decide(&self.source_name, wanted, bounds, on_lost)
        };
        positions.iter().map(check).collect()
    }

    /// Publishes next offsets to the consumer group, without waiting. A failure is counted and
    /// does no harm: recovery never reads them.
    pub fn commit_offsets(&self, next: &[(Partition, Offset)]) {
        let result = self
            .list(next.iter().map(|(p, o)| (*p, NativeOffset::Offset(o.0))))
            .and_then(|list| self.client.commit(&list, CommitMode::Async));
        if let Err(error) = result {
            self.client.context().log().count_commit_failure();
            tracing::debug!(source = self.source_name, %error, "group offsets not committed");
        }
        serve_events(&self.client);
    }

    /// Group commits that failed since the topic was opened.
    pub fn commit_failures(&self) -> u64 {
        serve_events(&self.client);
        self.client.context().log().commit_failures()
    }

    /// Asks all leaders at once for the offsets that `wanted` (earliest, end or a time) means.
    fn offsets(
        &self,
        partitions: &[Partition],
        wanted: NativeOffset,
        deadline: Instant,
    ) -> Result<Vec<(Partition, Offset)>, SourceError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        loop {
            let error = match self.try_offsets(partitions, wanted, deadline) {
                Ok(offsets) => return Ok(offsets),
                Err(error) => error,
            };
            serve_events(&self.client);
            let transient = error
                .rdkafka_error_code()
                .is_some_and(|code| classify(code) == Verdict::Transient);
            if !transient || Instant::now() + RETRY_PAUSE >= deadline {
                return Err(self.explain("look up offsets of", &error).into());
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    fn try_offsets(
        &self,
        partitions: &[Partition],
        wanted: NativeOffset,
        deadline: Instant,
    ) -> KafkaResult<Vec<(Partition, Offset)>> {
        let list = self.list(partitions.iter().map(|p| (*p, wanted)))?;
        let found = self
            .client
            .offsets_for_times(list, remaining(deadline).min(TRY_TIMEOUT))?;
        let mut offsets = Vec::with_capacity(partitions.len());
        for &partition in partitions {
            let element = found
                .find_partition(&self.topic, partition.0)
                .ok_or(KafkaError::NoMessageReceived)?;
            element.error()?;
            let raw = element.offset().to_raw().unwrap_or(-1);
            offsets.push((partition, Offset(raw)));
        }
        Ok(offsets)
    }

    fn list(
        &self,
        offsets: impl Iterator<Item = (Partition, NativeOffset)>,
    ) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(&self.topic, partition.0, offset)?;
        }
        Ok(list)
    }

    fn explain(&self, verb: &str, error: &KafkaError) -> KafkaTrouble {
        explain(
            format!(
                "{verb} topic '{}' on {} for source '{}'",
                self.topic, self.brokers, self.source_name
            ),
            &self.brokers,
            error,
            self.client.context().log(),
        )
    }
}

/// Decides about one position. Pure.
fn decide(
    source_name: &str,
    wanted: Offset,
    bounds: Watermarks,
    on_lost: OnLostPosition,
) -> Result<Position, SourceError> {
    let Watermarks {
        partition,
        low,
        high,
    } = bounds;
    if (low..=high).contains(&wanted) {
        return Ok(Position {
            partition,
            next: wanted,
            replaces: None,
        });
    }
    match on_lost {
        OnLostPosition::Earliest => Ok(Position {
            partition,
            next: low,
            replaces: Some(wanted),
        }),
        OnLostPosition::Fail => Err(SourceError::LostPosition {
            source_name: source_name.to_owned(),
            partition,
            wanted,
            low,
            high,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Watermarks = Watermarks {
        partition: Partition(2),
        low: Offset(100),
        high: Offset(200),
    };

    #[test]
    fn a_position_within_the_partition_stays_and_its_end_is_within() {
        for wanted in [100, 150, 200] {
            let position =
                decide("s", Offset(wanted), BOUNDS, OnLostPosition::Fail).expect("still there");
            assert_eq!(position.next, Offset(wanted));
            assert_eq!(position.replaces, None);
        }
    }

    #[test]
    fn a_lost_position_is_an_error_that_names_both_offsets() {
        for wanted in [99, 201] {
            let error = decide("s", Offset(wanted), BOUNDS, OnLostPosition::Fail)
                .expect_err("it is gone")
                .to_string();
            assert!(error.contains(&wanted.to_string()), "{error}");
            assert!(error.contains("100..200"), "{error}");
        }
    }

    #[test]
    fn a_lost_position_is_replaced_by_the_earliest_when_the_file_says_so() {
        let position = decide("s", Offset(7), BOUNDS, OnLostPosition::Earliest).expect("replaced");
        assert_eq!(position.next, Offset(100));
        assert_eq!(position.replaces, Some(Offset(7)));
    }
}
