//! Parquet files under Hive directories, exactly once to a reader that only lists them.
//!
//! ```text
//!   write ─> split by directory ─> open files ─(full, or memory is short)─> staged
//!                                      │ pre_commit                            │
//!                  carried in the manifest <── young ──┴── due ──> staged ─────┤
//!                                                                              v
//!   commit ──────────────────────────────────────────────────────────────> published
//! ```
//!
//! - Nothing is visible before `commit`; what `pre_commit` returned is enough to commit or to go
//!   on after a crash, on any machine.
//! - Names of files are made of epoch, generation, instance and a sequence number, so that no
//!   other instance ever writes them, not even after the checkpoint was deleted.
//! - With a roll interval a file may span checkpoints: rows of young small files travel in the
//!   manifest until the file is due. Without one every checkpoint closes its files.
//! - Memory is bounded by [`MAX_HELD_BYTES`] whatever the rows: beyond it the biggest file is
//!   encoded or closed early, and beyond [`MAX_OPEN_FILES`] the oldest files are closed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use floodmark_pipeline::{Compression, Storage};
use tokio::runtime::Handle;

use super::{CommitPermit, Committed, OutputRows, PreCommit, Progress, Sink, SinkError};
use crate::clock::Clock;
use crate::storage::{StorageError, Store};
use crate::telemetry::Retries;
use crate::units::{Epoch, Generation};

mod file;
mod hive;
mod open_files;
mod uploads;
mod work;

#[cfg(test)]
mod tests;

pub use hive::PartitionBy;
pub use open_files::{MAX_CARRIED_BYTES, MAX_HELD_BYTES, MAX_OPEN_FILES};

use file::{FileError, FileFormat};
use hive::{PartitionError, Partitioner};
use open_files::{Limits, Names, OpenFiles};
use work::{CarriedFile, StagedWork};

#[doc(hidden)]
pub mod protocol {
    //! What the sink does with the store, without Parquet: for simulations.

    pub use super::open_files::Names;
    pub use super::uploads::{Encoded, StagedFile, stage};
    pub use super::work::{CarriedFile, StagedWork, Work};
}

/// Hidden files and objects this old belong to no living instance.
const LEFTOVER_AGE: Duration = Duration::from_hours(24);

/// Names of the files that a manifest lists as the work of a sink of this kind.
pub fn listed_files(work: &serde_json::Value) -> Result<Vec<String>, serde_json::Error> {
    if work.is_null() {
        return Ok(Vec::new());
    }
    let work: work::Work = serde_json::from_value(work.clone())?;
    let files = work.files.into_iter();
    Ok(files.map(|file| file.staged.name).collect())
}

/// Tells names that instances before `generation` gave to files of an output.
pub fn named_before(
    pipeline: &str,
    output: &str,
    generation: Generation,
) -> impl Fn(&str) -> bool + Send + use<> {
    Names::before(pipeline, output, generation)
}

/// What a sink is told when it opens.
pub struct ParquetOptions<'a> {
    /// Name of the pipeline.
    pub pipeline: &'a str,
    /// Name of the output.
    pub output: &'a str,
    /// Its sink in the pipeline file.
    pub sink: &'a floodmark_pipeline::ParquetSink,
    /// How long a small file may span checkpoints.
    pub roll_interval: Duration,
    /// Schema of its rows.
    pub schema: SchemaRef,
    /// Partition columns and their expressions over these rows.
    pub partition_by: PartitionBy,
    /// Fencing token of this instance.
    pub generation: Generation,
    /// A random name of this instance.
    pub instance: &'a str,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counts requests to the store that have to be made again.
    pub retries: &'a Retries,
}

/// Writes one output's rows. See the module.
pub struct ParquetSink {
    output: String,
    partitioner: Partitioner,
    files: OpenFiles,
    store: Store,
    runtime: Handle,
    clock: Arc<dyn Clock>,
    work: StagedWork,
    /// An error has lost rows: nothing may be pre-committed any more.
    broken: bool,
    cleaned: bool,
}

impl ParquetSink {
    /// Opens the output's directory and proves that it can be written. Not for runtime threads.
    pub fn open(
        options: ParquetOptions<'_>,
        storage: &Storage,
        runtime: Handle,
    ) -> Result<Self, SinkError> {
        let store = runtime.block_on(Store::open_counting(
            &options.sink.location,
            storage,
            options.retries,
        ))?;
        runtime.block_on(store.require_staging(options.instance))?;
        Self::new(options, store, runtime)
    }

    /// The same in a store that is open.
    pub fn new(
        options: ParquetOptions<'_>,
        store: Store,
        runtime: Handle,
    ) -> Result<Self, SinkError> {
        let refused = |error: PartitionError| SinkError::Misconfigured {
            attempted: format!("partitioning output \"{}\"", options.output),
            reason: error.to_string(),
            hint: "Correct partition_by in the pipeline file".to_owned(),
        };
        let partitioner =
            Partitioner::new(options.partition_by, &options.schema).map_err(refused)?;
        let columns = partitioner.file_columns(&options.schema).map_err(refused)?;
        if columns.is_empty() {
            return Err(SinkError::Misconfigured {
                attempted: format!("opening output \"{}\"", options.output),
                reason: "every column is a partition column, so files would hold none".to_owned(),
                hint: "Select another column, or partition by fewer".to_owned(),
            });
        }
        let sink = options.sink;
        let format = FileFormat {
            file: hive::file_schema(&options.schema, &columns),
            rows: options.schema,
            columns,
            properties: FileFormat::properties(sink.compression, sink.row_group_rows),
            metadata: vec![
                ("floodmark.pipeline", options.pipeline.to_owned()),
                ("floodmark.output", options.output.to_owned()),
                ("floodmark.generation", options.generation.to_string()),
                ("floodmark.version", env!("CARGO_PKG_VERSION").to_owned()),
            ],
        };
        let limits = Limits {
            row_group_rows: sink.row_group_rows.max(1),
            target_file_bytes: sink.target_file_bytes,
            roll_interval_ms: i64::try_from(options.roll_interval.as_millis()).unwrap_or(i64::MAX),
            held_bytes: MAX_HELD_BYTES,
            open_files: MAX_OPEN_FILES,
        };
        let names = Names::new(
            options.pipeline,
            options.output,
            options.generation,
            options.instance,
            ending(sink.compression),
        );
        Ok(Self {
            output: options.output.to_owned(),
            partitioner,
            files: OpenFiles::new(format, limits, names, store.clone(), runtime.clone()),
            work: StagedWork::new(options.output, store.clone()),
            store,
            runtime,
            clock: options.clock,
            broken: false,
            cleaned: false,
        })
    }

    /// Sends rows to their files; `opened_ms` says how old a file is that was open before.
    fn route(
        &mut self,
        batch: RecordBatch,
        opened_ms: impl Fn(&str) -> i64,
    ) -> Result<(), SinkError> {
        let parts = self
            .partitioner
            .split(batch)
            .map_err(|error| SinkError::Failed {
                attempted: format!("partitioning output \"{}\"", self.output),
                reason: error.to_string(),
            })?;
        for (directory, part) in parts {
            let opened_ms = opened_ms(&directory);
            let pushed = self.files.push(&directory, part, opened_ms);
            pushed.map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    /// Does what may lose rows when it fails, and nothing more once it has.
    fn unless_broken<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, SinkError>,
    ) -> Result<T, SinkError> {
        if self.broken {
            return Err(SinkError::Failed {
                attempted: format!("writing output \"{}\"", self.output),
                reason: "an earlier error has lost rows; start again from the checkpoint"
                    .to_owned(),
            });
        }
        let done = work(self);
        self.broken = done.is_err();
        done
    }

    /// Closes what is due, waits until it is staged and describes it.
    fn freeze(&mut self, epoch: Epoch, last: bool) -> Result<PreCommit, SinkError> {
        self.files.names.begin(epoch);
        let closed = self.files.close_due(self.clock.wall_ms(), last);
        closed.map_err(|error| self.failed(error))?;
        let (open, carried) = self
            .files
            .carried()
            .map_err(|error| self.failed(error))?
            .into_iter()
            .map(|(file, rows)| {
                let directory = file.directory.clone();
                (
                    CarriedFile {
                        directory,
                        opened_ms: file.opened_ms,
                    },
                    rows,
                )
            })
            .unzip();

        let files = self.files.uploads.finish()?;
        let work = self.work.pre_commit(epoch, files, open)?;
        self.files.names.begin(epoch.next());
        Ok(PreCommit { work, carried })
    }

    /// Removes what dead instances left, once, beside the work. Everything a manifest lists has
    /// been published by then.
    fn clean_leftovers(&mut self) {
        if std::mem::replace(&mut self.cleaned, true) {
            return;
        }
        let now = SystemTime::UNIX_EPOCH
            + Duration::from_millis(u64::try_from(self.clock.wall_ms()).unwrap_or_default());
        let before = now
            .checked_sub(LEFTOVER_AGE)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let ours = self.files.names.of_predecessors();
        let store = self.store.clone();
        self.runtime.spawn(async move {
            match store.clean_leftovers("", before, ours).await {
                Ok(0) => {}
                Ok(files) => tracing::info!(files, ?store, "removed files of dead instances"),
                Err(error) => tracing::debug!(%error, "files of dead instances were not removed"),
            }
        });
    }

    fn failed(&self, error: FileError) -> SinkError {
        let reason = match error {
            FileError::Storage(error) => return error.into(),
            FileError::Arrow(error) => error.to_string(),
            FileError::Parquet(error) => error.to_string(),
        };
        let attempted = format!("encoding rows of output \"{}\"", self.output);
        SinkError::Failed { attempted, reason }
    }

    fn check_carried(&self, batch: &RecordBatch) -> Result<(), SinkError> {
        let schema = batch.schema();
        let fields = self.files.format.rows.fields();
        let fits = schema.fields().len() == fields.len()
            && schema.fields().iter().zip(fields).all(|(carried, field)| {
                carried.name() == field.name() && carried.data_type() == field.data_type()
            });
        if fits {
            return Ok(());
        }
        Err(SinkError::Misconfigured {
            attempted: format!("taking up the work of output \"{}\"", self.output),
            reason: "rows of its open files have other columns than the query now has".to_owned(),
            hint: "Start once with the old query and stop it, so that its files are closed; then \
                   change the query"
                .to_owned(),
        })
    }
}

impl Sink for ParquetSink {
    fn restore(
        &mut self,
        permit: &CommitPermit,
        pre_commit: PreCommit,
    ) -> Result<Committed, SinkError> {
        let work = self.work.read(pre_commit.work)?;
        for batch in &pre_commit.carried {
            self.check_carried(batch)?;
        }
        let committed = self.runtime.block_on(self.work.restore(permit, &work))?;
        self.files.names.begin(permit.epoch().next());
        let now_ms = self.clock.wall_ms();
        let opened: HashMap<&str, i64> = work
            .open
            .iter()
            .map(|file| (file.directory.as_str(), file.opened_ms))
            .collect();
        for batch in pre_commit.carried {
            self.route(batch, |directory| {
                opened.get(directory).copied().unwrap_or(now_ms)
            })?;
        }
        Ok(committed)
    }

    fn write(&mut self, rows: OutputRows, _progress: &[Progress]) -> Result<(), SinkError> {
        let now_ms = self.clock.wall_ms();
        self.unless_broken(|sink| sink.route(rows.batch, |_| now_ms))
    }

    fn poll(&mut self) -> Result<(Committed, Option<Duration>), SinkError> {
        Ok((Committed::default(), None))
    }

    fn describe_offsets(&mut self, offsets: &str) {
        self.files.set_offsets(offsets);
    }

    fn pre_commit(&mut self, epoch: Epoch, last: bool) -> Result<PreCommit, SinkError> {
        self.unless_broken(|sink| sink.freeze(epoch, last))
    }

    fn commit(&mut self, permit: &CommitPermit) -> Result<Committed, SinkError> {
        let committed = self.runtime.block_on(self.work.commit(permit))?;
        self.clean_leftovers();
        Ok(committed)
    }
}

impl Drop for ParquetSink {
    /// Gives up what no manifest can list. Work handed to one stays: its manifest may be durable.
    fn drop(&mut self) {
        let store = self.store.clone();
        let files = self.files.uploads.take_arrived();
        if files.is_empty() {
            return;
        }
        self.runtime.spawn(async move {
            for file in files {
                if let Err(error) = store.discard(&file.staged).await {
                    tracing::debug!(%error, "a staged file was not removed");
                }
            }
        });
    }
}

fn ending(compression: Compression) -> &'static str {
    match compression {
        Compression::Zstd => ".zstd.parquet",
        Compression::Snappy => ".snappy.parquet",
        Compression::None => ".parquet",
    }
}

impl From<StorageError> for SinkError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Misconfigured {
                attempted,
                reason,
                hint,
            } => Self::Misconfigured {
                attempted,
                reason,
                hint,
            },
            StorageError::NoSpace { attempted, reason } => Self::Misconfigured {
                attempted,
                reason: format!("no space left ({reason})"),
                hint: "Free some space and start again: it goes on at the last checkpoint and \
                       nothing is lost"
                    .to_owned(),
            },
            StorageError::Unavailable { attempted, reason }
            | StorageError::Lost { attempted, reason } => Self::Failed { attempted, reason },
        }
    }
}
