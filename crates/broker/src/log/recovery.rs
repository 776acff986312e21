//! Opens a log's directory: reads every batch once, checks it, and learns the index, the producers and
//! the transactions from them. Takes memory for the index, not for the records.
//!
//! ```text
//! start, producers ─┐
//! 0000….log  ───────┼─> batch by batch: header, checksum, offsets continuous ─> index, producers
//! 0042….log  ───────┤   the last file may end in a write that was cut off: cut there
//! 0077….tail ───────┘   what is before a .tail may not have reached the disk: cut there too
//! ```
//!
//! A broken batch is a write that was cut off if it is in the last file and no batch follows: nobody has
//! got an acknowledgement for it, or `fsync` was not asked for and the power failed. Where a segment was
//! full and not yet on the disk ([`settling`](super::settling)), a power failure may also have taken a
//! part of it and kept what follows: that is cut, and told as an error. Anything else is damage to
//! acknowledged records, an error with the way out and never a silent cut.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::path::Path;

use super::batch::Header;
use super::durable::{SegmentStore, failed, sync_dir};
use super::error::{LogError, Problem};
use super::producers::Producers;
use super::scan::{self, ReadAt, ScanEnd, Scanned};
use super::segment::{Name, Segment};
use super::snapshot::{self, Snapshot};
use crate::config::Fsync;
use crate::units::Offset;

/// What opening a log has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Recovered {
    /// Records that are retained.
    pub(crate) records: u64,
    /// Bytes of a write that was cut off, at the end of the log.
    pub(crate) bytes_cut: u64,
}

/// A log's parts, as its directory has them.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) store: SegmentStore,
    pub(super) producers: Producers,
    pub(super) start: Offset,
    pub(super) recovered: Recovered,
}

/// The segments, read through.
struct Segments {
    all: VecDeque<Segment>,
    producers: Producers,
    end: Offset,
    recovered: Recovered,
}

/// Opens the log in `dir`, which is made if it is not there.
pub(super) fn open(dir: &Path, fsync: Fsync) -> Result<Opened, LogError> {
    fs::create_dir_all(dir).map_err(failed("make", dir))?;
    if fsync == Fsync::Always
        && let Some(parent) = dir.parent().filter(|parent| parent.is_dir())
    {
        sync_dir(parent)?;
    }
    snapshot::remove_unfinished(dir)?;
    let wanted = snapshot::read_start(dir)?;
    let found = names(dir)?;
    let known = snapshot::read_producers(dir)
        .filter(|known| found.first().is_some_and(|first| first.base <= known.end));
    let mut segments = match read_through(dir, &found, known.as_ref())? {
        // The log does not reach to where the snapshot was taken: it knows too much.
        segments if known.is_some_and(|known| known.end > segments.end) => {
            let again = read_through(dir, &names(dir)?, None)?;
            Segments {
                recovered: segments.recovered,
                ..again
            }
        }
        segments => segments,
    };
    let first = segments
        .all
        .front()
        .map_or(Offset(0), |segment| segment.base);
    let start = wanted.map_or(first, |wanted| wanted.max(first));
    if start > segments.end {
        // Records up to the start were to be deleted anyway.
        remove_all(&segments.all)?;
        segments.all.clear();
        segments.end = start;
        segments.recovered.records = 0;
    }
    let active = segments.all.pop_back().unwrap_or_else(|| {
        // Nothing is before it.
        let name = Name {
            base: start,
            is_settled: true,
        };
        Segment::new(dir, name)
    });
    let mut store = SegmentStore::new(dir, fsync, segments.all, active, segments.end)?;
    // What was being deleted when the process ended.
    while store.oldest().is_some() && store.oldest_end() <= start {
        store.delete_oldest()?;
    }
    let mut producers = segments.producers;
    producers.start_moved(start);
    Ok(Opened {
        store,
        producers,
        start,
        recovered: segments.recovered,
    })
}

/// The segments that are there, ascending.
fn names(dir: &Path) -> Result<Vec<Name>, LogError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed("list", dir))? {
        let entry = entry.map_err(failed("list", dir))?;
        names.extend(entry.file_name().to_str().and_then(Name::read));
    }
    names.sort_unstable();
    Ok(names)
}

fn remove_all(segments: &VecDeque<Segment>) -> Result<(), LogError> {
    segments.iter().try_for_each(|segment| {
        fs::remove_file(&segment.path).map_err(failed("delete", &segment.path))
    })
}

/// Removes the segments that nothing leads up to since a power failure has taken what was before them.
/// Returns their bytes.
fn remove_cut_off(dir: &Path, names: &[Name]) -> Result<u64, LogError> {
    let mut bytes = 0;
    // From the end, so that a crash leaves what is still to be removed behind a gap.
    for name in names.iter().rev() {
        let path = Segment::path(dir, name.base, name.is_settled);
        bytes += fs::metadata(&path).map_err(failed("open", &path))?.len();
        fs::remove_file(&path).map_err(failed("delete", &path))?;
    }
    sync_dir(dir)?;
    Ok(bytes)
}

/// Reads all segments. Where `known` says what the producers were like at an offset, only what follows
/// is applied to that.
fn read_through(
    dir: &Path,
    names: &[Name],
    known: Option<&Snapshot>,
) -> Result<Segments, LogError> {
    let mut segments = Segments {
        all: VecDeque::new(),
        producers: known.map_or_else(Producers::default, |known| known.producers.clone()),
        end: names.first().map_or(Offset(0), |first| first.base),
        recovered: Recovered::default(),
    };
    let applied_to = known.map_or(Offset(0), |known| known.end);
    for (place, &name) in names.iter().enumerate() {
        let mut segment = Segment::new(dir, name);
        let (_, after) = names.split_at(place + 1);
        if name.base != segments.end {
            return Err(LogError::Missing {
                path: segment.path,
                expected: segments.end,
                found: name.base,
            });
        }
        let file = File::open(&segment.path).map_err(failed("open", &segment.path))?;
        let size = file
            .metadata()
            .map_err(failed("open", &segment.path))?
            .len();
        let (producers, recovered) = (&mut segments.producers, &mut segments.recovered);
        let end = scan::scan(&file, size, name.base, |scanned| {
            segment.note(&scanned.header);
            recovered.records += scanned.header.count as u64;
            if scanned.header.base >= applied_to {
                apply(producers, scanned);
            }
        });
        let end = end.map_err(failed("read", &segment.path))?;
        segments.end = end.next;
        segments.all.push_back(segment);
        let taken = is_taken_by_power_failure(&end, after);
        if let Some((problem, followed)) = end.broken {
            let torn = taken || (after.is_empty() && !followed);
            let last = segments.all.back();
            let cut = last.map(|segment| cut(segment, size, &end, torn, problem));
            segments.recovered.bytes_cut += cut.transpose()?.unwrap_or_default();
        }
        if taken {
            let bytes = remove_cut_off(dir, after)?;
            segments.recovered.bytes_cut += bytes;
            tracing::error!(
                dir = %dir.display(), end = end.next.0, segments = after.len(), bytes,
                "a power failure has taken acknowledged records that were not on the disk yet: the log ends before them"
            );
            break;
        }
    }
    Ok(segments)
}

/// Whether a segment does not lead up to the one after it because it was not on the disk yet, as the
/// name of that one says.
fn is_taken_by_power_failure(end: &ScanEnd, after: &[Name]) -> bool {
    let ends_early = |next: &Name| end.broken.is_some() || next.base > end.next;
    after
        .first()
        .is_some_and(|next| ends_early(next) && after.iter().all(|name| !name.is_settled))
}

/// Cuts off what follows the last sound batch, if that is a write that was cut off.
fn cut(
    segment: &Segment,
    size: u64,
    end: &ScanEnd,
    torn: bool,
    problem: Problem,
) -> Result<u64, LogError> {
    let path = &segment.path;
    if !torn {
        return Err(LogError::Damaged {
            path: path.clone(),
            position: end.position,
            problem,
        });
    }
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|file| {
            file.set_len(end.position)?;
            file.sync_all()
        })
        .map_err(failed("cut a torn write off", path))?;
    let bytes = size - end.position;
    tracing::warn!(path = %path.display(), bytes, %problem, "cut an unfinished write off");
    Ok(bytes)
}

fn apply(producers: &mut Producers, scanned: &Scanned) {
    let header: &Header = &scanned.header;
    match (header.producer(), scanned.outcome) {
        (Some(producer), Some(outcome)) => producers.ended(producer, outcome, header, None),
        // Another kind of control batch says nothing of a producer.
        _ if header.is_control() => {}
        _ => producers.wrote(header, None),
    }
}

/// Reads `source` as a segment that begins at `base`, as [`open`] would: how many records are sound, and
/// up to which byte.
pub(super) fn inspect<R: ReadAt + ?Sized>(
    source: &R,
    size: u64,
    base: Offset,
) -> std::io::Result<(u64, u64)> {
    let mut producers = Producers::default();
    let name = Name {
        base,
        is_settled: true,
    };
    let mut segment = Segment::new(Path::new(""), name);
    let mut records = 0;
    let end = scan::scan(source, size, base, |scanned| {
        segment.note(&scanned.header);
        records += scanned.header.count as u64;
        apply(&mut producers, scanned);
    })?;
    Ok((records, end.position))
}
