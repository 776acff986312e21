//! The engine: from records on a topic to committed files and alerts.
//!
//! Modules stand in the order in which an event meets them:
//!
//! - [`source`] hands over records, many borrowed byte slices at a time, with their offsets.
//! - [`decode`] turns bytes into Arrow batches and tells bad records apart.
//! - [`sql`] plans the pipeline's queries and evaluates the stateless part over a batch.
//! - [`sink`] stages rows so that nothing shows before its checkpoint, then commits them.
//! - [`storage`] is the directory or bucket under sinks and checkpoints.
//!
//! [`kafka`] is what Kafka sources and sinks share; [`units`] and [`rows`] are the words they all
//! share.

pub mod decode;
pub mod kafka;
pub mod rows;
pub mod sink;
pub mod source;
pub mod sql;
pub mod storage;
pub mod units;
