//! Kafka as a sink, exactly once for `read_committed` consumers.
//!
//! ```text
//!  rows ──> records.rs (JSON value, key, headers) ──> producer.rs (one transaction at a time)
//!                                                         |  begin, send, drain, offsets, commit
//!   KafkaAheadSink: a transaction every few tens of milliseconds; with it the source offsets
//!   KafkaEpochSink: a transaction an epoch, after its checkpoint;  with it the epoch's number
//! ```
//!
//! Both carry a mark in the same transaction as the rows: offsets of a consumer group of their own
//! (`floodmark-<pipeline>-<output>-cursor`) that nobody else uses. Opening a sink fences every
//! older instance and settles its open transaction; reading the mark *afterwards* therefore tells
//! exactly what a `read_committed` consumer has been or will be shown.
//!
//! A mark counts only within one lineage of checkpoints (see [`SinkTarget::lineage`]): a pipeline
//! that starts over with a new checkpoint path sends its rows again, as it says it does.

mod ahead;
mod cursor;
mod epoch;
pub mod json;
mod marks;
mod producer;
mod records;
#[cfg(test)]
mod tests;
mod transactions;

use std::sync::Arc;
use std::time::Duration;

use datafusion_physical_expr::PhysicalExpr;
use floodmark_pipeline::KafkaCluster;

use crate::telemetry::Retries;

pub use ahead::{Burial, CursorSource, KafkaAheadSink};
pub use epoch::KafkaEpochSink;
#[doc(hidden)]
pub use records::Records;
#[doc(hidden)]
pub use transactions::{Connect, Count, Marks, Opened, Transactions};

/// What a Kafka sink writes to and as whom.
#[derive(Debug, Clone)]
pub struct SinkTarget {
    /// Pipeline, for the transactional id and the private group.
    pub pipeline: String,
    /// Output, for the same. Unique in the pipeline.
    pub output: String,
    /// Names the chain of checkpoints this run continues; made once with the chain's first
    /// checkpoint. At most 64 characters.
    pub lineage: String,
    /// Cluster.
    pub cluster: KafkaCluster,
    /// Topic.
    pub topic: String,
    /// Shortest time between two transactions (ahead of the checkpoint only).
    pub commit_interval: Duration,
    /// Counts what has to be done again.
    pub retries: Retries,
}

impl SinkTarget {
    /// Who writes: an instance that takes over comes under the same id.
    pub fn transactional_id(&self) -> String {
        format!("floodmark-{}-{}", self.pipeline, self.output)
    }

    /// The private group that keeps the marks.
    pub fn group(&self) -> String {
        format!("floodmark-{}-{}-cursor", self.pipeline, self.output)
    }

    /// What a failed action is reported as.
    fn attempt(&self, action: &str) -> String {
        format!(
            "{action} topic '{}' on {} for output '{}'",
            self.topic, self.cluster.brokers, self.output
        )
    }
}

/// How rows become records.
#[derive(Debug, Clone)]
pub enum RecordShape {
    /// The value is the row as one JSON object.
    Json {
        /// The key; a null key is no key.
        key: Option<Arc<dyn PhysicalExpr>>,
        /// Headers; a null header is left out.
        headers: Vec<(String, Arc<dyn PhysicalExpr>)>,
    },
    /// The rows are dead letters: the value is the record's raw bytes, its origin and the reason
    /// are headers `floodmark.*`.
    DeadLetter,
}

/// How a source's progress is kept in the private group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CursorPlace {
    /// As offsets of the source's own topic, which is on the sink's cluster.
    Topic(String),
    /// As text beside an offset of the output's topic, for any other source. Suits sources of up to
    /// a few hundred partitions.
    Note(String),
}
