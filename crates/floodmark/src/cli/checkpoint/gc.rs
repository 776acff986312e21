//! `floodmark checkpoint gc`.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use floodmark_engine::connect::file_outputs;
use floodmark_engine::sink::parquet::{listed_files, named_before};
use floodmark_engine::storage::{Entry, Store};
use floodmark_pipeline::Pipeline;

use super::place::Place;
use super::say;
use crate::cli::exit::Failure;
use crate::cli::generate::values::duration;
use crate::cli::words::{bytes, count};

/// Said wherever a bucket is involved.
const UPLOADS: &str = "Parts of files that dead instances have not finished cannot be listed here; \
they are never visible, but paid for. Let the bucket abort such uploads with a lifecycle rule \
(AbortIncompleteMultipartUpload): see docs/operations/running.md";

/// Flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Pipeline file, or the checkpoint's directory, or `s3://bucket/prefix` (with AWS_* variables);
    /// the outputs are looked at only with a pipeline file
    #[arg(value_name = "PATH_OR_FILE")]
    place: String,

    /// Remove only what was last written so long ago
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    older_than: Duration,

    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
}

/// Something to remove.
struct Doomed {
    store: Store,
    entry: Entry,
    why: &'static str,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let place = Place::open(&args.place)?;
    let before = SystemTime::now()
        .checked_sub(args.older_than)
        .unwrap_or(SystemTime::UNIX_EPOCH);
    let mut remote = place.store.is_remote();
    let mut doomed = checkpoint_objects(&place, before)?;
    match &place.pipeline {
        None => say("outputs are left alone: name the pipeline file to have them cleaned too")?,
        Some(pipeline) => {
            for (output, files) in output_files(&place, pipeline, before)? {
                remote |= output.is_remote();
                doomed.extend(files);
            }
        }
    }
    let verb = if args.dry_run {
        "would remove"
    } else {
        "removed"
    };
    for doomed in &doomed {
        let Doomed { store, entry, why } = doomed;
        if !args.dry_run {
            let removed = place.io.block_on(store.delete(&entry.name));
            removed.map_err(anyhow::Error::from)?;
        }
        let (at, size) = (store.url(&entry.name), bytes(entry.size));
        say(&format!("{verb} {at} ({size}): {why}"))?;
    }
    let size = bytes(doomed.iter().map(|doomed| doomed.entry.size).sum());
    say(&format!(
        "{verb} {}, {size}",
        count(doomed.len() as u64, "object")
    ))?;
    if remote {
        say(UPLOADS)?;
    }
    Ok(())
}

fn checkpoint_objects(place: &Place, before: SystemTime) -> Result<Vec<Doomed>, Failure> {
    let doom = |why| {
        let store = place.store.clone();
        move |entry| Doomed {
            store: store.clone(),
            entry,
            why,
        }
    };
    let superseded = place.io.block_on(place.checkpoints.superseded(before));
    let superseded = superseded.context("looking for what is superseded")?;
    // A checkpoint is put into a bucket whole. What is hidden there are outputs' staged files, maybe
    // another pipeline's.
    let on_disk = !place.store.is_remote();
    let leftovers = place
        .io
        .block_on(place.store.leftovers("", before, move |_| on_disk));
    let leftovers = leftovers.map_err(anyhow::Error::from)?;
    let superseded = superseded
        .into_iter()
        .map(doom("no kept checkpoint needs it"));
    let leftovers = leftovers
        .into_iter()
        .map(doom("a write that was not finished"));
    Ok(superseded.chain(leftovers).collect())
}

/// Hidden files of the outputs that instances before the newest one have left and that no checkpoint
/// lists.
fn output_files(
    place: &Place,
    pipeline: &Pipeline,
    before: SystemTime,
) -> Result<Vec<(Store, Vec<Doomed>)>, Failure> {
    let listed = place.io.block_on(place.checkpoints.list());
    let mut manifests = Vec::new();
    for listed in listed.map_err(anyhow::Error::from)? {
        let read = listed.manifest.context(
            "a checkpoint cannot be read, so what it lists is not known and nothing is removed; \
             `floodmark checkpoint verify` says more",
        );
        manifests.push(read?);
    }
    let Some(newest) = manifests.last().map(|manifest| manifest.generation) else {
        say("no checkpoint says which instances are gone: the outputs are left alone")?;
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    for (sink, named, spec) in file_outputs(pipeline) {
        let mut needed = BTreeSet::new();
        for manifest in &manifests {
            let Some(state) = manifest.sinks.get(&sink) else {
                continue;
            };
            let listed = listed_files(&state.work).with_context(|| {
                format!(
                    "checkpoint {} says of '{sink}' what this build cannot read, so which files it \
                     needs is not known and nothing is removed",
                    manifest.epoch
                )
            });
            needed.extend(listed?);
        }
        let abandoned = named_before(&pipeline.name, named, newest);
        let wanted = move |name: &str| abandoned(name) && !needed.contains(name);
        let store = place
            .io
            .block_on(Store::look_at(&spec.location, &pipeline.storage));
        let store = match store {
            Ok(store) => store,
            Err(error) => {
                say(&format!("left alone: {error}"))?;
                continue;
            }
        };
        let found = place.io.block_on(store.leftovers("", before, wanted));
        let doom = |entry| Doomed {
            store: store.clone(),
            entry,
            why: "staged by an instance that is gone, and no checkpoint lists it",
        };
        let doomed = found
            .map_err(anyhow::Error::from)?
            .into_iter()
            .map(doom)
            .collect();
        all.push((store, doomed));
    }
    Ok(all)
}
