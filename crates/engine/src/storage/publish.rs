//! From staged to visible.
//!
//! ```text
//!   disk      link the hidden file to its name (fails if that is taken) ─> remove it
//!   bucket    look at the name ─(absent)─> copy the hidden object there ─> look again ─> remove it
//! ```
//!
//! Each step may be the last before a crash, and each may be repeated: a copy is seen whole or not
//! at all, has the same bytes every time, and the hidden object is removed only when the published
//! one has been seen whole. So at any moment one of the two is there. Once the hidden object is
//! gone, nobody can publish it again: an instance that was replaced while it published does not
//! bring back a file that somebody has since removed.

use std::time::SystemTime;

use super::error::{Cause, StorageError, Trouble};
use super::object::ObjectBackend;
use super::stage::{Place, Staged, TAIL_BYTES};
use super::{Backend, Entry, Store};

/// What [`Store::publish`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The object became visible by this call.
    Now,
    /// An earlier call had made it visible.
    Before,
}

/// What stands under the name of a staged object.
#[derive(Clone, Copy)]
enum Found {
    Nothing,
    Same,
    Other(u64),
}

impl Store {
    /// Makes staged bytes visible under their name, whole. Idempotent; never replaces other bytes.
    pub async fn publish(&self, staged: &Staged) -> Result<Published, StorageError> {
        match (&self.inner.backend, &staged.place) {
            (Backend::Local(local), Place::File { hidden }) => {
                let linked = local.publish(&staged.name, hidden).await;
                self.linked(linked, staged).await
            }
            (Backend::Object(object), Place::File { hidden }) => {
                self.copied(object, hidden, staged).await
            }
            (_, Place::Upload {}) => self.completed_before(staged).await,
        }
    }

    /// Removes staged bytes; absence is fine. Published bytes stay.
    pub async fn discard(&self, staged: &Staged) -> Result<(), StorageError> {
        match &staged.place {
            Place::File { hidden } => self.delete(hidden).await,
            // The build that began it has the means, and the bucket's lifecycle rule.
            Place::Upload {} => Ok(()),
        }
    }

    /// Hidden files and objects under a directory that were last written before `before` and whose
    /// published names `wanted` accepts. Their own names are what [`delete`](Self::delete) takes.
    pub async fn leftovers(
        &self,
        directory: &str,
        before: SystemTime,
        wanted: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<Vec<Entry>, StorageError> {
        let mut found = match &self.inner.backend {
            Backend::Local(local) => local.leftovers(directory, before, wanted).await,
            Backend::Object(object) => object.leftovers(directory, before, wanted).await,
        }
        .map_err(|cause| cause.during(self.attempted("listing", directory)))?;
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Removes hidden files and objects under a directory that were last written before `before` and
    /// whose published names `doomed` accepts. Returns how many.
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

    async fn linked(
        &self,
        linked: Result<(), Cause>,
        staged: &Staged,
    ) -> Result<Published, StorageError> {
        let taken = match linked {
            Ok(()) => return Ok(Published::Now),
            Err(Cause::Exists) => true,
            Err(Cause::NotFound) => false,
            Err(cause) => return Err(cause.during(self.attempted("publishing", &staged.name))),
        };
        // The name is taken or the hidden file is gone: by us, or there is a loss to report.
        self.require_same(self.matches(staged).await?, staged)?;
        if taken {
            self.discard(staged).await?;
        }
        Ok(Published::Before)
    }

    async fn copied(
        &self,
        object: &ObjectBackend,
        hidden: &str,
        staged: &Staged,
    ) -> Result<Published, StorageError> {
        let attempted = || self.attempted("publishing", &staged.name);
        let (published, found) = match self.matches(staged).await? {
            Found::Nothing => match object.copy(hidden, &staged.name, staged.size).await {
                Ok(()) => (Published::Now, self.matches(staged).await?),
                // Published and removed by another instance, or there is a loss to report.
                Err(Cause::NotFound) => (Published::Before, self.matches(staged).await?),
                Err(cause) => return Err(cause.during(attempted())),
            },
            found => (Published::Before, found),
        };
        if let (Published::Now, Found::Nothing) = (published, found) {
            let reason = "the server said that it copied the file there, but does not have it";
            return Err(Trouble::Unavailable {
                reason: reason.to_owned(),
            }
            .during(attempted()));
        }
        self.require_same(found, staged)?;
        self.discard(staged).await?;
        Ok(published)
    }

    async fn completed_before(&self, staged: &Staged) -> Result<Published, StorageError> {
        match self.matches(staged).await? {
            Found::Nothing => Err(StorageError::Misconfigured {
                attempted: self.attempted("publishing", &staged.name),
                reason:
                    "an older build has staged it as a multipart upload, which this build does \
                         not complete"
                        .to_owned(),
                hint: "Start the older build once and stop it, so that its work is finished; then \
                       start this one"
                    .to_owned(),
            }),
            found => self.require_same(found, staged).map(|()| Published::Before),
        }
    }

    /// Anything but the staged bytes under their name is a loss.
    fn require_same(&self, found: Found, staged: &Staged) -> Result<(), StorageError> {
        let reason = match found {
            Found::Same => return Ok(()),
            Found::Other(size) => format!(
                "another file of that name with {size} bytes is there, where {} bytes are to be \
                 published; it is left as it is and data of this commit is missing",
                staged.size
            ),
            Found::Nothing => format!(
                "the checkpoint says that {} bytes are staged, but neither they nor the published \
                 file are there; data of this commit is missing",
                staged.size
            ),
        };
        Err(StorageError::Lost {
            attempted: self.attempted("publishing", &staged.name),
            reason,
        })
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
}
