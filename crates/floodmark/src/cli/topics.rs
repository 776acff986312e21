//! `floodmark topics`.

use super::exit::Failure;

/// Kafka topics of a pipeline.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Topics {}

pub(crate) fn run(_command: &Topics) -> Result<(), Failure> {
    Err(anyhow::anyhow!("not built yet").into())
}
