//! Where the job keeps its files, and what a plain reader finds there.

use arrow::array::RecordBatch;
use arrow_json::LineDelimitedWriter;
use bytes::Bytes;
use floodmark_engine::storage::Store;
use floodmark_pipeline::{Location, Storage};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::servers::{bucket, unique};

/// A directory or a prefix in a bucket, for one job alone.
pub(super) struct Place {
    root: Root,
    storage: Storage,
}

enum Root {
    Directory(TempDir),
    Bucket { name: String, prefix: String },
}

impl Place {
    pub(super) fn new() -> Self {
        match bucket() {
            None => Self {
                root: Root::Directory(tempfile::tempdir().expect("a directory")),
                storage: Storage::default(),
            },
            Some((name, storage)) => Self {
                root: Root::Bucket {
                    name,
                    prefix: unique("job"),
                },
                storage,
            },
        }
    }

    /// Access to the bucket.
    pub(super) fn storage(&self) -> Storage {
        self.storage.clone()
    }

    /// One of the job's directories.
    pub(super) fn location(&self, part: &str) -> Location {
        match &self.root {
            Root::Directory(root) => Location::Local(root.path().join(part)),
            Root::Bucket { name, prefix } => Location::S3 {
                bucket: name.clone(),
                prefix: format!("{prefix}/{part}"),
            },
        }
    }

    /// Name and content of every Parquet file in a directory. Hidden files are no files of a reader's.
    pub(super) fn parquet_files(&self, part: &str, tokio: &Runtime) -> Vec<(String, Bytes)> {
        let mut files = match self.location(part) {
            Location::Local(path) => {
                let found = glob::glob(&format!("{}/**/*.parquet", path.display()));
                let file = |found: glob::GlobResult| {
                    let file = found.expect("a readable directory");
                    let name = file.strip_prefix(&path).expect("below the directory");
                    let bytes = std::fs::read(&file).expect("a readable file").into();
                    (name.to_str().expect("Unicode").to_owned(), bytes)
                };
                found.expect("a pattern").map(file).collect()
            }
            bucket @ Location::S3 { .. } => tokio.block_on(async {
                let store = Store::open(&bucket, &self.storage).await.expect("opens");
                let mut files = Vec::new();
                for entry in store.list("").await.expect("lists") {
                    let bytes = store.get(&entry.name).await.expect("reads");
                    files.push((entry.name, bytes.expect("is there")));
                }
                files.retain(|(name, _)| name.ends_with(".parquet"));
                files
            }),
        };
        files.sort();
        files
    }
}

/// The rows of a Parquet file.
pub(super) fn rows(file: Bytes) -> Vec<Value> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a whole Parquet file");
    let batches: Vec<RecordBatch> = reader
        .build()
        .expect("a reader")
        .collect::<Result<_, _>>()
        .expect("readable rows");
    let mut lines = Vec::new();
    let mut writer = LineDelimitedWriter::new(&mut lines);
    writer
        .write_batches(&batches.iter().collect::<Vec<_>>())
        .expect("rows that JSON knows");
    writer.finish().expect("written");
    let rows = serde_json::Deserializer::from_slice(&lines).into_iter();
    rows.map(|row| row.expect("what was written as JSON is JSON"))
        .collect()
}
