//! A staged object's way to where readers look, or away.
//!
//! Publishing cannot tell by itself whether it was done before: a crash or a lost answer may lie in
//! between, and another instance may be at it. So it looks at what is visible under the name and
//! compares it with what was staged.

use std::time::{Duration, SystemTime};

use super::error::{Cause, StorageError};
use super::stage::{Place, Staged, TAIL_BYTES};
use super::{Backend, Entry, Store};

/// How often a bucket is looked at for an object that a dead instance's request may be about to
/// make, and the pause before each look.
const SETTLE_LOOKS: usize = 10;
const SETTLE_PAUSE: Duration = Duration::from_millis(200);

/// What [`Store::publish`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The object became visible by this call.
    Now,
    /// An earlier call had made it visible.
    Before,
}

impl Store {
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

    /// Hidden files under a directory that were last written before `before` and whose published
    /// names `wanted` accepts. Their own names are what [`delete`](Self::delete) takes. In a bucket
    /// there is nothing that could be listed; see the module.
    pub async fn leftovers(
        &self,
        directory: &str,
        before: SystemTime,
        wanted: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<Vec<Entry>, StorageError> {
        let mut found = match &self.inner.backend {
            Backend::Local(local) => local
                .leftovers(directory, before, wanted)
                .await
                .map_err(|cause| cause.during(self.attempted("listing", directory)))?,
            Backend::Object(_) => Vec::new(),
        };
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
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
        let mut removed = 0;
        for leftover in self.leftovers(directory, before, doomed).await? {
            self.delete(&leftover.name).await?;
            removed += 1;
        }
        Ok(removed)
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
                Found::Nothing => (self.inner.pause)(SETTLE_PAUSE).await,
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
