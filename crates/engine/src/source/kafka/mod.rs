//! Kafka as a source.
//!
//! Two clients share the work. [`KafkaTopic`] belongs to the coordinator: it finds the partitions,
//! turns the pipeline's start into offsets, checks that a checkpoint's positions still exist and
//! publishes progress to the consumer group for Kafka's own tools. [`KafkaReader`] belongs to a
//! worker: it fetches the partitions it was given and nothing else. No group protocol is involved;
//! who reads what from where is decided by the checkpoint alone.
//!
//! ```text
//! coordinator:  KafkaTopic  --(partition, next offset)-->  worker: KafkaReader::assign
//! broker --fetch--> librdkafka's queue --batch--> KafkaReader::poll --borrowed slices--> decode
//! ```

mod connector;
mod native;
mod reader;
mod topic;

pub use connector::KafkaConnector;
pub use reader::{DEFAULT_PREFETCH_BYTES, KafkaReader};
pub use topic::{KafkaTopic, Position, Watermarks};
