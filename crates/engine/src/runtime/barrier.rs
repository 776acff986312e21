//! One checkpoint on its way: what the coordinator waits for, and the manifest that comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arrow::array::RecordBatch;
use bytes::Bytes;

use super::message::{SinkId, WorkerId, WorkerView};
use crate::checkpoint::{
    CheckpointError, CheckpointStore, ChunkRef, Manifest, SinkState, SourceState, StateFile,
    Stored, WindowState, encode_batches, state_name,
};
use crate::sink::{Committed, PreCommit};
use crate::units::{Epoch, Generation};
use crate::window::OpenWindows;

/// A checkpoint between its barrier and its last commit.
pub(super) struct Barrier {
    pub(super) epoch: Epoch,
    /// Whether the run ends with it.
    pub(super) last: bool,
    pub(super) started: Duration,
    pub(super) stage: Stage,
}

/// What is waited for.
pub(super) enum Stage {
    /// Workers, between two batches.
    Workers {
        missing: BTreeSet<WorkerId>,
        views: BTreeMap<WorkerId, WorkerView>,
    },
    /// Sinks, to make their rows durable.
    Sinks {
        missing: BTreeSet<SinkId>,
        done: BTreeMap<SinkId, SinkState>,
        frozen: Box<Frozen>,
    },
    /// The store.
    Store,
    /// The store, for a manifest which says that nothing is left to do.
    Settle,
    /// Sinks, to make their rows visible.
    Commits {
        missing: BTreeSet<SinkId>,
        manifest: Box<Manifest>,
    },
}

/// Everything of a checkpoint that was fixed at the barrier: the manifest so far, and the batches of
/// its new state files by name.
pub(super) struct Frozen {
    pub(super) manifest: Manifest,
    pub(super) states: BTreeMap<String, Vec<RecordBatch>>,
    /// Files that earlier checkpoints wrote.
    pub(super) known: BTreeMap<String, StateFile>,
}

impl Frozen {
    /// Freezes the open windows of an output: chunks that no checkpoint has stored yet go into one
    /// new state file.
    pub(super) fn windows(
        &mut self,
        output: &str,
        fingerprint: &str,
        open: &mut OpenWindows<ChunkRef>,
    ) {
        let file = state_name(
            self.manifest.epoch,
            self.manifest.generation,
            &format!("windows-{output}"),
        );
        let mut batches: Vec<RecordBatch> = Vec::new();
        let mut state = WindowState {
            fingerprint: fingerprint.to_owned(),
            open: BTreeMap::new(),
            closed: open.closed().clone(),
        };
        for (start, chunks) in open.windows_mut() {
            let refs = chunks.iter_mut().map(|chunk| {
                let stored = chunk.stored.get_or_insert_with(|| {
                    batches.push(chunk.chunk.batch().clone());
                    ChunkRef {
                        file: file.clone(),
                        batch: batches.len() - 1,
                        rows: chunk.chunk.rows(),
                    }
                });
                stored.clone()
            });
            state.open.insert(start, refs.collect());
        }
        if !batches.is_empty() {
            self.states.insert(file, batches);
        }
        self.manifest.windows.insert(output.to_owned(), state);
    }

    /// Takes in what a sink pre-committed.
    pub(super) fn sink(
        &mut self,
        name: &str,
        pre_commit: PreCommit,
        committed: Committed,
    ) -> SinkState {
        let Manifest {
            epoch, generation, ..
        } = self.manifest;
        let carried = (!pre_commit.carried.is_empty()).then(|| {
            let file = state_name(epoch, generation, &format!("carried-{name}"));
            self.states.insert(file.clone(), pre_commit.carried);
            file
        });
        SinkState {
            epoch,
            work: pre_commit.work,
            carried,
            committed,
        }
    }

    /// Writes state files and manifest.
    pub(super) async fn store(
        mut self,
        store: &mut CheckpointStore,
    ) -> Result<(Manifest, Stored), CheckpointError> {
        let mut written = Vec::new();
        for (name, batches) in &self.states {
            let (bytes, file) = encode_batches(batches)
                .map_err(|error| CheckpointError::Invariant(error.to_string()))?;
            self.manifest.files.insert(name.clone(), file);
            written.push((name.clone(), Bytes::from(bytes)));
        }
        let chunks = self
            .manifest
            .windows
            .values()
            .flat_map(|w| w.open.values().flatten());
        for chunk in chunks {
            if let Some(file) = self.known.get(&chunk.file) {
                self.manifest.files.insert(chunk.file.clone(), file.clone());
            }
        }
        store.put_states(written).await?;
        let outcome = store.put(&self.manifest).await?;
        Ok((self.manifest, outcome))
    }
}

/// The manifest after one whose work is done: nothing is left to commit, so the pipeline file may
/// change freely until the next start.
pub(super) fn settled(mut manifest: Manifest) -> Manifest {
    manifest.epoch = manifest.epoch.next();
    for sink in manifest.sinks.values_mut() {
        sink.work = serde_json::Value::Null;
        sink.carried = None;
    }
    let chunks = manifest
        .windows
        .values()
        .flat_map(|window| window.open.values().flatten());
    let referred: BTreeSet<&String> = chunks.map(|chunk| &chunk.file).collect();
    manifest.files.retain(|file, _| referred.contains(file));
    manifest
}

/// A manifest without content, the first of a lineage of its own.
pub(super) fn blank(
    pipeline: &str,
    epoch: Epoch,
    generation: Generation,
    instance: &str,
    created_ms: i64,
) -> Manifest {
    Manifest {
        pipeline: pipeline.to_owned(),
        epoch,
        generation,
        instance: instance.to_owned(),
        lineage: instance.to_owned(),
        created_ms,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        sources: BTreeMap::<String, SourceState>::new(),
        windows: BTreeMap::new(),
        sinks: BTreeMap::new(),
        files: BTreeMap::new(),
    }
}
