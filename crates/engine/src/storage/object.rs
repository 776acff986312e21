//! A prefix in a bucket, or the same in memory.
//!
//! Staged objects are multipart uploads that are not completed: durable, invisible, and completed
//! by id at any later time by anyone who may write the bucket.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::error::{self, Cause, Trouble};
use super::stage::Place;
use super::{Entry, Replace};

/// Bytes of an upload's part; S3 wants at least 5 MiB of all but the last.
const PART_BYTES: usize = 8 << 20;

/// Parts of one store's uploads on their way at a time; with `PART_BYTES` the bound of its memory.
const PARTS_IN_FLIGHT: usize = 6;

/// S3's limit of parts.
const MAX_PARTS: usize = 10_000;

/// What is asked of a client.
pub trait Client: ObjectStore + MultipartStore {}

impl<T: ObjectStore + MultipartStore> Client for T {}

#[derive(Clone)]
pub(super) struct ObjectBackend {
    client: Arc<dyn Client>,
    prefix: String,
    parts: Arc<Semaphore>,
}

impl ObjectBackend {
    pub(super) fn new(client: Arc<dyn Client>, prefix: &str) -> Self {
        Self {
            client,
            prefix: prefix.trim_matches('/').to_owned(),
            parts: Arc::new(Semaphore::new(PARTS_IN_FLIGHT)),
        }
    }

    pub(super) async fn put(
        &self,
        name: &str,
        bytes: Bytes,
        replace: Replace,
    ) -> Result<(), Cause> {
        let mode = match replace {
            Replace::Always => PutMode::Overwrite,
            Replace::Never => PutMode::Create,
        };
        let put = self
            .client
            .put_opts(&self.path(name)?, bytes.into(), mode.into())
            .await;
        put.map(drop)
            .map_err(|error| error::from_object_store(&error))
    }

    pub(super) async fn get(&self, name: &str) -> Result<Bytes, Cause> {
        self.read(name, GetOptions::default())
            .await
            .map(|(_, bytes)| bytes)
    }

    /// The object's size and its last `wanted` bytes.
    pub(super) async fn tail(&self, name: &str, wanted: usize) -> Result<(u64, Bytes), Cause> {
        if wanted == 0 {
            // An empty range is no range.
            let meta = self.client.head(&self.path(name)?).await;
            return meta
                .map(|meta| (meta.size, Bytes::new()))
                .map_err(|error| error::from_object_store(&error));
        }
        let range = Some(GetRange::Suffix(wanted as u64));
        self.read(
            name,
            GetOptions {
                range,
                ..GetOptions::default()
            },
        )
        .await
    }

    async fn read(&self, name: &str, options: GetOptions) -> Result<(u64, Bytes), Cause> {
        let path = self.path(name)?;
        let read = async {
            let got = self.client.get_opts(&path, options).await?;
            let size = got.meta.size;
            got.bytes().await.map(|bytes| (size, bytes))
        };
        read.await.map_err(|error| error::from_object_store(&error))
    }

    pub(super) async fn list(&self, directory: &str) -> Result<Vec<Entry>, Cause> {
        let prefix = self.directory(directory)?;
        let skip = if self.prefix.is_empty() {
            0
        } else {
            self.prefix.len() + 1
        };
        self.client
            .list((!prefix.as_ref().is_empty()).then_some(&prefix))
            .map_ok(|meta| Entry {
                name: meta
                    .location
                    .as_ref()
                    .get(skip..)
                    .unwrap_or_default()
                    .to_owned(),
                size: meta.size,
                modified: meta.last_modified.into(),
            })
            .try_collect()
            .await
            .map_err(|error| error::from_object_store(&error))
    }

    pub(super) async fn delete(&self, name: &str) -> Result<(), Cause> {
        let path = self.path(name)?;
        self.client
            .delete(&path)
            .await
            .map_err(|error| error::from_object_store(&error))
    }

    pub(super) async fn stage(&self, name: &str) -> Result<UploadWriter, Cause> {
        let path = self.path(name)?;
        let id = self.client.create_multipart(&path).await;
        Ok(UploadWriter {
            upload: Upload {
                client: Arc::clone(&self.client),
                id: id.map_err(|error| error::from_object_store(&error))?,
                path,
            },
            runtime: Handle::current(),
            permits: Arc::clone(&self.parts),
            buffer: BytesMut::new(),
            parts: Vec::new(),
            in_flight: JoinSet::new(),
            finished: false,
        })
    }

    /// Completes an upload. `NotFound` if there is no such upload.
    pub(super) async fn publish(
        &self,
        name: &str,
        id: &str,
        parts: &[String],
    ) -> Result<(), Cause> {
        let path = self.path(name)?;
        let parts = parts
            .iter()
            .map(|tag| PartId {
                content_id: tag.clone(),
            })
            .collect();
        let id = id.to_owned();
        let completed = self.client.complete_multipart(&path, &id, parts).await;
        completed.map(drop).map_err(|error| upload_cause(&error))
    }

    pub(super) async fn abort(&self, name: &str, id: &str) -> Result<(), Cause> {
        let aborted = self
            .client
            .abort_multipart(&self.path(name)?, &id.to_owned())
            .await;
        aborted.map_err(|error| upload_cause(&error))
    }

    fn path(&self, name: &str) -> Result<Path, Cause> {
        if name.is_empty() {
            return Err(Cause::Other(Trouble::Misconfigured {
                reason: "an object needs a name".to_owned(),
                hint: "Choose another path".to_owned(),
            }));
        }
        self.directory(name)
    }

    fn directory(&self, name: &str) -> Result<Path, Cause> {
        Path::parse(format!("{}/{name}", self.prefix)).map_err(|error| {
            Cause::Other(Trouble::Misconfigured {
                reason: error.to_string(),
                hint: "Choose another path".to_owned(),
            })
        })
    }
}

/// Sorts an error about an upload's id; the store in memory has no error of its own for an
/// unknown one, and some servers answer one with 400. `InvalidPart` is what `MinIO` says of an
/// upload that another request is completing, or was completing when its client died: the parts'
/// entries are gone before the object is there. Either way the object tells.
fn upload_cause(error: &object_store::Error) -> Cause {
    let text = error.to_string();
    let gone = ["NoSuchUpload", "MultipartUpload not found", "InvalidPart"];
    if gone.iter().any(|code| text.contains(code)) {
        return Cause::NotFound;
    }
    error::from_object_store(error)
}

#[derive(Clone)]
struct Upload {
    client: Arc<dyn Client>,
    path: Path,
    id: String,
}

/// Writes one upload, a few parts at a time; aborts it when dropped unfinished.
pub(super) struct UploadWriter {
    upload: Upload,
    runtime: Handle,
    permits: Arc<Semaphore>,
    buffer: BytesMut,
    /// Entity tag of each part begun; empty until it has arrived.
    parts: Vec<String>,
    in_flight: JoinSet<Result<(usize, String), Cause>>,
    finished: bool,
}

impl UploadWriter {
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), Cause> {
        self.buffer.extend_from_slice(&bytes);
        while self.buffer.len() >= PART_BYTES {
            let part = self.buffer.split_to(PART_BYTES).freeze();
            self.send(part).await?;
        }
        Ok(())
    }

    pub(super) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    pub(super) async fn finish(mut self) -> Result<Place, Cause> {
        // An upload needs a part, even an empty one.
        if !self.buffer.is_empty() || self.parts.is_empty() {
            let part = self.buffer.split().freeze();
            self.send(part).await?;
        }
        while !self.in_flight.is_empty() {
            self.await_one().await?;
        }
        self.finished = true;
        Ok(Place::Upload {
            id: self.upload.id.clone(),
            parts: std::mem::take(&mut self.parts),
        })
    }

    async fn send(&mut self, bytes: Bytes) -> Result<(), Cause> {
        let index = self.parts.len();
        if index == MAX_PARTS {
            return Err(Cause::Other(Trouble::Misconfigured {
                reason: format!("a file of more than {MAX_PARTS} parts of {PART_BYTES} bytes"),
                hint: "Lower the target file size".to_owned(),
            }));
        }
        self.parts.push(String::new());
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return Err(shutting_down());
        };
        let upload = self.upload.clone();
        self.in_flight.spawn(async move {
            let _permit = permit;
            let Upload { client, path, id } = upload;
            let sent = client
                .put_part(&path, &id, index, PutPayload::from(bytes))
                .await;
            sent.map(|part| (index, part.content_id))
                .map_err(|error| upload_cause(&error))
        });
        Ok(())
    }

    async fn await_one(&mut self) -> Result<(), Cause> {
        match self.in_flight.join_next().await {
            None => Ok(()),
            Some(Ok(sent)) => {
                let (index, tag) = sent?;
                self.parts[index] = tag;
                Ok(())
            }
            Some(Err(_)) => Err(shutting_down()),
        }
    }
}

fn shutting_down() -> Cause {
    Cause::Other(Trouble::Unavailable {
        reason: "the program is shutting down".to_owned(),
    })
}

impl Drop for UploadWriter {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        self.in_flight.abort_all();
        let Upload { client, path, id } = self.upload.clone();
        // Best effort: what is not aborted stays invisible and falls to the bucket's lifecycle.
        self.runtime.spawn(async move {
            if let Err(error) = client.abort_multipart(&path, &id).await {
                tracing::debug!(%path, %error, "an unfinished upload was not aborted");
            }
        });
    }
}
