//! A prefix in a bucket, or the same in memory.
//!
//! Staged objects are hidden ones, outside the prefix but in its neighbourhood: what will be
//! `lake/curated/day=1/a.parquet` waits as `lake/_staged/curated/day=1/a.parquet.staged`. So a reader
//! of `lake/curated/` does not meet it, whatever its rules about names are, and neither does
//! whoever is notified of new objects there. Below `lake/` the underscore and the ending keep it from
//! Spark, `PyArrow` and every `*.parquet` pattern. For the bucket itself there is no outside: its
//! `_staged/` lies within.
//!
//! In this module's names, which are relative to the prefix, hidden objects are those below
//! `_staged/` with the ending `.staged`.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode};
use tokio::sync::Semaphore;

use super::error::{self, Cause, Trouble};
use super::{Entry, HIDDEN_ENDING, PROBE, Replace, is_probe};

/// Requests with a staged object's bytes on their way at a time; with `PART_BYTES` the bound of one
/// store's memory.
const PARTS_IN_FLIGHT: usize = 6;

/// MiB that a server is asked to copy at a time, unless one object alone is bigger: so that many big
/// ones do not make each other exceed the limit of time.
const COPIED_MIB_IN_FLIGHT: u32 = 512;

/// Directory of hidden objects, beside the prefix.
const STAGING: &str = "_staged";

/// What is asked of a client.
pub trait Client: ObjectStore + MultipartStore {}

impl<T: ObjectStore + MultipartStore> Client for T {}

#[derive(Clone)]
pub(super) struct ObjectBackend {
    pub(super) client: Arc<dyn Client>,
    /// The same with the patience that copies need.
    copying: Arc<dyn Client>,
    prefix: String,
    staging: String,
    pub(super) parts: Arc<Semaphore>,
    copies: Arc<Semaphore>,
}

impl ObjectBackend {
    pub(super) fn new(client: Arc<dyn Client>, copying: Arc<dyn Client>, prefix: &str) -> Self {
        let prefix = prefix.trim_matches('/');
        let (above, last) = prefix.rsplit_once('/').unwrap_or(("", prefix));
        Self {
            client,
            copying,
            prefix: prefix.to_owned(),
            staging: format!("{above}/{STAGING}/{last}")
                .trim_matches('/')
                .to_owned(),
            parts: Arc::new(Semaphore::new(PARTS_IN_FLIGHT)),
            copies: Arc::new(Semaphore::new(COPIED_MIB_IN_FLIGHT as usize)),
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
        let mut entries = self.entries(&self.prefix, directory).await?;
        entries.retain(|entry| published_name(&entry.name).is_none());
        Ok(entries)
    }

    /// Hidden objects last written before `before` whose published names `wanted` accepts.
    pub(super) async fn leftovers(
        &self,
        directory: &str,
        before: SystemTime,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<Entry>, Cause> {
        let mut entries = self.entries(&self.staging, directory).await?;
        for entry in &mut entries {
            entry.name = format!("{STAGING}/{}", entry.name);
        }
        entries.retain(|entry| {
            let name = published_name(&entry.name);
            entry.modified < before && name.is_some_and(|name| is_probe(name) || wanted(name))
        });
        Ok(entries)
    }

    /// Objects in a directory below `root`, named relative to it.
    async fn entries(&self, root: &str, directory: &str) -> Result<Vec<Entry>, Cause> {
        let prefix = parsed(&format!("{root}/{directory}"))?;
        let skip = if root.is_empty() { 0 } else { root.len() + 1 };
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

    /// Copies a hidden object to a name, on the server, replacing what is there. `NotFound` if there
    /// is no such hidden object.
    pub(super) async fn copy(&self, hidden: &str, name: &str, size: u64) -> Result<(), Cause> {
        let (from, to) = (self.path(hidden)?, self.path(name)?);
        let mib = u32::try_from(size.div_ceil(1 << 20)).unwrap_or(u32::MAX);
        let permits = mib.clamp(1, COPIED_MIB_IN_FLIGHT);
        let Ok(_permits) = self.copies.acquire_many(permits).await else {
            return Err(shutting_down());
        };
        self.copying
            .copy(&from, &to)
            .await
            .map_err(|error| error::from_object_store(&error))
    }

    /// Does once what staging and publishing do, all of it out of sight.
    pub(super) async fn probe_staging(&self, token: &str) -> Result<(), Cause> {
        let written = hidden_name(&format!("{PROBE}{token}"));
        let copied = hidden_name(&format!("{PROBE}{token}-copied"));
        let bytes = Bytes::copy_from_slice(token.as_bytes());
        self.put(&written, bytes, Replace::Always).await?;
        self.copy(&written, &copied, token.len() as u64).await?;
        self.delete(&copied).await?;
        self.delete(&written).await
    }

    /// Where a name is in the bucket.
    pub(super) fn path(&self, name: &str) -> Result<Path, Cause> {
        if name.is_empty() {
            return Err(Cause::Other(Trouble::Misconfigured {
                reason: "an object needs a name".to_owned(),
                hint: "Choose another path".to_owned(),
            }));
        }
        match name.strip_prefix(STAGING) {
            Some(below) if published_name(name).is_some() => {
                parsed(&format!("{}{below}", self.staging))
            }
            _ => parsed(&format!("{}/{name}", self.prefix)),
        }
    }
}

fn parsed(path: &str) -> Result<Path, Cause> {
    Path::parse(path).map_err(|error| {
        Cause::Other(Trouble::Misconfigured {
            reason: error.to_string(),
            hint: "Choose another path".to_owned(),
        })
    })
}

pub(super) fn hidden_name(name: &str) -> String {
    format!("{STAGING}/{name}{HIDDEN_ENDING}")
}

/// The published name of a hidden object.
pub(super) fn published_name(hidden: &str) -> Option<&str> {
    hidden
        .strip_prefix(STAGING)?
        .strip_prefix('/')?
        .strip_suffix(HIDDEN_ENDING)
}

/// Where a hidden object of the store at `location` is, as people write it.
pub(super) fn hidden_url(location: &str, hidden: &str) -> String {
    let below = hidden.strip_prefix(STAGING).unwrap_or(hidden);
    match location.rsplit_once('/') {
        // The last slash of `s3://bucket` is not one between directories.
        Some((above, last)) if !above.ends_with('/') => format!("{above}/{STAGING}/{last}{below}"),
        _ => format!("{location}/{hidden}"),
    }
}

pub(super) fn shutting_down() -> Cause {
    Cause::Other(Trouble::Unavailable {
        reason: "the program is shutting down".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_objects_lie_beside_the_prefix_and_have_urls_that_say_so() {
        let client = Arc::new(object_store::memory::InMemory::new());
        let hidden = hidden_name("day=1/a.parquet");
        assert_eq!(published_name(&hidden), Some("day=1/a.parquet"));
        assert_eq!(published_name("_staged/a.parquet"), None);
        for (prefix, at) in [
            (
                "lake/curated",
                "lake/_staged/curated/day=1/a.parquet.staged",
            ),
            ("curated", "_staged/curated/day=1/a.parquet.staged"),
            ("", "_staged/day=1/a.parquet.staged"),
        ] {
            let copying = Arc::clone(&client);
            let backend = ObjectBackend::new(Arc::clone(&client) as _, copying, prefix);
            assert_eq!(backend.path(&hidden).expect("a path").as_ref(), at);
            let location = format!("s3://b/{prefix}");
            let url = hidden_url(location.trim_end_matches('/'), &hidden);
            assert_eq!(url, format!("s3://b/{at}"));
        }
    }
}
