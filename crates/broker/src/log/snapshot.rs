//! The two small files beside a log's segments, each replaced as a whole.
//!
//! - `start`: the first offset that readers see, after `DeleteRecords`.
//! - `producers`: what is known of the producers at some offset. Segments that are deleted take along
//!   what could be learned from them; without this file a restart would forget sequence numbers, epochs
//!   and transactions that began there. It only ever helps: if it is missing or unreadable, the
//!   retained segments say what they can.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::durable::{failed, sync_dir};
use super::error::LogError;
use super::producers::Producers;
use crate::units::Offset;

const START: &str = "start";
const PRODUCERS: &str = "producers";
/// Ends the name of a file that is being written.
const UNFINISHED: &str = ".tmp";

/// The producers as they were when the log ended at `end`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Snapshot<P = Producers> {
    pub(super) end: Offset,
    pub(super) producers: P,
}

/// Reads the first offset that readers see, if one was ever set.
pub(super) fn read_start(dir: &Path) -> Result<Option<Offset>, LogError> {
    let path = dir.join(START);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(failed("read", &path))?,
    };
    std::str::from_utf8(&text)
        .ok()
        .and_then(|text| text.trim_end().parse().ok())
        .filter(|offset| *offset >= 0)
        .map(|offset| Some(Offset(offset)))
        .ok_or(LogError::Start { path })
}

/// Sets the first offset that readers see. It is on the disk when this returns.
pub(super) fn write_start(dir: &Path, start: Offset) -> Result<(), LogError> {
    replace(dir, START, format!("{}\n", start.0).as_bytes())
}

/// Reads the producers' file. What cannot be read is as good as missing.
pub(super) fn read_producers(dir: &Path) -> Option<Snapshot> {
    let path = dir.join(PRODUCERS);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        read => read,
    };
    let snapshot = text.ok().and_then(|text| parse(&text));
    if snapshot.is_none() {
        tracing::warn!(path = %path.display(), "unreadable producer file, rebuilt from the segments");
    }
    snapshot
}

/// A checksum in hexadecimal, a line end, and JSON.
fn parse(text: &[u8]) -> Option<Snapshot> {
    let (crc, json) = text.split_at_checked(8)?;
    let crc = u32::from_str_radix(std::str::from_utf8(crc).ok()?, 16).ok()?;
    let json = json.strip_prefix(b"\n")?;
    (crc32c::crc32c(json) == crc)
        .then(|| serde_json::from_slice(json).ok())
        .flatten()
}

/// Replaces the producers' file. It is on the disk when this returns.
pub(super) fn write_producers(
    dir: &Path,
    end: Offset,
    producers: &Producers,
) -> Result<(), LogError> {
    let json = serde_json::to_vec(&Snapshot { end, producers })
        .map_err(|error| failed("describe the producers in", dir)(io::Error::other(error)))?;
    let mut text = format!("{:08x}\n", crc32c::crc32c(&json)).into_bytes();
    text.extend_from_slice(&json);
    replace(dir, PRODUCERS, &text)
}

/// Removes what an interrupted [`replace`] left behind.
pub(super) fn remove_unfinished(dir: &Path) -> Result<(), LogError> {
    for name in [START, PRODUCERS] {
        let path = dir.join(format!("{name}{UNFINISHED}"));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Writes a file so that a crash at any point leaves the old one or the new one.
fn replace(dir: &Path, name: &str, content: &[u8]) -> Result<(), LogError> {
    let unfinished = dir.join(format!("{name}{UNFINISHED}"));
    File::create(&unfinished)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        })
        .map_err(failed("write", &unfinished))?;
    let path = dir.join(name);
    fs::rename(&unfinished, &path).map_err(failed("replace", &path))?;
    sync_dir(dir)
}
