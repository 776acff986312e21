//! Where checkpoints lie: what the word on the command line names.

use std::path::Path;

use anyhow::{Context, anyhow};
use floodmark_engine::checkpoint::CheckpointStore;
use floodmark_engine::storage::Store;
use floodmark_pipeline::{Location, Pipeline, Storage};

use crate::cli::exit::Failure;
use crate::cli::load;

/// Checkpoints that a run keeps if its file does not say.
const DEFAULT_RETAIN: usize = 3;

/// An opened place of checkpoints.
pub(super) struct Place {
    pub(super) checkpoints: CheckpointStore,
    pub(super) store: Store,
    /// If a pipeline file was named.
    pub(super) pipeline: Option<Pipeline>,
    pub(super) io: tokio::runtime::Runtime,
}

impl Place {
    /// Opens what `text` names, to look at it: a pipeline file's checkpoint, a directory, a bucket.
    pub(super) fn open(text: &str) -> Result<Self, Failure> {
        let io = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting the I/O runtime")?;
        let pipeline = if is_file(text) {
            Some(load::load(Path::new(text), &load::variable)?.pipeline)
        } else {
            None
        };
        let (location, storage, retain) = match &pipeline {
            Some(pipeline) => {
                let checkpoint = &pipeline.checkpoint;
                let storage = pipeline.storage.clone();
                (checkpoint.location.clone(), storage, checkpoint.retain)
            }
            None => (location(text)?, Storage::default(), DEFAULT_RETAIN),
        };
        let store = io.block_on(Store::look_at(&location, &storage));
        let store = store.map_err(anyhow::Error::from)?;
        Ok(Self {
            checkpoints: CheckpointStore::new(store.clone(), retain),
            store,
            pipeline,
            io,
        })
    }

    /// What is said where nothing is.
    pub(super) fn without_checkpoints(&self) -> String {
        format!("no checkpoints in {}", self.store.location())
    }
}

fn is_file(text: &str) -> bool {
    !text.contains("://") && Path::new(text).is_file()
}

fn location(text: &str) -> Result<Location, Failure> {
    let location: Location = text.parse().map_err(Failure::Usage)?;
    match &location {
        Location::Local(path) if !path.exists() => Err(Failure::Runtime(anyhow!(
            "{text} is neither a pipeline file nor a directory. Name the pipeline file, or the \
             `path` under its [checkpoint]"
        ))),
        _ => Ok(location),
    }
}
