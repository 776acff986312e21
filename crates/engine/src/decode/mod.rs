//! Decoding: bytes into Arrow batches, bad records told apart.
//!
//! ```text
//! record bytes -> UTF-8? -> object: key -> column -> value ... -> row kept | row taken back
//!                 (once)    (expected      (typed                     |            |
//!                            key first)     read)              RecordBatch       Reject
//! ```
//!
//! [`JsonDecoder`] knows the columns, so it walks a record once and writes each value straight
//! into its column: no tree, no strings, nothing allocated per record. What it promises:
//!
//! - **Valid JSON or refused.** A record is accepted only if `serde_json` accepts it, whole: also
//!   the fields that no column wants. Nesting is bounded by [`MAX_DEPTH`], `serde_json`'s bound.
//! - **A row or nothing.** A refused record leaves no trace in the batch; its [`Reject`] says why
//!   in words.
//! - **Spark's reading.** Values are read as Spark's `from_json` does, where both accept them:
//!
//! | type | JSON | notes |
//! |---|---|---|
//! | `STRING` | string | any other value becomes its JSON text: scalars as written, objects and arrays compact |
//! | `BOOLEAN` | `true`, `false` | |
//! | `INT`, `BIGINT` | number | without fraction or exponent, in range |
//! | `FLOAT`, `DOUBLE` | number; `"NaN"`, `"Infinity"`, `"+Infinity"`, `"+INF"`, `"-Infinity"`, `"-INF"` | nearest value; a number beyond the range is refused, where Spark makes it infinite |
//! | `DECIMAL(p,s)` | number, or string of one | exact, rounded half up to the scale; refused if more than `p` digits remain |
//! | `DATE` | `"YYYY-MM-DD"` | years 1 to 9999 |
//! | `TIMESTAMP` | RFC 3339, or a number by the column's format | years 1 to 9999; cut to microseconds; without a zone UTC |
//! | `BINARY` | base64 string | standard alphabet, padded |
//! | `ARRAY` | array | elements may be null |
//! | `STRUCT` | object | fields may be null or absent |
//! | `MAP` | object | keys are read as strings; entries keep their order and, as in Spark, their duplicates |
//!
//! Field names match exactly, in any order; unknown fields are ignored. Of duplicate keys the
//! last one wins, even with null. Null is the same as absent: null where the column allows it,
//! else the record is refused.

#![allow(
    clippy::inline_always,
    reason = "the walk over a record is one loop cut into readable pieces; as calls they cost more than their work"
)]

mod base64;
mod column;
mod nested;
mod node;
mod number;
mod object;
mod reject;
mod scalar;
mod scan;
mod schema;
mod skip;
mod string;
mod timestamp;
mod utf8;

#[cfg(test)]
mod tests;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use floodmark_pipeline::Column;

use self::node::Scratch;
use self::object::Object;
pub use self::reject::Reject;
pub use self::schema::{arrow_schema, arrow_type};

/// Most containers around a value, the record itself included: what `serde_json` allows.
pub const MAX_DEPTH: usize = 127;

/// Bytes of accepted records after which a batch should be finished. Arrow's text columns count
/// their bytes in 31 bits; at this size the largest record that Kafka carries still fits.
pub const BATCH_BYTES: usize = 1 << 30;

/// Most bytes of accepted records that a batch can hold at all.
const MAX_BATCH_BYTES: usize = i32::MAX as usize;

/// Decodes JSON records into batches of one schema.
#[derive(Debug)]
pub struct JsonDecoder {
    schema: SchemaRef,
    record: Object,
    scratch: Scratch,
    bytes: usize,
}

impl JsonDecoder {
    /// A decoder for these columns, with room for `rows` rows at first.
    pub fn new(columns: &[Column], rows: usize) -> Self {
        Self {
            schema: arrow_schema(columns),
            record: Object::of_columns(columns, rows),
            scratch: Scratch::default(),
            bytes: 0,
        }
    }

    /// The schema of the batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Appends `value` as one row, or appends nothing and says why.
    ///
    /// The caller finishes a batch once [`bytes`](Self::bytes) passes [`BATCH_BYTES`]; if it does
    /// not, records are refused as too large rather than a column overrun.
    #[inline]
    pub fn decode(&mut self, value: &[u8]) -> Result<(), Reject> {
        let rows = self.record.rows();
        match self.read(value) {
            Ok(()) => {
                self.bytes += value.len();
                Ok(())
            }
            Err(reject) => {
                self.record.truncate(rows);
                Err(reject)
            }
        }
    }

    #[inline(always)]
    fn read(&mut self, value: &[u8]) -> Result<(), Reject> {
        if value.len() > MAX_BATCH_BYTES - self.bytes {
            return Err(Reject::too_large());
        }
        let record = simdutf8::basic::from_utf8(value).map_err(|_| not_utf8(value))?;
        let start = scan::whitespace(value, 0);
        if value.get(start) != Some(&b'{') {
            return Err(Reject::not_an_object(start, value.get(start)));
        }
        let end = self.record.read(&mut self.scratch, record, start, 1)?;
        let end = scan::whitespace(value, end);
        if end != value.len() {
            return Err(Reject::syntax(end, "nothing after the object"));
        }
        Ok(())
    }

    /// Rows appended since the last [`finish`](Self::finish).
    pub fn rows(&self) -> usize {
        self.record.rows()
    }

    /// Bytes of the records behind those rows: no column's text is longer than this.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the appended rows as a batch. No input makes it fail, only a schema that Arrow does
    /// not know, such as a decimal of 50 digits.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let rows = self.record.rows();
        self.bytes = 0;
        let (_, arrays) = self.record.finish()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(SchemaRef::clone(&self.schema), arrays, &options)
    }
}

#[cold]
fn not_utf8(value: &[u8]) -> Reject {
    let at = std::str::from_utf8(value)
        .err()
        .map_or(0, |error| error.valid_up_to());
    Reject::utf8(at)
}
