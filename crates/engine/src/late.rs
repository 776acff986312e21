//! Late rows: whose window had fired when they came.
//!
//! One row of the late output is one row that one output refused: which output, which window, where
//! the row came from, and the whole row as JSON, so that it can be counted, looked at and fed again.
//! What is late depends on how far the watermark had come, so a replay may judge otherwise: the
//! late output goes with the checkpoint, never ahead of it.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

use crate::units::EventMicros;
use crate::window::Late;

/// Columns of the late output.
pub fn schema() -> SchemaRef {
    let instant = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("output", DataType::Utf8, false),
        Field::new("window_start", instant(), false),
        Field::new("window_end", instant(), false),
        Field::new("event_time", instant(), false),
        Field::new("topic", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("timestamp", instant(), true),
        Field::new("row", DataType::Utf8, false),
    ]))
}

/// Rows of the late output. `topic` names a partition's topic or file; `json` are the rows, whole.
pub fn batch(
    output: &str,
    late: &Late,
    window_end: impl Fn(EventMicros) -> EventMicros,
    topic: impl Fn(i32) -> String,
    json: &[String],
) -> Result<RecordBatch, ArrowError> {
    let origin = &late.rows.origin;
    let rows = late.rows.len();
    let instants = |values: Vec<i64>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
    };
    let starts = late.window_start.iter().map(|s| s.0).collect();
    let ends = late.window_start.iter().map(|s| window_end(*s).0).collect();
    let times = late.event_time.iter().map(|t| t.0).collect();
    let timestamps: TimestampMicrosecondArray = origin
        .timestamp
        .values()
        .iter()
        .map(|ms| (*ms >= 0).then(|| ms.saturating_mul(1_000)))
        .collect();
    let topics: StringArray = origin
        .partition
        .values()
        .iter()
        .map(|p| Some(topic(*p)))
        .collect();
    RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(StringArray::from(vec![output; rows])),
            instants(starts),
            instants(ends),
            instants(times),
            Arc::new(topics),
            Arc::new(Int32Array::clone(&origin.partition)),
            Arc::new(Int64Array::clone(&origin.offset)),
            Arc::new(timestamps.with_timezone("UTC")),
            Arc::new(StringArray::from_iter_values(json)),
        ],
    )
}
