//! Whose a data directory is: one broker's at a time, of a cluster with an identity, in a layout with a
//! number.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::StartError;
use crate::topics::new_id;

/// Version of the data directory's layout. From 2 on a segment may end in `.tail`; what is older is read,
/// and has the newer number from then on: a program that does not know such names would pass them over.
const FORMAT: u32 = 2;

/// Who a data directory belongs to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Identity {
    format: u32,
    /// Identity of the cluster.
    pub(crate) cluster_id: String,
}

/// An identity for a cluster that has none.
pub(crate) fn cluster_id() -> String {
    new_id().to_string()
}

/// Makes the directory if it is not there, locks it, and reads whose it is. The lock is held until the file
/// is closed.
pub(crate) fn claim(directory: &Path) -> Result<(Identity, File), StartError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |cause| StartError::Directory { path, cause }
    };
    fs::create_dir_all(directory).map_err(failed(directory))?;
    let lock_path = directory.join("lock");
    let lock = File::create(&lock_path).map_err(failed(&lock_path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(StartError::DirectoryInUse {
                path: directory.to_owned(),
            });
        }
        Err(TryLockError::Error(cause)) => return Err(failed(&lock_path)(cause)),
    }
    let path = directory.join("broker.json");
    let identity = match fs::read(&path) {
        Ok(bytes) => {
            let mut identity = read_identity(&path, directory, &bytes)?;
            if identity.format < FORMAT {
                identity.format = FORMAT;
                write_identity(&path, &identity).map_err(failed(&path))?;
            }
            identity
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let identity = Identity {
                format: FORMAT,
                cluster_id: cluster_id(),
            };
            write_identity(&path, &identity).map_err(failed(&path))?;
            identity
        }
        Err(error) => return Err(failed(&path)(error)),
    };
    Ok((identity, lock))
}

fn read_identity(path: &Path, directory: &Path, bytes: &[u8]) -> Result<Identity, StartError> {
    let not_ours = |error: serde_json::Error| StartError::NotOurs {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(not_ours)?;
    // The number alone first: a newer format may have other fields.
    let format = value.get("format").and_then(serde_json::Value::as_u64);
    if let Some(found) = format.and_then(|found| u32::try_from(found).ok())
        && found > FORMAT
    {
        return Err(StartError::NewerFormat {
            path: directory.to_owned(),
            found,
            known: FORMAT,
        });
    }
    serde_json::from_value(value).map_err(not_ours)
}

fn write_identity(path: &Path, identity: &Identity) -> io::Result<()> {
    let bytes = serde_json::to_vec_pretty(identity)?;
    let unfinished = path.with_extension("json.new");
    fs::write(&unfinished, bytes)?;
    File::open(&unfinished)?.sync_all()?;
    fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_layout_is_taken_on_and_a_newer_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("broker.json");
        let older = Identity {
            format: 1,
            cluster_id: "c".to_owned(),
        };
        write_identity(&path, &older).unwrap();
        let (identity, lock) = claim(directory.path()).unwrap();
        assert_eq!(
            (identity.format, identity.cluster_id.as_str()),
            (FORMAT, "c")
        );
        drop(lock);
        let (identity, lock) = claim(directory.path()).unwrap();
        assert_eq!(
            (identity.format, identity.cluster_id.as_str()),
            (FORMAT, "c")
        );
        drop(lock);
        let newer = Identity {
            format: FORMAT + 1,
            ..identity
        };
        write_identity(&path, &newer).unwrap();
        let error = claim(directory.path()).unwrap_err();
        assert!(matches!(error, StartError::NewerFormat { found, .. } if found == FORMAT + 1));
    }
}
