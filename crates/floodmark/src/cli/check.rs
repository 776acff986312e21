//! `floodmark check`.

use super::exit::Failure;

/// (flags)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Result<(), Failure> {
    Err(anyhow::anyhow!("not built yet").into())
}
