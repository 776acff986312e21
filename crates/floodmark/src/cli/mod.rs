//! The command line: one module a subcommand.
//!
//! Results go to standard output, everything else to standard error.

mod broker;
mod check;
mod checkpoint;
mod completions;
mod demo;
mod engine;
mod exit;
mod generate;
mod http;
mod load;
mod log;
mod probe;
mod run;
mod topics;
mod words;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What a build may have or lack, and where to look which it is: `--version` is one line, which scripts read.
const FEATURES: &str = match (cfg!(feature = "ssl"), cfg!(feature = "otlp")) {
    (false, false) => "Built without TLS to Kafka (ssl) and without traces (otlp).",
    (true, false) => "Built with TLS to Kafka (ssl), without traces (otlp).",
    (false, true) => "Built without TLS to Kafka (ssl), with traces (otlp).",
    (true, true) => "Built with TLS to Kafka (ssl) and with traces (otlp).",
};

/// Event-time streaming pipelines: Kafka in, SQL over windows, Parquet and alerts out,
/// exactly once.
#[derive(Debug, Parser)]
#[command(
    name = "floodmark",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = FEATURES
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
enum Command {
    Demo(demo::Args),
    Check(check::Args),
    Run(run::Args),
    Probe(probe::Args),
    Generate(generate::Args),
    #[command(subcommand)]
    Topics(topics::Topics),
    #[command(subcommand)]
    Checkpoint(checkpoint::Checkpoint),
    Broker(broker::Args),
    Completions(completions::Args),
}

/// Parses the command line and runs it.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Probe(args) => probe::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Topics(command) => topics::run(&command),
        Command::Checkpoint(command) => checkpoint::run(&command),
        Command::Broker(args) => broker::run(&args),
        Command::Completions(args) => completions::run(&args),
    };
    exit::report(outcome)
}
