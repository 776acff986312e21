//! The sink's side of a checkpoint: which staged files wait for which manifest, and their way from
//! there to where readers look. It knows nothing of Parquet.

use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::uploads::StagedFile;
use crate::sink::{CommitPermit, Committed, SinkError};
use crate::storage::{StorageError, Store};
use crate::units::Epoch;

/// Files published at a time.
const PUBLISHED_AT_ONCE: usize = 16;

/// What the manifest says of a sink's work.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Work {
    /// Where the files are staged.
    location: String,
    /// Files to publish.
    pub files: Vec<StagedFile>,
    /// Files whose rows are carried.
    pub open: Vec<CarriedFile>,
}

impl Work {
    /// INV-NAME: every file has a name of its own. Files are in the order of their names.
    fn check(&self) -> Result<(), String> {
        let names = self.files.iter().map(|file| &file.staged.name);
        let twice = names.clone().zip(names.skip(1)).find(|(a, b)| a >= b);
        twice.map_or(Ok(()), |(name, next)| {
            Err(format!("INV-NAME: file {next} is listed after file {name}"))
        })
    }
}

/// A file that stays open over a checkpoint, which carries its rows.
#[derive(Debug, Serialize, Deserialize)]
pub struct CarriedFile {
    /// Where it will lie.
    pub directory: String,
    /// When it was opened, milliseconds since the epoch.
    pub opened_ms: i64,
}

/// Work that a manifest has or will have.
pub struct StagedWork {
    output: String,
    store: Store,
    awaiting: Option<(Epoch, Vec<StagedFile>)>,
}

impl StagedWork {
    /// No work, for an output and the store its files are staged in.
    pub fn new(output: &str, store: Store) -> Self {
        Self {
            output: output.to_owned(),
            store,
            awaiting: None,
        }
    }

    /// Describes files for the manifest of `epoch`, and keeps them until it is committed.
    pub fn pre_commit(
        &mut self,
        epoch: Epoch,
        mut files: Vec<StagedFile>,
        open: Vec<CarriedFile>,
    ) -> Result<serde_json::Value, SinkError> {
        // Work of an epoch that was given up is done with this one; publishing is idempotent.
        files.extend(
            self.awaiting
                .take()
                .into_iter()
                .flat_map(|(_, files)| files),
        );
        files.sort_unstable_by(|a, b| a.staged.name.cmp(&b.staged.name));
        let work = Work {
            location: self.store.location().to_owned(),
            files,
            open,
        };
        work.check().map_err(|reason| SinkError::Failed {
            attempted: format!("describing the work of output \"{}\"", self.output),
            reason,
        })?;
        let described = serde_json::to_value(&work);
        self.awaiting = Some((epoch, work.files));
        described.map_err(|error| SinkError::Failed {
            attempted: format!("describing the work of output \"{}\"", self.output),
            reason: error.to_string(),
        })
    }

    /// Publishes what waits for the manifest that `permit` is for. Idempotent.
    pub async fn commit(&mut self, permit: &CommitPermit) -> Result<Committed, SinkError> {
        let Some((epoch, files)) = &self.awaiting else {
            return Ok(Committed::default());
        };
        if *epoch != permit.epoch() {
            return Err(SinkError::Failed {
                attempted: format!("committing epoch {} of \"{}\"", permit.epoch(), self.output),
                reason: format!("the files that are staged belong to epoch {epoch}"),
            });
        }
        let committed = publish(&self.store, files).await?;
        self.awaiting = None;
        Ok(committed)
    }

    /// Publishes again what a manifest that is durable says is to be published: the proof is
    /// `permit`. Idempotent.
    pub async fn restore(
        &self,
        _permit: &CommitPermit,
        work: &Work,
    ) -> Result<Committed, SinkError> {
        Ok(publish(&self.store, &work.files).await?)
    }

    /// Reads a manifest's description of the work.
    pub fn read(&self, work: serde_json::Value) -> Result<Work, SinkError> {
        let attempted = || format!("taking up the work of output \"{}\"", self.output);
        if work.is_null() {
            return Ok(Work {
                location: self.store.location().to_owned(),
                ..Work::default()
            });
        }
        let work: Work = serde_json::from_value(work).map_err(|error| SinkError::Failed {
            attempted: attempted(),
            reason: format!("the checkpoint's description of it cannot be read: {error}"),
        })?;
        work.check().map_err(|reason| SinkError::Failed {
            attempted: attempted(),
            reason,
        })?;
        if work.location == self.store.location() {
            return Ok(work);
        }
        Err(SinkError::Misconfigured {
            attempted: attempted(),
            reason: format!(
                "its last files were staged in {}, but the pipeline file now says {}",
                work.location,
                self.store.location()
            ),
            hint: "Start once with the old path and stop it, so that its work is finished there; \
                   then change the path"
                .to_owned(),
        })
    }
}

async fn publish(store: &Store, files: &[StagedFile]) -> Result<Committed, StorageError> {
    let publish = |file: &StagedFile| {
        let (store, file) = (store.clone(), file.clone());
        async move {
            store.publish(&file.staged).await?;
            Ok::<_, StorageError>(file)
        }
    };
    futures::stream::iter(files.iter().map(publish))
        .buffer_unordered(PUBLISHED_AT_ONCE)
        .try_fold(Committed::default(), |mut sum, file| async move {
            sum += Committed {
                rows: file.rows,
                files: 1,
                bytes: file.staged.size,
                refused: 0,
            };
            Ok(sum)
        })
        .await
}
