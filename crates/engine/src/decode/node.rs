//! One value of a known SQL type: what its JSON may look like and how it is read.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use floodmark_pipeline::{SqlType, TimestampFormat};

use super::column::{Nulls, Offsets, Values};
use super::number;
use super::object::Object;
use super::reject::{Label, Reject};
use super::timestamp::DayCache;
use super::utf8::Utf8Values;
use super::{scalar, scan, schema};

/// Bytes of a text value for which room is made at first.
const TEXT_HINT: usize = 12;
/// What reading values needs beside the record, shared by all columns.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) day: DayCache,
    /// Bytes of the last timestamp that was read as text.
    pub(super) timestamp_len: usize,
    /// Unescaped text of the string being read. Keys use it too, so none is held across values.
    pub(super) text: String,
}

/// A column, or a place inside of one.
#[derive(Debug)]
pub(super) struct Node {
    label: Arc<Label>,
    nulls: Nulls,
    values: Values,
}

impl Node {
    pub(super) fn new(path: &str, ty: &SqlType, format: TimestampFormat, rows: usize) -> Self {
        let label = Arc::new(Label {
            path: path.to_owned(),
            ty: schema::sql_name(ty),
        });
        Self {
            label,
            nulls: Nulls::default(),
            values: values(path, ty, format, rows),
        }
    }

    pub(super) fn label(&self) -> &Arc<Label> {
        &self.label
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    #[cold]
    pub(super) fn push_null(&mut self) {
        self.nulls.set(self.values.len());
        self.values.push_default();
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.nulls.truncate(rows);
        self.values.truncate(rows);
    }

    pub(super) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        self.values.finish(&mut self.nulls)
    }

    /// Reads a value or null, `at` its first byte; returns the index after it.
    pub(super) fn read_nullable(
        &mut self,
        scratch: &mut Scratch,
        record: &str,
        at: usize,
        depth: usize,
    ) -> Result<usize, Reject> {
        let json = record.as_bytes();
        if json.get(at) == Some(&b'n') {
            let end = scan::literal(json, at, "null")?;
            self.push_null();
            return Ok(end);
        }
        self.read(scratch, record, at, depth)
    }

    /// Reads a value, `at` its first byte; returns the index after it. `depth` counts the
    /// containers around it. After an error the column may hold a part of the value.
    #[inline(always)]
    pub(super) fn read(
        &mut self,
        scratch: &mut Scratch,
        record: &str,
        at: usize,
        depth: usize,
    ) -> Result<usize, Reject> {
        let json = record.as_bytes();
        let first = json.get(at);
        let numeric = matches!(first, Some(b'0'..=b'9' | b'-'));
        let read = match &mut self.values {
            Values::Utf8(values) if first == Some(&b'"') => {
                let stop = scan::string_stop(json, at + 1);
                if json.get(stop) == Some(&b'"') {
                    values.push_part(record, at + 1, stop);
                    return Ok(stop + 1);
                }
                scalar::read_escaped(values, scratch, record, at)
            }
            Values::Double(values) if numeric => match number::double(json, at) {
                Ok((value, end)) => {
                    values.push(value);
                    return Ok(end);
                }
                Err(reject) => Err(reject),
            },
            Values::Timestamp {
                values,
                format: TimestampFormat::Rfc3339,
            } if first == Some(&b'"') => {
                scalar::read_timestamp(scratch, record, at).map(|(value, end)| {
                    values.push(value);
                    end
                })
            }
            values => scalar::read_other(values, scratch, record, at, depth),
        };
        read.map_err(|reject| reject.of(&self.label))
    }
}

/// The values of a type, empty.
fn values(path: &str, ty: &SqlType, format: TimestampFormat, rows: usize) -> Values {
    match ty {
        SqlType::String => Values::Utf8(Utf8Values::new(rows, rows * TEXT_HINT)),
        SqlType::Boolean => Values::Boolean(Vec::with_capacity(rows)),
        SqlType::Int => Values::Int(Vec::with_capacity(rows)),
        SqlType::BigInt => Values::BigInt(Vec::with_capacity(rows)),
        SqlType::Float => Values::Float(Vec::with_capacity(rows)),
        SqlType::Double => Values::Double(Vec::with_capacity(rows)),
        &SqlType::Decimal(precision, scale) => Values::Decimal {
            values: Vec::with_capacity(rows),
            precision,
            scale,
        },
        SqlType::Date => Values::Date(Vec::with_capacity(rows)),
        SqlType::Timestamp => Values::Timestamp {
            values: Vec::with_capacity(rows),
            format,
        },
        SqlType::Binary => Values::Binary {
            offsets: Offsets::new(rows),
            bytes: Vec::new(),
        },
        SqlType::Array(item) => Values::List {
            offsets: Offsets::new(rows),
            field: Arc::new(schema::item_field(item)),
            items: Box::new(Node::new(&format!("{path}[]"), item, format, rows)),
        },
        SqlType::Struct(fields) => {
            Values::Struct(Box::new(Object::of_struct(path, fields, format, rows)))
        }
        SqlType::Map(key, value) => {
            let fields = schema::entry_fields(key, value);
            Values::Map {
                offsets: Offsets::new(rows),
                field: Arc::new(Field::new(
                    "entries",
                    DataType::Struct(fields.clone()),
                    false,
                )),
                fields,
                keys: Box::new(Node::new(&format!("{path}[key]"), key, format, rows)),
                values: Box::new(Node::new(&format!("{path}[value]"), value, format, rows)),
            }
        }
    }
}
