//! Files of JSON lines as a source: plain ones that may still grow, gzip and zstd ones that are
//! complete. One partition a file.
//!
//! What a reader may rely on:
//!
//! - **Positions are bytes.** A next offset is the byte, after decompression, where the next line
//!   begins. A record's offset is that of its last byte, its line's ending included, so that, as
//!   everywhere, the next offset after a record is its offset plus one.
//! - **Lines.** A record is one line without its ending (`\n` or `\r\n`) and without a byte order
//!   mark at the head of the file. Lines of nothing but white space are no records.
//! - **Plain files are followed.** Whatever is appended later is read; the partition never ends.
//!   The last line may be without an ending for two reasons: somebody is still writing it, or the
//!   file is complete and its writer left the ending out. See [`LastLine`] for how they are told
//!   apart.
//! - **Compressed files end for good** and must be complete when they appear under their name
//!   (written elsewhere, then renamed). Their last line needs no ending.
//! - **Numbers are stable.** A checkpoint stores which number belongs to which path; files that it
//!   does not know get the next free numbers in path order, also while the pipeline runs.
//! - **Files only grow and keep their names.** One that became shorter, was replaced, or is gone
//!   while a checkpoint still stands in it is an error, never a silent jump. Rename or delete files
//!   only together with the checkpoint.
//! - **Names are text.** A file whose name is no valid UTF-8 matches no pattern.

mod catalogue;
mod compression;
mod reader;
mod tail;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use floodmark_pipeline::{FileSource, Start};

use self::catalogue::Catalogue;
use self::compression::Compression;
use self::reader::FileReader;
use super::{Connector, END_UNKNOWN, Reader, SourceError};
use crate::clock::Clock;
use crate::units::{Offset, Partition};

/// Step in which the start of an unfinished last line is searched for, from the end.
const BACKWARD_STEP: usize = 64 << 10;

/// When the last line of a plain file counts although it has no line ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastLine {
    /// For a pipeline that runs on: when it is a complete JSON object, to which nothing can be
    /// added, and the file has not grown for [`LastLine::STALL`]. Half an object waits for the
    /// other half, however long a buffering writer takes.
    Follow,
    /// For a run until everything is read: whatever it holds, when the file has not grown for
    /// [`LastLine::STALL`].
    Finish,
}

impl LastLine {
    /// How long a file must not have grown.
    pub const STALL: std::time::Duration = std::time::Duration::from_secs(2);
}

/// Files that match patterns.
pub struct FileConnector {
    catalogue: Arc<Catalogue>,
    start: Start,
    last_line: LastLine,
    clock: Arc<dyn Clock>,
}

impl FileConnector {
    /// The files of a source; none of them is touched yet.
    pub fn new(
        source_name: &str,
        source: &FileSource,
        start: Start,
        last_line: LastLine,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SourceError> {
        if let Start::Timestamp(_) = start {
            return Err(SourceError::Misconfigured {
                attempted: format!("source '{source_name}': starting at a moment"),
                reason: "lines of files have no timestamp of their own".to_owned(),
                hint: "Set start = \"earliest\", or name fewer files".to_owned(),
            });
        }
        let catalogue = Arc::new(Catalogue::new(source_name, &source.paths)?);
        Ok(Self {
            catalogue,
            start,
            last_line,
            clock,
        })
    }

    /// The end of a partition as far as it can be told; `None` if its file is gone.
    fn end(&self, partition: Partition) -> Result<Option<Offset>, SourceError> {
        let path = self.catalogue.path(partition)?;
        let length = match std::fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.catalogue.trouble(&path, "looking at", &error)),
        };
        Ok(Some(match Compression::of(&path) {
            Compression::None => offset(length),
            _ => self.catalogue.known_end(partition).unwrap_or(END_UNKNOWN),
        }))
    }

    /// Where what is written from now on begins.
    fn latest(&self, partition: Partition) -> Result<Offset, SourceError> {
        let path = self.catalogue.path(partition)?;
        let compression = Compression::of(&path);
        let measured = match compression {
            Compression::None => File::open(&path).and_then(|mut file| after_last_line(&mut file)),
            _ => compression
                .open(&path)
                .and_then(|mut all| io::copy(&mut all, &mut io::sink())),
        };
        let end =
            offset(measured.map_err(|e| self.catalogue.trouble(&path, "finding the end of", &e))?);
        if compression != Compression::None {
            self.catalogue.reached_end(partition, end);
        }
        Ok(end)
    }
}

impl Connector for FileConnector {
    fn origin(&self) -> String {
        self.catalogue.origin()
    }

    fn topic(&self, partition: Partition) -> String {
        self.catalogue.path(partition).unwrap_or_default()
    }

    fn adopt(&self, names: &[(Partition, String)]) {
        self.catalogue.adopt(names);
    }

    fn partitions(&self) -> Result<Vec<Partition>, SourceError> {
        self.catalogue.discover()
    }

    fn start(&self, partitions: &[Partition]) -> Result<Vec<(Partition, Offset)>, SourceError> {
        match self.start {
            Start::Latest => partitions
                .iter()
                .map(|partition| Ok((*partition, self.latest(*partition)?)))
                .collect(),
            // A timestamp was refused when the connector was made.
            Start::Earliest | Start::Timestamp(_) => self.start_of_new(partitions),
        }
    }

    fn start_of_new(
        &self,
        partitions: &[Partition],
    ) -> Result<Vec<(Partition, Offset)>, SourceError> {
        Ok(partitions
            .iter()
            .map(|partition| (*partition, Offset(0)))
            .collect())
    }

    fn resume(
        &self,
        positions: &[(Partition, Offset)],
    ) -> Result<Vec<(Partition, Offset)>, SourceError> {
        for (partition, next) in positions {
            let path = self.catalogue.path(*partition)?;
            match self.end(*partition)? {
                None => return Err(self.catalogue.gone(&path, *next)),
                Some(end) if end < *next => {
                    return Err(self.catalogue.shorter(&path, *next, end));
                }
                Some(_) => {}
            }
        }
        Ok(positions.to_vec())
    }

    fn ends(&self, partitions: &[Partition]) -> Result<Vec<(Partition, Offset)>, SourceError> {
        let ends = partitions
            .iter()
            .filter_map(|partition| match self.end(*partition) {
                Ok(end) => end.map(|end| Ok((*partition, end))),
                Err(error) => Some(Err(error)),
            });
        ends.collect()
    }

    fn reader(&self, positions: &[(Partition, Offset)]) -> Result<Box<dyn Reader>, SourceError> {
        let catalogue = Arc::clone(&self.catalogue);
        let mut reader = FileReader::new(catalogue, self.last_line, Arc::clone(&self.clock));
        reader.assign(positions)?;
        Ok(Box::new(reader))
    }

    fn show_positions(&self, _positions: &[(Partition, Offset)]) -> Result<(), SourceError> {
        Ok(())
    }
}

/// A length as an offset. No file system holds files of 8 EiB.
fn offset(bytes: u64) -> Offset {
    Offset(i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// The byte after the last line ending: an unfinished last line is still to come.
fn after_last_line(file: &mut File) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut step = vec![0; BACKWARD_STEP];
    while end > 0 {
        let length = end.min(BACKWARD_STEP as u64);
        end -= length;
        file.seek(SeekFrom::Start(end))?;
        let step = &mut step[..length as usize];
        file.read_exact(step)?;
        if let Some(at) = memchr::memrchr(b'\n', step) {
            return Ok(end + at as u64 + 1);
        }
    }
    Ok(0)
}
