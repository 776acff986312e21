//! A directory on a local disk.
//!
//! Every object is written into a hidden file beside its final name, flushed to the disk, and then
//! linked or renamed there; the directory is flushed after that. So a reader sees an object whole
//! or not at all, and what was said to be durable survives a power cut.
//!
//! Hidden files are named `.<final name>.<random>.staged`: the dot keeps them from Spark, `*`
//! patterns and `ls`, the ending keeps them from every `*.parquet` pattern.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::error::{self, Cause, NoHardLinks, Trouble};
use super::{Entry, HIDDEN_ENDING, Replace};

/// Small writes are gathered up to this many bytes.
const WRITE_BUFFER_BYTES: usize = 1 << 20;

/// How many names are tried for a hidden file.
const HIDDEN_NAME_ATTEMPTS: usize = 16;

#[derive(Debug, Clone)]
pub(super) struct LocalStore {
    root: Arc<PathBuf>,
}

impl LocalStore {
    /// Creates the directory if needed and proves that files can be made durable in it.
    pub(super) fn open(root: &Path) -> Result<Self, Trouble> {
        let root = std::path::absolute(root).map_err(|error| surfaced(&error))?;
        let store = Self {
            root: Arc::new(root),
        };
        let (hidden, mut file) = create_dir_durably(&store.root)
            .and_then(|()| store.create_hidden("probe"))
            .map_err(|error| surfaced(&error))?;
        let probed = file.write_all(b"probe").and_then(|()| file.sync_all());
        let removed = fs::remove_file(store.root.join(hidden));
        probed.and(removed).map_err(|error| surfaced(&error))?;
        Ok(store)
    }

    /// A directory that is there; nothing is written.
    pub(super) fn existing(root: &Path) -> Result<Self, Trouble> {
        let root = std::path::absolute(root).map_err(|error| surfaced(&error))?;
        if fs::metadata(&root)
            .map_err(|error| surfaced(&error))?
            .is_dir()
        {
            return Ok(Self {
                root: Arc::new(root),
            });
        }
        Err(surfaced(&io::ErrorKind::NotADirectory.into()))
    }

    pub(super) async fn put(
        &self,
        name: &str,
        bytes: Bytes,
        replace: Replace,
    ) -> Result<(), Cause> {
        self.run(name, move |store, name| {
            let (hidden, mut file) = store.create_hidden(name)?;
            let hidden = store.root.join(hidden);
            let target = store.path(name)?;
            let put = file
                .write_all(&bytes)
                .and_then(|()| file.sync_all())
                .and_then(|()| match replace {
                    Replace::Always => fs::rename(&hidden, &target),
                    Replace::Never => move_without_replacing(&hidden, &target).map_err(|error| {
                        if lacks_hard_links(&error) {
                            io::Error::other(NoHardLinks)
                        } else {
                            error
                        }
                    }),
                })
                .and_then(|()| sync_dir(parent(&target)));
            if put.is_err() {
                let _ = fs::remove_file(&hidden);
            }
            put
        })
        .await
    }

    pub(super) async fn get(&self, name: &str) -> Result<Bytes, Cause> {
        self.run(name, |store, name| {
            fs::read(store.path(name)?).map(Bytes::from)
        })
        .await
    }

    /// The object's size and its last `wanted` bytes.
    pub(super) async fn tail(&self, name: &str, wanted: usize) -> Result<(u64, Bytes), Cause> {
        self.run(name, move |store, name| {
            let mut file = File::open(store.path(name)?)?;
            let size = file.metadata()?.len();
            file.seek(SeekFrom::Start(size.saturating_sub(wanted as u64)))?;
            let mut tail = Vec::with_capacity(wanted);
            file.take(wanted as u64).read_to_end(&mut tail)?;
            Ok((size, Bytes::from(tail)))
        })
        .await
    }

    pub(super) async fn delete(&self, name: &str) -> Result<(), Cause> {
        self.run(name, |store, name| fs::remove_file(store.path(name)?))
            .await
    }

    pub(super) async fn list(&self, directory: &str) -> Result<Vec<Entry>, Cause> {
        self.run(directory, |store, directory| {
            let mut entries = Vec::new();
            store.walk(directory, &mut |name, metadata| {
                if !is_hidden(&name) {
                    let modified = metadata.modified()?;
                    entries.push(Entry {
                        name,
                        size: metadata.len(),
                        modified,
                    });
                }
                Ok(())
            })?;
            Ok(entries)
        })
        .await
    }

    pub(super) async fn stage(&self, name: &str) -> Result<LocalWriter, Cause> {
        let (hidden, file) = self.run(name, Self::create_hidden).await?;
        Ok(LocalWriter {
            store: self.clone(),
            hidden,
            file: Some(file),
            buffer: Vec::new(),
            finished: false,
        })
    }

    /// Moves a hidden file to its name. `Exists` if something is there already.
    pub(super) async fn publish(&self, name: &str, hidden: &str) -> Result<(), Cause> {
        let hidden = hidden.to_owned();
        self.run(name, move |store, name| {
            let target = store.path(name)?;
            move_to_own_name(&store.path(&hidden)?, &target)?;
            sync_dir(parent(&target))
        })
        .await
    }

    /// Hidden files last written before `before` whose published names `wanted` accepts.
    pub(super) async fn leftovers(
        &self,
        directory: &str,
        before: SystemTime,
        wanted: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<Vec<Entry>, Cause> {
        self.run(directory, move |store, directory| {
            let mut found = Vec::new();
            store.walk(directory, &mut |name, metadata| {
                let leftover = published_name(&name).is_some_and(|name| wanted(&name));
                let modified = metadata.modified()?;
                if leftover && modified < before {
                    found.push(Entry {
                        name,
                        size: metadata.len(),
                        modified,
                    });
                }
                Ok(())
            })?;
            Ok(found)
        })
        .await
    }

    async fn run<T, F>(&self, name: &str, work: F) -> Result<T, Cause>
    where
        T: Send + 'static,
        F: FnOnce(&Self, &str) -> io::Result<T> + Send + 'static,
    {
        let store = self.clone();
        let name = name.to_owned();
        super::blocking(move || Ok(work(&store, &name)))
            .await
            .map_err(Cause::Other)?
            .map_err(|error| error::from_io(&error))
    }

    /// The path of a name; names cannot leave the directory.
    fn path(&self, name: &str) -> io::Result<PathBuf> {
        let inside = !name.is_empty()
            && name
                .split('/')
                .all(|segment| !matches!(segment, "" | "." | ".."));
        if !inside || name.contains('\0') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a name of an object",
            ));
        }
        Ok(self.root.join(name))
    }

    /// Creates a hidden file for `name`, with its directories.
    fn create_hidden(&self, name: &str) -> io::Result<(String, File)> {
        create_dir_durably(parent(&self.path(name)?))?;
        let (directory, base) = match name.rsplit_once('/') {
            Some((directory, base)) => (format!("{directory}/"), base),
            None => (String::new(), name),
        };
        for _ in 0..HIDDEN_NAME_ATTEMPTS {
            let hidden = format!(
                "{directory}.{base}.{:08x}{HIDDEN_ENDING}",
                rand::random::<u32>()
            );
            let mut options = OpenOptions::new();
            match options
                .write(true)
                .create_new(true)
                .open(self.root.join(&hidden))
            {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                opened => return opened.map(|file| (hidden, file)),
            }
        }
        Err(io::Error::other("no free name for a hidden file"))
    }

    /// Visits every file under a directory; what vanishes meanwhile is skipped.
    fn walk(
        &self,
        directory: &str,
        visit: &mut dyn FnMut(String, fs::Metadata) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut pending = vec![directory.trim_matches('/').to_owned()];
        while let Some(directory) = pending.pop() {
            let path = if directory.is_empty() {
                (*self.root).clone()
            } else {
                self.path(&directory)?
            };
            let Some(entries) = unless_gone(fs::read_dir(path))? else {
                continue;
            };
            for entry in entries {
                let Some(entry) = unless_gone(entry)? else {
                    continue;
                };
                // No object of ours has a name that is not Unicode.
                let Ok(base) = entry.file_name().into_string() else {
                    continue;
                };
                let name = if directory.is_empty() {
                    base
                } else {
                    format!("{directory}/{base}")
                };
                let Some(metadata) = unless_gone(fs::metadata(entry.path()))? else {
                    continue;
                };
                if metadata.is_dir() {
                    pending.push(name);
                } else if metadata.is_file() {
                    visit(name, metadata)?;
                }
            }
        }
        Ok(())
    }
}

/// Writes one hidden file; removes it when dropped unfinished.
pub(super) struct LocalWriter {
    store: LocalStore,
    hidden: String,
    file: Option<File>,
    buffer: Vec<u8>,
    finished: bool,
}

impl LocalWriter {
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), Cause> {
        if self.buffer.len() + bytes.len() < WRITE_BUFFER_BYTES {
            self.buffer.extend_from_slice(&bytes);
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.buffer);
        self.with_file(move |file| {
            file.write_all(&buffer)?;
            file.write_all(&bytes)
        })
        .await
    }

    pub(super) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Makes the bytes durable; the hidden file's name.
    pub(super) async fn finish(mut self) -> Result<String, Cause> {
        let buffer = std::mem::take(&mut self.buffer);
        let path = self.store.root.join(&self.hidden);
        self.with_file(move |file| {
            file.write_all(&buffer)?;
            file.sync_all()?;
            sync_dir(parent(&path))
        })
        .await?;
        self.finished = true;
        Ok(self.hidden.clone())
    }

    async fn with_file<F>(&mut self, work: F) -> Result<(), Cause>
    where
        F: FnOnce(&mut File) -> io::Result<()> + Send + 'static,
    {
        let taken = self.file.take();
        let (file, result) = self
            .store
            .run(&self.hidden, move |_, _| {
                // Absent after a cancelled write only, and then the bytes are incomplete.
                let mut file = taken.ok_or_else(|| io::Error::other("an earlier write failed"))?;
                let result = work(&mut file);
                Ok((file, result))
            })
            .await?;
        result.map_err(|error| error::from_io(&error))?;
        self.file = Some(file);
        Ok(())
    }
}

impl Drop for LocalWriter {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_file(self.store.root.join(&self.hidden));
        }
    }
}

/// Moves a file to a name that must be free, atomically. Needs hard links.
fn move_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    unless_gone(fs::remove_file(from)).map(drop)
}

/// Moves a file to a name that no other instance uses, also where there are no hard links.
fn move_to_own_name(from: &Path, to: &Path) -> io::Result<()> {
    match move_without_replacing(from, to) {
        Err(error) if lacks_hard_links(&error) => {
            if to.try_exists()? {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        moved => moved,
    }
}

fn lacks_hard_links(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
        || matches!(
            error.raw_os_error(),
            Some(libc::EPERM | libc::ENOSYS | libc::EOPNOTSUPP)
        )
}

/// Creates a directory and its ancestors so that they survive a power cut.
fn create_dir_durably(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(above) = directory.parent() {
        create_dir_durably(above)?;
    }
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        // The name is taken by something else.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(io::ErrorKind::NotADirectory.into())
        }
        Err(error) => Err(error),
        Ok(()) => sync_dir(parent(directory)),
    }
}

fn sync_dir(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn is_hidden(name: &str) -> bool {
    published_name(name).is_some()
}

/// The published name of a hidden file.
fn published_name(hidden: &str) -> Option<String> {
    let (directory, base) = match hidden.rsplit_once('/') {
        Some((directory, base)) => (format!("{directory}/"), base),
        None => (String::new(), hidden),
    };
    let base = base.strip_prefix('.')?.strip_suffix(HIDDEN_ENDING)?;
    let (base, _random) = base.rsplit_once('.')?;
    Some(format!("{directory}{base}"))
}

fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn surfaced(error: &io::Error) -> Trouble {
    match error::from_io(error) {
        Cause::Other(trouble) => trouble,
        Cause::NotFound | Cause::Exists => Trouble::Misconfigured {
            reason: error.to_string(),
            hint: "Choose another path".to_owned(),
        },
    }
}
