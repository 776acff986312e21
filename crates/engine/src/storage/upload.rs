//! Writing a hidden object of a bucket: in one request if it is small, else part by part while it
//! grows, so that memory stays bounded.
//!
//! The upload's end is before the manifest that names the object. If the client dies at it, or the
//! server loses the upload, there is nothing that a manifest promises: the rows are read again.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::Pause;
use super::error::{self, Cause, Trouble};
use super::object::{ObjectBackend, hidden_name, shutting_down};

/// Bytes of an upload's part; S3 wants at least 5 MiB of all but the last.
const PART_BYTES: usize = 8 << 20;

/// The largest object that S3 copies in one request.
const MAX_OBJECT_BYTES: u64 = 5 << 30;

/// How often the object is looked for when the answer to an upload's end is that there is no such
/// upload, and the pause before each look: an earlier request may still be at work on it.
const LOOKS: usize = 10;
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// Writes one hidden object, a few parts at a time; gives it up when dropped unfinished.
pub(super) struct UploadWriter {
    backend: ObjectBackend,
    path: Path,
    hidden: String,
    pause: Pause,
    runtime: Handle,
    size: u64,
    buffer: BytesMut,
    /// The upload's id, once there is more than one part's bytes.
    id: Option<String>,
    /// Entity tag of each part begun; empty until it has arrived.
    parts: Vec<String>,
    in_flight: JoinSet<Result<(usize, String), Cause>>,
    finished: bool,
}

impl UploadWriter {
    /// Begins to write the hidden object that is to be `name`.
    pub(super) fn new(backend: ObjectBackend, name: &str, pause: Pause) -> Result<Self, Cause> {
        backend.path(name)?;
        let hidden = hidden_name(name);
        Ok(Self {
            path: backend.path(&hidden)?,
            backend,
            hidden,
            pause,
            runtime: Handle::current(),
            size: 0,
            buffer: BytesMut::new(),
            id: None,
            parts: Vec::new(),
            in_flight: JoinSet::new(),
            finished: false,
        })
    }

    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), Cause> {
        self.size += bytes.len() as u64;
        if self.size > MAX_OBJECT_BYTES {
            return Err(Cause::Other(Trouble::Misconfigured {
                reason: format!("a file of more than {MAX_OBJECT_BYTES} bytes"),
                hint: "Lower target_file_size or row_group_rows".to_owned(),
            }));
        }
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

    /// Makes the bytes durable; the hidden object's name.
    pub(super) async fn finish(mut self) -> Result<String, Cause> {
        let rest = self.buffer.split().freeze();
        if self.id.is_none() {
            self.put(rest).await?;
        } else {
            if !rest.is_empty() {
                self.send(rest).await?;
            }
            while !self.in_flight.is_empty() {
                self.await_one().await?;
            }
            self.complete().await?;
        }
        self.finished = true;
        Ok(self.hidden.clone())
    }

    async fn put(&self, bytes: Bytes) -> Result<(), Cause> {
        let Ok(_permit) = self.backend.parts.acquire().await else {
            return Err(shutting_down());
        };
        let put = self.backend.client.put(&self.path, bytes.into()).await;
        put.map(drop)
            .map_err(|error| error::from_object_store(&error))
    }

    async fn send(&mut self, bytes: Bytes) -> Result<(), Cause> {
        let id = match &self.id {
            Some(id) => id.clone(),
            None => {
                let begun = self.backend.client.create_multipart(&self.path).await;
                let id = begun.map_err(|error| error::from_object_store(&error))?;
                self.id.insert(id).clone()
            }
        };
        let index = self.parts.len();
        self.parts.push(String::new());
        let Ok(permit) = Arc::clone(&self.backend.parts).acquire_owned().await else {
            return Err(shutting_down());
        };
        let (client, path) = (Arc::clone(&self.backend.client), self.path.clone());
        self.in_flight.spawn(async move {
            let _permit = permit;
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
                let (index, tag) = sent.map_err(unless_unknown)?;
                self.parts[index] = tag;
                Ok(())
            }
            Some(Err(_)) => Err(shutting_down()),
        }
    }

    async fn complete(&mut self) -> Result<(), Cause> {
        let Some(id) = &self.id else {
            return Ok(());
        };
        let parts = std::mem::take(&mut self.parts)
            .into_iter()
            .map(|content_id| PartId { content_id })
            .collect();
        let client = &self.backend.client;
        match client.complete_multipart(&self.path, id, parts).await {
            Ok(_) => Ok(()),
            Err(error) => match upload_cause(&error) {
                // The answer to an earlier request of ours may have been lost.
                Cause::NotFound if self.is_there().await? => Ok(()),
                cause => Err(unless_unknown(cause)),
            },
        }
    }

    /// Whether the object is there, or is within moments.
    async fn is_there(&self) -> Result<bool, Cause> {
        for look in 0..LOOKS {
            if look > 0 {
                (self.pause)(LOOK_PAUSE).await;
            }
            match self.backend.client.head(&self.path).await {
                Ok(meta) if meta.size == self.size => return Ok(true),
                Ok(_) => {}
                Err(error) => match error::from_object_store(&error) {
                    Cause::NotFound => {}
                    cause => return Err(cause),
                },
            }
        }
        Ok(false)
    }
}

impl Drop for UploadWriter {
    fn drop(&mut self) {
        let Some(id) = self.id.take().filter(|_| !self.finished) else {
            return;
        };
        self.in_flight.abort_all();
        let (client, path) = (Arc::clone(&self.backend.client), self.path.clone());
        // Best effort: what is not aborted stays invisible and falls to the bucket's lifecycle.
        self.runtime.spawn(async move {
            if let Err(error) = client.abort_multipart(&path, &id).await {
                tracing::debug!(%path, %error, "an unfinished upload was not aborted");
            }
        });
    }
}

/// Sorts an error about an upload's id; the store in memory has no error of its own for an
/// unknown one, and some servers answer one with 400. `InvalidPart` is what `MinIO` says of an
/// upload that another request is completing, or was completing when its connection broke: the
/// parts' entries are gone before the object is there, and in the second case the object will never
/// be there.
fn upload_cause(error: &object_store::Error) -> Cause {
    let text = error.to_string();
    let gone = ["NoSuchUpload", "MultipartUpload not found", "InvalidPart"];
    if gone.iter().any(|code| text.contains(code)) {
        return Cause::NotFound;
    }
    error::from_object_store(error)
}

/// Says what an upload that the server does not know means.
fn unless_unknown(cause: Cause) -> Cause {
    match cause {
        Cause::NotFound => Cause::Other(Trouble::Unavailable {
            reason: "the server no longer knows the upload. No checkpoint lists it: start again, \
                     and its rows are read again"
                .to_owned(),
        }),
        cause => cause,
    }
}
