//! The Kafka source and sinks by themselves, over the real client.

mod ahead;
mod measure;
mod reader;
pub(crate) mod support;
