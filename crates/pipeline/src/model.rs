//! The validated pipeline: what every later part of Floodmark trusts.
//!
//! Nothing here is optional for want of a default: `validate` has filled every default in,
//! checked every name and resolved every `${VAR}`. A [`Pipeline`] that exists is runnable as far
//! as can be told without SQL planning and without I/O.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A half-open byte range in the pipeline file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// A validated pipeline file.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Name; part of transactional ids, consumer groups and file metadata.
    pub name: String,
    /// Sources, in file order.
    pub sources: Vec<Source>,
    /// Views, in file order.
    pub views: Vec<View>,
    /// Outputs, in file order.
    pub outputs: Vec<Output>,
    /// Where records that could not be read go.
    pub dead_letter: Option<DeadLetter>,
    /// Where rows go whose window had fired.
    pub late: Option<Late>,
    /// Checkpoint location and rhythm.
    pub checkpoint: Checkpoint,
    /// Object storage access.
    pub storage: Storage,
    /// Engine sizing.
    pub engine: EngineOptions,
}

/// A named stream of events.
#[derive(Debug, Clone)]
pub struct Source {
    /// Table name in SQL.
    pub name: String,
    /// Place of the source's table header in the file.
    pub span: Span,
    /// Where the bytes come from.
    pub kind: SourceKind,
    /// Columns, in file order.
    pub columns: Vec<Column>,
    /// Event time, if the source has one (windowed outputs need it).
    pub event_time: Option<EventTime>,
    /// Where to begin when there is no checkpoint.
    pub start: Start,
    /// What to do with a record that cannot be decoded.
    pub on_bad_record: OnBadRecord,
    /// What to do when the position to continue from no longer exists.
    pub on_lost_position: OnLostPosition,
}

/// Where a source's bytes come from.
#[derive(Debug, Clone)]
pub enum SourceKind {
    /// A Kafka topic.
    Kafka(KafkaSource),
    /// Files of JSON lines.
    File(FileSource),
    /// The built-in telemetry simulator.
    Generator(GeneratorSource),
}

/// A Kafka topic to read.
#[derive(Debug, Clone)]
pub struct KafkaSource {
    /// Cluster and client properties.
    pub cluster: KafkaCluster,
    /// Topic name.
    pub topic: String,
    /// Partitions that `topics create` gives the topic.
    pub partitions: i32,
    /// Consumer group whose offsets show lag to Kafka's own tools. Recovery never reads it.
    pub group: String,
}

/// How to reach a Kafka cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaCluster {
    /// `bootstrap.servers`.
    pub brokers: String,
    /// Client properties passed through to the client (librdkafka's names).
    pub properties: BTreeMap<String, Secret>,
}

/// Files of JSON lines, plain, gzip or zstd by their ending.
#[derive(Debug, Clone)]
pub struct FileSource {
    /// Glob patterns.
    pub paths: Vec<String>,
}

/// The built-in simulator as a source.
#[derive(Debug, Clone)]
pub struct GeneratorSource {
    /// Events per second of wall clock; `None` is as fast as possible.
    pub rate: Option<f64>,
    /// Number of devices.
    pub devices: u32,
    /// Seed of the simulation.
    pub seed: u64,
    /// Stop after this many events.
    pub count: Option<u64>,
    /// Share of anomalous readings, 0 to 1.
    pub anomalies: f64,
    /// Share of late events, 0 to 1.
    pub late: f64,
    /// Share of records that cannot be decoded, 0 to 1.
    pub bad: f64,
    /// Bound of the disorder of event times.
    pub disorder: Duration,
}

/// A column of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name: the JSON field and the SQL column.
    pub name: String,
    /// Type.
    pub ty: SqlType,
    /// Whether null or absence is allowed.
    pub nullable: bool,
    /// How a timestamp is written in the record (only for `TIMESTAMP`).
    pub timestamp_format: TimestampFormat,
    /// Place in the file.
    pub span: Span,
}

/// Types of the Spark SQL dialect that a source column can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlType {
    /// UTF-8 text.
    String,
    /// True or false.
    Boolean,
    /// 32-bit signed integer.
    Int,
    /// 64-bit signed integer.
    BigInt,
    /// 32-bit IEEE 754.
    Float,
    /// 64-bit IEEE 754.
    Double,
    /// Exact decimal, precision 1..=38 and scale 0..=precision.
    Decimal(u8, u8),
    /// Days since 1970-01-01.
    Date,
    /// Instant, microseconds since 1970-01-01T00:00:00Z.
    Timestamp,
    /// Bytes; base64 in JSON.
    Binary,
    /// List of nullable elements.
    Array(Box<SqlType>),
    /// Named, nullable fields.
    Struct(Vec<(String, SqlType)>),
    /// Map from string-like keys to nullable values.
    Map(Box<SqlType>, Box<SqlType>),
}

/// How a timestamp is written in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampFormat {
    /// `2025-08-17T12:34:56.789Z`, any offset.
    #[default]
    Rfc3339,
    /// A number of seconds (fractions allowed) since 1970-01-01T00:00:00Z.
    EpochSeconds,
    /// A whole number of milliseconds.
    EpochMillis,
    /// A whole number of microseconds.
    EpochMicros,
}

/// Event time of a source.
#[derive(Debug, Clone)]
pub struct EventTime {
    /// Index into `Source::columns` of a `TIMESTAMP` column.
    pub column: usize,
    /// Watermark = maximum event time - delay, per partition.
    pub delay: Duration,
    /// A partition that could have delivered but has not for this long is idle.
    pub idle_after: Duration,
    /// Event times further ahead of the wall clock do not move the watermark.
    pub max_future: Duration,
}

/// Where to begin without a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The oldest record there is.
    Earliest,
    /// What arrives from now on.
    Latest,
    /// The first record whose Kafka timestamp is at or after this instant (ms since the epoch).
    Timestamp(i64),
}

/// What to do with a record that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBadRecord {
    /// Count it and write it to the dead letter output.
    DeadLetter,
    /// Stop with an error that names the record.
    Fail,
    /// Count it and drop it.
    Skip,
}

/// What to do when the position to continue from no longer exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLostPosition {
    /// Stop with an error that names both offsets.
    Fail,
    /// Continue at the earliest offset there is, with a warning and a count.
    Earliest,
}

/// A named query other queries read.
#[derive(Debug, Clone)]
pub struct View {
    /// Table name in SQL.
    pub name: String,
    /// The query.
    pub query: SqlText,
}

/// SQL text and where it stands in the file.
#[derive(Debug, Clone)]
pub struct SqlText {
    /// The text as written, escapes resolved.
    pub text: String,
    /// Place of the string value in the file, quotes included.
    pub span: Span,
    /// Byte offset in the file of the text's first byte, where file and text agree byte for byte.
    pub verbatim_at: Option<usize>,
}

/// A named result.
#[derive(Debug, Clone)]
pub struct Output {
    /// Name.
    pub name: String,
    /// The query.
    pub query: SqlText,
    /// Where the rows go.
    pub sink: Sink,
}

/// Where rows go.
#[derive(Debug, Clone)]
pub enum Sink {
    /// Parquet files.
    Parquet(ParquetSink),
    /// A Kafka topic.
    Kafka(KafkaSink),
    /// Standard output, one JSON object a line; at least once.
    Console,
}

/// Parquet files under a path.
#[derive(Debug, Clone)]
pub struct ParquetSink {
    /// Directory, `file://` or `s3://`.
    pub location: Location,
    /// Hive partition columns and the SQL expression over the output's columns behind each.
    pub partition_by: Vec<(String, SqlText)>,
    /// Compression codec.
    pub compression: Compression,
    /// Rows of a row group.
    pub row_group_rows: usize,
    /// A file is closed when it has grown to this many bytes.
    pub target_file_bytes: u64,
    /// A file that is smaller may span checkpoints until it is this old; `None` is at once for
    /// rows that come in bursts (window results) and [`DEFAULT_ROLL_INTERVAL`] for others.
    pub roll_interval: Option<Duration>,
}

/// How long a file of rows that come one by one may span checkpoints if the file does not say.
pub const DEFAULT_ROLL_INTERVAL: Duration = Duration::from_secs(60);

/// Parquet compression codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Zstandard, level 1.
    Zstd,
    /// Snappy.
    Snappy,
    /// None.
    None,
}

/// A Kafka topic to write JSON to, in transactions.
#[derive(Debug, Clone)]
pub struct KafkaSink {
    /// Cluster and client properties.
    pub cluster: KafkaCluster,
    /// Topic name.
    pub topic: String,
    /// Partitions that `topics create` gives the topic.
    pub partitions: i32,
    /// SQL expression over the output's columns for the record key.
    pub key: Option<SqlText>,
    /// Header names and the SQL expression behind each.
    pub headers: Vec<(String, SqlText)>,
    /// Shortest time between two transactions: a row waits at most this long for its own.
    pub commit_interval: Duration,
}

/// Where records that could not be read go: raw bytes, origin, reason.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Parquet or Kafka.
    pub sink: Sink,
}

/// Where rows go whose window had fired, with their origin.
#[derive(Debug, Clone)]
pub struct Late {
    /// Parquet or Kafka.
    pub sink: Sink,
}

/// Checkpoint location and rhythm.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Directory, `file://` or `s3://`.
    pub location: Location,
    /// Time between checkpoints.
    pub interval: Duration,
    /// Checkpoints kept.
    pub retain: usize,
}

/// A directory on a local file system or in an object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A local directory, absolute or relative to the working directory.
    Local(std::path::PathBuf),
    /// A prefix in an S3 bucket.
    S3 {
        /// Bucket.
        bucket: String,
        /// Key prefix without slashes at its ends; may be empty.
        prefix: String,
    },
}

impl std::str::FromStr for Location {
    type Err = String;

    /// Reads a path, `file://` or `s3://` as a pipeline file would.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        crate::location::parse(text).map_err(|misread| match misread.help {
            Some(help) => format!("{}; {help}", misread.message),
            None => misread.message,
        })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// Object storage access; what is `None` comes from the `AWS_*` variables.
#[derive(Debug, Clone, Default)]
pub struct Storage {
    /// Endpoint URL of an S3-compatible server.
    pub endpoint: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// Access key id.
    pub access_key_id: Option<Secret>,
    /// Secret access key.
    pub secret_access_key: Option<Secret>,
    /// Allow plain HTTP.
    pub allow_http: Option<bool>,
}

/// Engine sizing.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Worker threads; `None` is one a core, at most one a partition.
    pub workers: Option<usize>,
    /// Most rows in a batch.
    pub batch_rows: usize,
}

/// A string that never prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the client that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}
