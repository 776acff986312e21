//! Why the log refuses, and which code the client gets for it.

use std::io;
use std::path::PathBuf;

use kafka_protocol::error::ResponseError;

use crate::units::{Offset, Producer};

/// Files of a log that could not be read or written, or do not hold what was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// The operating system refused.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Records that were acknowledged cannot be read any more.
    #[error(
        "{} is damaged at byte {position}: {problem}; acknowledged records follow, so nothing was cut. \
         Restore the file from a copy, or give up what follows: truncate the file to {position} bytes \
         and remove the .log files with higher numbers",
        path.display()
    )]
    Damaged {
        /// The segment file.
        path: PathBuf,
        /// Where the batch begins that is not as it was written.
        position: u64,
        /// What is wrong with it.
        problem: Problem,
    },
    /// A segment file is missing between others.
    #[error(
        "{} begins at offset {}, but the file before it ends at offset {}: a .log file is missing. \
         Restore it, or give up what follows: remove this file and those with higher numbers",
        path.display(), found.0, expected.0
    )]
    Missing {
        /// The file after the gap.
        path: PathBuf,
        /// Where it should begin.
        expected: Offset,
        /// Where it begins.
        found: Offset,
    },
    /// The disk has failed to take a full segment.
    #[error(
        "the disk has not taken what was written to {}, so it takes no more records. Check the disk, then \
         start the broker again: it reads everything and says what is damaged",
        dir.display()
    )]
    DiskFailed {
        /// The log's directory.
        dir: PathBuf,
    },
    /// The file that says where the log begins is not readable as such.
    #[error(
        "{} does not hold an offset. Write the first offset that readers should see into it, or \
         remove it: deleted records of the oldest .log file are then visible again",
        path.display()
    )]
    Start {
        /// The file.
        path: PathBuf,
    },
}

/// What is wrong with the bytes where a batch should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    /// The file ends within the batch.
    #[error("the file ends within a batch")]
    Short,
    /// The header has values that no batch of this log has.
    #[error("not the header of a batch")]
    Header,
    /// The batch does not continue where the one before it ended.
    #[error("the offsets are not continuous")]
    Discontinuous,
    /// The checksum differs.
    #[error("the checksum does not match")]
    Checksum,
}

/// Why a batch was not appended. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    /// The bytes are not what the producer meant to send.
    #[error("corrupt record batch: {0}")]
    Corrupt(&'static str),
    /// The batch is not one that a client may write.
    #[error("invalid record batch: {0}")]
    Invalid(&'static str),
    /// Only the broker sets the time of appending.
    #[error("the batch claims timestamps of the kind LogAppendTime")]
    TimestampType,
    /// `message.timestamp.before.max.ms`.
    #[error("a timestamp is more than {limit_ms} ms in the past")]
    TooFarBehind {
        /// How far is allowed.
        limit_ms: i64,
    },
    /// `message.timestamp.after.max.ms`.
    #[error("a timestamp is more than {limit_ms} ms in the future")]
    TooFarAhead {
        /// How far is allowed.
        limit_ms: i64,
    },
    /// A codec that Kafka does not have.
    #[error("compression codec {0} is unknown")]
    Codec(u8),
    /// `max.message.bytes`.
    #[error("a batch of {size} bytes, {limit} are allowed")]
    TooLarge {
        /// Bytes of the batch.
        size: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// `segment.bytes`.
    #[error("a batch of {size} bytes does not fit a segment of {limit}")]
    LargerThanSegment {
        /// Bytes of the batch.
        size: usize,
        /// Bytes of a segment.
        limit: u64,
    },
    /// Batches of this producer before this one are missing, or it is an old one.
    #[error("producer {} (epoch {}) sent sequence {found} after {last}", producer.id, producer.epoch)]
    OutOfOrderSequence {
        /// Who sent it.
        producer: Producer,
        /// First sequence number of the batch.
        found: i32,
        /// Last sequence number in the log, -1 for none in this epoch.
        last: i32,
    },
    /// A newer holder of the producer id has written already.
    #[error("producer {} has epoch {}, {current} has written already", producer.id, producer.epoch)]
    Fenced {
        /// Who sent it.
        producer: Producer,
        /// The epoch in force.
        current: i16,
    },
    /// A batch without the transactional flag while the producer's transaction is open.
    #[error("producer {} has an open transaction and sent a batch outside of it", .0.id)]
    OutsideTransaction(Producer),
    /// No memory is left for records.
    #[error("no memory is left for records: wait for retention, delete records or raise the limit")]
    Full,
    /// The files refused.
    #[error(transparent)]
    Storage(#[from] LogError),
    /// A bug of the broker's.
    #[error("invariant {0} does not hold")]
    Invariant(&'static str),
}

impl AppendError {
    /// What the client is told.
    pub(crate) fn code(&self) -> ResponseError {
        match self {
            Self::Corrupt(_) => ResponseError::CorruptMessage,
            Self::Invalid(_) => ResponseError::InvalidRecord,
            Self::TimestampType | Self::TooFarBehind { .. } | Self::TooFarAhead { .. } => {
                ResponseError::InvalidTimestamp
            }
            Self::Codec(_) => ResponseError::UnsupportedCompressionType,
            Self::TooLarge { .. } => ResponseError::MessageTooLarge,
            Self::LargerThanSegment { .. } => ResponseError::RecordListTooLarge,
            Self::OutOfOrderSequence { .. } => ResponseError::OutOfOrderSequenceNumber,
            Self::Fenced { .. } => ResponseError::InvalidProducerEpoch,
            Self::OutsideTransaction(_) => ResponseError::InvalidTxnState,
            Self::Full | Self::Storage(_) => ResponseError::KafkaStorageError,
            Self::Invariant(_) => ResponseError::UnknownServerError,
        }
    }
}

/// Why nothing was read, or nothing deleted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The offset was deleted already or does not exist yet.
    #[error("the offset is not within {}..={}", start.0, end.0)]
    OutOfRange {
        /// First offset of the log.
        start: Offset,
        /// The offset that the next record gets.
        end: Offset,
    },
    /// The files refused.
    #[error(transparent)]
    Storage(#[from] LogError),
}

impl ReadError {
    /// What the client is told.
    pub(crate) fn code(&self) -> ResponseError {
        match self {
            Self::OutOfRange { .. } => ResponseError::OffsetOutOfRange,
            Self::Storage(_) => ResponseError::KafkaStorageError,
        }
    }
}
