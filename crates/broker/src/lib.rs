//! An embedded broker that speaks the Kafka protocol: for demos, tests and CI, not for production.
//!
//! ```no_run
//! use floodmark_broker::Broker;
//!
//! let broker = Broker::builder().listen("127.0.0.1:0").start()?;
//! println!("bootstrap.servers={}", broker.address());
//! # Ok::<(), floodmark_broker::StartError>(())
//! ```
//!
//! Any Kafka client can attach: it has idempotent and transactional producers, `read_committed`
//! consumers, consumer groups, and what Kafka's console tools ask for. One process is one node; nothing
//! is replicated. It keeps everything in memory, or under a directory, where whatever was acknowledged
//! survives `kill -9`.
//!
//! In the order in which a request meets them:
//!
//! - `server`: accepts connections, cuts frames, bounds what a client may take, answers in order.
//! - `wire`: refuses a frame whose lengths do not fit its bytes before anything is allocated for it.
//! - `api`: one handler per request: decoded in, answered out; the table of versions.
//! - `core`: what the handlers work on together, and the order of its locks.
//! - `topics`: the topics, their configuration and their partitions.
//! - `log`: one partition's record batches, in memory or in segment files; idempotence, transactions'
//!   extents, retention, recovery.
//! - `group`: consumer groups and their offsets, a state machine without I/O.
//! - `transaction`: who has an open transaction, on what, and how it ends; a state machine as well.
//! - `journal`: what must survive of all this, apart from the records.

mod api;
#[doc(hidden)]
pub mod benching;
mod broker;
mod config;
mod core;
mod directory;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod group;
mod house;
mod journal;
mod log;
mod memory;
mod server;
mod sync;
mod topics;
mod transaction;
mod units;
mod wire;

pub use broker::Broker;
pub use config::{Builder, Fsync};
pub use error::{StartError, StopError};
