//! Writing a staged object: size and tail are noted on the way, so that publishing can tell its own
//! bytes from others.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::error::StorageError;
use super::{local, upload};

/// Bytes at an object's end that tell it from another of the same name and size.
pub(super) const TAIL_BYTES: usize = 4096;

/// Durable bytes that nobody sees yet. Belongs to the store that staged it; serialized into
/// checkpoint manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// The name under which [`Store::publish`] makes it visible.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// CRC-32 of the last bytes.
    pub(super) tail_crc: u32,
    pub(super) place: Place,
}

/// Where staged bytes wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    /// A hidden file or object.
    File {
        /// Its name, relative to the store.
        hidden: String,
    },
    /// A multipart upload that is not completed: what earlier builds staged in a bucket. Only its
    /// being published already can be told.
    Upload {},
}

/// Writes a staged object. Dropped before [`finish`](Self::finish) it leaves nothing behind, as
/// far as that can be had without waiting.
///
/// Not cancel safe: after a `write` that was not awaited to its end, only dropping is allowed.
pub struct StageWriter {
    pub(super) attempted: String,
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) tail: Tail,
    pub(super) writer: Writer,
}

pub(super) enum Writer {
    Local(local::LocalWriter),
    Object(Box<upload::UploadWriter>),
}

impl StageWriter {
    /// Appends bytes. Returns when they are on their way; waits while too many are.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), StorageError> {
        self.size += bytes.len() as u64;
        self.tail.push(&bytes);
        match &mut self.writer {
            Writer::Local(writer) => writer.write(bytes).await,
            Writer::Object(writer) => writer.write(bytes).await,
        }
        .map_err(|cause| cause.during(&self.attempted))
    }

    /// Bytes written.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that it holds in memory until there are enough to send.
    pub fn buffered(&self) -> usize {
        match &self.writer {
            Writer::Local(writer) => writer.buffered(),
            Writer::Object(writer) => writer.buffered(),
        }
    }

    /// Makes everything written durable.
    pub async fn finish(self) -> Result<Staged, StorageError> {
        let hidden = match self.writer {
            Writer::Local(writer) => writer.finish().await,
            Writer::Object(writer) => writer.finish().await,
        }
        .map_err(|cause| cause.during(&self.attempted))?;
        Ok(Staged {
            name: self.name,
            size: self.size,
            tail_crc: crc32fast::hash(&self.tail.bytes),
            place: Place::File { hidden },
        })
    }
}

/// The last [`TAIL_BYTES`] of what was written.
#[derive(Default)]
pub(super) struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let old = self.bytes.len().min(TAIL_BYTES - kept.len());
        self.bytes.drain(..self.bytes.len() - old);
        self.bytes.extend_from_slice(kept);
    }
}
