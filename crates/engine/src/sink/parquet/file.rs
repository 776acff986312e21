//! One file while it is written: rows, then row groups, then a staged object.
//!
//! ```text
//!   push ─> rows as they came ──(row_group_rows, or memory is short)──> ArrowWriter ─> stage
//! ```
//!
//! A file of which nothing is encoded yet costs no storage: its rows can still be carried by a
//! checkpoint. Once begun, its bytes stream into the stage part by part.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use bytes::Bytes;
use floodmark_pipeline::Compression;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::ZstdLevel;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterVersion};
use tokio::runtime::Handle;

use super::uploads::Encoded;
use crate::storage::{StageWriter, StorageError, Store};

/// Level 1 is as small as 3 on this kind of data and cheaper.
const ZSTD_LEVEL: i32 = 1;

/// Batches with fewer rows are gathered into one.
const SMALL_BATCH_ROWS: usize = 1024;

/// So many small batches at a time.
const SMALL_BATCHES: usize = 64;

/// How files of one output are written.
pub(super) struct FileFormat {
    /// Schema of the rows handed in.
    pub(super) rows: SchemaRef,
    /// Schema in the file.
    pub(super) file: SchemaRef,
    /// Which columns of the rows are written.
    pub(super) columns: Vec<usize>,
    /// Parquet's own settings.
    pub(super) properties: WriterProperties,
    /// Key/value metadata that every file carries.
    pub(super) metadata: Vec<(&'static str, String)>,
}

/// Why a file cannot be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// Storage has the reason.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The rows do not fit the schema.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    /// The encoder has the reason.
    #[error(transparent)]
    Parquet(#[from] ParquetError),
}

impl FileFormat {
    pub(super) fn properties(compression: Compression, row_group_rows: usize) -> WriterProperties {
        use parquet::basic::Compression as Codec;
        let codec = match compression {
            // The level is within bounds, so the default is never taken.
            Compression::Zstd => Codec::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL).unwrap_or_default()),
            Compression::Snappy => Codec::SNAPPY,
            Compression::None => Codec::UNCOMPRESSED,
        };
        WriterProperties::builder()
            // Every reader there is understands version 1 pages.
            .set_writer_version(WriterVersion::PARQUET_1_0)
            .set_compression(codec)
            .set_max_row_group_row_count(Some(row_group_rows.max(1)))
            .build()
    }

    fn writer(&self) -> Result<ArrowWriter<Vec<u8>>, ParquetError> {
        let options = ArrowWriterOptions::new().with_properties(self.properties.clone());
        ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&self.file), options)
    }

    /// The rows as the file holds them.
    fn project(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let columns = self
            .columns
            .iter()
            .zip(self.file.fields())
            .map(|(index, field)| {
                let column = batch.column(*index);
                if column.data_type() == field.data_type() {
                    Ok(Arc::clone(column))
                } else {
                    cast(column, field.data_type())
                }
            });
        RecordBatch::try_new(Arc::clone(&self.file), columns.collect::<Result<_, _>>()?)
    }
}

/// What a closing file says about itself besides what all files say.
pub(super) struct Closing<'a> {
    pub(super) epoch: u64,
    /// Next offsets of the sources where the file's rows end; unknown between checkpoints.
    pub(super) offsets_to: Option<&'a str>,
}

/// A file in the making.
pub(super) struct OpenFile {
    /// Hive directory, ending in `/` unless empty.
    pub(super) directory: String,
    /// When its first row came, wall clock.
    pub(super) opened_ms: i64,
    /// Place in the order of opening.
    pub(super) order: u64,
    /// Next offsets of the sources at the checkpoint before its first row.
    offsets_from: Option<Arc<str>>,
    batches: Vec<RecordBatch>,
    small: Vec<RecordBatch>,
    pending_rows: usize,
    pending_bytes: usize,
    rows: u64,
    begun: Option<Begun>,
}

struct Begun {
    name: String,
    writer: ArrowWriter<Vec<u8>>,
    stage: StageWriter,
}

impl OpenFile {
    pub(super) fn new(
        directory: String,
        opened_ms: i64,
        order: u64,
        offsets_from: Option<Arc<str>>,
    ) -> Self {
        Self {
            directory,
            opened_ms,
            order,
            offsets_from,
            batches: Vec::new(),
            small: Vec::new(),
            pending_rows: 0,
            pending_bytes: 0,
            rows: 0,
            begun: None,
        }
    }

    pub(super) fn push(&mut self, batch: RecordBatch) -> Result<(), FileError> {
        self.rows += batch.num_rows() as u64;
        self.pending_rows += batch.num_rows();
        self.pending_bytes += batch_bytes(&batch);
        if batch.num_rows() >= SMALL_BATCH_ROWS {
            self.batches.push(batch);
            return Ok(());
        }
        self.small.push(batch);
        if self.small.len() >= SMALL_BATCHES {
            let schema = self.small[0].schema();
            self.batches.push(concat_batches(&schema, &self.small)?);
            self.small.clear();
        }
        Ok(())
    }

    /// Rows that are not encoded.
    pub(super) fn pending_rows(&self) -> usize {
        self.pending_rows
    }

    /// Their bytes.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Whether bytes of it are in storage, so that it can only be closed.
    pub(super) fn is_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Bytes it holds in memory.
    pub(super) fn held_bytes(&self) -> usize {
        let begun = self.begun.as_ref().map_or(0, |begun| {
            begun.writer.memory_size() + begun.writer.inner().len() + begun.stage.buffered()
        });
        self.pending_bytes + begun
    }

    /// How big the file would be if it were closed now, as far as it is encoded.
    pub(super) fn file_bytes(&self) -> u64 {
        self.begun.as_ref().map_or(0, |begun| {
            let waiting = begun.writer.in_progress_size() + begun.writer.inner().len();
            begun.stage.size() + waiting as u64
        })
    }

    /// The rows of a file that is not begun, as one batch.
    pub(super) fn carried(&self, schema: &SchemaRef) -> Result<RecordBatch, FileError> {
        Ok(concat_batches(
            schema,
            self.batches.iter().chain(&self.small),
        )?)
    }

    /// Encodes what is pending; the file gets its name when it begins.
    pub(super) fn encode(
        &mut self,
        format: &FileFormat,
        store: &Store,
        runtime: &Handle,
        name: impl FnOnce(&str) -> String,
    ) -> Result<(), FileError> {
        if self.begun.is_none() {
            let name = name(&self.directory);
            let stage = runtime.block_on(store.stage(&name))?;
            self.begun = Some(Begun {
                name,
                writer: format.writer()?,
                stage,
            });
        }
        let Some(begun) = &mut self.begun else {
            return Ok(());
        };
        for batch in self.batches.drain(..).chain(self.small.drain(..)) {
            begun.writer.write(&format.project(&batch)?)?;
        }
        self.pending_rows = 0;
        self.pending_bytes = 0;
        // The encoder has counted these bytes; from here on they are the stage's.
        let encoded = std::mem::take(begun.writer.inner_mut());
        if !encoded.is_empty() {
            runtime.block_on(begun.stage.write(Bytes::from(encoded)))?;
        }
        Ok(())
    }

    /// Encodes the rest and the footer.
    pub(super) fn close(
        self,
        format: &FileFormat,
        closing: &Closing<'_>,
        name: impl FnOnce(&str) -> String,
    ) -> Result<Encoded, FileError> {
        let (name, mut writer, stage) = match self.begun {
            Some(begun) => (begun.name, begun.writer, Some(begun.stage)),
            None => (name(&self.directory), format.writer()?, None),
        };
        for batch in self.batches.into_iter().chain(self.small) {
            writer.write(&format.project(&batch)?)?;
        }
        for (key, value) in &format.metadata {
            writer.append_key_value_metadata(KeyValue::new((*key).to_owned(), value.clone()));
        }
        let own = [
            ("floodmark.epoch", Some(closing.epoch.to_string())),
            (
                "floodmark.offsets_from",
                self.offsets_from.as_deref().map(str::to_owned),
            ),
            (
                "floodmark.offsets_to",
                closing.offsets_to.map(str::to_owned),
            ),
        ];
        for (key, value) in own {
            if value.is_some() {
                writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
            }
        }
        let bytes = Bytes::from(writer.into_inner()?);
        Ok(Encoded {
            name,
            rows: self.rows,
            begun: stage,
            bytes,
        })
    }
}

/// Bytes of a batch's own rows; a slice of a bigger batch counts for its part only.
fn batch_bytes(batch: &RecordBatch) -> usize {
    let column = |column: &Arc<dyn Array>| {
        let data = column.to_data();
        data.get_slice_memory_size()
            .unwrap_or_else(|_| column.get_array_memory_size())
    };
    batch.columns().iter().map(column).sum()
}
