//! Batches in segment files.
//!
//! A batch is handed to the operating system before it is acknowledged, so that killing the process
//! loses nothing; [`Fsync`] says when it reaches the disk itself. Unless that is at once, a full file is
//! brought there in the background ([`settling`](super::settling)): nobody waits for a disk here.
//! Only the last file is kept open.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::batch::Header;
use super::chunk::Chunk;
use super::error::{AppendError, LogError};
use super::segment::{Name, Segment};
use crate::config::Fsync;
use crate::units::{Offset, Timestamp};

/// The segment files of a partition.
#[derive(Debug)]
pub(super) struct SegmentStore {
    dir: PathBuf,
    fsync: Fsync,
    /// Full ones, oldest first.
    sealed: VecDeque<Segment>,
    /// The one that is written to.
    active: Segment,
    pub(super) file: File,
    end: Offset,
    /// A write has failed, and what it left behind could not be cut off yet.
    torn: bool,
    /// The disk did not take a segment: what it holds is not known.
    pub(super) disk_failed: bool,
}

/// An I/O error, with what was attempted.
pub(super) fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> LogError + 'a {
    move |source| LogError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Has the operating system write a directory's entries.
pub(super) fn sync_dir(dir: &Path) -> Result<(), LogError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(failed("sync", dir))
}

/// Opens a segment's file to write on, and makes it if it is not there.
fn open_active(path: &Path) -> Result<File, LogError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(failed("open", path))
}

impl SegmentStore {
    /// The store over `sealed` segments and the last one, as recovery found them; `end` follows the last.
    pub(super) fn new(
        dir: &Path,
        fsync: Fsync,
        sealed: VecDeque<Segment>,
        active: Segment,
        end: Offset,
    ) -> Result<Self, LogError> {
        let file = open_active(&active.path)?;
        if fsync == Fsync::Always {
            sync_dir(dir)?;
        }
        Ok(Self {
            dir: dir.to_owned(),
            fsync,
            sealed,
            active,
            file,
            end,
            torn: false,
            disk_failed: false,
        })
    }

    /// How many segments there are, the active one included.
    pub(super) fn segments(&self) -> usize {
        self.sealed.len() + 1
    }

    /// One of them, by age; the last is the active one.
    pub(super) fn segment(&self, place: usize) -> Option<&Segment> {
        if place == self.sealed.len() {
            return Some(&self.active);
        }
        self.sealed.get(place)
    }

    /// The same, to be changed.
    pub(super) fn segment_mut(&mut self, place: usize) -> Option<&mut Segment> {
        if place == self.sealed.len() {
            return Some(&mut self.active);
        }
        self.sealed.get_mut(place)
    }

    /// Where the files are.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Offset after the last record.
    pub(super) fn end(&self) -> Offset {
        self.end
    }

    /// First offset that is retained.
    pub(super) fn first(&self) -> Offset {
        self.sealed.front().unwrap_or(&self.active).base
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        let sealed: u64 = self.sealed.iter().map(|segment| segment.bytes).sum();
        sealed + self.active.bytes
    }

    /// Writes a batch behind the last one, in a new segment if it does not fit. If this fails, the log is
    /// as it was.
    pub(super) fn append(
        &mut self,
        header: &Header,
        data: &Bytes,
        segment_bytes: u64,
    ) -> Result<(), AppendError> {
        self.refuse_if_disk_failed()?;
        self.cut_torn_tail()?;
        let full = self.active.bytes + data.len() as u64 > segment_bytes;
        if full && self.active.bytes > 0 {
            self.roll()?;
        }
        let written = self.file.write_all_at(data, self.active.bytes);
        let written = written.and_then(|()| match self.fsync {
            Fsync::Always => self.file.sync_data(),
            Fsync::OnRoll => Ok(()),
        });
        if let Err(source) = written {
            self.torn = true;
            // If this fails too, the next append tries again before it writes.
            let _ = self.cut_torn_tail();
            return Err(failed("write to", &self.active.path)(source).into());
        }
        self.active.note(header);
        self.end = header.next();
        Ok(())
    }

    fn cut_torn_tail(&mut self) -> Result<(), LogError> {
        if self.torn {
            self.file
                .set_len(self.active.bytes)
                .map_err(failed("cut a failed write off", &self.active.path))?;
            self.torn = false;
        }
        Ok(())
    }

    /// Begins a new segment. Where each batch is synced, so is the name it can be found by.
    fn roll(&mut self) -> Result<(), LogError> {
        self.cut_torn_tail()?;
        let is_settled = self.fsync == Fsync::Always;
        if is_settled {
            self.settle_all()?;
            self.sync()?;
        }
        let name = Name {
            base: self.end,
            is_settled,
        };
        let next = Segment::new(&self.dir, name);
        let file = open_active(&next.path)?;
        if is_settled {
            sync_dir(&self.dir)?;
        }
        self.file = file;
        let full = std::mem::replace(&mut self.active, next);
        self.sealed.push_back(full);
        Ok(())
    }

    /// Has the operating system write the active segment to the disk.
    pub(super) fn sync(&mut self) -> Result<(), LogError> {
        self.cut_torn_tail()?;
        self.file
            .sync_data()
            .map_err(failed("sync", &self.active.path))
    }

    /// Has the operating system write everything to the disk.
    pub(super) fn sync_all(&mut self) -> Result<(), LogError> {
        self.settle_all()?;
        self.sync()?;
        sync_dir(&self.dir)
    }

    /// Whole batches of one segment from the batch that holds `from`, none that begins at `limit` or
    /// later.
    pub(super) fn read(
        &self,
        from: Offset,
        limit: Offset,
        max: usize,
        at_least_one: bool,
    ) -> Result<Chunk, LogError> {
        match self.sealed.get(self.sealed_before(from)) {
            None => self.active.read(&self.file, from, limit, max, at_least_one),
            Some(segment) => segment.read(&open(segment)?, from, limit, max, at_least_one),
        }
    }

    /// How many sealed segments end at or before `offset`.
    fn sealed_before(&self, offset: Offset) -> usize {
        if offset >= self.active.base {
            return self.sealed.len();
        }
        self.sealed
            .partition_point(|segment| segment.base <= offset)
            .saturating_sub(1)
    }

    /// The first batch that ends at or after `from` and has a record as late as `timestamp`.
    pub(super) fn batch_at(
        &self,
        timestamp: Timestamp,
        from: Offset,
    ) -> Result<Option<Bytes>, LogError> {
        let candidates = self.sealed.range(self.sealed_before(from)..);
        for segment in candidates.filter(|segment| segment.max_timestamp >= timestamp) {
            if let Some(batch) = segment.batch_at(&open(segment)?, timestamp, from)? {
                return Ok(Some(batch));
            }
        }
        self.active.batch_at(&self.file, timestamp, from)
    }

    /// The highest timestamp of the batches that end at or after `from`.
    pub(super) fn max_timestamp(&self, from: Offset) -> Result<Option<Timestamp>, LogError> {
        let mut max = self.active.max_timestamp_from(&self.file, from)?;
        for segment in self.sealed.range(self.sealed_before(from)..) {
            max = max.max(segment.max_timestamp_from(&open(segment)?, from)?);
        }
        Ok(max)
    }

    /// Size and highest timestamp of the oldest segment that has records.
    pub(super) fn oldest(&self) -> Option<(u64, Timestamp)> {
        let oldest = self.sealed.front().unwrap_or(&self.active);
        (oldest.bytes > 0).then_some((oldest.bytes, oldest.max_timestamp))
    }

    /// Offset at which the oldest segment ends.
    pub(super) fn oldest_end(&self) -> Offset {
        match self.sealed.get(1) {
            Some(next) => next.base,
            None if self.sealed.is_empty() => self.end,
            None => self.active.base,
        }
    }

    /// Deletes the oldest segment. If it is the active one, a new one is begun before.
    pub(super) fn delete_oldest(&mut self) -> Result<(), LogError> {
        if self.sealed.is_empty() {
            self.roll()?;
        }
        if let Some(oldest) = self.sealed.front() {
            fs::remove_file(&oldest.path).map_err(failed("delete", &oldest.path))?;
            self.sealed.pop_front();
        }
        Ok(())
    }
}

fn open(segment: &Segment) -> Result<File, LogError> {
    File::open(&segment.path).map_err(failed("open", &segment.path))
}
