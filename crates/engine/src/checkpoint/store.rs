//! Where checkpoints lie.
//!
//! ```text
//! <checkpoint path>/manifest/00000000000000000042.json
//! <checkpoint path>/state/00000000000000000042-2-windows-curated.arrow   epoch, generation, what
//! <checkpoint path>/newest                                               the newest epoch's number
//! ```
//!
//! The newest manifest is found by listing. `newest` is written after it and before anything of its
//! epoch becomes visible, so that a manifest which was lost is missed: to go on from an older one
//! would show results again, or none in their place.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use bytes::Bytes;

use super::codec::{CodecError, decode_batches, decode_manifest, encode_manifest};
use super::manifest::{Link, Manifest, StateFile};
use crate::storage::{PutNew, StorageError, Store};
use crate::units::{Epoch, Generation};

pub(super) const MANIFESTS: &str = "manifest";
pub(super) const STATES: &str = "state";
pub(super) const NEWEST: &str = "newest";

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
    /// The newest manifest is gone and older ones are not.
    #[error(
        "checkpoint {noted} is missing in {location}: '{NEWEST}' says that it was written, but {found}. \
         Results of it may have been shown, so an older one cannot be used. Restore '{}' and the \
         state files of that epoch from a backup, or start with new checkpoint and output paths (the \
         topic is then read again from `start`)",
        manifest_name(*.noted)
    )]
    Behind {
        /// Where checkpoints lie.
        location: String,
        /// The epoch that was noted.
        noted: Epoch,
        /// What there is.
        found: String,
    },
    /// Manifests that cannot have been written one after the other.
    #[error(
        "the checkpoints in {location} contradict each other: {reason}. Two instances have written \
         side by side, which conditional writes exclude, or objects were copied there. Find out \
         which results were shown; then start with new checkpoint and output paths"
    )]
    Disorder {
        /// Where checkpoints lie.
        location: String,
        /// What is wrong.
        reason: String,
    },
    /// An instance that runs replaces checkpoints faster than one can be read.
    #[error(
        "checkpoints in {location} are replaced faster than they can be read: {NEWEST_ATTEMPTS} times \
         the newest one was gone before it had arrived. Another instance runs there; stop it first, \
         or give it a longer checkpoint interval"
    )]
    Moving {
        /// Where checkpoints lie.
        location: String,
    },
    /// `newest` does not hold a number.
    #[error(
        "checkpoint object '{NEWEST}' cannot be used: it holds no epoch's number. Restore it from a \
         backup, or write the number of the newest manifest into it"
    )]
    Unnoted,
    /// An invariant does not hold; nothing was written.
    #[error("the checkpoint would be wrong and was not written: {0}")]
    Invariant(String),
}

impl CheckpointError {
    /// All manifests are gone, that of this instance among them.
    pub(super) fn gone() -> Self {
        Self::Missing {
            name: MANIFESTS.to_owned(),
        }
    }
}

/// How often the newest manifest is looked for while an instance that runs puts later ones.
pub(super) const NEWEST_ATTEMPTS: usize = 10;

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
    /// The newest manifest that was read or put.
    last: Option<Link>,
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
            last: None,
        }
    }

    /// The same place, for somebody who only reads.
    pub fn reader(&self) -> Self {
        Self::new(self.store.clone(), self.retain)
    }

    /// The newest checkpoint. A damaged one is an error, never skipped for an older one: that
    /// would repeat what has been made visible. So is one that is missing although it was noted
    /// (INV-NOTE), or that does not follow from those before it (INV-CHAIN).
    pub async fn newest(&mut self) -> Result<Option<Manifest>, CheckpointError> {
        let (mut seen, mut attempts) = (None, NEWEST_ATTEMPTS);
        let (epochs, manifest) = loop {
            // Read before the list: an instance that still runs goes on writing both.
            let noted = self.noted().await?;
            let epochs = self.manifests().await?;
            let last = epochs.last().copied();
            let missed = match (noted, last) {
                (Some(noted), last) if last < Some(noted) => self.behind(noted, last),
                (_, None) => return Ok(None),
                (_, Some(last)) => match self.read(last).await {
                    Ok(manifest) => break (epochs, manifest),
                    Err(error @ CheckpointError::Missing { .. }) => error,
                    Err(error) => return Err(error),
                },
            };
            // It was noted or listed, and an instance that runs may have put later ones meanwhile and
            // deleted it as old. If nothing has moved since the last look, it is lost.
            if seen.replace((noted, last)) == Some((noted, last)) {
                return Err(missed);
            }
            attempts -= 1;
            if attempts == 0 {
                return Err(self.moving());
            }
        };
        let newest = manifest.epoch;
        let older = epochs.iter().rev().skip(1).take(self.retain);
        for epoch in older {
            // Nothing depends on an older one; a running instance may be deleting it.
            match self.read(*epoch).await {
                Ok(older) => {
                    let checked = older.link().check_before(&manifest.link());
                    checked.map_err(|reason| self.disorder(reason))?;
                    self.kept.insert(*epoch, older.files.into_keys().collect());
                }
                Err(CheckpointError::Missing { .. }) => {}
                Err(error) => tracing::warn!(%error, "an older checkpoint cannot be read"),
            }
        }
        self.kept
            .insert(newest, manifest.files.keys().cloned().collect());
        self.last = Some(manifest.link());
        Ok(Some(manifest))
    }

    /// What `newest` says.
    pub(super) async fn noted(&self) -> Result<Option<Epoch>, CheckpointError> {
        let Some(bytes) = self.store.get(NEWEST).await? else {
            return Ok(None);
        };
        let text = str::from_utf8(&bytes).ok();
        let number = text.and_then(|text| text.trim_end().parse().ok());
        number.map(Epoch).map(Some).ok_or(CheckpointError::Unnoted)
    }

    fn disorder(&self, reason: String) -> CheckpointError {
        CheckpointError::Disorder {
            location: self.store.location().to_owned(),
            reason,
        }
    }

    pub(super) fn moving(&self) -> CheckpointError {
        CheckpointError::Moving {
            location: self.store.location().to_owned(),
        }
    }

    pub(super) fn behind(&self, noted: Epoch, last: Option<Epoch>) -> CheckpointError {
        CheckpointError::Behind {
            location: self.store.location().to_owned(),
            noted,
            found: last.map_or_else(
                || "there is no manifest".to_owned(),
                |last| format!("the newest manifest is that of {last}"),
            ),
        }
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
        let decoded = decode_manifest(&bytes).and_then(|manifest| {
            if manifest.epoch == epoch {
                return Ok(manifest);
            }
            let says = format!(
                "INV-CHAIN: it says that it is checkpoint {}",
                manifest.epoch
            );
            Err(CodecError::Damaged(says))
        });
        decoded.map_err(|source| CheckpointError::Unusable { name, source })
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
        let link = manifest.link();
        if let Some(last) = &self.last {
            last.check_next(&link).map_err(CheckpointError::Invariant)?;
        }
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
                let note = format!("{}\n", manifest.epoch.0);
                self.store.put(NEWEST, Bytes::from(note)).await?;
                self.kept
                    .insert(manifest.epoch, manifest.files.keys().cloned().collect());
                self.last = Some(link);
                Ok(Stored::Ours)
            }
        }
    }

    /// Whether a later epoch has a manifest. An instance that slept long enough finds its epoch
    /// free again, its successor's manifest of it having been deleted as old; the successor's
    /// newest one is always there.
    pub async fn is_overtaken(&self, epoch: Epoch) -> Result<bool, CheckpointError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(epoch: u64) -> Manifest {
        Manifest {
            pipeline: "p".to_owned(),
            epoch: Epoch(epoch),
            generation: Generation(1),
            instance: "i".to_owned(),
            lineage: "i".to_owned(),
            created_ms: 0,
            version: "0".to_owned(),
            sources: BTreeMap::new(),
            windows: BTreeMap::new(),
            sinks: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    async fn with_epochs(epochs: u64) -> (Store, CheckpointStore) {
        let store = Store::in_memory();
        let mut checkpoints = CheckpointStore::new(store.clone(), 3);
        for epoch in 1..=epochs {
            let stored = checkpoints.put(&manifest(epoch)).await;
            assert_eq!(stored.expect("put"), Stored::Ours);
        }
        (store, checkpoints)
    }

    #[tokio::test]
    async fn a_newest_manifest_that_was_lost_is_missed_and_no_older_one_is_used() {
        let (store, mut checkpoints) = with_epochs(3).await;
        let newest = checkpoints.newest().await.expect("read").expect("there");
        assert_eq!(newest.epoch, Epoch(3));

        store.delete(&manifest_name(Epoch(3))).await.expect("lost");
        let error = checkpoints.newest().await.expect_err("missed").to_string();
        assert!(error.contains("checkpoint 3 is missing"), "{error}");
        assert!(error.contains(&manifest_name(Epoch(3))), "{error}");
        assert!(
            error.contains("the newest manifest is that of 2"),
            "{error}"
        );
        for epoch in [1, 2] {
            let name = manifest_name(Epoch(epoch));
            store.delete(&name).await.expect("lost");
        }
        let error = checkpoints.newest().await.expect_err("missed").to_string();
        assert!(error.contains("there is no manifest"), "{error}");
    }

    #[tokio::test]
    async fn a_note_that_lags_behind_or_is_not_there_says_nothing() {
        let (store, mut checkpoints) = with_epochs(2).await;
        // Death between a manifest and its note; then a checkpoint of before there were notes.
        store
            .put(NEWEST, Bytes::from("1\n"))
            .await
            .expect("written");
        let newest = checkpoints.newest().await.expect("read").expect("there");
        assert_eq!(newest.epoch, Epoch(2));
        store.delete(NEWEST).await.expect("deleted");
        let newest = checkpoints.newest().await.expect("read").expect("there");
        assert_eq!(newest.epoch, Epoch(2));
    }

    #[tokio::test]
    async fn a_note_that_is_no_number_is_an_error() {
        let (store, mut checkpoints) = with_epochs(1).await;
        store.put(NEWEST, Bytes::new()).await.expect("written");
        let error = checkpoints.newest().await.expect_err("damaged");
        assert!(matches!(error, CheckpointError::Unnoted), "{error}");
    }
}
