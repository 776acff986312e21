//! Looking at checkpoints from outside: what there is, whether it is sound, what may go.
//!
//! Nothing here claims anything. What is removed is what a run would remove itself: what no kept
//! checkpoint refers to, once it is old enough to be nobody's work in progress.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use arrow::array::RecordBatch;
use serde::Serialize;

use super::manifest::{Manifest, StateFile};
use super::store::{
    CheckpointError, CheckpointStore, MANIFESTS, NEWEST, NEWEST_ATTEMPTS, STATES, epoch_of,
    manifest_name,
};
use crate::storage::{Entry, is_probe};
use crate::units::{Epoch, EventMicros};

/// A manifest that is there.
#[derive(Debug)]
pub struct Listed {
    /// Its number.
    pub epoch: Epoch,
    /// Bytes of the manifest.
    pub bytes: u64,
    /// What it says, unless it cannot be used.
    pub manifest: Result<Manifest, CheckpointError>,
}

/// Rows of an output's open windows.
#[derive(Debug, Default, Serialize)]
pub struct WindowRows {
    /// Groups, by window start, in all of its chunks.
    pub rows: BTreeMap<EventMicros, u64>,
    /// Bytes of the state files they lie in.
    pub bytes: u64,
}

/// What is wrong with a checkpoint object.
#[derive(Debug, Serialize)]
pub struct Damage {
    /// Its name.
    pub object: String,
    /// Number of the newest checkpoint that needs it.
    pub epoch: Epoch,
    /// What is wrong.
    pub reason: String,
}

/// What a verification has read.
#[derive(Debug, Default, Serialize)]
pub struct Verified {
    /// The newest checkpoint, which is the one that counts.
    pub newest: Option<Epoch>,
    /// Manifests.
    pub manifests: usize,
    /// State files, each once.
    pub state_files: usize,
    /// Bytes of both.
    pub bytes: u64,
    /// What is wrong, newest checkpoint first.
    pub damage: Vec<Damage>,
}

impl CheckpointStore {
    /// All manifests, oldest first. One that a running instance deletes meanwhile is left out.
    pub async fn list(&self) -> Result<Vec<Listed>, CheckpointError> {
        let mut listed = Vec::new();
        for entry in self.store.list(MANIFESTS).await? {
            let Some(epoch) = epoch_of(&entry.name) else {
                continue;
            };
            let manifest = self.read(epoch).await;
            if !matches!(manifest, Err(CheckpointError::Missing { .. })) {
                let bytes = entry.size;
                listed.push(Listed {
                    epoch,
                    bytes,
                    manifest,
                });
            }
        }
        Ok(listed)
    }

    /// Reads the open windows of every output of a manifest.
    pub async fn window_rows(
        &self,
        manifest: &Manifest,
    ) -> Result<BTreeMap<String, WindowRows>, CheckpointError> {
        let mut all = BTreeMap::new();
        for (output, state) in &manifest.windows {
            let mut found = WindowRows::default();
            let mut files: BTreeMap<&str, Vec<RecordBatch>> = BTreeMap::new();
            for (start, chunks) in &state.open {
                let rows = found.rows.entry(*start).or_default();
                for chunk in chunks {
                    if !files.contains_key(chunk.file.as_str()) {
                        // INV-FILES was checked when the manifest was read.
                        let Some(listed) = manifest.files.get(&chunk.file) else {
                            continue;
                        };
                        found.bytes += listed.bytes;
                        files.insert(&chunk.file, self.state(&chunk.file, listed).await?);
                    }
                    let batch = files
                        .get(chunk.file.as_str())
                        .and_then(|f| f.get(chunk.batch));
                    *rows += batch.map_or(0, |batch| batch.num_rows() as u64);
                }
            }
            all.insert(output.clone(), found);
        }
        Ok(all)
    }

    /// Reads every manifest and every state file that one lists, and checks all that is known about
    /// them.
    pub async fn verify(&self) -> Result<Verified, CheckpointError> {
        let mut verified = Verified::default();
        // Read before the list: an instance that runs goes on writing both.
        let noted = self.noted().await;
        let mut batches: BTreeMap<String, (StateFile, Result<usize, String>)> = BTreeMap::new();
        let mut later: Option<Manifest> = None;
        for listed in self.list().await?.into_iter().rev() {
            verified.newest.get_or_insert(listed.epoch);
            verified.manifests += 1;
            verified.bytes += listed.bytes;
            let mut damaged = |object: &str, reason: String| {
                verified.damage.push(Damage {
                    object: object.to_owned(),
                    epoch: listed.epoch,
                    reason,
                });
            };
            let name = manifest_name(listed.epoch);
            let manifest = match listed.manifest {
                Ok(manifest) => manifest,
                Err(CheckpointError::Unusable { source, .. }) => {
                    damaged(&name, source.to_string());
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(later) = &later {
                let checked = manifest.link().check_before(&later.link());
                if let Err(reason) = checked {
                    damaged(&name, reason);
                }
            }
            for (file, expected) in &manifest.files {
                let known = batches
                    .get(file)
                    .is_some_and(|(known, _)| known == expected);
                if known {
                    continue;
                }
                let read = match self.state(file, expected).await {
                    Ok(read) => Ok(read.len()),
                    Err(CheckpointError::Missing { .. }) => Err("it is missing".to_owned()),
                    Err(CheckpointError::Unusable { source, .. }) => Err(source.to_string()),
                    Err(error) => return Err(error),
                };
                if let Err(reason) = &read {
                    damaged(file, reason.clone());
                }
                verified.state_files += 1;
                verified.bytes += expected.bytes;
                batches.insert(file.clone(), (expected.clone(), read));
            }
            for (output, state) in &manifest.windows {
                for chunk in state.open.values().flatten() {
                    let there = batches
                        .get(&chunk.file)
                        .and_then(|(_, read)| read.as_ref().ok());
                    if there.is_some_and(|there| chunk.batch >= *there) {
                        let reason = format!("it has no batch {} for '{output}'", chunk.batch);
                        verified.damage.push(Damage {
                            object: chunk.file.clone(),
                            epoch: listed.epoch,
                            reason,
                        });
                    }
                }
            }
            later = Some(manifest);
        }
        verify_note(noted, &mut verified)?;
        Ok(verified)
    }

    /// What is there and not needed any more: manifests before the newest `retain`, and state files
    /// that no kept manifest refers to, and what starts wrote to prove that they can; all last
    /// written before `before`. State files after the newest manifest are left alone: theirs may be on
    /// its way.
    pub async fn superseded(&self, before: SystemTime) -> Result<Vec<Entry>, CheckpointError> {
        let mut missed = None;
        for _ in 0..NEWEST_ATTEMPTS {
            match self.superseded_now(before).await {
                // Listed and then gone: replaced by a running instance, or lost if it is missed again.
                Err(CheckpointError::Missing { name }) if missed.as_ref() != Some(&name) => {
                    missed = Some(name);
                }
                outcome => return outcome,
            }
        }
        Err(self.moving())
    }

    async fn superseded_now(&self, before: SystemTime) -> Result<Vec<Entry>, CheckpointError> {
        let noted = self.noted().await?;
        let mut manifests = self.store.list(MANIFESTS).await?;
        manifests.retain(|entry| epoch_of(&entry.name).is_some());
        let kept = manifests.split_off(manifests.len().saturating_sub(self.retain));
        let newest = kept.last().and_then(|entry| epoch_of(&entry.name));
        if let Some(noted) = noted.filter(|noted| newest < Some(*noted)) {
            return Err(self.behind(noted, newest));
        }
        let Some(newest) = newest else {
            return Ok(Vec::new());
        };
        let mut referred = BTreeSet::new();
        for epoch in kept.iter().filter_map(|entry| epoch_of(&entry.name)) {
            match self.read(epoch).await {
                Ok(manifest) => referred.extend(manifest.files.into_keys()),
                // A running instance has deleted it.
                Err(CheckpointError::Missing { .. }) if epoch != newest => {}
                Err(error) => return Err(error),
            }
        }
        let states = self.store.list(STATES).await?.into_iter().filter(|entry| {
            epoch_of(&entry.name).is_some_and(|epoch| epoch <= newest)
                && !referred.contains(&entry.name)
        });
        let probes = self.store.list("").await?;
        let probes = probes.into_iter().filter(|entry| is_probe(&entry.name));
        let all = manifests.into_iter().chain(states).chain(probes);
        Ok(all.filter(|entry| entry.modified < before).collect())
    }
}

/// INV-NOTE: the newest manifest was not lost.
fn verify_note(
    noted: Result<Option<Epoch>, CheckpointError>,
    verified: &mut Verified,
) -> Result<(), CheckpointError> {
    let lost = match noted {
        Ok(Some(noted)) if verified.newest < Some(noted) => Damage {
            object: manifest_name(noted),
            epoch: noted,
            reason: format!("it is missing, '{NEWEST}' says that it was written"),
        },
        Ok(_) => return Ok(()),
        Err(CheckpointError::Unnoted) => Damage {
            object: NEWEST.to_owned(),
            epoch: verified.newest.unwrap_or(Epoch(0)),
            reason: "it holds no checkpoint's number".to_owned(),
        },
        Err(error) => return Err(error),
    };
    verified.newest = Some(lost.epoch);
    verified.damage.insert(0, lost);
    Ok(())
}
