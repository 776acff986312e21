//! Functions of instants that neither library has as Spark does.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array};
use arrow::compute::unary;
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use datafusion_common::{Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};

use super::builtin::{Builtin, Literals, column, literal_text};
use super::civil::MICROS_PER_SECOND;
use super::date_format::Pattern;
use crate::timestamp;

pub(super) fn functions() -> Vec<(&'static str, Arc<ScalarUDF>)> {
    let text_pattern = || vec![DataType::Int64, DataType::Utf8];
    vec![
        // The cast of the argument is the whole function: Spark's one-argument forms are casts.
        Builtin::new("to_timestamp", vec![timestamp()], timestamp(), first).named(),
        Builtin::new("to_date", vec![DataType::Date32], DataType::Date32, first).named(),
        Builtin::new(
            "unix_timestamp",
            vec![timestamp()],
            DataType::Int64,
            seconds,
        )
        .named(),
        Builtin::new(
            "to_unix_timestamp",
            vec![timestamp()],
            DataType::Int64,
            seconds,
        )
        .named(),
        Builtin::new(
            "from_unixtime",
            text_pattern(),
            DataType::Utf8,
            from_unixtime,
        )
        .requiring(1)
        .checked(check_from_unixtime)
        .named(),
    ]
}

fn first(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    Ok(ColumnarValue::Array(column(args, 0)?))
}

/// Whole seconds since the epoch, rounded down.
pub(super) fn seconds(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let times = column(args, 0)?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let seconds: Int64Array = unary(times, |micros| micros.div_euclid(MICROS_PER_SECOND));
    Ok(ColumnarValue::Array(Arc::new(seconds)))
}

fn check_from_unixtime(literals: Literals<'_>) -> Result<()> {
    match literal_text(literals, 1).map(Pattern::parse) {
        Some(Err(reason)) => plan_err!("from_unixtime(): {reason}"),
        None if literals.len() > 1 => plan_err!("the pattern of from_unixtime() is a literal"),
        _ => Ok(()),
    }
}

fn from_unixtime(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let pattern = match args.args.get(1) {
        None => "yyyy-MM-dd HH:mm:ss",
        Some(ColumnarValue::Scalar(ScalarValue::Utf8(Some(text)))) => text,
        Some(_) => return exec_err!("the pattern is a literal"),
    };
    let pattern = match Pattern::parse(pattern) {
        Ok(pattern) => pattern,
        Err(reason) => return exec_err!("{reason}"),
    };
    let seconds = column(args, 0)?;
    let seconds = seconds.as_primitive::<Int64Type>();
    let micros = (0..seconds.len()).map(|row| {
        seconds
            .is_valid(row)
            .then(|| seconds.value(row).saturating_mul(MICROS_PER_SECOND))
    });
    Ok(ColumnarValue::Array(Arc::new(
        pattern.format_all(seconds.len(), micros),
    )))
}
