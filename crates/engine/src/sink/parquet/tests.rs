use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{Array, AsArray, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use datafusion_physical_expr::expressions::col;
use floodmark_pipeline::{Location, SqlText, Storage};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::runtime::Runtime;

use super::*;

mod random;
mod refused;

/// A clock that stands still until it is moved.
#[derive(Default)]
struct Hands(AtomicI64);

impl Clock for Hands {
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.wall_ms() as u64)
    }

    fn wall_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A directory, the pipeline's view of it, and instances of the sink one after the other.
struct World {
    directory: tempfile::TempDir,
    runtime: Runtime,
    clock: Arc<Hands>,
    config: floodmark_pipeline::ParquetSink,
    storage: Storage,
    generation: u64,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let config = floodmark_pipeline::ParquetSink {
            location: Location::Local(directory.path().to_owned()),
            partition_by: Vec::<(String, SqlText)>::new(),
            compression: Compression::Zstd,
            row_group_rows: 1000,
            target_file_bytes: 1 << 30,
            roll_interval: Some(Duration::ZERO),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        Self {
            directory,
            runtime,
            clock: Arc::default(),
            config,
            storage: Storage::default(),
            generation: 0,
        }
    }

    /// A new instance.
    fn open(&mut self) -> ParquetSink {
        self.generation += 1;
        let schema = schema();
        let by = vec![("place".to_owned(), col("site", &schema).expect("a column"))];
        let instance = format!("instance {}", self.generation);
        let options = ParquetOptions {
            pipeline: "p",
            output: "o",
            sink: &self.config,
            roll_interval: self.config.roll_interval.unwrap_or_default(),
            schema,
            partition_by: by,
            generation: Generation(self.generation),
            instance: &instance,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            retries: &Retries::default(),
        };
        ParquetSink::open(options, &self.storage, self.runtime.handle().clone())
            .expect("a temporary directory opens")
    }

    /// What a plain reader sees: every `*.parquet` file that no pattern hides.
    fn files(&self) -> Vec<PathBuf> {
        let pattern = format!("{}/**/*.parquet", self.directory.path().display());
        let options = glob::MatchOptions::new();
        let mut files: Vec<_> = glob::glob_with(&pattern, options)
            .expect("a pattern")
            .map(|file| file.expect("a file"))
            .collect();
        files.sort();
        files
    }

    /// How often each row is seen.
    fn seen(&self) -> BTreeMap<i64, usize> {
        let mut seen = BTreeMap::new();
        for file in self.files() {
            for batch in read(&file) {
                for n in batch["n"].as_primitive::<Int64Type>().values() {
                    *seen.entry(*n).or_default() += 1;
                }
            }
        }
        seen
    }

    fn hidden(&self) -> usize {
        let pattern = format!("{}/**/.*", self.directory.path().display());
        glob::glob(&pattern).expect("a pattern").count()
    }
}

fn read(file: &Path) -> Vec<BTreeMap<String, Arc<dyn Array>>> {
    decoded(std::fs::read(file).expect("a file").into())
}

fn decoded(file: bytes::Bytes) -> Vec<BTreeMap<String, Arc<dyn Array>>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .expect("Parquet")
        .build();
    let named = |batch: RecordBatch| {
        let schema = batch.schema();
        let names = schema.fields().iter().map(|field| field.name().clone());
        names.zip(batch.columns().iter().cloned()).collect()
    };
    reader
        .expect("a reader")
        .map(|batch| named(batch.expect("a batch")))
        .collect()
}

fn schema() -> SchemaRef {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int64, false),
        Field::new("site", DataType::Utf8, true),
        Field::new("at", instant, true),
    ]))
}

/// Rows with these numbers; the site of a row is its number modulo `sites`.
fn rows(numbers: impl Iterator<Item = i64>, sites: i64) -> OutputRows {
    let numbers: Vec<i64> = numbers.collect();
    let site = numbers.iter().map(|n| format!("s{}", n % sites));
    let at = numbers.iter().map(|n| n * 1_000_000);
    let batch = RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(Int64Array::from(numbers.clone())),
            Arc::new(StringArray::from_iter_values(site)),
            Arc::new(TimestampMicrosecondArray::from_iter_values(at).with_timezone("UTC")),
        ],
    );
    OutputRows {
        batch: batch.expect("a batch"),
        origin: None,
    }
}

fn write(sink: &mut ParquetSink, numbers: std::ops::Range<i64>, sites: i64) {
    sink.write(rows(numbers, sites), &[]).expect("written");
}

fn permit(epoch: u64) -> CommitPermit {
    CommitPermit::new(Epoch(epoch))
}

/// What a manifest keeps: the work as text.
fn stored(pre_commit: &PreCommit) -> PreCommit {
    let text = serde_json::to_string(&pre_commit.work).expect("text");
    PreCommit {
        work: serde_json::from_str(&text).expect("JSON"),
        carried: pre_commit.carried.clone(),
    }
}

fn once(numbers: std::ops::Range<i64>) -> BTreeMap<i64, usize> {
    numbers.map(|n| (n, 1)).collect()
}

#[test]
fn nothing_is_visible_before_commit_and_everything_after_it() {
    let mut world = World::new();
    let mut sink = world.open();
    write(&mut sink, 0..5000, 3);
    assert_eq!(world.files().len(), 0);
    let pre_commit = sink.pre_commit(Epoch(1), false).expect("pre-committed");
    assert!(pre_commit.carried.is_empty());
    assert_eq!(world.files().len(), 0);
    let committed = sink.commit(&permit(1)).expect("committed");
    assert_eq!((committed.rows, committed.files), (5000, 3));
    assert!(committed.bytes > 0);
    assert_eq!(world.seen(), once(0..5000));
    assert_eq!(world.hidden(), 0);
    assert_eq!(
        sink.commit(&permit(1)).expect("repeated"),
        Committed::default()
    );
}

#[test]
fn an_epoch_without_rows_makes_no_files() {
    let mut world = World::new();
    let mut sink = world.open();
    sink.write(rows(0..0, 1), &[]).expect("written");
    sink.pre_commit(Epoch(1), true).expect("pre-committed");
    assert_eq!(
        sink.commit(&permit(1)).expect("committed"),
        Committed::default()
    );
}

#[test]
fn rows_written_between_pre_commit_and_commit_belong_to_the_next_epoch() {
    let mut world = World::new();
    let mut sink = world.open();
    write(&mut sink, 0..10, 2);
    sink.pre_commit(Epoch(1), false).expect("pre-committed");
    write(&mut sink, 10..20, 2);
    sink.commit(&permit(1)).expect("committed");
    assert_eq!(world.seen(), once(0..10));
    sink.pre_commit(Epoch(2), true).expect("pre-committed");
    sink.commit(&permit(2)).expect("committed");
    assert_eq!(world.seen(), once(0..20));
}

#[test]
fn a_crash_at_any_step_is_repaired_to_rows_exactly_once() {
    for crash_after in ["write", "pre_commit", "manifest", "commit"] {
        let mut world = World::new();
        let mut sink = world.open();
        write(&mut sink, 0..2500, 3);
        let first = stored(&sink.pre_commit(Epoch(1), false).expect("pre-committed"));
        sink.commit(&permit(1)).expect("committed");

        write(&mut sink, 2500..5000, 3);
        let mut manifest = (1, first);
        let mut replay_from = 2500;
        if crash_after != "write" {
            let second = stored(&sink.pre_commit(Epoch(2), false).expect("pre-committed"));
            if crash_after != "pre_commit" {
                manifest = (2, second);
                replay_from = 5000;
            }
            if crash_after == "commit" {
                sink.commit(&permit(2)).expect("committed");
            }
        }
        drop(sink);

        let mut sink = world.open();
        let (epoch, work) = manifest;
        sink.restore(&permit(epoch), work).expect("restored");
        assert_eq!(world.seen(), once(0..replay_from), "{crash_after}");
        write(&mut sink, replay_from..6000, 3);
        sink.pre_commit(Epoch(epoch + 1), true)
            .expect("pre-committed");
        sink.commit(&permit(epoch + 1)).expect("committed");
        assert_eq!(world.seen(), once(0..6000), "{crash_after}");
    }
}

#[test]
fn young_rows_are_carried_over_a_crash_until_their_file_is_due() {
    let mut world = World::new();
    world.config.roll_interval = Some(Duration::from_mins(1));
    let mut sink = world.open();
    write(&mut sink, 0..100, 2);
    let first = stored(&sink.pre_commit(Epoch(1), false).expect("pre-committed"));
    assert_eq!(
        first
            .carried
            .iter()
            .map(RecordBatch::num_rows)
            .sum::<usize>(),
        100
    );
    sink.commit(&permit(1)).expect("committed");
    assert_eq!(world.files().len(), 0);
    drop(sink);

    world.clock.0.store(50_000, Ordering::Relaxed);
    let mut sink = world.open();
    sink.restore(&permit(1), first).expect("restored");
    write(&mut sink, 100..200, 2);
    let second = sink.pre_commit(Epoch(2), false).expect("pre-committed");
    assert_eq!(
        second
            .carried
            .iter()
            .map(RecordBatch::num_rows)
            .sum::<usize>(),
        200
    );
    sink.commit(&permit(2)).expect("committed");

    // Sixty seconds after its first row, whoever received that.
    world.clock.0.store(60_000, Ordering::Relaxed);
    let third = sink.pre_commit(Epoch(3), false).expect("pre-committed");
    assert!(third.carried.is_empty());
    sink.commit(&permit(3)).expect("committed");
    assert_eq!(world.seen(), once(0..200));
    assert_eq!(world.files().len(), 2);
}

#[test]
fn the_last_epoch_closes_young_files_too() {
    let mut world = World::new();
    world.config.roll_interval = Some(Duration::from_mins(1));
    let mut sink = world.open();
    write(&mut sink, 0..100, 2);
    assert!(
        sink.pre_commit(Epoch(1), true)
            .expect("pre-committed")
            .carried
            .is_empty()
    );
    sink.commit(&permit(1)).expect("committed");
    assert_eq!(world.seen(), once(0..100));
}

#[test]
fn a_file_is_closed_when_it_has_grown_to_the_target() {
    let mut world = World::new();
    world.config.target_file_bytes = 20_000;
    let mut sink = world.open();
    for i in 0..20 {
        write(&mut sink, i * 1000..(i + 1) * 1000, 1);
    }
    sink.pre_commit(Epoch(1), true).expect("pre-committed");
    sink.commit(&permit(1)).expect("committed");
    assert_eq!(world.seen(), once(0..20_000));
    let sizes: Vec<_> = world
        .files()
        .iter()
        .map(|file| file.metadata().expect("a file").len())
        .collect();
    assert!(sizes.len() > 2, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size < 40_000), "{sizes:?}");
}

#[test]
fn thousands_of_directories_and_little_memory_lose_nothing() {
    let mut world = World::new();
    let mut sink = world.open();
    sink.files.limits.open_files = 100;
    sink.files.limits.held_bytes = 64 << 10;
    for i in 0..6 {
        write(&mut sink, i * 500..(i + 1) * 500, 700);
    }
    sink.pre_commit(Epoch(1), true).expect("pre-committed");
    assert_eq!(world.files().len(), 0);
    sink.commit(&permit(1)).expect("committed");
    assert_eq!(world.seen(), once(0..3000));
}

#[test]
fn a_file_says_where_it_comes_from_and_how_its_instants_are_meant() {
    let mut world = World::new();
    let mut sink = world.open();
    sink.describe_offsets("{\"0\":1}");
    write(&mut sink, 0..10, 1);
    sink.describe_offsets("{\"0\":11}");
    sink.pre_commit(Epoch(7), true).expect("pre-committed");
    sink.commit(&permit(7)).expect("committed");

    let path = world.files().remove(0);
    let directory = path
        .parent()
        .and_then(Path::file_name)
        .expect("a directory");
    assert_eq!(directory, "place=s0");
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name");
    assert!(
        name.starts_with("part-0000000007-1-") && name.ends_with(".zstd.parquet"),
        "{name}"
    );

    let file = std::fs::File::open(&path).expect("a file");
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet");
    let metadata = builder.metadata().file_metadata();
    let pairs: BTreeMap<_, _> = metadata
        .key_value_metadata()
        .expect("metadata")
        .iter()
        .map(|pair| (pair.key.as_str(), pair.value.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(pairs["floodmark.pipeline"], "p");
    assert_eq!(pairs["floodmark.output"], "o");
    assert_eq!(pairs["floodmark.epoch"], "7");
    assert_eq!(pairs["floodmark.generation"], "1");
    assert_eq!(pairs["floodmark.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(pairs["floodmark.offsets_from"], "{\"0\":1}");
    assert_eq!(pairs["floodmark.offsets_to"], "{\"0\":11}");
    let at = metadata.schema_descr().column(2);
    let logical = format!("{:?}", at.logical_type_ref());
    assert!(
        logical.contains("is_adjusted_to_u_t_c: true") && logical.contains("MICROS"),
        "{logical}"
    );
}

#[test]
fn files_that_a_manifest_lists_are_told_or_it_is_an_error() {
    let mut world = World::new();
    let mut sink = world.open();
    write(&mut sink, 0..10, 3);
    let work = sink.pre_commit(Epoch(1), true).expect("pre-committed").work;
    assert_eq!(listed_files(&work).expect("is ours").len(), 3);
    assert!(listed_files(&serde_json::Value::Null).unwrap().is_empty());
    let unknown = serde_json::json!({ "location": "file:///lake", "files": "all" });
    assert!(listed_files(&unknown).is_err());
}

#[test]
fn on_a_real_server_a_crash_before_commit_and_a_repeated_one_lose_and_double_nothing() {
    let Some((bucket, storage)) = crate::servers::bucket() else {
        return;
    };
    let mut world = World::new();
    let prefix = format!("sink/{:016x}", rand::random::<u64>());
    world.config.location = Location::S3 { bucket, prefix };
    world.storage = storage;
    let opening = Store::open(&world.config.location, &world.storage);
    let store = world.runtime.block_on(opening).expect("open");
    let list = |world: &World| world.runtime.block_on(store.list("")).expect("list");

    let mut sink = world.open();
    write(&mut sink, 0..5000, 3);
    let work = stored(&sink.pre_commit(Epoch(1), false).expect("pre-committed"));
    assert_eq!(list(&world).len(), 0);
    drop(sink);
    for _ in 0..2 {
        let committed = world
            .open()
            .restore(&permit(1), stored(&work))
            .expect("restored");
        assert_eq!((committed.rows, committed.files), (5000, 3));
    }
    let mut seen = BTreeMap::new();
    for entry in list(&world) {
        let file = world
            .runtime
            .block_on(store.get(&entry.name))
            .expect("get")
            .expect("there");
        for batch in decoded(file) {
            for n in batch["n"].as_primitive::<Int64Type>().values() {
                *seen.entry(*n).or_default() += 1;
            }
        }
        world
            .runtime
            .block_on(store.delete(&entry.name))
            .expect("delete");
    }
    assert_eq!(seen, once(0..5000));
}
