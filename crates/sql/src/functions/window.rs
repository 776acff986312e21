//! `window(ts, '1 minute')`: the tumbling window an instant falls in.
//!
//! In `GROUP BY` it never runs: the window operator takes its place. It runs as an ordinary
//! function only where a condition on the window is moved in front of the aggregation.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StructArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion_common::{Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};

use crate::types::{UTC, timestamp};
use crate::units::EventMicros;
use crate::window::{WindowSize, window_fields, window_type};
use floodmark_functions::{Builtin, Literals, column, literal_text};

/// The function's name.
pub(crate) const NAME: &str = "window";

pub(super) fn functions() -> Vec<(&'static str, Arc<ScalarUDF>)> {
    let types = vec![timestamp(), DataType::Utf8];
    vec![
        Builtin::new(NAME, types, window_type(), eval)
            .checked(check)
            .named(),
    ]
}

fn check(literals: Literals<'_>) -> Result<()> {
    let Some(text) = literal_text(literals, 1) else {
        return plan_err!("the size of a window is a literal like '1 minute'");
    };
    match parse_size(text) {
        Ok(_) => Ok(()),
        Err(reason) => plan_err!("{reason}"),
    }
}

fn eval(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let size = match args.args.get(1) {
        Some(ColumnarValue::Scalar(ScalarValue::Utf8(Some(text)))) => parse_size(text),
        _ => Err("the size of a window is a literal".into()),
    };
    let size = match size {
        Ok(size) => size,
        Err(reason) => return exec_err!("{reason}"),
    };
    let times = column(args, 0)?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let mut starts = Vec::with_capacity(times.len());
    let mut ends = Vec::with_capacity(times.len());
    for (row, time) in times.values().iter().enumerate() {
        if times.is_null(row) {
            starts.push(0);
            ends.push(0);
            continue;
        }
        let Some(start) = size.start(EventMicros(*time)) else {
            return exec_err!("the window of {time} microseconds cannot be represented");
        };
        starts.push(start.0);
        ends.push(size.end(start).0);
    }
    let instants = |values: Vec<i64>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(values).with_timezone(UTC))
    };
    let columns = vec![instants(starts), instants(ends)];
    let windows = StructArray::try_new(window_fields(), columns, times.nulls().cloned())?;
    Ok(ColumnarValue::Array(Arc::new(windows)))
}

/// Reads Spark's interval text: `1 minute`, `interval 90 minutes`, `1 hour 30 minutes`.
pub(crate) fn parse_size(text: &str) -> std::result::Result<WindowSize, String> {
    let malformed = || format!("`{text}` is not a window size; write one like '10 seconds'");
    let mut words = text.split_ascii_whitespace().peekable();
    if words
        .peek()
        .is_some_and(|w| w.eq_ignore_ascii_case("interval"))
    {
        words.next();
    }
    let mut micros: i64 = 0;
    let mut any = false;
    while let Some(number) = words.next() {
        let unit = words.next().ok_or_else(malformed)?.to_ascii_lowercase();
        let unit_micros = match unit.strip_suffix('s').unwrap_or(&unit) {
            "microsecond" => 1,
            "millisecond" => 1_000,
            "second" => 1_000_000,
            "minute" => 60_000_000,
            "hour" => 3_600_000_000,
            "day" => 86_400_000_000,
            "week" => 604_800_000_000,
            "month" | "year" => {
                return Err(format!(
                    "a window of `{text}` has no fixed length: months and years differ"
                ));
            }
            _ => return Err(malformed()),
        };
        let part = number_of(number, unit_micros).ok_or_else(malformed)?;
        micros = micros.checked_add(part).ok_or_else(malformed)?;
        any = true;
    }
    if !any {
        return Err(malformed());
    }
    WindowSize::from_micros(micros).ok_or_else(|| format!("a window of `{text}` has no length"))
}

/// A whole number of units, or for seconds a decimal fraction of at most six digits.
fn number_of(number: &str, unit_micros: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: i64 = whole.parse().ok()?;
    let mut micros = whole.checked_mul(unit_micros)?;
    if !fraction.is_empty() {
        let digits = fraction.len();
        if unit_micros != 1_000_000 || digits > 6 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let value: i64 = fraction.parse().ok()?;
        let scaled = value * 10_i64.pow(6 - digits as u32);
        let sign = if number.starts_with('-') { -1 } else { 1 };
        micros = micros.checked_add(sign * scaled)?;
    }
    Some(micros)
}
