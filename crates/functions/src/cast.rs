//! Casts that Spark does and Arrow does otherwise: floating point, instants and booleans to text,
//! instants to whole seconds.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, AsArray, StringBuilder};
use arrow::datatypes::{DataType, Float32Type, Float64Type, TimestampMicrosecondType};
use datafusion_common::Result;
use datafusion_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF};

use super::builtin::{Builtin, column};
use super::civil::Civil;
use super::time::seconds;
use crate::timestamp;

static DOUBLE: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| to_text("double_to_string", DataType::Float64, double));
static FLOAT: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| to_text("float_to_string", DataType::Float32, float));
static INSTANT: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| to_text("timestamp_to_string", timestamp(), instant));
static SECONDS: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    Builtin::new(
        "timestamp_to_seconds",
        vec![timestamp()],
        DataType::Int64,
        seconds,
    )
    .named()
    .1
});

fn to_text(
    name: &'static str,
    from: DataType,
    eval: fn(&ScalarFunctionArgs) -> Result<ColumnarValue>,
) -> Arc<ScalarUDF> {
    Builtin::new(name, vec![from], DataType::Utf8, eval)
        .named()
        .1
}

/// `CAST(expr AS STRING)` for the types of which Spark's text is not Arrow's; `None` for others.
pub fn to_spark_string(expr: &Expr, from: &DataType) -> Option<Expr> {
    let udf = match from {
        DataType::Float64 => &*DOUBLE,
        DataType::Float32 => &*FLOAT,
        DataType::Timestamp(_, Some(_)) => &*INSTANT,
        _ => return None,
    };
    Some(udf.call(vec![expr.clone()]))
}

/// `CAST(ts AS BIGINT)`: whole seconds since the epoch.
pub fn timestamp_to_seconds(expr: Expr) -> Expr {
    SECONDS.call(vec![expr])
}

fn write_all(
    rows: usize,
    valid: impl Fn(usize) -> bool,
    write: impl Fn(usize, &mut String),
) -> ColumnarValue {
    let mut out = StringBuilder::with_capacity(rows, rows * 12);
    let mut text = String::new();
    for row in 0..rows {
        if valid(row) {
            text.clear();
            write(row, &mut text);
            out.append_value(&text);
        } else {
            out.append_null();
        }
    }
    ColumnarValue::Array(Arc::new(out.finish()))
}

fn double(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let values = column(args, 0)?;
    let values = values.as_primitive::<Float64Type>();
    Ok(write_all(
        values.len(),
        |row| values.is_valid(row),
        |row, out| {
            let value = values.value(row);
            java_number(value, value.is_finite().then(|| format!("{value:e}")), out);
        },
    ))
}

fn float(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let values = column(args, 0)?;
    let values = values.as_primitive::<Float32Type>();
    Ok(write_all(
        values.len(),
        |row| values.is_valid(row),
        |row, out| {
            let value = values.value(row);
            java_number(
                f64::from(value),
                value.is_finite().then(|| format!("{value:e}")),
                out,
            );
        },
    ))
}

/// Java's `Double.toString` (since JDK 19): the shortest digits that read back the same, plain
/// from 0.001 up to ten million, with an exponent outside. `shortest` is Rust's `{:e}`, which has
/// the same digits.
fn java_number(value: f64, shortest: Option<String>, out: &mut String) {
    let Some(shortest) = shortest else {
        out.push_str(if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        });
        return;
    };
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value == 0.0 || (-3..7).contains(&exponent) {
        plain(mantissa, exponent, out);
        return;
    }
    out.push_str(mantissa);
    if !mantissa.contains('.') {
        out.push_str(".0");
    }
    // Writing to a String cannot fail.
    let _ = write!(out, "E{exponent}");
}

fn plain(mantissa: &str, exponent: i32, out: &mut String) {
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    if mantissa.starts_with('-') {
        out.push('-');
    }
    if exponent < 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n(
            '0',
            exponent.unsigned_abs() as usize - 1,
        ));
        out.push_str(&digits);
        return;
    }
    let whole = exponent as usize + 1;
    for i in 0..whole {
        out.push_str(digits.get(i..=i).unwrap_or("0"));
    }
    out.push('.');
    out.push_str(
        digits
            .get(whole..)
            .filter(|rest| !rest.is_empty())
            .unwrap_or("0"),
    );
}

fn instant(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let values = column(args, 0)?;
    let values = values.as_primitive::<TimestampMicrosecondType>();
    Ok(write_all(
        values.len(),
        |row| values.is_valid(row),
        |row, out| spark_instant(values.value(row), out),
    ))
}

/// Spark's text of an instant in UTC: `2025-08-17 12:34:56.789`, no trailing zeros.
fn spark_instant(micros: i64, out: &mut String) {
    let at = Civil::from_micros(micros);
    if at.year > 9_999 {
        out.push('+');
    }
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        at.year, at.month, at.day, at.hour, at.minute, at.second
    );
    if at.micros > 0 {
        let fraction = format!("{:06}", at.micros);
        let _ = write!(out, ".{}", fraction.trim_end_matches('0'));
    }
}
