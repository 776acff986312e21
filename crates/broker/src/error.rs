//! Why a broker did not start, or did not end as it should.

use std::io;
use std::path::PathBuf;

use crate::journal::JournalError;
use crate::log::LogError;

/// Why a broker did not start. Each says its cause itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Something else listens there.
    #[error(
        "{address} is taken: another program listens there. Stop it, or listen on another port"
    )]
    AddressInUse {
        /// Address asked for.
        address: String,
    },
    /// The address is not one of this machine's, or not allowed.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// Address asked for.
        address: String,
        /// What the system said.
        cause: io::Error,
    },
    /// Another broker uses the data directory.
    #[error("{path} is in use by another broker. Stop it, or use another directory")]
    DirectoryInUse {
        /// The directory.
        path: PathBuf,
    },
    /// The data directory was written by a newer version.
    #[error(
        "{path} has format {found}, this program knows up to {known}: use a newer program, or another directory"
    )]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this program knows.
        known: u32,
    },
    /// The data directory holds something else.
    #[error(
        "{path} is not a broker's: {reason}. Use another directory, or remove it to start anew"
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The data directory cannot be read or written.
    #[error("cannot use {path}: {cause}")]
    Directory {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// What was stored is damaged or cannot be read.
    #[error("{0}")]
    Stored(String),
    /// The threads could not be started.
    #[error("cannot start the broker's threads: {0}")]
    Threads(io::Error),
}

impl From<JournalError> for StartError {
    fn from(error: JournalError) -> Self {
        Self::Stored(error.to_string())
    }
}

impl From<LogError> for StartError {
    fn from(error: LogError) -> Self {
        Self::Stored(error.to_string())
    }
}

/// What a broker could not bring to the disk when it stopped. All of it was handed to the operating
/// system before.
#[derive(Debug, thiserror::Error)]
#[error("while stopping the broker: {0}")]
pub struct StopError(pub(crate) String);
