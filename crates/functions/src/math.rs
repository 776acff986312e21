//! Logarithms as Spark takes them: null where there is none, and `log(x)` is the natural one.

use std::sync::Arc;

use arrow::array::{AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion_common::Result;
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};

use super::builtin::{Builtin, column};

pub(super) fn functions() -> Vec<(&'static str, Arc<ScalarUDF>)> {
    let one =
        |name, eval| Builtin::new(name, vec![DataType::Float64], DataType::Float64, eval).named();
    let log = Builtin::new("log", vec![DataType::Float64; 2], DataType::Float64, log).requiring(1);
    vec![
        one("ln", |args| unary(args, |x| (x > 0.0).then(|| x.ln()))),
        one("log10", |args| {
            unary(args, |x| (x > 0.0).then(|| x.log10()))
        }),
        one("log2", |args| unary(args, |x| (x > 0.0).then(|| x.log2()))),
        one("log1p", |args| {
            unary(args, |x| (x > -1.0).then(|| x.ln_1p()))
        }),
        log.named(),
    ]
}

fn unary(args: &ScalarFunctionArgs, f: impl Fn(f64) -> Option<f64>) -> Result<ColumnarValue> {
    let values = column(args, 0)?;
    let values = values.as_primitive::<Float64Type>();
    let out: Float64Array = values.iter().map(|v| v.and_then(&f)).collect();
    Ok(ColumnarValue::Array(Arc::new(out)))
}

fn log(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    if args.args.len() == 1 {
        return unary(args, |x| (x > 0.0).then(|| x.ln()));
    }
    let (base, values) = (column(args, 0)?, column(args, 1)?);
    let (base, values) = (
        base.as_primitive::<Float64Type>(),
        values.as_primitive::<Float64Type>(),
    );
    let out: Float64Array = base
        .iter()
        .zip(values.iter())
        .map(|pair| match pair {
            (Some(b), Some(x)) if b > 0.0 && x > 0.0 => Some(x.ln() / b.ln()),
            _ => None,
        })
        .collect();
    debug_assert_eq!(out.len(), args.number_rows, "one logarithm a row");
    Ok(ColumnarValue::Array(Arc::new(out)))
}
