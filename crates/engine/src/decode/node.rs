//! One value of a known SQL type: what its JSON may look like and how it is read.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use floodmark_pipeline::{SqlType, TimestampFormat};

use super::column::{Nulls, Offsets, Values};
use super::number::{self, Integer, Rounding};
use super::object::Object;
use super::reject::{Label, Reject};
use super::timestamp::{self, DayCache, MAX_MICROS, MIN_MICROS, TimestampError};
use super::utf8::Utf8Values;
use super::{MAX_DEPTH, base64, scan, schema, string};

/// Bytes of a text value for which room is made at first.
const TEXT_HINT: usize = 12;
/// Most digits of a number of seconds in microseconds: enough up to the year 9999.
const SECONDS_PRECISION: u8 = 18;
/// Digits of a second's fraction that are kept.
const SECONDS_SCALE: u8 = 6;

/// What reading values needs beside the record, shared by all columns.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    day: DayCache,
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

/// Where a string's text is: in the record as it stands, or unescaped in the scratch.
enum Text {
    Plain { start: usize, end: usize },
    Unescaped,
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
    fn read_nullable(
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
                read_escaped(values, scratch, record, at)
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
            } if first == Some(&b'"') => read_timestamp(scratch, record, at).map(|(value, end)| {
                values.push(value);
                end
            }),
            values => read_other(values, scratch, record, at, depth),
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

/// Everything that is not on the shortest way: the other types, and the less common spellings.
#[inline(never)]
fn read_other(
    values: &mut Values,
    scratch: &mut Scratch,
    record: &str,
    at: usize,
    depth: usize,
) -> Result<usize, Reject> {
    let json = record.as_bytes();
    let first = json.get(at);
    let numeric = matches!(first, Some(b'0'..=b'9' | b'-'));
    match values {
        Values::Utf8(values) => read_as_text(values, scratch, record, at, depth),
        Values::Boolean(values) if matches!(first, Some(b't' | b'f')) => {
            let value = first == Some(&b't');
            let end = scan::literal(json, at, if value { "true" } else { "false" })?;
            values.push(value);
            Ok(end)
        }
        Values::Int(values) if numeric => {
            let (value, end) = read_integer(json, at)?;
            values.push(i32::try_from(value).map_err(|_| Reject::out_of_range(at))?);
            Ok(end)
        }
        Values::BigInt(values) if numeric => {
            let (value, end) = read_integer(json, at)?;
            values.push(value);
            Ok(end)
        }
        Values::Float(values) if numeric => {
            let (value, end) = number::float(json, at)?;
            values.push(value);
            Ok(end)
        }
        Values::Float(values) if first == Some(&b'"') => {
            let (value, end) = read_non_finite(scratch, record, at)?;
            values.push(value as f32);
            Ok(end)
        }
        Values::Double(values) if first == Some(&b'"') => {
            let (value, end) = read_non_finite(scratch, record, at)?;
            values.push(value);
            Ok(end)
        }
        Values::Decimal {
            values,
            precision,
            scale,
        } if numeric || first == Some(&b'"') => {
            let (value, end) = read_decimal(scratch, record, at, *precision, *scale)?;
            values.push(value);
            Ok(end)
        }
        Values::Timestamp { values, format } if numeric => {
            let (value, end) = read_epoch(json, at, *format)?;
            values.push(value);
            Ok(end)
        }
        Values::Date(values) if first == Some(&b'"') => {
            let (text, end) = read_string(scratch, record, at)?;
            let text = text.as_str(scratch, record);
            let days = timestamp::parse_date(text.as_bytes());
            values.push(days.ok_or_else(|| Reject::malformed(at, "a date YYYY-MM-DD", text))?);
            Ok(end)
        }
        Values::Binary { offsets, bytes } if first == Some(&b'"') => {
            let (text, end) = read_string(scratch, record, at)?;
            let text = text.as_str(scratch, record);
            base64::decode(text.as_bytes(), bytes)
                .ok_or_else(|| Reject::malformed_unquoted(at, "base64"))?;
            offsets.push(bytes.len());
            Ok(end)
        }
        Values::List { offsets, items, .. } if first == Some(&b'[') => {
            let end = read_items(items, scratch, record, at, depth + 1)?;
            offsets.push(items.len());
            Ok(end)
        }
        Values::Struct(object) if first == Some(&b'{') => {
            object.read(scratch, record, at, depth + 1)
        }
        Values::Map {
            offsets,
            keys,
            values,
            ..
        } if first == Some(&b'{') => {
            let end = read_entries(keys, values, scratch, record, at, depth + 1)?;
            offsets.push(keys.len());
            Ok(end)
        }
        _ => Err(Reject::wrong_type(at, first)),
    }
}

impl Node {
    fn len(&self) -> usize {
        self.values.len()
    }
}

impl Text {
    #[inline(always)]
    fn as_str<'a>(&self, scratch: &'a Scratch, record: &'a str) -> &'a str {
        match *self {
            Self::Plain { start, end } => &record[start..end],
            Self::Unescaped => &scratch.text,
        }
    }
}

/// Reads a string, `at` its opening quote; returns the index after the closing one.
#[inline(always)]
fn read_string(scratch: &mut Scratch, record: &str, at: usize) -> Result<(Text, usize), Reject> {
    let json = record.as_bytes();
    let stop = scan::string_stop(json, at + 1);
    if json.get(stop) == Some(&b'"') {
        return Ok((
            Text::Plain {
                start: at + 1,
                end: stop,
            },
            stop + 1,
        ));
    }
    scratch.text.clear();
    let end = string::unescape(record, at + 1, &mut scratch.text)?;
    Ok((Text::Unescaped, end))
}

#[cold]
fn read_escaped(
    values: &mut Utf8Values,
    scratch: &mut Scratch,
    record: &str,
    at: usize,
) -> Result<usize, Reject> {
    scratch.text.clear();
    let end = string::unescape(record, at + 1, &mut scratch.text)?;
    values.push(&scratch.text);
    Ok(end)
}

/// A value that is not a string, kept as its JSON text.
#[cold]
fn read_as_text(
    values: &mut Utf8Values,
    scratch: &mut Scratch,
    record: &str,
    at: usize,
    depth: usize,
) -> Result<usize, Reject> {
    let end = scan::skip_value(record, at, depth)?;
    if matches!(record.as_bytes().get(at), Some(b'{' | b'[')) {
        scratch.text.clear();
        string::compact(&record[at..end], &mut scratch.text)?;
        values.push(&scratch.text);
    } else {
        values.push(&record[at..end]);
    }
    Ok(end)
}

#[inline(always)]
fn read_timestamp(scratch: &mut Scratch, record: &str, at: usize) -> Result<(i64, usize), Reject> {
    let (text, end) = read_string(scratch, record, at)?;
    let Scratch {
        day,
        text: unescaped,
    } = scratch;
    let text = match text {
        Text::Plain { start, end } => &record.as_bytes()[start..end],
        Text::Unescaped => unescaped.as_bytes(),
    };
    match timestamp::parse_timestamp(text, day) {
        Ok(value) => Ok((value, end)),
        Err(TimestampError::OutOfRange) => Err(Reject::out_of_range(at)),
        Err(TimestampError::Malformed) => {
            let text = std::str::from_utf8(text).unwrap_or_default();
            Err(Reject::malformed(at, "an RFC 3339 timestamp", text))
        }
    }
}

fn read_integer(json: &[u8], at: usize) -> Result<(i64, usize), Reject> {
    match number::integer(json, at)? {
        Integer::Value(value, end) => Ok((value, end)),
        Integer::OutOfRange => Err(Reject::out_of_range(at)),
        Integer::Fractional => Err(Reject::wrong_kind(
            at,
            "a number with a fraction or exponent",
        )),
    }
}

/// The strings that Spark reads as a float's special values.
fn read_non_finite(scratch: &mut Scratch, record: &str, at: usize) -> Result<(f64, usize), Reject> {
    let (text, end) = read_string(scratch, record, at)?;
    let value = match text.as_str(scratch, record) {
        "NaN" => f64::NAN,
        "Infinity" | "+Infinity" | "+INF" => f64::INFINITY,
        "-Infinity" | "-INF" => f64::NEG_INFINITY,
        _ => return Err(Reject::wrong_kind(at, "a string")),
    };
    Ok((value, end))
}

fn read_decimal(
    scratch: &mut Scratch,
    record: &str,
    at: usize,
    precision: u8,
    scale: u8,
) -> Result<(i128, usize), Reject> {
    let json = record.as_bytes();
    let (value, end) = if json.get(at) == Some(&b'"') {
        let (text, end) = read_string(scratch, record, at)?;
        // Spark drops the thousands separators of its default locale.
        let text = text.as_str(scratch, record).replace(',', "");
        if !number::is_decimal_text(text.as_bytes()) {
            return Err(Reject::malformed_unquoted(at, "a decimal number"));
        }
        (
            number::decimal(text.as_bytes(), precision, scale, Rounding::HalfUp),
            end,
        )
    } else {
        let end = number::skip(json, at)?;
        (
            number::decimal(&json[at..end], precision, scale, Rounding::HalfUp),
            end,
        )
    };
    Ok((value.ok_or_else(|| Reject::out_of_range(at))?, end))
}

fn read_epoch(json: &[u8], at: usize, format: TimestampFormat) -> Result<(i64, usize), Reject> {
    let (micros, end) = match format {
        TimestampFormat::Rfc3339 => return Err(Reject::wrong_type(at, json.get(at))),
        TimestampFormat::EpochSeconds => {
            let end = number::skip(json, at)?;
            let token = &json[at..end];
            let micros =
                number::decimal(token, SECONDS_PRECISION, SECONDS_SCALE, Rounding::Truncate);
            (micros.and_then(|micros| i64::try_from(micros).ok()), end)
        }
        TimestampFormat::EpochMillis => {
            let (millis, end) = read_integer(json, at)?;
            (millis.checked_mul(1_000), end)
        }
        TimestampFormat::EpochMicros => {
            let (micros, end) = read_integer(json, at)?;
            (Some(micros), end)
        }
    };
    match micros.filter(|micros| (MIN_MICROS..=MAX_MICROS).contains(micros)) {
        Some(micros) => Ok((micros, end)),
        None => Err(Reject::out_of_range(at)),
    }
}

/// Reads a list's elements, `at` its bracket.
fn read_items(
    items: &mut Node,
    scratch: &mut Scratch,
    record: &str,
    at: usize,
    depth: usize,
) -> Result<usize, Reject> {
    if depth > MAX_DEPTH {
        return Err(Reject::too_deep(at));
    }
    let json = record.as_bytes();
    let mut at = scan::whitespace(json, at + 1);
    if json.get(at) == Some(&b']') {
        return Ok(at + 1);
    }
    loop {
        at = scan::whitespace(json, items.read_nullable(scratch, record, at, depth)?);
        match json.get(at) {
            Some(b',') => at = scan::whitespace(json, at + 1),
            Some(b']') => return Ok(at + 1),
            _ => return Err(Reject::syntax(at, "',' or ']'")),
        }
    }
}

/// Reads a map's entries, `at` its brace. Like Spark's, a map keeps every entry in order, also
/// those whose keys are equal.
fn read_entries(
    keys: &mut Node,
    values: &mut Node,
    scratch: &mut Scratch,
    record: &str,
    at: usize,
    depth: usize,
) -> Result<usize, Reject> {
    if depth > MAX_DEPTH {
        return Err(Reject::too_deep(at));
    }
    let json = record.as_bytes();
    let mut at = scan::whitespace(json, at + 1);
    if json.get(at) == Some(&b'}') {
        return Ok(at + 1);
    }
    loop {
        if json.get(at) != Some(&b'"') {
            return Err(Reject::syntax(at, "a field name"));
        }
        at = scan::colon(json, keys.read(scratch, record, at, depth)?)?;
        at = scan::whitespace(json, values.read_nullable(scratch, record, at, depth)?);
        match json.get(at) {
            Some(b',') => at = scan::whitespace(json, at + 1),
            Some(b'}') => return Ok(at + 1),
            _ => return Err(Reject::syntax(at, "',' or '}'")),
        }
    }
}
