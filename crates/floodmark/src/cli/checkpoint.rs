//! `floodmark checkpoint`: what checkpoints hold, whether they are sound, what may be removed.

mod gc;
mod place;
mod show;
mod verify;

use std::io::Write;

use anyhow::Context;
use floodmark_engine::checkpoint::{CheckpointError, Listed, Manifest};
use serde_json::json;

use self::place::Place;
use super::exit::Failure;
use super::words::{bytes, instant, table};

/// Look at the checkpoints of a pipeline
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Checkpoint {
    /// List the checkpoints that are kept
    #[command(after_help = "\
Examples:
  floodmark checkpoint list pipelines/sensors.toml
  floodmark checkpoint list s3://rt-stream/_chk --format json

Exit codes: 0 done, 1 the place cannot be read, 78 the pipeline file is invalid.")]
    List(Where),
    /// Show what a checkpoint holds
    ///
    /// Positions and watermarks of the sources, the ledger, open windows with their rows, and for
    /// each sink what it has shown and what it still has to do. Without EPOCH it is the newest
    /// checkpoint, the one that the next start goes on from.
    #[command(after_help = "\
Examples:
  floodmark checkpoint show pipelines/sensors.toml
  floodmark checkpoint show ./floodmark-data/checkpoint 42 --format json

Exit codes: 0 done, 1 it is not there or cannot be read, 78 the pipeline file is invalid.")]
    Show(show::Args),
    /// Read every checkpoint and its state, and say what is damaged
    ///
    /// Checks lengths, checksums and invariants of every manifest and of every state file that one
    /// lists. Nothing is changed.
    #[command(after_help = "\
Examples:
  floodmark checkpoint verify pipelines/sensors.toml
  floodmark checkpoint verify s3://rt-stream/_chk

Exit codes: 0 all is sound, 1 something is damaged, 78 the pipeline file is invalid.")]
    Verify(Where),
    /// Remove what dead instances left
    ///
    /// Hidden temporary files of the outputs and of the checkpoint directory, and checkpoint objects
    /// that have been superseded. Only what is older than --older-than goes, and nothing that a kept
    /// checkpoint lists or a reader of the outputs sees. A run does the same by itself; this is for
    /// pipelines that do not run any more, and for looking first.
    #[command(after_help = "\
Examples:
  floodmark checkpoint gc pipelines/sensors.toml --dry-run
  floodmark checkpoint gc pipelines/sensors.toml --older-than 1h

Exit codes: 0 done, 1 something could not be read or removed, 78 the pipeline file is invalid.")]
    Gc(gc::Args),
}

/// Where the checkpoints lie, and how the answer is written.
#[derive(Debug, clap::Args)]
pub(crate) struct Where {
    /// Pipeline file, or the checkpoint's directory, or `s3://bucket/prefix` (with AWS_* variables)
    #[arg(value_name = "PATH_OR_FILE")]
    place: String,

    /// How the answer is written to standard output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

pub(crate) fn run(command: &Checkpoint) -> Result<(), Failure> {
    match command {
        Checkpoint::List(at) => list(at),
        Checkpoint::Show(args) => show::run(args),
        Checkpoint::Verify(at) => verify::run(at),
        Checkpoint::Gc(args) => gc::run(args),
    }
}

fn list(at: &Where) -> Result<(), Failure> {
    let place = Place::open(&at.place)?;
    let listed = place.io.block_on(place.checkpoints.list());
    let listed = listed.map_err(anyhow::Error::from)?;
    if at.format == Format::Json {
        let rows: Vec<_> = listed.iter().map(as_json).collect();
        return print_json(&rows);
    }
    if listed.is_empty() {
        return say(&place.without_checkpoints());
    }
    let mut rows =
        vec![["epoch", "generation", "instance", "written", "size", ""].map(str::to_owned)];
    for listed in &listed {
        let epoch = listed.epoch.to_string();
        rows.push(match &listed.manifest {
            Ok(manifest) => [
                epoch,
                manifest.generation.to_string(),
                manifest.instance.clone(),
                instant(manifest.created_ms),
                bytes(listed.bytes + state_bytes(manifest)),
                remark(manifest).to_owned(),
            ],
            Err(error) => [
                epoch,
                String::new(),
                String::new(),
                String::new(),
                bytes(listed.bytes),
                reason(error),
            ],
        });
    }
    say(&table(&rows))
}

/// What one should know of a checkpoint at a glance.
fn remark(manifest: &Manifest) -> &'static str {
    let pending = |sink: &floodmark_engine::checkpoint::SinkState| {
        !sink.work.is_null() || sink.carried.is_some()
    };
    if manifest.sinks.values().any(pending) {
        "lists work of sinks"
    } else {
        "all work done"
    }
}

fn reason(error: &CheckpointError) -> String {
    match error {
        CheckpointError::Unusable { source, .. } => format!("cannot be used: {source}"),
        other => other.to_string(),
    }
}

fn state_bytes(manifest: &Manifest) -> u64 {
    manifest.files.values().map(|file| file.bytes).sum()
}

fn as_json(listed: &Listed) -> serde_json::Value {
    match &listed.manifest {
        Ok(manifest) => json!({
            "epoch": listed.epoch,
            "generation": manifest.generation,
            "instance": manifest.instance,
            "written_ms": manifest.created_ms,
            "manifest_bytes": listed.bytes,
            "state_bytes": state_bytes(manifest),
        }),
        Err(error) => json!({
            "epoch": listed.epoch,
            "manifest_bytes": listed.bytes,
            "error": reason(error),
        }),
    }
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    say(&serde_json::to_string_pretty(value).map_err(anyhow::Error::from)?)
}

fn say(text: &str) -> Result<(), Failure> {
    let written = writeln!(std::io::stdout(), "{text}");
    Ok(written.context("writing to standard output")?)
}
