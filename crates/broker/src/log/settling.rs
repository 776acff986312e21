//! Brings full segments to the disk, apart from those who use the log.
//!
//! A disk whose write-back stalls keeps a sync waiting for a minute. Waited for under a log's lock, that
//! stands everything still that writes to the log or reads it. So a full segment is followed by the next
//! one at once, and what is not known to be on the disk shows in the names:
//!
//! ```text
//! 0000.log  0042.log  0077.tail  0099.tail       .log: everything before this segment is on the disk
//!           ▲ recovery point                     .tail: not yet
//!   sync 0042.log, then 0077.tail ─▶ 0077.log, then the next
//! ```
//!
//! INV-SETTLED: a segment is renamed to `.log` after what is before it has reached the disk, one after
//! the other. So after a power failure whatever is before the last `.log` must be whole, and anything
//! else there is damage; what is broken from there on is what the failure has taken, and recovery cuts
//! the log there. The end of the process alone takes nothing, whatever the names are.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use super::durable::{SegmentStore, failed, sync_dir};
use super::error::LogError;
use super::segment::Segment;
use crate::units::Offset;

/// A segment before which everything is to be on the disk. It is taken from the log under its lock,
/// carried out without one, and given back under it.
#[derive(Debug)]
pub(crate) struct Settling {
    dir: PathBuf,
    /// The file to bring to the disk; those before it are there. Nothing if none is retained.
    before: Option<PathBuf>,
    /// Which segment's name will say so.
    base: Offset,
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Settled {
    /// It is on the disk.
    OnDisk,
    /// It could not be tried; it may work later.
    Later(LogError),
    /// The disk has failed: what it holds, nobody knows, and asking it again would not tell.
    Failed(LogError),
}

impl Settling {
    /// Waits for the disk.
    pub(crate) fn carry_out(&self) -> Settled {
        if let Some(path) = &self.before {
            match File::open(path) {
                Ok(file) => {
                    if let Err(error) = file.sync_data() {
                        return Settled::Failed(failed("sync", path)(error));
                    }
                }
                // Its records have been deleted meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Settled::Later(failed("open", path)(error)),
            }
        }
        // The names too: a file without one is as good as lost.
        match sync_dir(&self.dir) {
            Ok(()) => Settled::OnDisk,
            Err(error) => Settled::Later(error),
        }
    }
}

impl SegmentStore {
    /// What is to be brought to the disk next, if anything.
    pub(super) fn settling(&self) -> Option<Settling> {
        if self.disk_failed {
            return None;
        }
        let place = self.first_unsettled()?;
        let before = place.checked_sub(1).and_then(|place| self.segment(place));
        Some(Settling {
            dir: self.dir().to_owned(),
            before: before.map(|segment| segment.path.clone()),
            base: self.segment(place)?.base,
        })
    }

    /// Takes note of what became of it; whether there may be more to do now.
    pub(super) fn settled(&mut self, settling: &Settling, outcome: Settled) -> bool {
        let renamed = match outcome {
            Settled::OnDisk => self.rename(settling.base),
            Settled::Later(error) => Err(error),
            Settled::Failed(error) => {
                tracing::error!(
                    %error,
                    "the disk has failed: a power failure may take acknowledged records. This partition takes no more of them until the broker is started again"
                );
                self.disk_failed = true;
                return false;
            }
        };
        if let Err(error) = renamed {
            tracing::warn!(%error, "a full segment may not be on the disk yet, trying again");
            return false;
        }
        true
    }

    /// Brings everything before the active segment to the disk.
    pub(super) fn settle_all(&mut self) -> Result<(), LogError> {
        while let Some(settling) = self.settling() {
            match settling.carry_out() {
                Settled::OnDisk => self.rename(settling.base)?,
                Settled::Later(error) => return Err(error),
                Settled::Failed(error) => {
                    self.disk_failed = true;
                    return Err(error);
                }
            }
        }
        self.refuse_if_disk_failed()
    }

    pub(super) fn refuse_if_disk_failed(&self) -> Result<(), LogError> {
        if self.disk_failed {
            return Err(LogError::DiskFailed {
                dir: self.dir().to_owned(),
            });
        }
        Ok(())
    }

    /// Which segment is the first that is not known to have all before it on the disk.
    fn first_unsettled(&self) -> Option<usize> {
        // Those that are not are the last ones, and mostly none is.
        let segments = 0..self.segments();
        let unsettled = segments.rev().take_while(|place| {
            self.segment(*place)
                .is_some_and(|segment| !segment.is_settled)
        });
        unsettled.last()
    }

    /// INV-SETTLED: only the first of them gets its name, and only once. It may have been deleted.
    fn rename(&mut self, base: Offset) -> Result<(), LogError> {
        let dir = self.dir().to_owned();
        let Some(place) = self.first_unsettled() else {
            return Ok(());
        };
        let Some(segment) = self.segment_mut(place).filter(|s| s.base == base) else {
            return Ok(());
        };
        let settled = Segment::path(&dir, base, true);
        fs::rename(&segment.path, &settled).map_err(failed("rename", &segment.path))?;
        segment.path = settled;
        segment.is_settled = true;
        Ok(())
    }
}
