//! Rows as JSON objects, one a row, as Spark's `to_json` writes them: fields in column order, null
//! fields left out, NaN and infinities as strings, binary as base64. Instants are RFC 3339 in UTC
//! with as many fraction digits as they need, at least three.

use std::io::Write;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, OffsetSizeTrait, RecordBatch, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;

/// Appends one value, known not to be null, to the text.
type Writer = Box<dyn Fn(usize, &mut Vec<u8>)>;

/// Writes the rows of one batch. Made once a batch: types are looked at here and not again.
pub struct JsonRows {
    fields: Vec<Field>,
}

struct Field {
    /// `"name":`
    prefix: Vec<u8>,
    array: ArrayRef,
    writer: Writer,
}

impl JsonRows {
    /// Prepares the batch's columns.
    pub fn new(batch: &RecordBatch) -> Result<Self, ArrowError> {
        let names = batch
            .schema_ref()
            .fields()
            .iter()
            .map(|field| field.name().as_str());
        Ok(Self {
            fields: fields(names, batch.columns())?,
        })
    }

    /// Appends a row's object to `out`.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        write_object(&self.fields, row, out);
    }
}

/// Each row of a batch as one object.
pub fn to_strings(batch: &RecordBatch) -> Result<Vec<String>, ArrowError> {
    let rows = JsonRows::new(batch)?;
    let row = |row| {
        let mut out = Vec::new();
        rows.write(row, &mut out);
        String::from_utf8(out).map_err(|error| ArrowError::InvalidArgumentError(error.to_string()))
    };
    (0..batch.num_rows()).map(row).collect()
}

fn fields<'a>(
    names: impl Iterator<Item = &'a str>,
    columns: &[ArrayRef],
) -> Result<Vec<Field>, ArrowError> {
    names
        .zip(columns)
        .map(|(name, array)| {
            let mut prefix = Vec::with_capacity(name.len() + 3);
            write_string(name, &mut prefix);
            prefix.push(b':');
            Ok(Field {
                prefix,
                array: array.clone(),
                writer: writer(array)?,
            })
        })
        .collect()
}

fn write_object(fields: &[Field], row: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut first = true;
    for field in fields {
        if field.array.is_null(row) {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        out.extend_from_slice(&field.prefix);
        (field.writer)(row, out);
    }
    out.push(b'}');
}

fn writer(array: &ArrayRef) -> Result<Writer, ArrowError> {
    Ok(match array.data_type() {
        // Never asked for: every value is null.
        DataType::Null => Box::new(|_, out| out.extend_from_slice(b"null")),
        DataType::Boolean => {
            let array = array.as_boolean().clone();
            Box::new(move |row, out| {
                out.extend_from_slice(if array.value(row) { b"true" } else { b"false" });
            })
        }
        DataType::Int8 => number::<Int8Type>(array),
        DataType::Int16 => number::<Int16Type>(array),
        DataType::Int32 => number::<Int32Type>(array),
        DataType::Int64 => number::<Int64Type>(array),
        DataType::UInt8 => number::<UInt8Type>(array),
        DataType::UInt16 => number::<UInt16Type>(array),
        DataType::UInt32 => number::<UInt32Type>(array),
        DataType::UInt64 => number::<UInt64Type>(array),
        DataType::Float32 => {
            let array = array.as_primitive::<Float32Type>().clone();
            Box::new(move |row, out| {
                let value = array.value(row);
                if !write_special(f64::from(value), out) {
                    write_number(&value, out);
                }
            })
        }
        DataType::Float64 => {
            let array = array.as_primitive::<Float64Type>().clone();
            Box::new(move |row, out| {
                let value = array.value(row);
                if !write_special(value, out) {
                    write_number(&value, out);
                }
            })
        }
        DataType::Decimal128(..) => {
            let array = array.as_primitive::<Decimal128Type>().clone();
            Box::new(move |row, out| out.extend_from_slice(array.value_as_string(row).as_bytes()))
        }
        DataType::Decimal256(..) => {
            let array = array.as_primitive::<Decimal256Type>().clone();
            Box::new(move |row, out| out.extend_from_slice(array.value_as_string(row).as_bytes()))
        }
        DataType::Date32 => {
            let array = array.as_primitive::<Date32Type>().clone();
            Box::new(move |row, out| {
                out.push(b'"');
                write_date(i64::from(array.value(row)), out);
                out.push(b'"');
            })
        }
        DataType::Timestamp(unit, _) => timestamp(array, *unit),
        _ => return writer_of_bytes(array),
    })
}

fn writer_of_bytes(array: &ArrayRef) -> Result<Writer, ArrowError> {
    macro_rules! text {
        ($array:expr) => {{
            let array = $array.clone();
            Box::new(move |row, out| write_string(array.value(row), out))
        }};
    }
    macro_rules! binary {
        ($array:expr) => {{
            let array = $array.clone();
            Box::new(move |row, out| write_base64(array.value(row), out))
        }};
    }
    Ok(match array.data_type() {
        DataType::Utf8 => text!(array.as_string::<i32>()),
        DataType::LargeUtf8 => text!(array.as_string::<i64>()),
        DataType::Utf8View => text!(array.as_string_view()),
        DataType::Binary => binary!(array.as_binary::<i32>()),
        DataType::LargeBinary => binary!(array.as_binary::<i64>()),
        DataType::BinaryView => binary!(array.as_binary_view()),
        DataType::FixedSizeBinary(_) => binary!(array.as_fixed_size_binary()),
        _ => return writer_of_nested(array),
    })
}

fn writer_of_nested(array: &ArrayRef) -> Result<Writer, ArrowError> {
    Ok(match array.data_type() {
        DataType::List(_) => list::<i32>(array)?,
        DataType::LargeList(_) => list::<i64>(array)?,
        DataType::Struct(_) => {
            let fields = struct_fields(array.as_struct())?;
            Box::new(move |row, out| write_object(&fields, row, out))
        }
        DataType::Map(..) => map(array)?,
        DataType::Dictionary(_, value) => writer(&cast(array, value)?)?,
        _ => {
            let array = array.clone();
            Box::new(move |row, out| {
                let text = array_value_to_string(&array, row).unwrap_or_default();
                write_string(&text, out);
            })
        }
    })
}

fn number<T>(array: &ArrayRef) -> Writer
where
    T: ArrowPrimitiveType,
    T::Native: serde::Serialize,
{
    let array = array.as_primitive::<T>().clone();
    Box::new(move |row, out| write_number(&array.value(row), out))
}

fn list<O: OffsetSizeTrait>(array: &ArrayRef) -> Result<Writer, ArrowError> {
    let array = array.as_list::<O>().clone();
    let values = array.values().clone();
    let item = writer(&values)?;
    Ok(Box::new(move |row, out| {
        let offsets = array.value_offsets();
        let (from, to) = (offsets[row].as_usize(), offsets[row + 1].as_usize());
        out.push(b'[');
        for index in from..to {
            if index > from {
                out.push(b',');
            }
            write_nullable(&values, &item, index, out);
        }
        out.push(b']');
    }))
}

fn map(array: &ArrayRef) -> Result<Writer, ArrowError> {
    let array = array.as_map().clone();
    let (keys, values) = (array.keys().clone(), array.values().clone());
    let (key, value) = (writer(&keys)?, writer(&values)?);
    Ok(Box::new(move |row, out| {
        let offsets = array.value_offsets();
        let (from, to) = (offsets[row] as usize, offsets[row + 1] as usize);
        out.push(b'{');
        for index in from..to {
            if index > from {
                out.push(b',');
            }
            let start = out.len();
            key(index, out);
            // JSON's keys are strings, whatever the map's are.
            if out.get(start) != Some(&b'"') {
                out.insert(start, b'"');
                out.push(b'"');
            }
            out.push(b':');
            write_nullable(&values, &value, index, out);
        }
        out.push(b'}');
    }))
}

fn struct_fields(array: &StructArray) -> Result<Vec<Field>, ArrowError> {
    fields(
        array.fields().iter().map(|field| field.name().as_str()),
        array.columns(),
    )
}

fn write_nullable(values: &ArrayRef, item: &Writer, index: usize, out: &mut Vec<u8>) {
    if values.is_null(index) {
        out.extend_from_slice(b"null");
    } else {
        item(index, out);
    }
}

fn write_number<T: serde::Serialize>(value: &T, out: &mut Vec<u8>) {
    // Writing a number to memory has nothing to fail at.
    let _written = serde_json::to_writer(out, value);
}

fn write_string(value: &str, out: &mut Vec<u8>) {
    let _written = serde_json::to_writer(out, value);
}

/// Writes what JSON has no number for, as a string.
fn write_special(value: f64, out: &mut Vec<u8>) -> bool {
    let text: &[u8] = if value.is_nan() {
        b"\"NaN\""
    } else if value == f64::INFINITY {
        b"\"Infinity\""
    } else if value == f64::NEG_INFINITY {
        b"\"-Infinity\""
    } else {
        return false;
    };
    out.extend_from_slice(text);
    true
}

fn timestamp(array: &ArrayRef, unit: TimeUnit) -> Writer {
    fn of<T: ArrowPrimitiveType<Native = i64>>(array: &ArrayRef, per_second: i64) -> Writer {
        let array = array.as_primitive::<T>().clone();
        let nanos = 1_000_000_000 / per_second;
        Box::new(move |row, out| {
            let value = array.value(row);
            let fraction = value.rem_euclid(per_second) * nanos;
            write_instant(value.div_euclid(per_second), fraction, out);
        })
    }
    match unit {
        TimeUnit::Second => of::<TimestampSecondType>(array, 1),
        TimeUnit::Millisecond => of::<TimestampMillisecondType>(array, 1_000),
        TimeUnit::Microsecond => of::<TimestampMicrosecondType>(array, 1_000_000),
        TimeUnit::Nanosecond => of::<TimestampNanosecondType>(array, 1_000_000_000),
    }
}

fn write_instant(seconds: i64, nanos: i64, out: &mut Vec<u8>) {
    const DAY: i64 = 86_400;
    out.push(b'"');
    write_date(seconds.div_euclid(DAY), out);
    let time = seconds.rem_euclid(DAY);
    out.push(b'T');
    write_padded(time / 3_600, 2, out);
    out.push(b':');
    write_padded(time / 60 % 60, 2, out);
    out.push(b':');
    write_padded(time % 60, 2, out);
    out.push(b'.');
    if nanos % 1_000_000 == 0 {
        write_padded(nanos / 1_000_000, 3, out);
    } else if nanos % 1_000 == 0 {
        write_padded(nanos / 1_000, 6, out);
    } else {
        write_padded(nanos, 9, out);
    }
    out.extend_from_slice(b"Z\"");
}

/// Writes a day since 1970-01-01 in the proleptic Gregorian calendar. The arithmetic is Howard
/// Hinnant's `civil_from_days` ("chrono-Compatible Low-Level Date Algorithms").
fn write_date(days: i64, out: &mut Vec<u8>) {
    const DAYS_PER_ERA: i64 = 146_097;
    // Years begin in March here, so that the leap day is the last of a year.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(DAYS_PER_ERA);
    let day_of_era = shifted.rem_euclid(DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if year < 0 {
        out.push(b'-');
    } else if year > 9_999 {
        out.push(b'+');
    }
    write_padded(year.abs(), 4, out);
    out.push(b'-');
    write_padded(month, 2, out);
    out.push(b'-');
    write_padded(day, 2, out);
}

fn write_padded(value: i64, width: usize, out: &mut Vec<u8>) {
    // Writing to memory has nothing to fail at.
    let _written = write!(out, "{value:0width$}");
}

/// Base64 in quotes: standard alphabet, padded (RFC 4648, section 4).
pub(crate) fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.push(b'"');
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for position in 0..4 {
            let symbol = if position <= chunk.len() {
                ALPHABET[(bits >> (18 - 6 * position) & 0x3f) as usize]
            } else {
                b'='
            };
            out.push(symbol);
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests;
