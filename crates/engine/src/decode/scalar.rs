//! Values out of single tokens, but for the two spellings that [`Node::read`] takes itself.
//!
//! [`Node::read`]: super::node::Node::read

use floodmark_pipeline::TimestampFormat;

use super::column::Values;
use super::node::Scratch;
use super::number::{self, Integer, Rounding};
use super::reject::Reject;
use super::timestamp::{self, MAX_MICROS, MIN_MICROS, TimestampError};
use super::utf8::Utf8Values;
use super::{base64, nested, scan, skip, string};

/// Most digits of a number of seconds in microseconds: enough up to the year 9999.
const SECONDS_PRECISION: u8 = 18;
/// Digits of a second's fraction that are kept.
const SECONDS_SCALE: u8 = 6;

/// Where a string's text is: in the record as it stands, or unescaped in the scratch.
enum Text {
    Plain { start: usize, end: usize },
    Unescaped,
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

/// Reads a value that is not on the shortest way: the other types, and the less common spellings.
#[inline(never)]
pub(super) fn read_other(
    values: &mut Values,
    scratch: &mut Scratch,
    record: &str,
    at: usize,
    depth: usize,
) -> Result<usize, Reject> {
    let json = record.as_bytes();
    match (values, json.get(at)) {
        (Values::Utf8(values), _) => read_as_text(values, scratch, record, at, depth),
        (values, Some(b'"')) => read_from_string(values, scratch, record, at),
        (values, Some(b'0'..=b'9' | b'-')) => read_from_number(values, json, at),
        (Values::Boolean(values), Some(b't')) => {
            let end = scan::literal(json, at, "true")?;
            values.push(true);
            Ok(end)
        }
        (Values::Boolean(values), Some(b'f')) => {
            let end = scan::literal(json, at, "false")?;
            values.push(false);
            Ok(end)
        }
        (values, Some(b'[' | b'{')) => nested::read(values, scratch, record, at, depth),
        (_, first) => Err(Reject::wrong_type(at, first)),
    }
}

/// Reads what the columns that are not text take from a string, `at` its opening quote.
fn read_from_string(
    values: &mut Values,
    scratch: &mut Scratch,
    record: &str,
    at: usize,
) -> Result<usize, Reject> {
    let (text, end) = read_string(scratch, record, at)?;
    let text = text.as_str(scratch, record);
    match values {
        Values::Float(values) => values.push(non_finite(text, at)? as f32),
        Values::Double(values) => values.push(non_finite(text, at)?),
        Values::Decimal {
            values,
            precision,
            scale,
        } => {
            values.push(decimal_text(text, at, *precision, *scale)?);
        }
        Values::Date(values) => {
            let days = timestamp::parse_date(text.as_bytes());
            values.push(days.ok_or_else(|| Reject::malformed(at, "a date YYYY-MM-DD", text))?);
        }
        Values::Binary { offsets, bytes } => {
            base64::decode(text.as_bytes(), bytes)
                .ok_or_else(|| Reject::malformed_unquoted(at, "base64"))?;
            offsets.push(bytes.len());
        }
        _ => return Err(Reject::wrong_kind(at, "a string")),
    }
    Ok(end)
}

/// Reads what columns take from a number, `at` its first byte.
fn read_from_number(values: &mut Values, json: &[u8], at: usize) -> Result<usize, Reject> {
    let out_of_range = || Reject::out_of_range(at);
    match values {
        Values::Int(values) => {
            let (value, end) = read_integer(json, at)?;
            values.push(i32::try_from(value).map_err(|_| out_of_range())?);
            Ok(end)
        }
        Values::BigInt(values) => {
            let (value, end) = read_integer(json, at)?;
            values.push(value);
            Ok(end)
        }
        Values::Float(values) => {
            let (value, end) = number::float(json, at)?;
            values.push(value);
            Ok(end)
        }
        Values::Decimal {
            values,
            precision,
            scale,
        } => {
            let end = number::skip(json, at)?;
            let value = number::decimal(&json[at..end], *precision, *scale, Rounding::HalfUp);
            values.push(value.ok_or_else(out_of_range)?);
            Ok(end)
        }
        Values::Timestamp { values, format } => {
            let (value, end) = read_epoch(json, at, *format)?;
            values.push(value);
            Ok(end)
        }
        _ => {
            number::skip(json, at)?;
            Err(Reject::wrong_kind(at, "a number"))
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
pub(super) fn read_escaped(
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
    let end = skip::value(record, at, depth)?;
    if matches!(record.as_bytes().get(at), Some(b'{' | b'[')) {
        scratch.text.clear();
        string::compact(&record[at..end], &mut scratch.text)?;
        values.push(&scratch.text);
    } else {
        values.push(&record[at..end]);
    }
    Ok(end)
}

/// Reads an RFC 3339 timestamp, `at` its opening quote. A stream's timestamps mostly have one
/// length: where that leads to a quote and what is before it is a timestamp, which no quote and
/// no escape is part of, the string needs no search for its end.
#[inline(always)]
pub(super) fn read_timestamp(
    scratch: &mut Scratch,
    record: &str,
    at: usize,
) -> Result<(i64, usize), Reject> {
    let json = record.as_bytes();
    let end = at + 1 + scratch.timestamp_len;
    if json.get(end) == Some(&b'"')
        && let Ok(value) = timestamp::parse_timestamp(&json[at + 1..end], &mut scratch.day)
    {
        return Ok((value, end + 1));
    }
    read_other_timestamp(scratch, record, at)
}

#[inline(never)]
fn read_other_timestamp(
    scratch: &mut Scratch,
    record: &str,
    at: usize,
) -> Result<(i64, usize), Reject> {
    let (text, end) = read_string(scratch, record, at)?;
    let Scratch {
        day,
        text: unescaped,
        timestamp_len,
    } = scratch;
    let text = match text {
        Text::Plain { start, end } => &record[start..end],
        Text::Unescaped => unescaped,
    };
    match timestamp::parse_timestamp(text.as_bytes(), day) {
        Ok(value) => {
            *timestamp_len = text.len();
            Ok((value, end))
        }
        Err(TimestampError::OutOfRange) => Err(Reject::out_of_range(at)),
        Err(TimestampError::Malformed) => Err(Reject::malformed(at, "an RFC 3339 timestamp", text)),
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
fn non_finite(text: &str, at: usize) -> Result<f64, Reject> {
    match text {
        "NaN" => Ok(f64::NAN),
        "Infinity" | "+Infinity" | "+INF" => Ok(f64::INFINITY),
        "-Infinity" | "-INF" => Ok(f64::NEG_INFINITY),
        _ => Err(Reject::wrong_kind(at, "a string")),
    }
}

/// A decimal in a string. Spark drops the thousands separators of its default locale.
fn decimal_text(text: &str, at: usize, precision: u8, scale: u8) -> Result<i128, Reject> {
    let text = text.replace(',', "");
    if !number::is_decimal_text(text.as_bytes()) {
        return Err(Reject::malformed_unquoted(at, "a decimal number"));
    }
    let value = number::decimal(text.as_bytes(), precision, scale, Rounding::HalfUp);
    value.ok_or_else(|| Reject::out_of_range(at))
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
