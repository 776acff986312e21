//! What a broker is asked to be.

use std::path::PathBuf;

/// When what is written reaches the disk itself.
///
/// Everything is handed to the operating system before it is acknowledged, so killing the process
/// loses nothing under either policy. They differ in what a power failure may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fsync {
    /// In the background when a segment is full and when the journal is compacted, and at a clean end. A
    /// power failure may take what the operating system had not written yet; nobody waits for the disk.
    #[default]
    OnRoll,
    /// Before each acknowledgement. Slow, and safe against power failures as far as the disk is.
    Always,
}

/// Builds a [`Broker`](crate::Broker).
#[derive(Debug, Clone)]
pub struct Builder {
    pub(crate) listen: String,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) memory_limit: usize,
    pub(crate) auto_create_partitions: Option<i32>,
    pub(crate) default_partitions: i32,
    pub(crate) fsync: Fsync,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
            data_dir: None,
            memory_limit: 1 << 30,
            auto_create_partitions: None,
            default_partitions: 3,
            fsync: Fsync::default(),
        }
    }
}

impl Builder {
    /// Address and port to listen on; port 0 takes a free one. Default `127.0.0.1:0`.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// Directory that keeps topics, groups and transactions over restarts. Without one, everything is
    /// in memory. One broker at a time may use it.
    pub fn data_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(directory.into());
        self
    }

    /// Bytes that records may take in memory; a broker that is full refuses records until retention
    /// or `DeleteRecords` makes room. Default 1 GiB; has no effect with a data directory.
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// Makes a topic that a client asks for and that does not exist, with so many partitions. By
    /// default an unknown topic is an error.
    pub fn auto_create_topics(mut self, partitions: i32) -> Self {
        self.auto_create_partitions = Some(partitions);
        self
    }

    /// Partitions of a topic whose creator leaves the number to the broker. Default 3.
    pub fn default_partitions(mut self, partitions: i32) -> Self {
        self.default_partitions = partitions;
        self
    }

    /// When data reaches the disk itself.
    pub fn fsync(mut self, policy: Fsync) -> Self {
        self.fsync = policy;
        self
    }
}
