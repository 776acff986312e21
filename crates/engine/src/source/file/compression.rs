//! How a file is compressed, told by its name.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

/// Bytes read from the disk at once.
const DISK_READ: usize = 128 << 10;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub(super) fn of(path: &str) -> Self {
        let ending = Path::new(path)
            .extension()
            .and_then(|ending| ending.to_str());
        match ending {
            Some(e) if e.eq_ignore_ascii_case("gz") || e.eq_ignore_ascii_case("gzip") => Self::Gzip,
            Some(e) if e.eq_ignore_ascii_case("zst") || e.eq_ignore_ascii_case("zstd") => {
                Self::Zstd
            }
            _ => Self::None,
        }
    }

    /// The file's content from its beginning. Files of several gzip members or zstd frames are
    /// read to the end of the last one.
    pub(super) fn open(self, path: &str) -> io::Result<Box<dyn Read + Send>> {
        let file = File::open(path)?;
        Ok(match self {
            Self::None => Box::new(file),
            Self::Gzip => Box::new(MultiGzDecoder::new(io::BufReader::with_capacity(
                DISK_READ, file,
            ))),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(
                io::BufReader::with_capacity(DISK_READ, file),
            )?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_tells_the_compression() {
        assert_eq!(Compression::of("a/b.jsonl"), Compression::None);
        assert_eq!(Compression::of("a/b.jsonl.gz"), Compression::Gzip);
        assert_eq!(Compression::of("a.zst/b.JSON.ZST"), Compression::Zstd);
        assert_eq!(Compression::of("a.gz/b"), Compression::None);
    }
}
