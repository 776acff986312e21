//! The engine: from records on a topic to committed files and alerts.
//!
//! Modules stand in the order in which an event meets them:
//!
//! - [`source`] hands over records, many borrowed byte slices at a time, with their offsets.
//! - [`decode`] turns bytes into Arrow batches and tells bad records apart.
//! - [`dead_letter`] keeps what could not be read: raw bytes, origin, reason.
//! - [`floodmark_sql`] has planned the queries; its steps evaluate their stateless part over a batch.
//! - [`watermark`] says how far event time has come.
//! - [`window`] aggregates rows by event-time window until the watermark has passed it.
//! - [`late`] keeps rows whose window had fired.
//! - [`sink`] stages rows so that nothing shows before its checkpoint, then commits them.
//! - [`checkpoint`] is the point from which a pipeline goes on, whatever died.
//! - [`storage`] is the directory or bucket under sinks and checkpoints.
//! - [`runtime`] is the threads that carry an event along this way.
//! - [`telemetry`] is what they say of themselves meanwhile.
//!
//! [`connect`] turns a pipeline file's words into real connectors and sinks; [`kafka`] is what Kafka
//! sources and sinks share; [`units`], [`rows`], [`ledger`] and [`clock`] are the words they all share.

pub mod checkpoint;
pub mod clock;
pub mod connect;
pub mod dead_letter;
pub mod decode;
pub mod kafka;
pub mod late;
pub mod ledger;
pub mod rows;
pub mod runtime;
pub mod sink;
pub mod source;
pub mod storage;
pub mod telemetry;
#[doc(hidden)]
pub mod testing;
pub mod units;
pub mod watermark;
pub mod window;

// Unit tests share the way to servers with the integration tests, which call this crate by its name.
#[cfg(test)]
extern crate self as floodmark_engine;
#[cfg(test)]
#[path = "../tests/engine/servers.rs"]
mod servers;
