//! Rows as Kafka records, kept in one buffer until their transaction is committed: an aborted one
//! is sent again from here.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use arrow::error::ArrowError;
use datafusion_common::DataFusionError;
use rdkafka::message::{Header, OwnedHeaders};

use super::json::JsonRows;
use super::{RecordShape, SinkTarget};
use crate::sink::SinkError;

/// What a record's frame adds to its key, value and headers, generously.
const FRAME_BYTES: usize = 256;

/// Bytes a header adds beside its name and value, generously.
const HEADER_BYTES: usize = 10;

/// Header with the size a cut value had.
const TRUNCATED_FROM: &str = "floodmark.truncated_from";

/// Records waiting for their transaction's commit.
#[derive(Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    header_names: Vec<String>,
    headers: Vec<(usize, Range<usize>)>,
    entries: Vec<Record>,
    /// Entries that are dead letters among the output's own.
    dead: usize,
}

#[derive(Debug)]
struct Record {
    /// Whether it is for the dead letters' topic.
    dead: bool,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Range<usize>,
}

/// One record, borrowed.
pub(super) struct RecordView<'a> {
    pub(super) dead: bool,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: Option<OwnedHeaders>,
}

/// A row that the topic does not take, as it would have been sent.
#[derive(Debug)]
pub(super) struct TooLarge {
    pub(super) row: usize,
    pub(super) size: usize,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Vec<u8>,
}

/// Why rows did not become records.
#[derive(Debug, thiserror::Error)]
pub(super) enum EncodeError {
    #[error("{0}")]
    Arrow(#[from] ArrowError),
    #[error("{0}")]
    Expression(#[from] DataFusionError),
    #[error("a row takes {size} bytes as a record, the topic allows {limit}")]
    TooLarge { size: usize, limit: usize },
}

impl EncodeError {
    pub(super) fn for_sink(&self, target: &SinkTarget) -> SinkError {
        let attempted = target.attempt("write to");
        let reason = self.to_string();
        match self {
            Self::TooLarge { .. } => SinkError::Misconfigured {
                attempted,
                reason,
                hint: "Raise the topic's max.message.bytes or select fewer columns".to_owned(),
            },
            _ => SinkError::Failed { attempted, reason },
        }
    }
}

impl Records {
    /// Their number.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Their values in order.
    pub fn values(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let values = self.entries.iter().map(|entry| entry.value.clone());
        values.map(|value| value.map(|range| &self.bytes[range]))
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many of them are dead letters among the output's own records.
    pub(super) fn dead(&self) -> usize {
        self.dead
    }

    pub(super) fn clear(&mut self) {
        const KEPT_BYTES: usize = 4 << 20;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.headers.clear();
        self.entries.clear();
        self.dead = 0;
    }

    pub(super) fn get(&self, index: usize) -> RecordView<'_> {
        let record = &self.entries[index];
        let slice = |range: &Range<usize>| &self.bytes[range.clone()];
        let headers = &self.headers[record.headers.clone()];
        let headers = (!headers.is_empty()).then(|| {
            headers.iter().fold(
                OwnedHeaders::new_with_capacity(headers.len()),
                |all, (name, value)| {
                    let value = Some(slice(value));
                    all.insert(Header {
                        key: &self.header_names[*name],
                        value,
                    })
                },
            )
        });
        RecordView {
            dead: record.dead,
            key: record.key.as_ref().map(slice),
            value: record.value.as_ref().map(slice),
            headers,
        }
    }

    /// Adds a batch's rows, or those of them that the topic takes: the others are returned. `limit`
    /// is the topic's `max.message.bytes`. Dead letters are cut to it.
    pub(super) fn add_fitting(
        &mut self,
        batch: &RecordBatch,
        shape: &RecordShape,
        limit: usize,
    ) -> Result<Vec<TooLarge>, EncodeError> {
        match shape {
            RecordShape::Json { key, headers } => {
                let strings = |expr: &dyn datafusion_physical_expr::PhysicalExpr| {
                    let array = expr.evaluate(batch)?.into_array(batch.num_rows())?;
                    Ok::<_, EncodeError>(as_bytes(&array)?)
                };
                let key = key.as_ref().map(|key| strings(key.as_ref())).transpose()?;
                let headers = headers
                    .iter()
                    .map(|(name, expr)| Ok((self.header_name(name), strings(expr.as_ref())?)))
                    .collect::<Result<Vec<_>, EncodeError>>()?;
                self.add_json(batch, key.as_ref(), &headers, limit)
            }
            RecordShape::DeadLetter => {
                self.add_dead_letters(batch, limit)?;
                Ok(Vec::new())
            }
        }
    }

    /// Adds a batch's rows; one that the topic does not take is an error.
    pub(super) fn add(
        &mut self,
        batch: &RecordBatch,
        shape: &RecordShape,
        limit: usize,
    ) -> Result<(), EncodeError> {
        match self.add_fitting(batch, shape, limit)?.first() {
            None => Ok(()),
            Some(TooLarge { size, .. }) => Err(EncodeError::TooLarge { size: *size, limit }),
        }
    }

    /// Adds dead letters for rows that this output's topic does not take.
    pub(super) fn bury(&mut self, letters: &RecordBatch, limit: usize) -> Result<(), EncodeError> {
        let first = self.entries.len();
        self.add_dead_letters(letters, limit)?;
        for letter in &mut self.entries[first..] {
            letter.dead = true;
        }
        self.dead += self.entries.len() - first;
        Ok(())
    }

    fn add_json(
        &mut self,
        batch: &RecordBatch,
        key: Option<&ArrayRef>,
        headers: &[(usize, ArrayRef)],
        limit: usize,
    ) -> Result<Vec<TooLarge>, EncodeError> {
        let rows = JsonRows::new(batch)?;
        let mut too_large = Vec::new();
        for row in 0..batch.num_rows() {
            let start = self.bytes.len();
            rows.write(row, &mut self.bytes);
            let value = start..self.bytes.len();
            let key = key
                .and_then(|key| bytes_at(key, row))
                .map(|key| self.append(key));
            let first_header = self.headers.len();
            for (name, values) in headers {
                if let Some(text) = bytes_at(values, row) {
                    self.add_header(*name, text);
                }
            }
            let record = Record {
                dead: false,
                key: key.clone(),
                value: Some(value.clone()),
                headers: first_header..self.headers.len(),
            };
            let size = self.size_from(start, &record);
            if size > limit {
                too_large.push(TooLarge {
                    row,
                    size,
                    key: key.map(|key| self.bytes[key].to_vec()),
                    value: self.bytes[value].to_vec(),
                });
                self.bytes.truncate(start);
                self.headers.truncate(first_header);
            } else {
                self.entries.push(record);
            }
        }
        Ok(too_large)
    }

    fn add_dead_letters(&mut self, batch: &RecordBatch, limit: usize) -> Result<(), EncodeError> {
        let column = |name: &str| {
            batch.column_by_name(name).ok_or_else(|| {
                ArrowError::SchemaError(format!("a dead letter has no column \"{name}\""))
            })
        };
        let (values, keys) = (column("value")?, column("key")?);
        let partitions = column("partition")?.as_primitive::<Int32Type>();
        let offsets = column("offset")?.as_primitive::<Int64Type>();
        let timestamps = column("timestamp")?.as_primitive::<Int64Type>();
        let (topics, reasons) = (as_bytes(column("topic")?)?, as_bytes(column("reason")?)?);
        let [topic, partition, offset, timestamp, reason, cut] = [
            "floodmark.topic",
            "floodmark.partition",
            "floodmark.offset",
            "floodmark.timestamp",
            "floodmark.reason",
            TRUNCATED_FROM,
        ]
        .map(|name| self.header_name(name));
        for row in 0..batch.num_rows() {
            let start = self.bytes.len();
            let first_header = self.headers.len();
            self.add_header(topic, bytes_at(&topics, row).unwrap_or_default());
            self.add_header(partition, partitions.value(row).to_string().as_bytes());
            self.add_header(offset, offsets.value(row).to_string().as_bytes());
            self.add_header(timestamp, timestamps.value(row).to_string().as_bytes());
            self.add_header(reason, bytes_at(&reasons, row).unwrap_or_default());
            // A key takes at most half of what is left, so that there is something of the value.
            let names: usize = 2 * (TRUNCATED_FROM.len() + 20 + HEADER_BYTES);
            let spent = self.header_bytes(&(first_header..self.headers.len()));
            let room = limit.saturating_sub(spent + names + FRAME_BYTES);
            let key = bytes_at(keys, row).map(|key| &key[..key.len().min(room / 2)]);
            let room = room - key.map_or(0, <[u8]>::len);
            let key = key.map(|key| self.append(key));
            let value = bytes_at(values, row).map(|value| {
                if value.len() > room {
                    self.add_header(cut, value.len().to_string().as_bytes());
                }
                self.append(&value[..value.len().min(room)])
            });
            let record = Record {
                dead: false,
                key,
                value,
                headers: first_header..self.headers.len(),
            };
            let size = self.size_from(start, &record);
            if size > limit {
                return Err(EncodeError::TooLarge { size, limit });
            }
            self.entries.push(record);
        }
        Ok(())
    }

    fn header_name(&mut self, name: &str) -> usize {
        self.header_names
            .iter()
            .position(|known| known == name)
            .unwrap_or_else(|| {
                self.header_names.push(name.to_owned());
                self.header_names.len() - 1
            })
    }

    fn add_header(&mut self, name: usize, value: &[u8]) {
        let value = self.append(value);
        self.headers.push((name, value));
    }

    fn append(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    fn header_bytes(&self, headers: &Range<usize>) -> usize {
        self.headers[headers.clone()]
            .iter()
            .map(|(name, value)| self.header_names[*name].len() + value.len() + HEADER_BYTES)
            .sum()
    }

    /// Size of the record whose bytes begin at `start` and are the last ones there are.
    fn size_from(&self, start: usize, record: &Record) -> usize {
        let names: usize = self.headers[record.headers.clone()]
            .iter()
            .map(|(name, _)| self.header_names[*name].len() + HEADER_BYTES)
            .sum();
        self.bytes.len() - start + names + FRAME_BYTES
    }
}

/// Text as it is sent; bytes stay bytes.
fn as_bytes(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::Utf8 | DataType::Binary => Ok(array.clone()),
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            cast(array, &DataType::Binary)
        }
        _ => cast(array, &DataType::Utf8),
    }
}

/// A value of what [`as_bytes`] returned.
fn bytes_at(array: &ArrayRef, row: usize) -> Option<&[u8]> {
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Utf8 => Some(array.as_string::<i32>().value(row).as_bytes()),
        DataType::Binary => Some(array.as_binary::<i32>().value(row)),
        _ => None,
    }
}
