//! Rows on their way through the engine: an Arrow batch and where each row came from.

use arrow::array::{Array, BooleanArray, Int32Array, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{filter, filter_record_batch};
use arrow::error::ArrowError;
use floodmark_sql::{Applied, EvalError, Step};

use crate::units::SourceId;

/// Where each row of a batch came from. The arrays have one non-null value a row.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Source of all rows.
    pub source: SourceId,
    /// Partition of each row.
    pub partition: Int32Array,
    /// Offset of each row.
    pub offset: Int64Array,
    /// Record timestamp of each row, milliseconds since the epoch (-1: none).
    pub timestamp: Int64Array,
    /// Position of each row among the records it was decoded with, ascending: finds the whole row
    /// again after projections and filters.
    pub row: UInt32Array,
}

/// A batch and its origin, row by row.
#[derive(Debug, Clone)]
pub struct Rows {
    /// The rows.
    pub batch: RecordBatch,
    /// Their origin; as many entries as the batch has rows.
    pub origin: Origin,
}

impl Rows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Evaluates a step of a query; the origin stays beside its rows.
    pub fn apply(self, step: &Step) -> Result<Self, EvalError> {
        let Self { batch, mut origin } = self;
        let Applied { batch, kept } = step.apply(batch)?;
        if let Some(mask) = kept {
            origin = origin.filter(&mask).map_err(|error| EvalError::Invariant {
                expression: "the origin of the rows".into(),
                reason: error.to_string(),
            })?;
        }
        Ok(Self { batch, origin })
    }

    /// Keeps the rows for which `mask` is true (null counts as false).
    pub fn filter(&self, mask: &BooleanArray) -> Result<Self, ArrowError> {
        if mask.null_count() == 0 && mask.true_count() == mask.len() {
            return Ok(self.clone());
        }
        Ok(Self {
            batch: filter_record_batch(&self.batch, mask)?,
            origin: self.origin.filter(mask)?,
        })
    }
}

impl Origin {
    /// Keeps the entries for which `mask` is true (null counts as false).
    pub fn filter(&self, mask: &BooleanArray) -> Result<Self, ArrowError> {
        use arrow::array::AsArray;
        Ok(Self {
            source: self.source,
            partition: filter(&self.partition, mask)?.as_primitive().clone(),
            offset: filter(&self.offset, mask)?.as_primitive().clone(),
            timestamp: filter(&self.timestamp, mask)?.as_primitive().clone(),
            row: filter(&self.row, mask)?.as_primitive().clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::AsArray;
    use arrow::datatypes::{DataType, Field, Int32Type, Schema};
    use datafusion_expr::Operator;
    use datafusion_physical_expr::expressions::{binary, col, lit};
    use floodmark_sql::Keep;

    use super::*;

    #[test]
    fn the_origin_stays_beside_its_rows_through_steps() {
        let nullable = |name| Field::new(name, DataType::Int32, true);
        let input = Schema::new(vec![nullable("a"), nullable("b")]);
        let output = Arc::new(Schema::new(vec![nullable("b")]));
        let batch = RecordBatch::try_new(
            Arc::new(input.clone()),
            vec![
                Arc::new(Int32Array::from(vec![Some(1), None, Some(5), Some(7)])),
                Arc::new(Int32Array::from(vec![10, 11, 12, 13])),
            ],
        )
        .expect("the schema's columns");
        let origin = Origin {
            source: SourceId(0),
            partition: Int32Array::from(vec![0, 1, 0, 1]),
            offset: Int64Array::from(vec![10, 20, 11, 21]),
            timestamp: Int64Array::from(vec![-1, -1, -1, -1]),
            row: UInt32Array::from(vec![0, 1, 2, 3]),
        };
        let over = |limit: i32| {
            let a = col("a", &input).expect("a column");
            binary(a, Operator::Gt, lit(limit), &input).expect("a comparison")
        };
        let steps = [
            Step::Filter {
                predicate: over(i32::MIN),
                keep: None,
            },
            Step::Filter {
                predicate: over(4),
                keep: Some(Keep {
                    columns: vec![1],
                    schema: Arc::clone(&output),
                }),
            },
            Step::Project {
                exprs: vec![col("b", &output).expect("a column")],
                schema: output,
            },
        ];
        let rows = steps
            .iter()
            .try_fold(Rows { batch, origin }, Rows::apply)
            .expect("evaluates");
        assert_eq!(rows.batch.num_columns(), 1);
        assert_eq!(
            rows.batch.column(0).as_primitive::<Int32Type>().values(),
            &[12, 13]
        );
        assert_eq!(rows.origin.offset.values(), &[11, 21]);
        assert_eq!(rows.origin.partition.values(), &[0, 1]);
        assert_eq!(rows.origin.row.values(), &[2, 3]);
    }
}
