//! What the Kafka source, the Kafka sinks and `topics create` share: client configuration, a
//! context that remembers what a client last complained about, errors sorted by what a caller
//! does about them, and topic administration.
//!
//! A client's own retries hide transient trouble. What a user has to fix (a missing topic, an
//! address nobody listens on, refused credentials) comes back as [`KafkaTrouble`] with a hint.

pub mod admin;
mod complaints;
mod config;
mod context;
mod error;

pub(crate) use config::{Role, client_config};
pub(crate) use context::{ClientEvents, EventLog};
pub use error::{KafkaTrouble, create_failed};
pub(crate) use error::{Verdict, classify, explain};
