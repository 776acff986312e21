//! The stateless part of a query: filters and projections over one batch at a time.
//!
//! A step never reorders rows and never looks at a clock or another row, so that a batch may be
//! cut anywhere and evaluated again after a restart with the same result. A filter says which rows it
//! kept, so that what stands beside them, like their origin, stays aligned.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use datafusion_common::{DataFusionError, ScalarValue};
use datafusion_expr::ColumnarValue;
use datafusion_physical_expr::PhysicalExpr;

/// One step of a query over a batch.
#[derive(Debug, Clone)]
pub enum Step {
    /// Keeps the rows for which the predicate is true (null counts as false).
    Filter {
        /// Over the columns of the step's input.
        predicate: Arc<dyn PhysicalExpr>,
        /// The columns of the input that go on, if not all of them: what only the predicate reads
        /// is never copied.
        keep: Option<Keep>,
    },
    /// Replaces the columns.
    Project {
        /// One a column, over the columns of the step's input.
        exprs: Vec<Arc<dyn PhysicalExpr>>,
        /// Names and types of the new columns.
        schema: SchemaRef,
    },
}

/// A choice of columns.
#[derive(Debug, Clone)]
pub struct Keep {
    /// Positions in the input.
    pub columns: Vec<usize>,
    /// The chosen columns.
    pub schema: SchemaRef,
}

/// Why a query could not be evaluated over a batch. The row at fault makes it fail again after a
/// restart: the query or the data has to change.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A value for which Spark fails as well: overflow, division by zero, a cast that does not fit.
    #[error("evaluating {expression}: {reason}")]
    Value {
        /// The expression.
        expression: String,
        /// What is wrong with the value.
        reason: String,
    },
    /// The planner promised something else than what came out.
    #[error("INV-SQL-TYPES: evaluating {expression}: {reason}")]
    Invariant {
        /// The expression.
        expression: String,
        /// What was promised and what came.
        reason: String,
    },
}

impl EvalError {
    fn new(expr: &dyn std::fmt::Display, error: &DataFusionError) -> Self {
        let expression = expr.to_string();
        let reason = error.find_root().message().into_owned();
        match error.find_root() {
            DataFusionError::Internal(_) => Self::Invariant { expression, reason },
            _ => Self::Value { expression, reason },
        }
    }

    fn arrow(expr: &dyn std::fmt::Display, error: &ArrowError) -> Self {
        Self::Invariant {
            expression: expr.to_string(),
            reason: error.to_string(),
        }
    }
}

/// Evaluates an expression to a column as long as the batch.
pub fn evaluate(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<ArrayRef, EvalError> {
    expr.evaluate(batch)
        .and_then(|value| value.into_array(batch.num_rows()))
        .map_err(|error| EvalError::new(expr, &error))
}

/// Evaluates a predicate; `None` if it is true for every row.
pub fn evaluate_predicate(
    predicate: &Arc<dyn PhysicalExpr>,
    batch: &RecordBatch,
) -> Result<Option<BooleanArray>, EvalError> {
    let value = predicate
        .evaluate(batch)
        .map_err(|error| EvalError::new(predicate, &error))?;
    if let ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))) = value {
        return Ok(None);
    }
    let array = value
        .into_array(batch.num_rows())
        .map_err(|error| EvalError::new(predicate, &error))?;
    if array.data_type() != &DataType::Boolean {
        let reason = format!("a predicate came out as {}", array.data_type());
        return Err(EvalError::Invariant {
            expression: predicate.to_string(),
            reason,
        });
    }
    let mask = array.as_boolean();
    let all = mask.null_count() == 0 && !mask.has_false();
    Ok((!all).then(|| mask.clone()))
}

/// What a step makes of a batch.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The rows it lets through, with the step's columns.
    pub batch: RecordBatch,
    /// Which rows of the input these are (null counts as false); `None` is all of them. What stands
    /// beside the rows is filtered by it.
    pub kept: Option<BooleanArray>,
}

impl Step {
    /// Evaluates the step.
    pub fn apply(&self, batch: RecordBatch) -> Result<Applied, EvalError> {
        match self {
            Self::Filter { predicate, keep } => {
                let mask = evaluate_predicate(predicate, &batch)?;
                let batch = kept(keep.as_ref(), batch)?;
                let batch = match &mask {
                    None => batch,
                    Some(mask) => filter_record_batch(&batch, mask)
                        .map_err(|error| EvalError::arrow(predicate, &error))?,
                };
                Ok(Applied { batch, kept: mask })
            }
            Self::Project { exprs, schema } => Ok(Applied {
                batch: project(exprs, schema, &batch)?,
                kept: None,
            }),
        }
    }
}

/// Evaluates steps one after the other over rows that nothing stands beside, like the results of a
/// window.
pub fn apply_all(steps: &[Step], batch: RecordBatch) -> Result<RecordBatch, EvalError> {
    steps.iter().try_fold(batch, |batch, step| {
        step.apply(batch).map(|applied| applied.batch)
    })
}

fn kept(keep: Option<&Keep>, batch: RecordBatch) -> Result<RecordBatch, EvalError> {
    let Some(Keep { columns, schema }) = keep else {
        return Ok(batch);
    };
    let kept: Option<Vec<ArrayRef>> = columns
        .iter()
        .map(|i| batch.columns().get(*i).cloned())
        .collect();
    let kept = kept.ok_or_else(|| EvalError::Invariant {
        expression: "the columns that go on".into(),
        reason: format!("the batch has {} columns", batch.num_columns()),
    })?;
    build(kept, schema, batch.num_rows())
}

fn project(
    exprs: &[Arc<dyn PhysicalExpr>],
    schema: &SchemaRef,
    batch: &RecordBatch,
) -> Result<RecordBatch, EvalError> {
    let columns: Result<Vec<_>, _> = exprs.iter().map(|e| evaluate(e, batch)).collect();
    build(columns?, schema, batch.num_rows())
}

fn build(
    columns: Vec<ArrayRef>,
    schema: &SchemaRef,
    rows: usize,
) -> Result<RecordBatch, EvalError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|error| EvalError::arrow(&"a projection", &error))
}
