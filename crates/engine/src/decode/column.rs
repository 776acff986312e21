//! Growing columns whose last row can be taken back.
//!
//! Arrow's own builders cannot forget a row. Here every column can be cut to a number of rows,
//! which is how a record that turns out bad half-way leaves no trace, and how the last of
//! duplicate keys wins.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int32Array, Int64Array, ListArray, MapArray, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{FieldRef, Fields};
use arrow::error::ArrowError;
use floodmark_pipeline::TimestampFormat;

use super::node::Node;
use super::object::Object;
use super::utf8::Utf8Values;

/// Which rows of a column are null. Costs nothing until the first one is.
#[derive(Debug, Default)]
pub(super) struct Nulls {
    /// One bit a row, set for null; rows beyond the last null have none.
    bits: Vec<u8>,
}

impl Nulls {
    #[inline]
    pub(super) fn set(&mut self, row: usize) {
        if self.bits.len() <= row / 8 {
            self.bits.resize(row / 8 + 1, 0);
        }
        self.bits[row / 8] |= 1 << (row % 8);
    }

    #[inline]
    pub(super) fn truncate(&mut self, rows: usize) {
        if self.bits.len() > rows / 8 {
            self.bits.truncate(rows / 8 + 1);
            self.bits[rows / 8] &= (1 << (rows % 8)) - 1;
        }
    }

    fn finish(&mut self, rows: usize) -> Option<NullBuffer> {
        if self.bits.iter().all(|&byte| byte == 0) {
            self.bits.clear();
            return None;
        }
        let mut bits = std::mem::take(&mut self.bits);
        bits.resize(rows.div_ceil(8), 0);
        for byte in &mut bits {
            *byte = !*byte;
        }
        Some(NullBuffer::new(BooleanBuffer::new(
            Buffer::from_vec(bits),
            0,
            rows,
        )))
    }
}

/// The values of a column, by SQL type. A null row has a value too, the default.
#[derive(Debug)]
pub(super) enum Values {
    Utf8(Utf8Values),
    Boolean(Vec<bool>),
    Int(Vec<i32>),
    BigInt(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Decimal {
        values: Vec<i128>,
        precision: u8,
        scale: u8,
    },
    Date(Vec<i32>),
    Timestamp {
        values: Vec<i64>,
        format: TimestampFormat,
    },
    Binary {
        offsets: Offsets,
        bytes: Vec<u8>,
    },
    List {
        offsets: Offsets,
        field: FieldRef,
        items: Box<Node>,
    },
    Struct(Box<Object>),
    Map {
        offsets: Offsets,
        field: FieldRef,
        fields: Fields,
        keys: Box<Node>,
        values: Box<Node>,
    },
}

/// Ends of variable-length values, after a leading zero.
#[derive(Debug)]
pub(super) struct Offsets(Vec<i32>);

impl Offsets {
    pub(super) fn new(rows: usize) -> Self {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Self(ends)
    }

    fn len(&self) -> usize {
        self.0.len() - 1
    }

    fn last(&self) -> usize {
        self.0.last().copied().unwrap_or_default() as usize
    }

    /// Ends a value where the child now ends. A batch's bytes bound the child's length.
    pub(super) fn push(&mut self, end: usize) {
        self.0.push(end as i32);
    }

    fn repeat(&mut self) {
        self.push(self.last());
    }

    /// Forgets values; returns where the child ends now.
    fn truncate(&mut self, rows: usize) -> usize {
        self.0.truncate(rows + 1);
        self.last()
    }

    fn finish(&mut self) -> OffsetBuffer<i32> {
        let next = Self::new(self.len());
        OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(self, next).0))
    }
}

impl Values {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Utf8(values) => values.len(),
            Self::Boolean(values) => values.len(),
            Self::Int(values) | Self::Date(values) => values.len(),
            Self::BigInt(values) | Self::Timestamp { values, .. } => values.len(),
            Self::Float(values) => values.len(),
            Self::Double(values) => values.len(),
            Self::Decimal { values, .. } => values.len(),
            Self::Binary { offsets, .. }
            | Self::List { offsets, .. }
            | Self::Map { offsets, .. } => offsets.len(),
            Self::Struct(object) => object.rows(),
        }
    }

    /// Appends the value that stands under a null.
    pub(super) fn push_default(&mut self) {
        match self {
            Self::Utf8(values) => values.push(""),
            Self::Boolean(values) => values.push(false),
            Self::Int(values) | Self::Date(values) => values.push(0),
            Self::BigInt(values) | Self::Timestamp { values, .. } => values.push(0),
            Self::Float(values) => values.push(0.0),
            Self::Double(values) => values.push(0.0),
            Self::Decimal { values, .. } => values.push(0),
            Self::Binary { offsets, .. }
            | Self::List { offsets, .. }
            | Self::Map { offsets, .. } => offsets.repeat(),
            Self::Struct(object) => object.push_nulls(),
        }
    }

    /// Forgets all rows from the `rows`th on, and what was begun of the next.
    pub(super) fn truncate(&mut self, rows: usize) {
        match self {
            Self::Utf8(values) => values.truncate(rows),
            Self::Boolean(values) => values.truncate(rows),
            Self::Int(values) | Self::Date(values) => values.truncate(rows),
            Self::BigInt(values) | Self::Timestamp { values, .. } => values.truncate(rows),
            Self::Float(values) => values.truncate(rows),
            Self::Double(values) => values.truncate(rows),
            Self::Decimal { values, .. } => values.truncate(rows),
            Self::Binary { offsets, bytes } => bytes.truncate(offsets.truncate(rows)),
            Self::List { offsets, items, .. } => items.truncate(offsets.truncate(rows)),
            Self::Struct(object) => object.truncate(rows),
            Self::Map {
                offsets,
                keys,
                values,
                ..
            } => {
                let end = offsets.truncate(rows);
                keys.truncate(end);
                values.truncate(end);
            }
        }
    }

    /// Takes all rows as an array and makes room for as many again.
    pub(super) fn finish(&mut self, nulls: &mut Nulls) -> Result<ArrayRef, ArrowError> {
        let rows = self.len();
        let nulls = nulls.finish(rows);
        Ok(match self {
            Self::Utf8(values) => Arc::new(values.finish(nulls)),
            Self::Boolean(values) => {
                let bits = BooleanBuffer::from(values.as_slice());
                values.clear();
                Arc::new(BooleanArray::new(bits, nulls))
            }
            Self::Int(values) => Arc::new(Int32Array::try_new(take(values), nulls)?),
            Self::BigInt(values) => Arc::new(Int64Array::try_new(take(values), nulls)?),
            Self::Float(values) => Arc::new(Float32Array::try_new(take(values), nulls)?),
            Self::Double(values) => Arc::new(Float64Array::try_new(take(values), nulls)?),
            Self::Date(values) => Arc::new(Date32Array::try_new(take(values), nulls)?),
            Self::Decimal {
                values,
                precision,
                scale,
            } => Arc::new(
                Decimal128Array::try_new(take(values), nulls)?
                    .with_precision_and_scale(*precision, *scale as i8)?,
            ),
            Self::Timestamp { values, .. } => Arc::new(
                TimestampMicrosecondArray::try_new(take(values), nulls)?.with_timezone("UTC"),
            ),
            Self::Binary { offsets, bytes } => {
                let bytes = Buffer::from_vec(std::mem::take(bytes));
                Arc::new(BinaryArray::try_new(offsets.finish(), bytes, nulls)?)
            }
            Self::List {
                offsets,
                field,
                items,
            } => {
                let items = items.finish()?;
                let field = Arc::clone(field);
                Arc::new(ListArray::try_new(field, offsets.finish(), items, nulls)?)
            }
            Self::Struct(object) => {
                let (fields, arrays) = object.finish()?;
                Arc::new(StructArray::try_new_with_length(
                    fields, arrays, nulls, rows,
                )?)
            }
            Self::Map {
                offsets,
                field,
                fields,
                keys,
                values,
            } => {
                let arrays = vec![keys.finish()?, values.finish()?];
                let entries = StructArray::try_new(fields.clone(), arrays, None)?;
                let field = Arc::clone(field);
                Arc::new(MapArray::try_new(
                    field,
                    offsets.finish(),
                    entries,
                    nulls,
                    false,
                )?)
            }
        })
    }
}

/// Takes the values out and leaves room for as many again.
fn take<T: arrow::datatypes::ArrowNativeType>(values: &mut Vec<T>) -> ScalarBuffer<T> {
    let next = Vec::with_capacity(values.len());
    ScalarBuffer::from(std::mem::replace(values, next))
}
