//! `floodmark checkpoint show`.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::anyhow;
use floodmark_engine::checkpoint::{Manifest, SinkState, SourceState, WindowRows};
use floodmark_engine::units::Epoch;
use serde_json::json;

use super::place::Place;
use super::{Format, Where, print_json, say};
use crate::cli::engine::live::human;
use crate::cli::exit::Failure;
use crate::cli::words::{bytes, count, instant, table};

/// Windows of an output that are shown one by one.
const MOST_WINDOWS: usize = 20;

/// Flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    at: Where,

    /// Number of the checkpoint; the newest if it is left out
    epoch: Option<u64>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut place = Place::open(&args.at.place)?;
    let manifest = match args.epoch {
        None => newest(&mut place)?,
        Some(epoch) => find(&place, Epoch(epoch))?,
    };
    let windows = place.io.block_on(place.checkpoints.window_rows(&manifest));
    let windows = windows.map_err(anyhow::Error::from)?;
    match args.at.format {
        Format::Json => print_json(&as_json(&manifest, &windows)),
        Format::Text => say(as_text(&manifest, &windows).trim_end()),
    }
}

/// What the next start would go on from.
fn newest(place: &mut Place) -> Result<Manifest, Failure> {
    let newest = place.io.block_on(place.checkpoints.newest());
    let newest = newest.map_err(anyhow::Error::from)?;
    newest.ok_or_else(|| Failure::Runtime(anyhow!(place.without_checkpoints())))
}

fn find(place: &Place, wanted: Epoch) -> Result<Manifest, Failure> {
    let listed = place.io.block_on(place.checkpoints.list());
    let listed = listed.map_err(anyhow::Error::from)?;
    if listed.is_empty() {
        return Err(Failure::Runtime(anyhow!(place.without_checkpoints())));
    }
    let kept: Vec<String> = listed
        .iter()
        .map(|listed| listed.epoch.to_string())
        .collect();
    let found = listed.into_iter().find(|listed| listed.epoch == wanted);
    let Some(found) = found else {
        return Err(Failure::Runtime(anyhow!(
            "there is no checkpoint {wanted} in {}; there are {}",
            place.store.location(),
            kept.join(", ")
        )));
    };
    Ok(found.manifest.map_err(anyhow::Error::from)?)
}

fn as_json(manifest: &Manifest, windows: &BTreeMap<String, WindowRows>) -> serde_json::Value {
    json!({ "manifest": manifest, "open_windows": windows })
}

fn as_text(manifest: &Manifest, windows: &BTreeMap<String, WindowRows>) -> String {
    let state = manifest.files.values().map(|file| file.bytes).sum();
    let mut text = format!(
        "checkpoint {} of pipeline '{}'\n  written     {} by instance {}, generation {}, floodmark {}\n  \
         lineage     {}\n  state       {} in {}\n",
        manifest.epoch,
        manifest.pipeline,
        instant(manifest.created_ms),
        manifest.instance,
        manifest.generation,
        manifest.version,
        manifest.lineage,
        bytes(state),
        count(manifest.files.len() as u64, "file"),
    );
    for (name, source) in &manifest.sources {
        text.push_str(&source_text(name, source));
    }
    for (output, found) in windows {
        text.push_str(&windows_text(output, found));
    }
    for (name, sink) in &manifest.sinks {
        text.push_str(&sink_text(name, sink));
    }
    text
}

fn source_text(name: &str, source: &SourceState) -> String {
    let ledger = &source.ledger;
    let mut text = format!("\nsource '{name}' ({})\n", source.origin);
    for (output, counts) in &ledger.outputs {
        let _infallible = writeln!(
            text,
            "  ledger {output}: {} = {} taken + {} filtered + {} late + {} bad + {} without time",
            human(ledger.read),
            human(counts.taken),
            human(counts.filtered),
            human(counts.late),
            human(ledger.bad),
            human(ledger.null_time),
        );
    }
    if let Some(fired) = source.fired {
        let _infallible = writeln!(text, "  windows have fired up to {}", instant(fired.0));
    }
    let mut rows = vec![["  partition", "next offset", "watermark"].map(str::to_owned)];
    rows.extend(source.partitions.iter().map(|(id, state)| {
        let watermark = state
            .watermark
            .map_or("none".to_owned(), |mark| instant(mark.0));
        [
            format!("  {}/{id}", state.name),
            state.next.to_string(),
            watermark,
        ]
    }));
    text + &table(&rows) + "\n"
}

fn windows_text(output: &str, found: &WindowRows) -> String {
    let total: u64 = found.rows.values().sum();
    let mut text = format!(
        "\nopen windows of '{output}': {}, {} of state, {}\n",
        found.rows.len(),
        rows(total),
        bytes(found.bytes),
    );
    for (start, found) in found.rows.iter().take(MOST_WINDOWS) {
        let from = instant(start.0.div_euclid(1_000));
        let _infallible = writeln!(text, "  from {from}: {}", rows(*found));
    }
    if let Some(more) = found
        .rows
        .len()
        .checked_sub(MOST_WINDOWS)
        .filter(|more| *more > 0)
    {
        let _infallible = writeln!(text, "  and {more} more; --format json shows all");
    }
    text
}

fn sink_text(name: &str, sink: &SinkState) -> String {
    let shown = &sink.committed;
    let files = match shown.files {
        0 => String::new(),
        files => format!(" in {}", count(files, "file")),
    };
    let mut text = format!(
        "\nsink '{name}'\n  shown: {}{files}, {}\n",
        rows(shown.rows),
        bytes(shown.bytes)
    );
    if shown.refused > 0 {
        let _infallible = writeln!(text, "  too large, dead letters: {}", rows(shown.refused));
    }
    let staged = sink.work.get("files").and_then(|files| files.as_array());
    let open = sink.work.get("open").and_then(|open| open.as_array());
    for file in staged.into_iter().flatten() {
        let staged = &file["staged"];
        let place = match staged["place"]["file"]["hidden"].as_str() {
            Some(hidden) => format!("waits as {hidden}"),
            None => "staged by an older build".to_owned(),
        };
        let _infallible = writeln!(
            text,
            "  to publish: {} ({}, {}), {place}",
            staged["name"].as_str().unwrap_or_default(),
            rows(file["rows"].as_u64().unwrap_or_default()),
            bytes(staged["size"].as_u64().unwrap_or_default()),
        );
    }
    if let Some(open) = open.filter(|open| !open.is_empty()) {
        let _infallible = writeln!(text, "  files still open: {}", open.len());
    }
    let to_send = sink.work.get("rows").and_then(|rows| rows.as_u64());
    if let Some(to_send) = to_send.filter(|rows| *rows > 0) {
        let _infallible = writeln!(text, "  to send in one transaction: {}", rows(to_send));
    }
    if let Some(carried) = &sink.carried {
        let _infallible = writeln!(text, "  rows carried in {carried}");
    }
    if sink.work.is_null() && sink.carried.is_none() {
        text.push_str("  nothing left to do\n");
    }
    text
}

fn rows(rows: u64) -> String {
    match rows {
        1 => "1 row".to_owned(),
        rows => format!("{} rows", human(rows)),
    }
}
