//! All files of a sink that are being written: which of them goes first when room is short.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use tokio::runtime::Handle;

use super::file::{Closing, FileError, FileFormat, OpenFile};
use super::uploads::Uploads;
use crate::storage::Store;
use crate::units::{Epoch, Generation};

/// Bytes of rows and encoded pages that a sink holds.
pub const MAX_HELD_BYTES: usize = 64 << 20;

/// Files open at a time.
pub const MAX_OPEN_FILES: usize = 1024;

/// Bytes of rows that a manifest carries for one sink; files beyond that are closed.
pub const MAX_CARRIED_BYTES: usize = 8 << 20;

/// Files closed at once when too many are open.
const CLOSED_AT_ONCE: usize = 64;

/// A file with fewer pending bytes is closed rather than encoded when memory is short.
const WORTH_ENCODING_BYTES: usize = 1 << 20;

/// Names that nobody else gives.
#[derive(Debug)]
pub struct Names {
    /// The epoch that is being written.
    pub(super) epoch: Epoch,
    generation: Generation,
    /// Checksum of pipeline and output.
    owner: u32,
    /// Checksum of the instance's name.
    instance: u32,
    sequence: u64,
    ending: &'static str,
}

impl Names {
    /// Names for one run of an instance.
    pub fn new(
        pipeline: &str,
        output: &str,
        generation: Generation,
        instance: &str,
        ending: &'static str,
    ) -> Self {
        Self {
            epoch: Epoch(0).next(),
            generation,
            owner: Self::owner(pipeline, output),
            instance: crc32fast::hash(instance.as_bytes()),
            sequence: 0,
            ending,
        }
    }

    /// What names say of whose they are.
    fn owner(pipeline: &str, output: &str) -> u32 {
        crc32fast::hash(format!("{pipeline}/{output}").as_bytes())
    }

    /// From here on files belong to this epoch.
    pub fn begin(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }

    /// The name of a new file in a directory.
    pub fn next(&mut self, directory: &str) -> String {
        let Self {
            epoch,
            generation,
            owner,
            instance,
            sequence,
            ending,
        } = self;
        let epoch = epoch.0;
        let name = format!(
            "{directory}part-{epoch:010}-{generation}-{owner:08x}-{instance:08x}-{sequence:06}{ending}"
        );
        *sequence += 1;
        name
    }

    /// Tells names that earlier instances gave to files of the same output.
    pub(super) fn of_predecessors(&self) -> impl Fn(&str) -> bool + Send + use<> {
        let (owner, generation) = (self.owner, self.generation);
        move |name| {
            Named::read(name)
                .is_some_and(|named| named.owner == owner && named.generation < generation)
        }
    }

    /// The same, for an instance that is not this one.
    pub fn before(
        pipeline: &str,
        output: &str,
        generation: Generation,
    ) -> impl Fn(&str) -> bool + Send + use<> {
        Self::new(pipeline, output, generation, "", "").of_predecessors()
    }
}

/// Whose a file is, by its name.
struct Named {
    generation: Generation,
    owner: u32,
}

impl Named {
    fn read(name: &str) -> Option<Self> {
        let base = name.rsplit('/').next().unwrap_or(name);
        let mut parts = base.trim_start_matches(['.', '_']).split('-');
        let (Some("part"), Some(_epoch)) = (parts.next(), parts.next()) else {
            return None;
        };
        let generation = parts.next()?.parse().ok()?;
        let owner = parts.next().filter(|owner| owner.len() == 8)?;
        Some(Self {
            generation: Generation(generation),
            owner: u32::from_str_radix(owner, 16).ok()?,
        })
    }
}

/// When files are encoded and closed.
pub(super) struct Limits {
    pub(super) row_group_rows: usize,
    pub(super) target_file_bytes: u64,
    pub(super) roll_interval_ms: i64,
    pub(super) held_bytes: usize,
    pub(super) open_files: usize,
}

pub(super) struct OpenFiles {
    pub(super) format: FileFormat,
    pub(super) limits: Limits,
    pub(super) names: Names,
    pub(super) uploads: Uploads,
    store: Store,
    runtime: Handle,
    files: HashMap<String, OpenFile>,
    held_bytes: usize,
    opened: u64,
    offsets: Option<Arc<str>>,
}

impl OpenFiles {
    pub(super) fn new(
        format: FileFormat,
        limits: Limits,
        names: Names,
        store: Store,
        runtime: Handle,
    ) -> Self {
        Self {
            format,
            limits,
            names,
            uploads: Uploads::new(store.clone(), runtime.clone()),
            store,
            runtime,
            files: HashMap::new(),
            held_bytes: 0,
            opened: 0,
            offsets: None,
        }
    }

    /// Where the sources stand at the checkpoint that begins or ends here.
    pub(super) fn set_offsets(&mut self, offsets: &str) {
        self.offsets = Some(Arc::from(offsets));
    }

    /// Adds rows to a directory's file; a new one was opened at `opened_ms`.
    pub(super) fn push(
        &mut self,
        directory: &str,
        rows: RecordBatch,
        opened_ms: i64,
    ) -> Result<(), FileError> {
        let mut file = if let Some(file) = self.take(directory) {
            file
        } else {
            self.make_room()?;
            self.opened += 1;
            let offsets = self.offsets.clone();
            OpenFile::new(directory.to_owned(), opened_ms, self.opened, offsets)
        };
        file.push(rows)?;
        if file.pending_rows() >= self.limits.row_group_rows {
            self.encode(file)?;
        } else {
            self.put_back(file);
        }
        while self.held_bytes > self.limits.held_bytes {
            if !self.shrink()? {
                break;
            }
        }
        Ok(())
    }

    /// Closes every file that is due at a checkpoint; with `last` all of them.
    pub(super) fn close_due(&mut self, now_ms: i64, last: bool) -> Result<(), FileError> {
        let kept = if last {
            HashSet::new()
        } else {
            self.young(now_ms)
        };
        let mut due: Vec<_> = self
            .files
            .keys()
            .filter(|directory| !kept.contains(*directory))
            .cloned()
            .collect();
        due.sort_unstable();
        let offsets = self.offsets.clone();
        for directory in due {
            if let Some(file) = self.take(&directory) {
                self.close(file, offsets.as_deref())?;
            }
        }
        Ok(())
    }

    /// Files that stay open, in the order of opening, each with its rows.
    pub(super) fn carried(&self) -> Result<Vec<(&OpenFile, RecordBatch)>, FileError> {
        let mut files: Vec<_> = self.files.values().collect();
        files.sort_unstable_by_key(|file| file.order);
        files
            .into_iter()
            .map(|file| Ok((file, file.carried(&self.format.rows)?)))
            .collect()
    }

    /// Directories whose files are not due, smallest first, as many as a manifest may carry.
    fn young(&self, now_ms: i64) -> HashSet<String> {
        let roll = self.limits.roll_interval_ms;
        let mut young: Vec<_> = self
            .files
            .values()
            .filter(|file| !file.is_begun())
            // A clock that jumped back makes a file due.
            .filter(|file| (0..roll).contains(&now_ms.saturating_sub(file.opened_ms)))
            .map(|file| (file.pending_bytes(), file.order, &file.directory))
            .collect();
        young.sort_unstable();
        let mut bytes = 0;
        let carried = young.into_iter().take_while(|(pending, _, _)| {
            bytes += pending;
            bytes <= MAX_CARRIED_BYTES
        });
        carried.map(|(_, _, directory)| directory.clone()).collect()
    }

    /// Frees memory: the biggest file is encoded if that helps, else closed. False if there is
    /// none.
    fn shrink(&mut self) -> Result<bool, FileError> {
        let biggest = self
            .files
            .values()
            .max_by_key(|file| (file.held_bytes(), file.order));
        let Some(directory) = biggest.map(|file| file.directory.clone()) else {
            return Ok(false);
        };
        let Some(file) = self.take(&directory) else {
            return Ok(false);
        };
        if file.pending_bytes() >= WORTH_ENCODING_BYTES {
            self.encode(file)?;
        } else {
            self.close(file, None)?;
        }
        Ok(true)
    }

    /// Closes the oldest files if too many are open.
    fn make_room(&mut self) -> Result<(), FileError> {
        if self.files.len() < self.limits.open_files {
            return Ok(());
        }
        tracing::debug!(
            files = self.files.len(),
            "closing the oldest of too many open files"
        );
        let mut oldest: Vec<_> = self
            .files
            .values()
            .map(|file| (file.order, file.directory.clone()))
            .collect();
        oldest.sort_unstable();
        for (_, directory) in oldest.into_iter().take(CLOSED_AT_ONCE) {
            if let Some(file) = self.take(&directory) {
                self.close(file, None)?;
            }
        }
        Ok(())
    }

    /// Encodes a file's pending rows, and closes it once it is big enough.
    fn encode(&mut self, mut file: OpenFile) -> Result<(), FileError> {
        let Self {
            format,
            store,
            runtime,
            names,
            ..
        } = self;
        file.encode(format, store, runtime, |directory| names.next(directory))?;
        if file.file_bytes() >= self.limits.target_file_bytes {
            return self.close(file, None);
        }
        self.put_back(file);
        Ok(())
    }

    fn close(&mut self, file: OpenFile, offsets_to: Option<&str>) -> Result<(), FileError> {
        let closing = Closing {
            epoch: self.names.epoch.0,
            offsets_to,
        };
        let names = &mut self.names;
        let encoded = file.close(&self.format, &closing, |directory| names.next(directory))?;
        Ok(self.uploads.push(encoded)?)
    }

    /// Takes a file out of the count of memory, for a change.
    fn take(&mut self, directory: &str) -> Option<OpenFile> {
        let file = self.files.remove(directory)?;
        self.held_bytes -= file.held_bytes();
        Some(file)
    }

    fn put_back(&mut self, file: OpenFile) {
        self.held_bytes += file.held_bytes();
        self.files.insert(file.directory.clone(), file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_owner_and_never_repeat() {
        let mut names = Names {
            epoch: Epoch(7),
            generation: Generation(3),
            owner: 0xabcd,
            instance: 0x1234,
            sequence: 0,
            ending: ".zstd.parquet",
        };
        let first = names.next("day=2025-08-17/");
        assert_eq!(
            first,
            "day=2025-08-17/part-0000000007-3-0000abcd-00001234-000000.zstd.parquet"
        );
        assert_ne!(names.next("day=2025-08-17/"), first);
        let older = |owner, generation, name: &str| {
            let names = Names {
                owner,
                generation: Generation(generation),
                ..Names::new("p", "o", Generation(0), "i", "")
            };
            names.of_predecessors()(name)
        };
        assert!(older(0xabcd, 4, &first));
        assert!(!older(0xabcd, 3, &first), "it may be this instance's own");
        assert!(!older(0x1234, 4, &first));
        assert!(!older(0xabcd, 4, "part-0.parquet"));
    }
}
