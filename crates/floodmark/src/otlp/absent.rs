//! What stands for traces in a build without the feature `otlp`: the flag says so, and that is all.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tracing_subscriber::{Layer, Registry};

use crate::http::Secrets;

/// There is none.
#[derive(Debug, Clone)]
pub(crate) enum Endpoint {}

/// Says how to get a build that has it.
pub(crate) fn endpoint(_: &str) -> Result<Endpoint, String> {
    let hint = "this build cannot send traces; one that can is built with \
                `cargo build --release --features otlp`";
    Err(hint.to_owned())
}

/// Whose traces they would be.
#[expect(dead_code, reason = "nothing is sent")]
pub(crate) struct Identity<'a> {
    pub(crate) pipeline: &'a str,
    pub(crate) instance: &'a str,
    pub(crate) secrets: Secrets,
    pub(crate) lost: Arc<AtomicU64>,
}

/// There are none.
#[derive(Debug)]
pub(crate) enum Traces {}

impl Traces {
    pub(crate) fn start(endpoint: &Endpoint, _: Identity<'_>) -> anyhow::Result<Self> {
        match *endpoint {}
    }

    pub(crate) fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        match *self {}
    }

    pub(crate) fn finish(self) {
        match self {}
    }
}
