//! Sources: where records come from.
//!
//! A source is split into partitions; a worker owns some of them through one [`Reader`]. A reader
//! hands over many records at once as borrowed slices, so that a client that keeps fetched bytes
//! in place (librdkafka's queue, a memory-mapped file, a fetch buffer) copies nothing.
//!
//! A reader starts each partition at the next offset it is told; it never chooses another one by
//! itself. A position that does not exist any more is [`SourceError::LostPosition`].

pub mod file;
pub mod generator;
pub mod kafka;
mod slices;

use std::time::Duration;

use crate::units::{Offset, Partition};

/// The end of a partition that cannot be told before it is read (a compressed file's). Such a
/// partition has no lag, and is caught up only when it has ended.
pub const END_UNKNOWN: Offset = Offset(i64::MAX);

/// One record as fetched. Borrowed from the reader for the length of one callback.
#[derive(Debug, Clone, Copy)]
pub struct RawRecord<'a> {
    /// Partition.
    pub partition: Partition,
    /// Offset in the partition.
    pub offset: Offset,
    /// Record timestamp, milliseconds since the epoch; -1 if the source has none.
    pub timestamp_ms: i64,
    /// Key bytes.
    pub key: Option<&'a [u8]>,
    /// Value bytes; `None` is Kafka's null.
    pub value: Option<&'a [u8]>,
}

/// What a poll learned about a partition beside its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionEvent {
    /// The reader stands at the partition's end; `next` is its position there
    /// (past transaction markers, which are no records).
    CaughtUp {
        /// Partition.
        partition: Partition,
        /// Position at the end.
        next: Offset,
    },
    /// The partition has ended for good: nothing will be appended to it.
    Ended {
        /// Partition.
        partition: Partition,
    },
}

/// Reads some partitions of one source. Owned by one worker thread.
pub trait Reader: Send {
    /// Waits up to `timeout` for records and hands at most `max` of them to `on_records`, in one
    /// call, offsets ascending within each partition. Returns what else was learned, in order:
    /// an event about a partition holds for after the records of the same poll.
    fn poll(
        &mut self,
        timeout: Duration,
        max: usize,
        on_records: &mut dyn FnMut(&[RawRecord<'_>]),
    ) -> Result<Vec<PartitionEvent>, SourceError>;

    /// Starts reading further partitions at the given next offsets.
    fn assign(&mut self, partitions: &[(Partition, Offset)]) -> Result<(), SourceError>;
}

/// The control side of a source: what the coordinator asks, never on an event's path.
///
/// Calls may block for as long as the server takes, within the connector's own limits.
pub trait Connector: Send + Sync {
    /// What is read, for checkpoints: offsets of one origin mean nothing in another.
    fn origin(&self) -> String;

    /// Name under which records of a partition are reported (topic, or file path).
    fn topic(&self, partition: Partition) -> String;

    /// Takes over the partition names that a checkpoint holds, before anything else is asked.
    /// Sources whose partitions are numbered by the server ignore it.
    fn adopt(&self, names: &[(Partition, String)]) {
        let _ = names;
    }

    /// The partitions that exist now.
    fn partitions(&self) -> Result<Vec<Partition>, SourceError>;

    /// Where the pipeline file says to begin partitions that no checkpoint knows.
    fn start(&self, partitions: &[Partition]) -> Result<Vec<(Partition, Offset)>, SourceError>;

    /// Where to begin partitions that came into being while the pipeline ran: at their start.
    fn start_of_new(
        &self,
        partitions: &[Partition],
    ) -> Result<Vec<(Partition, Offset)>, SourceError>;

    /// Checks that the positions of a checkpoint still exist. A lost one is an error, or is moved
    /// where the pipeline file says so.
    fn resume(
        &self,
        positions: &[(Partition, Offset)],
    ) -> Result<Vec<(Partition, Offset)>, SourceError>;

    /// The next offset that will be written to each partition, that is, its end now;
    /// [`END_UNKNOWN`] where that takes reading it. Partitions that are gone are left out.
    fn ends(&self, partitions: &[Partition]) -> Result<Vec<(Partition, Offset)>, SourceError>;

    /// A reader for some partitions.
    fn reader(&self, positions: &[(Partition, Offset)]) -> Result<Box<dyn Reader>, SourceError>;

    /// Shows the positions of a durable checkpoint to the source's own tools. Never read back.
    fn show_positions(&self, positions: &[(Partition, Offset)]) -> Result<(), SourceError>;
}

/// Why a source cannot go on. Transient trouble (a broker restart) is retried inside the reader
/// and never surfaces here.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SourceError {
    /// The position to continue from is gone.
    #[error(
        "source '{source_name}', partition {partition}: the next offset is {wanted}, but the partition \
         now holds {low}..{high}; records were removed by retention or the topic was made anew. \
         Set on_lost_position = \"earliest\" to continue at {low}, or start with a new checkpoint path"
    )]
    LostPosition {
        /// Source.
        source_name: String,
        /// Partition.
        partition: Partition,
        /// Where the engine stood.
        wanted: Offset,
        /// First offset there is.
        low: Offset,
        /// One past the last offset there is.
        high: Offset,
    },
    /// The server answers, and says that what is to be read does not exist.
    #[error("{attempted}: {reason}. {hint}")]
    Missing {
        /// What was attempted, on which object.
        attempted: String,
        /// What is missing.
        reason: String,
        /// What to do next.
        hint: String,
    },
    /// The configuration or the server must be changed by somebody.
    #[error("{attempted}: {reason}. {hint}")]
    Misconfigured {
        /// What was attempted, on which object.
        attempted: String,
        /// What the server or client said.
        reason: String,
        /// What to do next.
        hint: String,
    },
    /// Anything else that cannot be retried.
    #[error("{attempted}: {reason}")]
    Failed {
        /// What was attempted, on which object.
        attempted: String,
        /// What went wrong.
        reason: String,
    },
}
