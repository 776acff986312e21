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
//! A [`Staged`] object is durable but no plain reader of the directory can see it. On a disk it is a
//! hidden file beside its final name, in a bucket a hidden object outside the directory: that of
//! `s3://b/lake/curated/day=1/a.parquet` is `s3://b/lake/_staged/curated/day=1/a.parquet.staged`.
//! [`Store::publish`] links or copies it to its name and removes it; it is idempotent, so that a
//! crash between it and the next step is repaired by calling it again, and it never replaces other
//! bytes.
//!
//! Names are relative paths with `/` between their segments. [`Store::list`] and
//! [`Store::leftovers`] take directories, not arbitrary prefixes of names.
//!
//! An instance that dies before its checkpoint leaves hidden files and objects that no manifest
//! mentions. They cost space, are never visible, and are removed by [`Store::clean_leftovers`]. The
//! unfinished multipart uploads that it may leave as well cannot be listed through the S3 client; a
//! bucket wants a lifecycle rule that aborts them. Patterns like `**/*.parquet` do not match what is
//! hidden; Polars refuses to scan a bare local directory that holds any, and wants such a pattern.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use floodmark_pipeline::{Location, Storage};
use futures::future::BoxFuture;

use crate::telemetry::Retries;

mod error;
mod listening;
mod local;
mod object;
mod publish;
mod s3;
mod stage;
mod upload;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;

pub use error::StorageError;
#[doc(hidden)]
pub use object::Client;
pub use publish::Published;
pub use stage::{StageWriter, Staged};

use error::{Cause, Trouble};
use stage::{Tail, Writer};
use upload::UploadWriter;

/// How long transient trouble is retried while running.
pub const RETRY_TIMEOUT: Duration = Duration::from_secs(120);

/// How long [`Store::open`] takes at most to say that a place cannot be used.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(18);

/// How often a conditional put is tried when its outcome is unknown.
const PUT_NEW_ATTEMPTS: usize = 5;

/// Pause before a conditional put is tried again; doubled each time.
const PUT_NEW_BACKOFF: Duration = Duration::from_millis(100);

/// Ending of hidden names: no pattern for Parquet files matches it.
const HIDDEN_ENDING: &str = ".staged";

/// How names of objects begin that only prove that they can be written.
const PROBE: &str = "_probe-";

/// Whether a start has written it to prove that it can, and died before it removed it.
pub(crate) fn is_probe(name: &str) -> bool {
    name.starts_with(PROBE)
}

/// A place for objects. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    location: String,
    backend: Backend,
    pause: Pause,
}

/// How to wait between tries.
pub type Pause = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

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
                let client = |patience| {
                    let client = config.client(patience, retries);
                    client.map_err(|trouble| trouble.during(&attempted))
                };
                let running = client(s3::Patience::Running)?;
                let copying = client(s3::Patience::Copying)?;
                Backend::Object(object::ObjectBackend::new(running, copying, prefix))
            }
        };
        Ok(Self::new(location.to_string(), backend))
    }

    /// Opens a place to look at it. Nothing is created, written or probed: a place that is not there
    /// is an error, a server that does not answer shows with the first call.
    pub async fn look_at(location: &Location, options: &Storage) -> Result<Self, StorageError> {
        let attempted = format!("opening {location}");
        let backend = match location {
            Location::Local(path) => {
                let path = path.clone();
                let opened = blocking(move || local::LocalStore::existing(&path)).await;
                Backend::Local(opened.map_err(|trouble| trouble.during(&attempted))?)
            }
            Location::S3 { bucket, prefix } => {
                let client = s3::Config::resolve(bucket, options, std::env::vars())
                    .and_then(|config| config.client(s3::Patience::Probing, &Retries::default()))
                    .map_err(|trouble| trouble.during(&attempted))?;
                Backend::Object(object::ObjectBackend::new(client.clone(), client, prefix))
            }
        };
        Ok(Self::new(location.to_string(), backend))
    }

    /// An empty store in memory; clones share it.
    pub fn in_memory() -> Self {
        let client = Arc::new(object_store::memory::InMemory::new());
        let copying = Arc::clone(&client);
        Self::new(
            "memory:".to_owned(),
            Backend::Object(object::ObjectBackend::new(client, copying, "")),
        )
    }

    /// A store over any client of an object store, and over its time.
    #[doc(hidden)]
    pub fn over(location: &str, client: Arc<impl Client>, pause: Pause) -> Self {
        Self {
            inner: Arc::new(Inner {
                location: location.to_owned(),
                backend: Backend::Object(object::ObjectBackend::new(client.clone(), client, "")),
                pause,
            }),
        }
    }

    fn new(location: String, backend: Backend) -> Self {
        Self {
            inner: Arc::new(Inner {
                location,
                backend,
                pause: Arc::new(|time| Box::pin(tokio::time::sleep(time))),
            }),
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
            (self.inner.pause)(backoff).await;
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
        let name = format!("{PROBE}{token}");
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

    /// Proves that what is staged here can be published and removed again, before any event is read.
    /// `token` makes the names of the hidden objects that are written, and removed, unique.
    pub async fn require_staging(&self, token: &str) -> Result<(), StorageError> {
        match &self.inner.backend {
            // Opening it has proved that.
            Backend::Local(_) => Ok(()),
            Backend::Object(object) => object
                .probe_staging(token)
                .await
                .map_err(|cause| cause.during(format!("staging for {}", self.inner.location))),
        }
    }

    /// Begins an object that stays invisible until it is published. A name is staged once. Where
    /// nothing can be written that shows at a write or at the end.
    pub async fn stage(&self, name: &str) -> Result<StageWriter, StorageError> {
        let writer = match &self.inner.backend {
            Backend::Local(local) => local.stage(name).await.map(Writer::Local),
            Backend::Object(object) => {
                let pause = Arc::clone(&self.inner.pause);
                UploadWriter::new(object.clone(), name, pause)
                    .map(|writer| Writer::Object(Box::new(writer)))
            }
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

    /// Where an object is, as people write it; also a hidden one.
    pub fn url(&self, name: &str) -> String {
        let location = self.inner.location.trim_end_matches('/');
        match &self.inner.backend {
            _ if name.is_empty() => self.inner.location.clone(),
            Backend::Object(_) if object::published_name(name).is_some() => {
                object::hidden_url(location, name)
            }
            _ => format!("{location}/{name}"),
        }
    }

    fn attempted(&self, verb: &str, name: &str) -> String {
        format!("{verb} {}", self.url(name))
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
