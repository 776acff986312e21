//! What a checkpoint fixes at its barrier: the manifest so far and the batches that belong to it.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use bytes::Bytes;

use crate::checkpoint::{
    CheckpointError, CheckpointStore, ChunkRef, Manifest, SinkState, StateFile, Stored,
    WindowState, encode_batches, state_name,
};
use crate::sink::{Committed, PreCommit};
use crate::telemetry::spans;
use crate::units::EventMicros;

/// Everything of a checkpoint that was fixed at the barrier: the manifest so far, and the batches of
/// its new state files by name.
pub struct Frozen {
    /// The manifest, but for what sinks pre-commit.
    pub(super) manifest: Manifest,
    states: BTreeMap<String, Vec<RecordBatch>>,
    /// Files that earlier checkpoints wrote.
    known: BTreeMap<String, StateFile>,
}

/// A chunk of an open window: its state, the rows that went into it, and where to note where it was
/// stored.
pub type OpenChunk<'a> = (&'a RecordBatch, u64, &'a mut Option<ChunkRef>);

impl Frozen {
    /// Begins with a manifest that says where the sources stand; `known` are the files of the
    /// checkpoint before.
    pub fn new(manifest: Manifest, known: BTreeMap<String, StateFile>) -> Self {
        Self {
            manifest,
            states: BTreeMap::new(),
            known,
        }
    }

    /// Freezes the open windows of an output: chunks that no checkpoint has stored yet go into one
    /// new state file, and where is noted beside them.
    pub fn windows<'a>(
        &mut self,
        output: &str,
        fingerprint: &str,
        closed: BTreeSet<EventMicros>,
        windows: impl Iterator<Item = (EventMicros, Vec<OpenChunk<'a>>)>,
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
            closed,
        };
        for (start, chunks) in windows {
            let refs = chunks.into_iter().map(|(batch, rows, stored)| {
                let stored = stored.get_or_insert_with(|| {
                    batches.push(batch.clone());
                    ChunkRef {
                        file: file.clone(),
                        batch: batches.len() - 1,
                        rows,
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

    /// Writes state files, then the manifest.
    pub async fn store(
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
        let files = written.len();
        let bytes = written.iter().map(|(_, bytes)| bytes.len()).sum();
        store.put_states(written).await?;
        spans::states_stored(files, bytes);
        let outcome = store.put(&self.manifest).await?;
        Ok((self.manifest, outcome))
    }
}
