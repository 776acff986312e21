//! The file's keys, types and documentation.
//!
//! These structs are the one source of truth: the check of keys and types, the JSON Schema for
//! editors and the reference page are all made from them. Every key is a [`Field`], so that a file
//! with mistakes can still be read as far as it is sound; what a key means beyond its type is
//! checked in [`crate::validate`].

use schemars::JsonSchema;
use serde::Deserialize;

use crate::field::{Field, Table};
use crate::node::Text;
use crate::schema;

/// A pipeline: sources, SQL over them, and where the results go.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Floodmark pipeline")]
pub(crate) struct RawPipeline {
    /// Name of the pipeline; part of transactional ids, consumer groups and file metadata.
    /// Letters, digits, `_`, `-` and `.`.
    pub(crate) name: Field<Text>,
    /// Streams of events, by the table name they have in SQL.
    pub(crate) sources: Field<Table<RawSource>>,
    /// Named queries that outputs and later views read: `name = "SELECT …"`.
    #[serde(default)]
    #[schemars(schema_with = "schema::queries")]
    pub(crate) views: Field<Table<Text>>,
    /// Results, by name: a query and a sink.
    pub(crate) outputs: Field<Table<RawOutput>>,
    /// Where records go that could not be read: raw bytes, origin and reason.
    #[serde(default)]
    pub(crate) dead_letter: Field<RawSideSink>,
    /// Where rows go whose window had already fired, with their origin. Without it they are
    /// counted and dropped.
    #[serde(default)]
    pub(crate) late: Field<RawSideSink>,
    /// Where and how often the pipeline's position and state are made durable.
    pub(crate) checkpoint: Field<RawCheckpoint>,
    /// Access to object storage.
    #[serde(default)]
    pub(crate) storage: Field<RawStorage>,
    /// Sizing of the engine.
    #[serde(default)]
    pub(crate) engine: Field<RawEngine>,
}

/// A stream of events.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(tag = "type")]
pub(crate) enum RawSource {
    /// A Kafka topic.
    Kafka(RawKafkaSource),
    /// Files of JSON lines; read once, in order of their names.
    File(RawFileSource),
    /// The built-in device telemetry simulator.
    Generator(RawGeneratorSource),
}

/// A Kafka topic to read.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawKafkaSource {
    /// Bootstrap servers, `host:port` separated by commas.
    pub(crate) brokers: Field<Text>,
    /// Topic to read.
    pub(crate) topic: Field<Text>,
    /// Partitions that `floodmark topics create` gives the topic if it does not exist.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10_000), extend("default" = DEFAULT_PARTITIONS))]
    pub(crate) partitions: Field<i32>,
    /// Consumer group in which positions are shown to Kafka's own tools after each checkpoint.
    /// Recovery never reads it. By default `floodmark-` and the pipeline's name.
    #[serde(default)]
    pub(crate) group: Field<Text>,
    /// How a record is written.
    #[serde(default)]
    #[schemars(extend("default" = "json"))]
    #[allow(dead_code, reason = "there is one format so far")]
    pub(crate) format: Field<RawFormat>,
    /// Where to begin when there is no checkpoint: `earliest`, `latest`, or a moment such as
    /// `2025-08-17T12:00:00Z` (the first record whose Kafka timestamp is at or after it).
    #[serde(default)]
    #[schemars(schema_with = "schema::start", extend("default" = "earliest"))]
    pub(crate) start: Field<Text>,
    /// What to do with a record that cannot be read. By default `dead_letter` if the pipeline has
    /// a `[dead_letter]` table, else `skip`.
    #[serde(default)]
    pub(crate) on_bad_record: Field<RawOnBadRecord>,
    /// What to do when the position to continue from no longer exists.
    #[serde(default)]
    #[schemars(extend("default" = "fail"))]
    pub(crate) on_lost_position: Field<RawOnLostPosition>,
    /// Client properties by librdkafka's names, such as `"security.protocol" = "SASL_SSL"`.
    #[serde(default)]
    pub(crate) kafka: Field<Table<RawProperty>>,
    /// Columns and their types: `name = "TYPE"` or `name = "TYPE NOT NULL"`.
    #[schemars(extend("minProperties" = 1))]
    pub(crate) schema: Field<Table<RawColumn>>,
    /// Event time; needed by outputs with windows.
    #[serde(default)]
    pub(crate) event_time: Field<RawEventTime>,
}

/// Files of JSON lines; gzip and zstd are told by their endings `.gz` and `.zst`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawFileSource {
    /// A path or glob pattern, or a list of them.
    pub(crate) path: Field<OneOrMany>,
    /// How a record is written.
    #[serde(default)]
    #[schemars(extend("default" = "json"))]
    #[allow(dead_code, reason = "there is one format so far")]
    pub(crate) format: Field<RawFormat>,
    /// What to do with a record that cannot be read. By default `dead_letter` if the pipeline has
    /// a `[dead_letter]` table, else `skip`.
    #[serde(default)]
    pub(crate) on_bad_record: Field<RawOnBadRecord>,
    /// Columns and their types: `name = "TYPE"` or `name = "TYPE NOT NULL"`.
    #[schemars(extend("minProperties" = 1))]
    pub(crate) schema: Field<Table<RawColumn>>,
    /// Event time; needed by outputs with windows.
    #[serde(default)]
    pub(crate) event_time: Field<RawEventTime>,
}

/// The built-in simulator: devices that drift, fail and recover.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawGeneratorSource {
    /// Events per second; without it as fast as possible.
    #[serde(default)]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub(crate) rate: Field<f64>,
    /// Number of devices.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100_000_000), extend("default" = DEFAULT_DEVICES))]
    pub(crate) devices: Field<u32>,
    /// Seed; the same seed gives the same events.
    #[serde(default)]
    #[schemars(range(min = 0), extend("default" = 0))]
    pub(crate) seed: Field<u64>,
    /// Stop after this many events; without it the simulator never ends.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub(crate) count: Field<u64>,
    /// Share of anomalous readings.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1), extend("default" = DEFAULT_ANOMALIES))]
    pub(crate) anomalies: Field<f64>,
    /// Share of events that come after their time.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1), extend("default" = 0))]
    pub(crate) late: Field<f64>,
    /// Share of records that cannot be read.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1), extend("default" = 0))]
    pub(crate) bad: Field<f64>,
    /// How far event times may be out of order.
    #[serde(default)]
    #[schemars(schema_with = "schema::duration", extend("default" = "0 seconds"))]
    pub(crate) disorder: Field<Text>,
    /// What to do with a record that cannot be read. By default `dead_letter` if the pipeline has
    /// a `[dead_letter]` table, else `skip`.
    #[serde(default)]
    pub(crate) on_bad_record: Field<RawOnBadRecord>,
    /// Columns and their types; by default those that the simulator writes: `device_id`, `ts`,
    /// `temperature_c`, `vibration_g`, `status`, `site` and `line`.
    #[serde(default)]
    #[schemars(extend("minProperties" = 1))]
    pub(crate) schema: Field<Table<RawColumn>>,
    /// Event time; needed by outputs with windows.
    #[serde(default)]
    pub(crate) event_time: Field<RawEventTime>,
}

/// How a record is written.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawFormat {
    /// One JSON object a record.
    Json,
}

/// What to do with a record that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawOnBadRecord {
    /// Count it and write it to `[dead_letter]`.
    DeadLetter,
    /// Stop with an error that names the record.
    Fail,
    /// Count it and drop it.
    Skip,
}

/// What to do when the position to continue from no longer exists.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawOnLostPosition {
    /// Stop with an error that names both offsets.
    Fail,
    /// Continue at the oldest record there is, with a warning and a count.
    Earliest,
}

/// A string or a list of strings.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(untagged)]
pub(crate) enum OneOrMany {
    /// One.
    #[serde(rename = "$scalar")]
    One(Text),
    /// Many.
    #[serde(rename = "$array")]
    Many(#[schemars(length(min = 1))] Vec<Field<Text>>),
}

/// A column of a source.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(untagged)]
pub(crate) enum RawColumn {
    /// `name = "TYPE"`.
    #[serde(rename = "$scalar")]
    Short(#[schemars(schema_with = "schema::column_type")] Text),
    /// `name = { type = "TYPE", format = "…" }`.
    #[serde(rename = "$table")]
    Long(RawLongColumn),
}

/// A column whose timestamps are not RFC 3339.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawLongColumn {
    /// Type: `STRING`, `BOOLEAN`, `INT`, `BIGINT`, `FLOAT`, `DOUBLE`, `DECIMAL(p,s)`, `DATE`,
    /// `TIMESTAMP`, `BINARY`, `ARRAY<…>`, `STRUCT<name: TYPE, …>` or `MAP<STRING, …>`, each with
    /// `NOT NULL` or without.
    #[serde(rename = "type")]
    #[schemars(schema_with = "schema::column_type")]
    pub(crate) ty: Field<Text>,
    /// How a `TIMESTAMP` is written in the record.
    #[serde(default)]
    #[schemars(extend("default" = "rfc3339"))]
    pub(crate) format: Field<RawTimestampFormat>,
}

/// How a timestamp is written in a record.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawTimestampFormat {
    /// Text such as `2025-08-17T12:34:56.789Z`, with any offset.
    Rfc3339,
    /// A number of seconds since 1970, fractions allowed.
    EpochSeconds,
    /// A whole number of milliseconds since 1970.
    EpochMillis,
    /// A whole number of microseconds since 1970.
    EpochMicros,
}

/// Event time of a source.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawEventTime {
    /// The `TIMESTAMP` column that says when an event happened.
    pub(crate) column: Field<Text>,
    /// How long to wait for events that are out of order: the watermark of a partition is its
    /// largest event time less this.
    #[schemars(schema_with = "schema::duration")]
    pub(crate) delay: Field<Text>,
    /// A partition that could have delivered but has not for this long stops holding back the
    /// watermark.
    #[serde(default)]
    #[schemars(schema_with = "schema::duration", extend("default" = DEFAULT_IDLE_AFTER))]
    pub(crate) idle_after: Field<Text>,
    /// An event time further ahead of the wall clock does not move the watermark; the row is kept
    /// and counted.
    #[serde(default)]
    #[schemars(schema_with = "schema::duration", extend("default" = DEFAULT_MAX_FUTURE))]
    pub(crate) max_future: Field<Text>,
}

/// A result: a query and where its rows go.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawOutput {
    /// SQL in the Spark dialect over sources and views.
    #[schemars(schema_with = "schema::query")]
    pub(crate) query: Field<Text>,
    /// Where the rows go.
    pub(crate) sink: Field<RawSink>,
}

/// Where rows go.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(tag = "type")]
pub(crate) enum RawSink {
    /// Parquet files in a directory or bucket.
    Parquet(RawParquetSink),
    /// A Kafka topic, one JSON object a record, in transactions.
    Kafka(RawKafkaSink),
    /// Standard output, one JSON object a line; at least once.
    Console(RawConsoleSink),
}

/// Where records and rows go that the outputs could not take.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(tag = "type")]
pub(crate) enum RawSideSink {
    /// Parquet files in a directory or bucket.
    Parquet(RawParquetSink),
    /// A Kafka topic, in transactions.
    Kafka(RawKafkaSink),
}

/// Parquet files in a directory or bucket.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawParquetSink {
    /// Directory: a local path, `file:///…` or `s3://bucket/prefix`.
    #[schemars(schema_with = "schema::location")]
    pub(crate) path: Field<Text>,
    /// Hive partitions: name and SQL expression over the output's columns, outermost first.
    #[serde(default)]
    #[schemars(schema_with = "schema::expressions")]
    pub(crate) partition_by: Field<Table<Text>>,
    /// Compression of the column chunks.
    #[serde(default)]
    #[schemars(extend("default" = "zstd"))]
    pub(crate) compression: Field<RawCompression>,
    /// Rows of a row group.
    #[serde(default)]
    #[schemars(range(min = 1, max = 16_777_216), extend("default" = DEFAULT_ROW_GROUP_ROWS))]
    pub(crate) row_group_rows: Field<usize>,
    /// A file is closed when it has grown to this size. In a bucket at most 4 GB.
    #[serde(default)]
    #[schemars(schema_with = "schema::size", extend("default" = DEFAULT_TARGET_FILE_SIZE))]
    pub(crate) target_file_size: Field<Text>,
    /// A smaller file may stay open, unseen, over checkpoints until it is this old. By default
    /// files of window results, late rows and dead letters are closed at each checkpoint, others
    /// when they are a minute old.
    #[serde(default)]
    #[schemars(schema_with = "schema::duration")]
    pub(crate) roll_interval: Field<Text>,
}

/// Parquet compression.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawCompression {
    /// Zstandard, level 1.
    Zstd,
    /// Snappy.
    Snappy,
    /// None.
    None,
}

/// A Kafka topic to write to, in transactions.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawKafkaSink {
    /// Topic to write to.
    pub(crate) topic: Field<Text>,
    /// Bootstrap servers. By default those of the first Kafka source, with its properties.
    #[serde(default)]
    pub(crate) brokers: Field<Text>,
    /// SQL expression over the output's columns for the record's key.
    #[serde(default)]
    #[schemars(schema_with = "schema::expression")]
    pub(crate) key: Field<Text>,
    /// Record headers: name and SQL expression over the output's columns.
    #[serde(default)]
    #[schemars(schema_with = "schema::expressions")]
    pub(crate) headers: Field<Table<Text>>,
    /// Partitions that `floodmark topics create` gives the topic if it does not exist.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10_000), extend("default" = DEFAULT_PARTITIONS))]
    pub(crate) partitions: Field<i32>,
    /// Shortest time between two transactions of a query without windows: a row waits at most this
    /// long for its own.
    #[serde(default)]
    #[schemars(schema_with = "schema::duration", extend("default" = DEFAULT_COMMIT_INTERVAL))]
    pub(crate) commit_interval: Field<Text>,
    /// Client properties by librdkafka's names; over those of the source whose brokers are used.
    #[serde(default)]
    pub(crate) kafka: Field<Table<RawProperty>>,
}

/// Standard output.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawConsoleSink {}

/// Where and how often the pipeline's position and state are made durable.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCheckpoint {
    /// Directory: a local path, `file:///…` or `s3://bucket/prefix`. One pipeline a directory.
    #[schemars(schema_with = "schema::location")]
    pub(crate) path: Field<Text>,
    /// Time between checkpoints.
    #[serde(default)]
    #[schemars(schema_with = "schema::duration", extend("default" = DEFAULT_CHECKPOINT_INTERVAL))]
    pub(crate) interval: Field<Text>,
    /// Checkpoints that are kept.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10_000), extend("default" = DEFAULT_RETAIN))]
    pub(crate) retain: Field<usize>,
}

/// Access to object storage.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawStorage {
    /// Amazon S3 and servers that speak its protocol.
    #[serde(default)]
    pub(crate) s3: Field<RawS3>,
}

/// Access to S3. What is not given comes from the `AWS_*` variables.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawS3 {
    /// URL of an S3-compatible server (`AWS_ENDPOINT_URL`).
    #[serde(default)]
    pub(crate) endpoint: Field<Text>,
    /// Region (`AWS_REGION`).
    #[serde(default)]
    pub(crate) region: Field<Text>,
    /// Access key id (`AWS_ACCESS_KEY_ID`).
    #[serde(default)]
    pub(crate) access_key_id: Field<Text>,
    /// Secret access key (`AWS_SECRET_ACCESS_KEY`); better as `"${…}"` than in the file.
    #[serde(default)]
    pub(crate) secret_access_key: Field<Text>,
    /// Allow an endpoint without TLS (`AWS_ALLOW_HTTP`).
    #[serde(default)]
    pub(crate) allow_http: Field<bool>,
}

/// Sizing of the engine.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawEngine {
    /// Worker threads; by default one a core, at most one a partition.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1024))]
    pub(crate) workers: Field<usize>,
    /// Most rows that move as one batch.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_048_576), extend("default" = DEFAULT_BATCH_ROWS))]
    pub(crate) batch_rows: Field<usize>,
}

/// A Kafka client property, or several that share the start of their name: `a.b = 1` is a table
/// in TOML and means the same as `"a.b" = 1`.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(untagged, title = "string, number or boolean")]
pub(crate) enum RawProperty {
    /// A value.
    #[serde(rename = "$scalar")]
    Value(#[schemars(schema_with = "schema::scalar")] Text),
    /// Values of longer names.
    #[serde(rename = "$table")]
    Nested(Table<RawProperty>),
}

pub(crate) const DEFAULT_PARTITIONS: i32 = 3;
pub(crate) const DEFAULT_DEVICES: u32 = 1_000;
pub(crate) const DEFAULT_ANOMALIES: f64 = 0.01;
pub(crate) const DEFAULT_IDLE_AFTER: &str = "30 seconds";
pub(crate) const DEFAULT_MAX_FUTURE: &str = "5 minutes";
pub(crate) const DEFAULT_ROW_GROUP_ROWS: usize = 262_144;
pub(crate) const DEFAULT_TARGET_FILE_SIZE: &str = "128 MB";
pub(crate) const DEFAULT_COMMIT_INTERVAL: &str = "50 ms";
pub(crate) const DEFAULT_CHECKPOINT_INTERVAL: &str = "10 seconds";
pub(crate) const DEFAULT_RETAIN: usize = 3;
pub(crate) const DEFAULT_BATCH_ROWS: usize = 8_192;
