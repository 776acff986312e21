//! Dead letters: records that could not be read, kept whole.
//!
//! A dead letter is the record's raw bytes, where it came from, and why it was refused, so that
//! somebody can look at it, mend the producer or the schema, and feed it again. Decoding depends on
//! the record alone, so dead letters may go out ahead of checkpoints: a replay refuses the same
//! records again.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Array, Int64Array, RecordBatch, StringBuilder, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::rows::{Origin, Rows};
use crate::source::RawRecord;
use crate::units::SourceId;

/// Columns of a dead letter.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("value", DataType::Binary, true),
        Field::new("key", DataType::Binary, true),
        Field::new("topic", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        // Milliseconds since the epoch; -1 if the source has none.
        Field::new("timestamp", DataType::Int64, false),
        Field::new("reason", DataType::Utf8, false),
    ]))
}

/// Collects dead letters of one source.
#[derive(Debug, Default)]
pub struct DeadLetters {
    value: BinaryBuilder,
    key: BinaryBuilder,
    topic: StringBuilder,
    partition: Vec<i32>,
    offset: Vec<i64>,
    timestamp: Vec<i64>,
    reason: StringBuilder,
}

impl DeadLetters {
    /// Adds a record.
    pub fn push(&mut self, topic: &str, record: &RawRecord<'_>, reason: &str) {
        self.value.append_option(record.value);
        self.key.append_option(record.key);
        self.topic.append_value(topic);
        self.partition.push(record.partition.0);
        self.offset.push(record.offset.0);
        self.timestamp.push(record.timestamp_ms);
        self.reason.append_value(reason);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.offset.is_empty()
    }

    /// Bytes of values held.
    pub fn bytes(&self) -> usize {
        self.value.values_slice().len()
    }

    /// The dead letters as rows with the columns of [`schema`].
    pub fn finish(mut self, source: SourceId) -> Result<Rows, ArrowError> {
        let partition = Int32Array::from(self.partition);
        let offset = Int64Array::from(self.offset);
        let timestamp = Int64Array::from(self.timestamp);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.value.finish()),
            Arc::new(self.key.finish()),
            Arc::new(self.topic.finish()),
            Arc::new(partition.clone()),
            Arc::new(offset.clone()),
            Arc::new(timestamp.clone()),
            Arc::new(self.reason.finish()),
        ];
        let row = UInt32Array::from_iter_values(0..offset.len() as u32);
        let origin = Origin {
            source,
            partition,
            offset,
            timestamp,
            row,
        };
        Ok(Rows {
            batch: RecordBatch::try_new(schema(), columns)?,
            origin,
        })
    }
}
