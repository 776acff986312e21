//! `/` as Spark divides: numbers that are not decimals divide as doubles, and dividing by zero is
//! an error, not an infinity.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, AsArray, Float64Array};
use arrow::compute::{binary, try_binary};
use arrow::datatypes::{DataType, Float64Type};
use arrow::error::ArrowError;
use datafusion_common::Result;
use datafusion_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF};

use super::builtin::{Builtin, column};

static DIVIDE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| double("divide", eval).1);

pub(super) fn functions() -> Vec<(&'static str, Arc<ScalarUDF>)> {
    vec![double("try_divide", try_eval)]
}

/// `left / right` over doubles.
pub fn divide(left: Expr, right: Expr) -> Expr {
    DIVIDE.call(vec![left, right])
}

fn double(
    name: &'static str,
    eval: fn(&ScalarFunctionArgs) -> Result<ColumnarValue>,
) -> (&'static str, Arc<ScalarUDF>) {
    Builtin::new(name, vec![DataType::Float64; 2], DataType::Float64, eval).named()
}

fn eval(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let (left, right) = (column(args, 0)?, column(args, 1)?);
    let (left, right) = (
        left.as_primitive::<Float64Type>(),
        right.as_primitive::<Float64Type>(),
    );
    let by_zero = || {
        ArrowError::ComputeError(
            "division by zero; try_divide() or NULLIF(…, 0) give null instead".into(),
        )
    };
    let quotients: Float64Array = if right.values().contains(&0.0) {
        try_binary(left, right, |l, r| {
            if r == 0.0 { Err(by_zero()) } else { Ok(l / r) }
        })?
    } else {
        binary(left, right, |l, r| l / r)?
    };
    Ok(ColumnarValue::Array(Arc::new(quotients)))
}

fn try_eval(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let (left, right) = (column(args, 0)?, column(args, 1)?);
    let (left, right) = (
        left.as_primitive::<Float64Type>(),
        right.as_primitive::<Float64Type>(),
    );
    let quotients: Float64Array = (0..left.len())
        .map(|row| {
            let both = left.is_valid(row) && right.is_valid(row) && right.value(row) != 0.0;
            both.then(|| left.value(row) / right.value(row))
        })
        .collect();
    Ok(ColumnarValue::Array(Arc::new(quotients)))
}
