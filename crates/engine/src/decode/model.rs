//! What the decoder should do, written the slow and obvious way.
//!
//! Validity comes from `serde_json`. Values come from a small tree parser that may assume valid
//! input, because numbers as text and duplicate keys are lost in `serde_json::Value`. Nothing is
//! shared with the decoder. The tests and the fuzz target include this file.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use floodmark_pipeline::{Column, SqlType, TimestampFormat};

/// A value of any column, comparable bit by bit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Datum {
    Null,
    Text(String),
    Bool(bool),
    Int(i128),
    Float(u32),
    Double(u64),
    Bytes(Vec<u8>),
    List(Vec<Datum>),
    Struct(Vec<Datum>),
    Map(Vec<(Datum, Datum)>),
}

/// The row a record should become; `None` if it should be refused.
pub(crate) fn expected(columns: &[Column], record: &[u8]) -> Option<Vec<Datum>> {
    serde_json::from_slice::<serde_json::Value>(record).ok()?;
    let text = std::str::from_utf8(record).ok()?;
    let Json::Object(fields) = (Parser { text, at: 0 }).value() else {
        return None;
    };
    columns
        .iter()
        .map(|column| {
            let value = last(&fields, &column.name);
            let datum = convert(&column.ty, column.timestamp_format, value)?;
            (column.nullable || datum != Datum::Null).then_some(datum)
        })
        .zip(columns)
        // An earlier duplicate of a wrong type spoils the record too.
        .map(|(datum, column)| {
            let mut all = fields.iter().filter(|(name, _)| *name == column.name);
            all.all(|(_, value)| convert(&column.ty, column.timestamp_format, value).is_some())
                .then_some(datum?)
        })
        .collect()
}

/// A row of a batch.
pub(crate) fn row(batch: &RecordBatch, row: usize) -> Vec<Datum> {
    batch
        .columns()
        .iter()
        .map(|column| datum(column, row))
        .collect()
}

fn datum(array: &dyn Array, row: usize) -> Datum {
    if array.is_null(row) {
        return Datum::Null;
    }
    match array.data_type() {
        DataType::Utf8 => Datum::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::Boolean => Datum::Bool(array.as_boolean().value(row)),
        DataType::Int32 => Datum::Int(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Datum::Int(array.as_primitive::<Int64Type>().value(row).into()),
        DataType::Date32 => Datum::Int(array.as_primitive::<Date32Type>().value(row).into()),
        DataType::Timestamp(..) => Datum::Int(
            array
                .as_primitive::<TimestampMicrosecondType>()
                .value(row)
                .into(),
        ),
        DataType::Decimal128(..) => Datum::Int(array.as_primitive::<Decimal128Type>().value(row)),
        DataType::Float32 => float(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Binary => Datum::Bytes(array.as_binary::<i32>().value(row).to_vec()),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            Datum::List((0..items.len()).map(|item| datum(&items, item)).collect())
        }
        DataType::Struct(_) => {
            let columns = array.as_struct().columns();
            Datum::Struct(columns.iter().map(|column| datum(column, row)).collect())
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let [keys, values] = entries.columns() else {
                return Datum::Null;
            };
            let entry = |at| (datum(keys, at), datum(values, at));
            Datum::Map((0..entries.len()).map(entry).collect())
        }
        other => unreachable!("no column has type {other}"),
    }
}

fn float(value: f32) -> Datum {
    Datum::Float(if value.is_nan() { f32::NAN } else { value }.to_bits())
}

fn double(value: f64) -> Datum {
    Datum::Double(if value.is_nan() { f64::NAN } else { value }.to_bits())
}

/// A JSON value with its numbers as text and its fields as written.
enum Json<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    String(String),
    Array(Vec<Json<'a>>),
    Object(Vec<(String, Json<'a>)>),
}

fn last<'a, 'b>(fields: &'b [(String, Json<'a>)], name: &str) -> &'b Json<'a> {
    fields
        .iter()
        .rev()
        .find(|(field, _)| field == name)
        .map_or(&Json::Null, |(_, value)| value)
}

/// The column's value; `None` if the JSON does not fit.
fn convert(ty: &SqlType, format: TimestampFormat, json: &Json<'_>) -> Option<Datum> {
    Some(match (ty, json) {
        (_, Json::Null) => Datum::Null,
        (SqlType::String, Json::String(text)) => Datum::Text(text.clone()),
        (SqlType::String, other) => Datum::Text(compact(other)),
        (SqlType::Boolean, Json::Bool(value)) => Datum::Bool(*value),
        (SqlType::Int, Json::Number(text)) => Datum::Int(text.parse::<i32>().ok()?.into()),
        (SqlType::BigInt, Json::Number(text)) => Datum::Int(text.parse::<i64>().ok()?.into()),
        (SqlType::Float, Json::Number(text)) => {
            float(text.parse().ok().filter(|value: &f32| value.is_finite())?)
        }
        (SqlType::Float, Json::String(text)) => float(non_finite(text)? as f32),
        (SqlType::Double, Json::Number(text)) => double(text.parse().ok()?),
        (SqlType::Double, Json::String(text)) => double(non_finite(text)?),
        (SqlType::Decimal(precision, scale), Json::Number(text)) => {
            Datum::Int(decimal(text, (*precision).into(), (*scale).into(), true)?)
        }
        (SqlType::Decimal(precision, scale), Json::String(text)) => {
            let text = text.replace(',', "");
            let allowed = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
            // The standard library reads the same decimals as Java, and names for special values.
            if text.parse::<f64>().is_err() || !text.chars().all(allowed) {
                return None;
            }
            Datum::Int(decimal(&text, (*precision).into(), (*scale).into(), true)?)
        }
        (SqlType::Date, Json::String(text)) => Datum::Int(date(text)?.into()),
        (SqlType::Timestamp, json) => Datum::Int(timestamp(format, json)?),
        (SqlType::Binary, Json::String(text)) => Datum::Bytes(base64(text)?),
        (SqlType::Array(item), Json::Array(items)) => Datum::List(
            items
                .iter()
                .map(|json| convert(item, format, json))
                .collect::<Option<_>>()?,
        ),
        (SqlType::Struct(types), Json::Object(fields)) => {
            let known = |name: &String| types.iter().find(|(field, _)| field == name);
            for (name, json) in fields {
                if let Some((_, ty)) = known(name) {
                    convert(ty, format, json)?;
                }
            }
            let values = types
                .iter()
                .map(|(name, ty)| convert(ty, format, last(fields, name)));
            Datum::Struct(values.collect::<Option<_>>()?)
        }
        (SqlType::Map(key, value), Json::Object(fields)) => {
            let entry = |(name, json): &(String, Json<'_>)| {
                let name = convert(key, format, &Json::String(name.clone()))?;
                Some((name, convert(value, format, json)?))
            };
            Datum::Map(fields.iter().map(entry).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

fn non_finite(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "+INF" | "Infinity" | "+Infinity" => Some(f64::INFINITY),
        "-INF" | "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// Compact JSON text, escaped as Jackson does.
fn compact(json: &Json<'_>) -> String {
    let join = |parts: Vec<String>| parts.join(",");
    match json {
        Json::Null => "null".into(),
        Json::Bool(value) => value.to_string(),
        Json::Number(text) => (*text).into(),
        Json::String(text) => quoted(text),
        Json::Array(items) => format!("[{}]", join(items.iter().map(compact).collect())),
        Json::Object(fields) => {
            let field =
                |(name, value): &(String, _)| format!("{}:{}", quoted(name), compact(value));
            format!("{{{}}}", join(fields.iter().map(field).collect()))
        }
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out += "\\\"",
            '\\' => out += "\\\\",
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\t' => out += "\\t",
            '\u{8}' => out += "\\b",
            '\u{c}' => out += "\\f",
            c if c < ' ' => out += &format!("\\u{:04X}", u32::from(c)),
            c => out.push(c),
        }
    }
    out + "\""
}

/// Decimal text in units of 10^-scale, by shifting the point in a string of digits.
fn decimal(text: &str, precision: usize, scale: i64, half_up: bool) -> Option<i128> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let negative = mantissa.starts_with('-');
    let mantissa = mantissa.trim_start_matches(['-', '+']);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    // An exponent beyond i64 is huge whatever else the number says.
    let huge = if exponent.starts_with('-') {
        -1_000_000_000_000
    } else {
        1_000_000_000_000
    };
    let exponent = exponent
        .parse::<i64>()
        .unwrap_or(huge)
        .clamp(-huge.abs(), huge.abs());
    let point = digits.len() as i64 - fraction.len() as i64 + exponent + scale;
    if point > 40 {
        return None;
    }
    if point < 0 {
        return Some(0);
    }
    let point = point as usize;
    let padded = format!("{digits}{}", "0".repeat(point.saturating_sub(digits.len())));
    let (kept, rest) = padded.split_at(point);
    let mut value: i128 = format!("0{kept}").parse().ok()?;
    if half_up && rest.as_bytes().first().is_some_and(|digit| *digit >= b'5') {
        value += 1;
    }
    let fits = value.to_string().len() <= precision;
    fits.then_some(if negative { -value } else { value })
}

fn date(text: &str) -> Option<i32> {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else {
        return None;
    };
    let whole = |text: &str, len| {
        let digits = text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<i16>().ok()).flatten()
    };
    let (year, month, day) = (whole(year, 4)?, whole(month, 2)?, whole(day, 2)?);
    if year == 0 {
        return None;
    }
    let date = jiff::civil::Date::new(year, month as i8, day as i8).ok()?;
    Some(jiff::civil::date(1970, 1, 1).until(date).ok()?.get_days())
}

fn timestamp(format: TimestampFormat, json: &Json<'_>) -> Option<i128> {
    let micros = match (format, json) {
        (TimestampFormat::Rfc3339, Json::String(text)) => rfc3339(text)?,
        (TimestampFormat::EpochSeconds, Json::Number(text)) => decimal(text, 18, 6, false)?,
        (TimestampFormat::EpochMillis, Json::Number(text)) => {
            i128::from(text.parse::<i64>().ok()?) * 1000
        }
        (TimestampFormat::EpochMicros, Json::Number(text)) => text.parse::<i64>().ok()?.into(),
        _ => return None,
    };
    let first = i128::from(date("0001-01-01")?) * 86_400_000_000;
    let end = (i128::from(date("9999-12-31")?) + 1) * 86_400_000_000;
    (first..end).contains(&micros).then_some(micros)
}

fn rfc3339(text: &str) -> Option<i128> {
    let number = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<i128>().ok()).flatten()
    };
    let days = i128::from(date(text.get(..10)?)?);
    if !["T", "t", " "].contains(&text.get(10..11)?) {
        return None;
    }
    let (clock, rest) = (text.get(11..19)?, text.get(19..)?);
    let parts: Vec<&str> = clock.split(':').collect();
    let [hour, minute, second] = parts[..] else {
        return None;
    };
    let (hour, minute, second) = (number(hour)?, number(minute)?, number(second)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, zone) = match rest.strip_prefix('.') {
        None => ("", rest),
        Some(rest) => {
            let len = rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len());
            if len == 0 {
                return None;
            }
            rest.split_at(len)
        }
    };
    let micros: i128 = format!("{fraction:0<6}")[..6].parse().ok()?;
    let offset = match zone.chars().next() {
        None => 0,
        Some('Z' | 'z') if zone.len() == 1 => 0,
        Some(sign @ ('+' | '-')) => {
            let (hours, minutes) = match zone.len() {
                3 => (zone.get(1..)?, "00"),
                5 => (zone.get(1..3)?, zone.get(3..)?),
                6 if zone.as_bytes()[3] == b':' => (zone.get(1..3)?, zone.get(4..)?),
                _ => return None,
            };
            let (hours, minutes) = (number(hours)?, number(minutes)?);
            if minutes > 59 || hours * 60 + minutes > 18 * 60 {
                return None;
            }
            (hours * 60 + minutes) * if sign == '-' { -60 } else { 60 }
        }
        _ => return None,
    };
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(seconds * 1_000_000 + micros)
}

fn base64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let plain = text.trim_end_matches('=');
    if text.len() % 4 != 0 || text.len() - plain.len() > 2 {
        return None;
    }
    let mut bits = String::new();
    for c in plain.chars() {
        bits += &format!("{:06b}", ALPHABET.find(c)?);
    }
    bits.truncate(bits.len() / 8 * 8);
    let bytes = bits.as_bytes().chunks(8);
    bytes
        .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).ok()?, 2).ok())
        .collect()
}

/// Parses JSON that is known to be valid.
struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&mut self) -> u8 {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
        self.text.as_bytes()[self.at]
    }

    fn take(&mut self, until: fn(char) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let token = &rest[..rest.find(until).unwrap_or(rest.len())];
        self.at += token.len();
        token
    }

    fn value(&mut self) -> Json<'a> {
        match self.peek() {
            b'"' => Json::String(self.string()),
            b'[' => Json::Array(self.sequence(b']', Self::value)),
            b'{' => Json::Object(self.sequence(b'}', |parser| {
                parser.peek();
                let name = parser.string();
                parser.peek();
                parser.at += 1;
                (name, parser.value())
            })),
            _ => match self.take(|c| !c.is_ascii_alphanumeric() && !"+-.".contains(c)) {
                "null" => Json::Null,
                "true" => Json::Bool(true),
                "false" => Json::Bool(false),
                number => Json::Number(number),
            },
        }
    }

    fn sequence<T>(&mut self, end: u8, item: impl Fn(&mut Self) -> T) -> Vec<T> {
        let mut items = Vec::new();
        self.at += 1;
        while self.peek() != end {
            items.push(item(self));
            if self.peek() == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
        items
    }

    fn string(&mut self) -> String {
        let start = self.at;
        self.at += 1;
        while self.text.as_bytes()[self.at] != b'"' {
            self.at += if self.text.as_bytes()[self.at] == b'\\' {
                2
            } else {
                1
            };
        }
        self.at += 1;
        serde_json::from_str(&self.text[start..self.at]).unwrap_or_default()
    }
}
