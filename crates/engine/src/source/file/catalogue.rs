//! Which files there are and which partition each one is; shared by a connector and its readers.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use glob::Pattern;

use crate::source::SourceError;
use crate::units::{Offset, Partition};

/// Files and their numbers.
pub(super) struct Catalogue {
    source_name: String,
    patterns: Vec<String>,
    files: Mutex<BTreeMap<Partition, Entry>>,
}

struct Entry {
    path: String,
    /// Size of a compressed file's content, once somebody has read to its end.
    end: Option<Offset>,
}

impl Catalogue {
    pub(super) fn new(source_name: &str, patterns: &[String]) -> Result<Self, SourceError> {
        for pattern in patterns {
            Pattern::new(pattern).map_err(|error| SourceError::Misconfigured {
                attempted: format!("source '{source_name}': pattern '{pattern}'"),
                reason: error.to_string(),
                hint: "Patterns know *, ?, ** for directories, and [a-z]".to_owned(),
            })?;
        }
        Ok(Self {
            source_name: source_name.to_owned(),
            patterns: patterns.to_vec(),
            files: Mutex::default(),
        })
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<Partition, Entry>> {
        // Every change is a single insertion: a panic elsewhere cannot leave half of one.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn origin(&self) -> String {
        format!("files {}", self.quoted_patterns())
    }

    fn quoted_patterns(&self) -> String {
        let quoted: Vec<String> = self.patterns.iter().map(|p| format!("'{p}'")).collect();
        quoted.join(", ")
    }

    /// Takes over the numbers of a checkpoint.
    pub(super) fn adopt(&self, names: &[(Partition, String)]) {
        let mut files = self.files();
        for (partition, path) in names {
            files.insert(
                *partition,
                Entry {
                    path: path.clone(),
                    end: None,
                },
            );
        }
    }

    /// Gives numbers to files that have none; returns the partitions whose files are there.
    pub(super) fn discover(&self) -> Result<Vec<Partition>, SourceError> {
        let mut unnumbered = self.matching()?;
        let mut files = self.files();
        let mut there = Vec::new();
        for (partition, entry) in files.iter() {
            if unnumbered.remove(&entry.path) {
                there.push(*partition);
            }
        }
        if files.is_empty() && unnumbered.is_empty() {
            return Err(self.nothing_matches());
        }
        let mut number = files
            .last_key_value()
            .map_or(Some(0), |(last, _)| last.0.checked_add(1));
        for path in unnumbered {
            let partition = Partition(number.ok_or_else(|| self.too_many())?);
            files.insert(partition, Entry { path, end: None });
            there.push(partition);
            number = partition.0.checked_add(1);
        }
        Ok(there)
    }

    /// Paths of all files that match a pattern.
    fn matching(&self) -> Result<BTreeSet<String>, SourceError> {
        let mut paths = BTreeSet::new();
        for pattern in &self.patterns {
            // Patterns were checked when the catalogue was made.
            let found = glob::glob(pattern).into_iter().flatten();
            for path in found {
                let path = path.map_err(|error| {
                    self.trouble(
                        &error.path().display().to_string(),
                        "listing",
                        error.error(),
                    )
                })?;
                if path.is_dir() {
                    continue;
                }
                // Names that are no UTF-8 match no pattern: the glob library passes them over.
                let Ok(path) = path.into_os_string().into_string() else {
                    continue;
                };
                paths.insert(path);
            }
        }
        Ok(paths)
    }

    /// Path of a partition's file.
    pub(super) fn path(&self, partition: Partition) -> Result<String, SourceError> {
        let files = self.files();
        let entry = files.get(&partition).ok_or_else(|| SourceError::Failed {
            attempted: format!(
                "source '{}': reading partition {partition}",
                self.source_name
            ),
            reason: "no file has this number".to_owned(),
        })?;
        Ok(entry.path.clone())
    }

    /// Size of a compressed file's content, if it has been read to its end.
    pub(super) fn known_end(&self, partition: Partition) -> Option<Offset> {
        self.files().get(&partition)?.end
    }

    /// Notes the size of a compressed file's content.
    pub(super) fn reached_end(&self, partition: Partition, end: Offset) {
        if let Some(entry) = self.files().get_mut(&partition) {
            entry.end = Some(end);
        }
    }

    // ---- errors ----

    fn attempt(&self, doing: &str, path: &str) -> String {
        format!("source '{}': {doing} '{path}'", self.source_name)
    }

    /// What the operating system refused.
    pub(super) fn trouble(&self, path: &str, doing: &str, error: &io::Error) -> SourceError {
        let attempted = self.attempt(doing, path);
        let reason = error.to_string();
        match error.kind() {
            io::ErrorKind::PermissionDenied => SourceError::Misconfigured {
                attempted,
                reason,
                hint: "Let this user read it".to_owned(),
            },
            _ => SourceError::Failed { attempted, reason },
        }
    }

    /// A file's bytes make no sense.
    pub(super) fn unreadable(&self, path: &str, at: u64, reason: &str) -> SourceError {
        SourceError::Failed {
            attempted: format!("{}, at byte {at}", self.attempt("reading", path)),
            reason: reason.to_owned(),
        }
    }

    /// A file is gone that was not read to an end that is known.
    pub(super) fn gone(&self, path: &str, next: Offset) -> SourceError {
        SourceError::Misconfigured {
            attempted: format!("{} from byte {next}", self.attempt("reading", path)),
            reason: "the file is gone, and nobody can tell whether it had been read whole".into(),
            hint: "Put it back, or start with a new checkpoint path".to_owned(),
        }
    }

    /// A file holds less than was read of it.
    pub(super) fn shorter(&self, path: &str, next: Offset, end: Offset) -> SourceError {
        SourceError::Misconfigured {
            attempted: format!("{} from byte {next}", self.attempt("reading", path)),
            reason: format!(
                "the file ends at byte {end}: it was truncated or replaced after it had been read"
            ),
            hint: "Files that are read may only grow; put the old content back, or start with a \
                   new checkpoint path"
                .to_owned(),
        }
    }

    /// Another file bears a file's name.
    pub(super) fn replaced(&self, path: &str, next: Offset) -> SourceError {
        SourceError::Misconfigured {
            attempted: format!("{} from byte {next}", self.attempt("reading", path)),
            reason: "another file now bears this name".to_owned(),
            hint: "Files that are read may only grow and keep their names; give new files new \
                   names, and start with a new checkpoint path"
                .to_owned(),
        }
    }

    fn nothing_matches(&self) -> SourceError {
        let relative = self
            .patterns
            .iter()
            .any(|p| std::path::Path::new(p).is_relative());
        let place = std::env::current_dir().ok().filter(|_| relative);
        let place = place.map(|at| format!(", which begins at {}", at.display()));
        SourceError::Misconfigured {
            attempted: format!("source '{}': looking for files", self.source_name),
            reason: format!("no file matches {}", self.quoted_patterns()),
            hint: format!(
                "Correct the path{}, or create the first file",
                place.unwrap_or_default()
            ),
        }
    }

    fn too_many(&self) -> SourceError {
        SourceError::Failed {
            attempted: format!("source '{}': numbering files", self.source_name),
            reason: format!("{} files are the most a source can have", i32::MAX),
        }
    }
}
