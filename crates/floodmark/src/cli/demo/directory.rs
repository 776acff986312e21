//! The demo's directory: who may use it, and how far event time has come.
//!
//! ```text
//! DIR/demo.json      format, and how far event time has come
//! DIR/demo.lock      locked while a demo runs
//! DIR/sensors.toml   the pipeline file, the user's to edit
//! DIR/broker/        the broker's topics
//! DIR/curated/ …     what the pipeline writes
//! ```
//!
//! A directory with other things in it is refused: nothing of somebody else's is written over.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use serde::{Deserialize, Serialize};

/// Version of what the directory holds.
const FORMAT: u32 = 1;
const STATE: &str = "demo.json";
const LOCK: &str = "demo.lock";

/// A directory that this demo alone uses.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Released when the file is closed, however the process ends.
    _lock: File,
}

/// How far event time has come, over all demos in this directory.
///
/// It is written *before* events go out, so that after a `kill -9` no event time is given out twice:
/// the next demo leaves out a second at most.
#[derive(Debug)]
pub(super) struct Position {
    file: PathBuf,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    format: u32,
    /// Demos begun here.
    starts: u64,
    /// Event times before this one have been given out, milliseconds since 1970.
    event_time_until_ms: Option<i64>,
}

/// What every format has.
#[derive(Debug, Deserialize)]
struct Format {
    format: u32,
}

impl Directory {
    /// Takes the directory, making it if there is none.
    pub(super) fn open(path: &Path) -> anyhow::Result<(Self, Position)> {
        let shown = path.display();
        fs::create_dir_all(path).with_context(|| format!("cannot make the directory {shown}"))?;
        let path = path
            .canonicalize()
            .with_context(|| format!("cannot use the directory {shown}"))?;
        refuse_others(&path)?;
        let lock = lock(&path)?;
        let position = Position::read(path.join(STATE))?;
        Ok((Self { path, _lock: lock }, position))
    }

    /// Its absolute path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the broker keeps its data.
    pub(super) fn broker(&self) -> PathBuf {
        self.path.join("broker")
    }

    /// The pipeline file.
    pub(super) fn pipeline_file(&self) -> PathBuf {
        self.path.join("sensors.toml")
    }
}

impl Position {
    fn read(file: PathBuf) -> anyhow::Result<Self> {
        let shown = file.display();
        let mut position = match fs::read(&file) {
            Ok(bytes) => {
                let state = parse(&bytes).with_context(|| format!("cannot use {shown}"))?;
                Self { file, state }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self {
                file,
                state: State {
                    format: FORMAT,
                    starts: 0,
                    event_time_until_ms: None,
                },
            },
            Err(error) => return Err(error).with_context(|| format!("cannot read {shown}")),
        };
        position.state.starts += 1;
        position.write()?;
        Ok(position)
    }

    /// How many demos have begun here, this one included.
    pub(super) fn starts(&self) -> u64 {
        self.state.starts
    }

    /// Where event time goes on; nowhere on the first start.
    pub(super) fn event_time_until_ms(&self) -> Option<i64> {
        self.state.event_time_until_ms
    }

    /// Notes that event times before this one are given out.
    pub(super) fn set(&mut self, until_ms: i64) -> anyhow::Result<()> {
        self.state.event_time_until_ms = Some(until_ms);
        self.write()
    }

    fn write(&self) -> anyhow::Result<()> {
        let mut json = serde_json::to_vec(&self.state).context("encoding the demo's state")?;
        json.push(b'\n');
        replace(&self.file, &json)
    }
}

/// Writes a file whole or not at all, whenever the process is killed.
pub(super) fn replace(file: &Path, content: &[u8]) -> anyhow::Result<()> {
    let attempted = || format!("cannot write {}", file.display());
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, content).with_context(attempted)?;
    fs::rename(&new, file).with_context(attempted)
}

fn parse(bytes: &[u8]) -> anyhow::Result<State> {
    let Format { format } = serde_json::from_slice(bytes)
        .context("it is not a demo's: give --data another directory")?;
    if format > FORMAT {
        bail!(
            "a newer floodmark wrote it (format {format}, this one knows {FORMAT}): use that one, or \
             give --data another directory"
        );
    }
    serde_json::from_slice(bytes).context("it is damaged: give --data another directory")
}

fn refuse_others(path: &Path) -> anyhow::Result<()> {
    let attempted = || format!("cannot list {}", path.display());
    let known = |name: &Path| path.join(name).exists();
    if known(Path::new(STATE)) || known(Path::new(LOCK)) {
        return Ok(());
    }
    if fs::read_dir(path).with_context(attempted)?.next().is_none() {
        return Ok(());
    }
    bail!(
        "{} holds other things than a demo's: give --data a directory that is empty or new",
        path.display()
    )
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let file = path.join(LOCK);
    let attempted = || format!("cannot lock {}", file.display());
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&file)
        .with_context(attempted)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(anyhow!(
            "another demo is running in {}: stop it, or give --data another directory and --listen \
             another port",
            path.display()
        )),
        Err(TryLockError::Error(error)) => Err(error).with_context(attempted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_time_goes_on_where_the_last_demo_put_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let (directory, mut position) = Directory::open(&path).unwrap();
        assert_eq!(
            (position.starts(), position.event_time_until_ms()),
            (1, None)
        );
        position.set(1_700_000_000_000).unwrap();
        drop(directory);
        let (_, position) = Directory::open(&path).unwrap();
        let found = (position.starts(), position.event_time_until_ms());
        assert_eq!(found, (2, Some(1_700_000_000_000)));
    }

    #[test]
    fn one_demo_at_a_time_uses_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Directory::open(dir.path()).unwrap();
        let second = Directory::open(dir.path()).unwrap_err();
        assert!(format!("{second:#}").contains("another demo is running"));
    }

    #[test]
    fn a_directory_of_a_newer_format_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let newer = r#"{"format": 2, "something": "else"}"#;
        fs::write(dir.path().join(STATE), newer).unwrap();
        let error = Directory::open(dir.path()).unwrap_err();
        assert!(format!("{error:#}").contains("a newer floodmark wrote it"));
        assert_eq!(fs::read_to_string(dir.path().join(STATE)).unwrap(), newer);
    }

    #[test]
    fn a_directory_with_other_things_in_it_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "").unwrap();
        assert!(Directory::open(dir.path()).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_first_start_that_was_killed_early_leaves_a_usable_directory() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(LOCK), "").unwrap();
        assert_eq!(Directory::open(dir.path()).unwrap().1.starts(), 1);
    }
}
