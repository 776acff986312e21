//! Where checkpoints lie.
//!
//! ```text
//! <checkpoint path>/manifest/00000000000000000042.json
//! <checkpoint path>/state/00000000000000000042-2-windows-curated.arrow   epoch, generation, what
//! ```

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use bytes::Bytes;

use super::codec::{CodecError, decode_batches, decode_manifest, encode_manifest};
use super::manifest::{Manifest, StateFile};
use crate::storage::{PutNew, StorageError, Store};
use crate::units::{Epoch, Generation};

pub(super) const MANIFESTS: &str = "manifest";
pub(super) const STATES: &str = "state";

/// Why a checkpoint could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An object is not what was written.
    #[error(
        "checkpoint object '{name}' cannot be used: {source}. Restore the object from a backup, or \
         start with a new checkpoint path (the topic is then read again from `start`)"
    )]
    Unusable {
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: CodecError,
    },
    /// An object is gone.
    #[error(
        "checkpoint object '{name}' is missing. Restore it from a backup, or start with a new \
         checkpoint path (the topic is then read again from `start`)"
    )]
    Missing {
        /// Its name.
        name: String,
    },
    /// An invariant does not hold; nothing was written.
    #[error("the checkpoint would be wrong and was not written: {0}")]
    Invariant(String),
}

/// How often the newest manifest is looked for again because it was deleted as old meanwhile.
const NEWEST_ATTEMPTS: usize = 10;

/// Whose manifest holds the epoch now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// This instance's.
    Ours,
    /// Another instance's: this one is fenced.
    Taken,
}

/// Reads and writes checkpoints.
pub struct CheckpointStore {
    pub(super) store: Store,
    /// Checkpoints to keep.
    pub(super) retain: usize,
    /// Files that the checkpoints kept refer to.
    kept: BTreeMap<Epoch, BTreeSet<String>>,
}

/// Name of the state file that holds `what` for an epoch of a generation.
pub fn state_name(epoch: Epoch, generation: Generation, what: &str) -> String {
    format!("{STATES}/{:020}-{}-{what}.arrow", epoch.0, generation.0)
}

pub(super) fn manifest_name(epoch: Epoch) -> String {
    format!("{MANIFESTS}/{:020}.json", epoch.0)
}

pub(super) fn epoch_of(name: &str) -> Option<Epoch> {
    let file = name.rsplit('/').next()?;
    file.get(..20)?.parse().ok().map(Epoch)
}

impl CheckpointStore {
    /// Checkpoints in `store`, of which the newest `retain` are kept (at least one).
    pub fn new(store: Store, retain: usize) -> Self {
        Self {
            store,
            retain: retain.max(1),
            kept: BTreeMap::new(),
        }
    }

    /// The same place, for somebody who only reads.
    pub fn reader(&self) -> Self {
        Self::new(self.store.clone(), self.retain)
    }

    /// The newest checkpoint. A damaged one is an error, never skipped for an older one: that
    /// would repeat what has been made visible.
    pub async fn newest(&mut self) -> Result<Option<Manifest>, CheckpointError> {
        let (mut epochs, mut attempts) = (self.manifests().await?, NEWEST_ATTEMPTS);
        let (newest, manifest) = loop {
            let Some(newest) = epochs.last().copied() else {
                return Ok(None);
            };
            match self.read(newest).await {
                Ok(manifest) => break (newest, manifest),
                // It was listed: a running instance has taken later ones meanwhile and deleted it.
                Err(CheckpointError::Missing { .. }) if attempts > 1 => attempts -= 1,
                Err(error) => return Err(error),
            }
            epochs = self.manifests().await?;
        };
        let older = epochs.iter().rev().skip(1).take(self.retain);
        for epoch in older {
            // Nothing depends on an older one; a running instance may be deleting it.
            match self.read(*epoch).await {
                Ok(older) => {
                    self.kept.insert(*epoch, older.files.into_keys().collect());
                }
                Err(CheckpointError::Missing { .. }) => {}
                Err(error) => tracing::warn!(%error, "an older checkpoint cannot be read"),
            }
        }
        self.kept
            .insert(newest, manifest.files.keys().cloned().collect());
        Ok(Some(manifest))
    }

    /// Numbers of the manifests that are there.
    async fn manifests(&self) -> Result<BTreeSet<Epoch>, StorageError> {
        let entries = self.store.list(MANIFESTS).await?;
        Ok(entries
            .iter()
            .filter_map(|entry| epoch_of(&entry.name))
            .collect())
    }

    /// Reads one manifest.
    pub async fn read(&self, epoch: Epoch) -> Result<Manifest, CheckpointError> {
        let name = manifest_name(epoch);
        let Some(bytes) = self.store.get(&name).await? else {
            return Err(CheckpointError::Missing { name });
        };
        decode_manifest(&bytes).map_err(|source| CheckpointError::Unusable { name, source })
    }

    /// Writes state files, durable when it returns.
    pub async fn put_states(&self, states: Vec<(String, Bytes)>) -> Result<(), CheckpointError> {
        for (name, bytes) in states {
            self.store.put(&name, bytes).await?;
        }
        Ok(())
    }

    /// Writes a manifest, if its epoch is still free. Its state files must be written.
    pub async fn put(&mut self, manifest: &Manifest) -> Result<Stored, CheckpointError> {
        manifest.check().map_err(CheckpointError::Invariant)?;
        let bytes = encode_manifest(manifest)
            .map_err(|error| CheckpointError::Invariant(error.to_string()))?;
        let name = manifest_name(manifest.epoch);
        match self.store.put_new(&name, Bytes::from(bytes)).await? {
            PutNew::Exists => Ok(Stored::Taken),
            PutNew::Created if self.is_overtaken(manifest.epoch).await? => {
                self.store.delete(&name).await?;
                Ok(Stored::Taken)
            }
            PutNew::Created => {
                self.kept
                    .insert(manifest.epoch, manifest.files.keys().cloned().collect());
                Ok(Stored::Ours)
            }
        }
    }

    /// Whether a later epoch has a manifest. An instance that slept long enough finds its epoch
    /// free again, its successor's manifest of it having been deleted as old; the successor's
    /// newest one is always there.
    async fn is_overtaken(&self, epoch: Epoch) -> Result<bool, StorageError> {
        Ok(self
            .manifests()
            .await?
            .into_iter()
            .any(|other| other > epoch))
    }

    /// Reads a state file.
    pub async fn state(
        &self,
        name: &str,
        expected: &StateFile,
    ) -> Result<Vec<RecordBatch>, CheckpointError> {
        let Some(bytes) = self.store.get(name).await? else {
            return Err(CheckpointError::Missing {
                name: name.to_owned(),
            });
        };
        decode_batches(&bytes, expected).map_err(|source| CheckpointError::Unusable {
            name: name.to_owned(),
            source,
        })
    }

    /// Deletes checkpoints that are not kept any more, and state files that no kept one refers
    /// to. State files of epochs after the newest are left alone: they may be another
    /// instance's, whose manifest is on its way.
    pub async fn collect_garbage(&mut self) -> Result<usize, CheckpointError> {
        let Some(newest) = self.kept.keys().next_back().copied() else {
            return Ok(0);
        };
        while self.kept.len() > self.retain {
            self.kept.pop_first();
        }
        let oldest = self.kept.keys().next().copied().unwrap_or(newest);
        let mut deleted = 0;
        for epoch in self
            .manifests()
            .await?
            .into_iter()
            .filter(|epoch| *epoch < oldest)
        {
            self.store.delete(&manifest_name(epoch)).await?;
            deleted += 1;
        }
        let referred: BTreeSet<&String> = self.kept.values().flatten().collect();
        for entry in self.store.list(STATES).await? {
            let old = epoch_of(&entry.name).is_some_and(|epoch| epoch <= newest);
            if old && !referred.contains(&entry.name) {
                self.store.delete(&entry.name).await?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }
}
