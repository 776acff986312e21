//! Storage: a directory on a local disk or a prefix in a bucket.
//!
//! What checkpoints and file sinks need, and nothing else:
//!
//! ```text
//!   put_new / put / get / list / delete     whole objects, durable when the call returns
//!
//!   stage ─> StageWriter ─> Staged ──(a manifest stores it)──> publish     visible, whole, once
//!              write*  finish       └──────────────────────> discard      gone, never seen
//! ```
//!
//! A [`Staged`] object is durable but no plain reader of the directory can see it: in a bucket it
//! is a multipart upload that is not completed yet, on a disk a hidden file beside its final name.
//! [`Store::publish`] is idempotent, so that a crash between it and the next step is repaired by
//! calling it again, and it never replaces other bytes.
//!
//! Names are relative paths with `/` between their segments. [`Store::list`] and
//! [`Store::clean_leftovers`] take directories, not arbitrary prefixes of names.
//!
//! Uploads that no manifest mentions (an instance died before its checkpoint) cannot be listed
//! through the S3 client; a bucket wants a lifecycle rule that aborts incomplete multipart uploads
//! after some days. They cost space and are never visible. Hidden files of dead instances are
//! removed by [`Store::clean_leftovers`]. Patterns like `**/*.parquet` do not match them; Polars refuses
//! to scan a bare directory that holds any, and wants such a pattern.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use floodmark_pipeline::{Location, Storage};
use serde::{Deserialize, Serialize};

use crate::telemetry::Retries;

mod counting;
mod error;
mod local;
mod object;
mod s3;
mod stage;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;

pub use error::StorageError;
pub use stage::StageWriter;

use error::{Cause, Trouble};
use stage::{Tail, Writer};

/// How long transient trouble is retried while running.
pub const RETRY_TIMEOUT: Duration = Duration::from_secs(120);

/// How long [`Store::open`] takes at most to say that a place cannot be used.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(18);

/// How often a conditional put is tried when its outcome is unknown.
const PUT_NEW_ATTEMPTS: usize = 5;

/// Pause before a conditional put is tried again; doubled each time.
const PUT_NEW_BACKOFF: Duration = Duration::from_millis(100);

/// Bytes at an object's end that tell it from another of the same name and size.
const TAIL_BYTES: usize = 4096;

/// How often a bucket is looked at for an object that a dead instance's request may be about to
/// make, and the pause before each look.
const SETTLE_LOOKS: usize = 10;
const SETTLE_PAUSE: Duration = Duration::from_millis(200);

/// A place for objects. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    location: String,
    backend: Backend,
}

enum Backend {
    Local(local::LocalStore),
    Object(object::ObjectBackend),
}

/// What [`Store::put_new`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutNew {
    /// The object is there with our bytes.
    Created,
    /// An object with other bytes was there first.
    Exists,
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name, relative to the store.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// When it was written, by the clock of the disk or the server.
    pub modified: SystemTime,
}

/// What [`Store::publish`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The object became visible by this call.
    Now,
    /// An earlier call had made it visible.
    Before,
}

/// Durable bytes that nobody sees yet. Belongs to the store that staged it; serialized into
/// checkpoint manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// The name under which [`Store::publish`] makes it visible.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// CRC-32 of the last bytes.
    tail_crc: u32,
    place: Place,
}

/// Where staged bytes wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Place {
    /// A multipart upload.
    Upload {
        /// The server's id of the upload.
        id: String,
        /// The parts' entity tags, in order.
        parts: Vec<String>,
    },
    /// A hidden file.
    File {
        /// Its name, relative to the store.
        hidden: String,
    },
}

impl Store {
    /// Opens a place and proves that it can be read and written, within [`PROBE_TIMEOUT`].
    ///
    /// A local directory is created if it does not exist; a bucket is not. Options of the file win
    /// over `AWS_*` variables.
    pub async fn open(location: &Location, options: &Storage) -> Result<Self, StorageError> {
        Self::open_counting(location, options, &Retries::default()).await
    }

    /// The same; requests that have to be made again are counted.
    pub async fn open_counting(
        location: &Location,
        options: &Storage,
        retries: &Retries,
    ) -> Result<Self, StorageError> {
        let attempted = format!("opening {location}");
        let backend = match location {
            Location::Local(path) => {
                let path = path.clone();
                let opened = blocking(move || local::LocalStore::open(&path)).await;
                Backend::Local(opened.map_err(|trouble| trouble.during(&attempted))?)
            }
            Location::S3 { bucket, prefix } => {
                let config = s3::Config::resolve(bucket, options, std::env::vars())
                    .map_err(|trouble| trouble.during(&attempted))?;
                let probed =
                    tokio::time::timeout(PROBE_TIMEOUT, s3::probe(&config, prefix, retries)).await;
                probed
                    .unwrap_or_else(|_| Err(config.no_answer()))
                    .map_err(|trouble| trouble.during(&attempted))?;
                let client = config
                    .client(s3::Patience::Running, retries)
                    .map_err(|trouble| trouble.during(&attempted))?;
                Backend::Object(object::ObjectBackend::new(client, prefix))
            }
        };
        Ok(Self::new(location.to_string(), backend))
    }

    /// An empty store in memory; clones share it.
    pub fn in_memory() -> Self {
        let client = Arc::new(object_store::memory::InMemory::new());
        Self::new(
            "memory:".to_owned(),
            Backend::Object(object::ObjectBackend::new(client, "")),
        )
    }

    fn new(location: String, backend: Backend) -> Self {
        Self {
            inner: Arc::new(Inner { location, backend }),
        }
    }

    /// The place as the pipeline file names it.
    pub fn location(&self) -> &str {
        &self.inner.location
    }

    /// Whether bytes leave this machine.
    pub fn is_remote(&self) -> bool {
        matches!(self.inner.backend, Backend::Object(_))
    }

    /// Creates an object, atomically and only if there is none.
    ///
    /// A lost answer is retried and then looks like an object of somebody else's; so an object
    /// that is there with exactly these bytes counts as created. Bytes that decide a race must
    /// therefore differ between the racers, for example by an instance id.
    pub async fn put_new(&self, name: &str, bytes: Bytes) -> Result<PutNew, StorageError> {
        let mut backoff = PUT_NEW_BACKOFF;
        let mut last = None;
        for _ in 0..PUT_NEW_ATTEMPTS {
            let put = match &self.inner.backend {
                Backend::Local(local) => local.put(name, bytes.clone(), Replace::Never).await,
                Backend::Object(object) => object.put(name, bytes.clone(), Replace::Never).await,
            };
            match put {
                Ok(()) => return Ok(PutNew::Created),
                Err(Cause::Exists) => {}
                Err(Cause::Other(Trouble::Unavailable { reason })) => last = Some(reason),
                Err(cause) => return Err(cause.during(self.attempted("creating", name))),
            }
            // Either somebody was first, or an earlier try of ours did arrive.
            match self.get(name).await {
                Ok(Some(there)) if there == bytes => return Ok(PutNew::Created),
                Ok(Some(_)) => return Ok(PutNew::Exists),
                Ok(None) => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(backoff).await;
            backoff *= 2;
        }
        Err(StorageError::Unavailable {
            attempted: self.attempted("creating", name),
            reason: last
                .unwrap_or_else(|| "concurrent conditional writes kept colliding".to_owned()),
        })
    }

    /// Writes an object, atomically replacing one that is there.
    pub async fn put(&self, name: &str, bytes: Bytes) -> Result<(), StorageError> {
        match &self.inner.backend {
            Backend::Local(local) => local.put(name, bytes, Replace::Always).await,
            Backend::Object(object) => object.put(name, bytes, Replace::Always).await,
        }
        .map_err(|cause| cause.during(self.attempted("writing", name)))
    }

    /// Reads an object; `None` if there is none.
    pub async fn get(&self, name: &str) -> Result<Option<Bytes>, StorageError> {
        let got = match &self.inner.backend {
            Backend::Local(local) => local.get(name).await,
            Backend::Object(object) => object.get(name).await,
        };
        match got {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Cause::NotFound) => Ok(None),
            Err(cause) => Err(cause.during(self.attempted("reading", name))),
        }
    }

    /// All visible objects under a directory (`""` is the store itself), by name.
    pub async fn list(&self, directory: &str) -> Result<Vec<Entry>, StorageError> {
        let mut entries = match &self.inner.backend {
            Backend::Local(local) => local.list(directory).await,
            Backend::Object(object) => object.list(directory).await,
        }
        .map_err(|cause| cause.during(self.attempted("listing", directory)))?;
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Removes an object; absence is fine.
    pub async fn delete(&self, name: &str) -> Result<(), StorageError> {
        let deleted = match &self.inner.backend {
            Backend::Local(local) => local.delete(name).await,
            Backend::Object(object) => object.delete(name).await,
        };
        match deleted {
            Ok(()) | Err(Cause::NotFound) => Ok(()),
            Err(cause) => Err(cause.during(self.attempted("deleting", name))),
        }
    }

    /// Proves that [`put_new`](Self::put_new) is atomic here: some S3-compatible servers ignore the
    /// condition, and two instances would then both believe that they own a checkpoint. `token`
    /// makes the name of the object that is written, and removed again, unique.
    pub async fn require_conditional_put(&self, token: &str) -> Result<(), StorageError> {
        let name = format!("_probe-{token}");
        self.put_new(&name, Bytes::from(format!("{token} first")))
            .await?;
        let second = self
            .put_new(&name, Bytes::from(format!("{token} second")))
            .await;
        self.delete(&name).await?;
        if second? == PutNew::Exists {
            return Ok(());
        }
        Err(StorageError::Misconfigured {
            attempted: self.attempted("creating", &name),
            reason: "the server ignores If-None-Match, so instances cannot be fenced".to_owned(),
            hint: "Use a server that honours conditional writes (AWS S3, MinIO, SeaweedFS, R2 do) \
                   for the checkpoint"
                .to_owned(),
        })
    }

    /// Begins an object that stays invisible until it is published. Where nothing can be written
    /// that shows at the first write.
    pub async fn stage(&self, name: &str) -> Result<StageWriter, StorageError> {
        let writer = match &self.inner.backend {
            Backend::Local(local) => local.stage(name).await.map(Writer::Local),
            Backend::Object(object) => object.stage(name).await.map(Writer::Object),
        }
        .map_err(|cause| cause.during(self.attempted("staging", name)))?;
        Ok(StageWriter {
            attempted: self.attempted("staging", name),
            name: name.to_owned(),
            size: 0,
            tail: Tail::default(),
            writer,
        })
    }

    /// Makes staged bytes visible under their name, whole. Idempotent; never replaces other bytes.
    pub async fn publish(&self, staged: &Staged) -> Result<Published, StorageError> {
        let attempted = || self.attempted("publishing", &staged.name);
        let published = match (&self.inner.backend, &staged.place) {
            (Backend::Local(local), Place::File { hidden }) => {
                local.publish(&staged.name, hidden).await
            }
            (Backend::Object(object), Place::Upload { id, parts }) => {
                // Completing an upload replaces what is there, so look first.
                match self.matches(staged).await? {
                    Found::Same => return Ok(Published::Before),
                    Found::Other(size) => return Err(other_bytes(attempted(), staged, size)),
                    Found::Nothing => object.publish(&staged.name, id, parts).await,
                }
            }
            _ => return Err(self.foreign(staged)),
        };
        match published {
            Ok(()) => Ok(Published::Now),
            // The staged bytes are gone or the name is taken: by us, or there is a loss to report.
            Err(cause @ (Cause::NotFound | Cause::Exists)) => match self.settled(staged).await? {
                Found::Same => {
                    if cause == Cause::Exists {
                        self.discard(staged).await?;
                    }
                    Ok(Published::Before)
                }
                Found::Other(size) => Err(other_bytes(attempted(), staged, size)),
                Found::Nothing => Err(StorageError::Lost {
                    attempted: attempted(),
                    reason: format!(
                        "the checkpoint says that {} bytes are staged, but neither they nor the \
                         published file are there; data of this commit is missing",
                        staged.size
                    ),
                }),
            },
            Err(cause) => Err(cause.during(attempted())),
        }
    }

    /// Removes staged bytes; absence is fine. Published bytes stay.
    pub async fn discard(&self, staged: &Staged) -> Result<(), StorageError> {
        let discarded = match (&self.inner.backend, &staged.place) {
            (Backend::Local(local), Place::File { hidden }) => local.delete(hidden).await,
            (Backend::Object(object), Place::Upload { id, .. }) => {
                object.abort(&staged.name, id).await
            }
            _ => return Err(self.foreign(staged)),
        };
        match discarded {
            Ok(()) | Err(Cause::NotFound) => Ok(()),
            Err(cause) => Err(cause.during(self.attempted("discarding", &staged.name))),
        }
    }

    /// Removes hidden files under a directory that were last written before `before` and whose
    /// published names `doomed` accepts. Returns how many. In a bucket there is nothing that could
    /// be listed; see the module.
    pub async fn clean_leftovers(
        &self,
        directory: &str,
        before: SystemTime,
        doomed: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<usize, StorageError> {
        match &self.inner.backend {
            Backend::Local(local) => local
                .clean(directory, before, doomed)
                .await
                .map_err(|cause| cause.during(self.attempted("cleaning", directory))),
            Backend::Object(_) => Ok(0),
        }
    }

    /// The same when something may still be under way: a request of an instance that has died can
    /// outlive it for a moment.
    async fn settled(&self, staged: &Staged) -> Result<Found, StorageError> {
        let looks = match &self.inner.backend {
            Backend::Local(_) => 0,
            Backend::Object(_) => SETTLE_LOOKS,
        };
        for _ in 0..looks {
            match self.matches(staged).await? {
                Found::Nothing => tokio::time::sleep(SETTLE_PAUSE).await,
                found => return Ok(found),
            }
        }
        self.matches(staged).await
    }

    /// Compares the visible object with what was staged.
    async fn matches(&self, staged: &Staged) -> Result<Found, StorageError> {
        let wanted = TAIL_BYTES.min(staged.size as usize);
        let found = match &self.inner.backend {
            Backend::Local(local) => local.tail(&staged.name, wanted).await,
            Backend::Object(object) => object.tail(&staged.name, wanted).await,
        };
        match found {
            Ok((size, tail))
                if size == staged.size && crc32fast::hash(&tail) == staged.tail_crc =>
            {
                Ok(Found::Same)
            }
            Ok((size, _)) => Ok(Found::Other(size)),
            Err(Cause::NotFound) => Ok(Found::Nothing),
            Err(cause) => Err(cause.during(self.attempted("reading", &staged.name))),
        }
    }

    fn attempted(&self, verb: &str, name: &str) -> String {
        if name.is_empty() {
            format!("{verb} {}", self.inner.location)
        } else {
            format!(
                "{verb} {}/{name}",
                self.inner.location.trim_end_matches('/')
            )
        }
    }

    fn foreign(&self, staged: &Staged) -> StorageError {
        StorageError::Misconfigured {
            attempted: self.attempted("publishing", &staged.name),
            reason: "it was staged in another kind of storage".to_owned(),
            hint: "Start once more with the path that the checkpoint was made with, so that its \
                   work is finished there; then change the path"
                .to_owned(),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.inner.location).finish()
    }
}

/// Whether a put may replace what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replace {
    Always,
    Never,
}

enum Found {
    Nothing,
    Same,
    Other(u64),
}

fn other_bytes(attempted: String, staged: &Staged, size: u64) -> StorageError {
    StorageError::Lost {
        attempted,
        reason: format!(
            "another file of that name with {size} bytes is there, where {} bytes are to be \
             published; it is left as it is and data of this commit is missing",
            staged.size
        ),
    }
}

/// Runs file I/O where it may block.
async fn blocking<T, F>(work: F) -> Result<T, Trouble>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Trouble> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(Trouble::Unavailable {
            reason: "the program is shutting down".to_owned(),
        }),
    }
}
