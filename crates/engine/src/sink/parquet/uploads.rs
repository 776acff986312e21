//! Files on their way into storage, a bounded number and amount at a time.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::storage::{StageWriter, Staged, StorageError, Store};

/// Files on their way at a time.
const MAX_FILES: usize = 16;

/// Bytes on their way at a time, unless one file alone is bigger.
const MAX_BYTES: usize = 32 << 20;

/// A staged file and the rows in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFile {
    /// Number of rows.
    pub rows: u64,
    /// The file.
    pub staged: Staged,
}

/// An encoded file, or the end of one.
pub struct Encoded {
    /// Its name.
    pub name: String,
    /// Number of rows.
    pub rows: u64,
    /// Where the file's beginning went.
    pub begun: Option<StageWriter>,
    /// What is left of it.
    pub bytes: Bytes,
}

struct Arrived {
    bytes: usize,
    file: Result<StagedFile, StorageError>,
}

/// Stages files in the background. Dropped, it gives up what is still on its way.
pub(super) struct Uploads {
    store: Store,
    runtime: Handle,
    under_way: JoinSet<Arrived>,
    bytes: usize,
    arrived: Vec<StagedFile>,
}

impl Uploads {
    pub(super) fn new(store: Store, runtime: Handle) -> Self {
        Self {
            store,
            runtime,
            under_way: JoinSet::new(),
            bytes: 0,
            arrived: Vec::new(),
        }
    }

    /// Takes a file; waits while too much is on its way.
    pub(super) fn push(&mut self, file: Encoded) -> Result<(), StorageError> {
        let bytes = file.bytes.len();
        while self.under_way.len() >= MAX_FILES
            || (self.bytes + bytes > MAX_BYTES && !self.under_way.is_empty())
        {
            self.await_one()?;
        }
        self.bytes += bytes;
        let store = self.store.clone();
        self.under_way.spawn_on(
            async move {
                Arrived {
                    bytes,
                    file: stage(&store, file).await,
                }
            },
            &self.runtime,
        );
        Ok(())
    }

    /// Waits for everything pushed and hands it over.
    pub(super) fn finish(&mut self) -> Result<Vec<StagedFile>, StorageError> {
        while !self.under_way.is_empty() {
            self.await_one()?;
        }
        Ok(std::mem::take(&mut self.arrived))
    }

    /// What has arrived and was not handed over.
    pub(super) fn take_arrived(&mut self) -> Vec<StagedFile> {
        std::mem::take(&mut self.arrived)
    }

    fn await_one(&mut self) -> Result<(), StorageError> {
        match self.runtime.block_on(self.under_way.join_next()) {
            None => Ok(()),
            Some(Ok(Arrived { bytes, file })) => {
                self.bytes -= bytes;
                self.arrived.push(file?);
                Ok(())
            }
            Some(Err(_)) => Err(StorageError::Unavailable {
                attempted: format!("staging a file in {}", self.store.location()),
                reason: "the program is shutting down".to_owned(),
            }),
        }
    }
}

/// Makes a file durable and leaves it invisible.
pub async fn stage(store: &Store, file: Encoded) -> Result<StagedFile, StorageError> {
    let mut writer = match file.begun {
        Some(writer) => writer,
        None => store.stage(&file.name).await?,
    };
    writer.write(file.bytes).await?;
    Ok(StagedFile {
        rows: file.rows,
        staged: writer.finish().await?,
    })
}
