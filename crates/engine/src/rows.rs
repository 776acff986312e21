//! Rows on their way through the engine: an Arrow batch and where each row came from.

use arrow::array::{Array, BooleanArray, Int32Array, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{filter, filter_record_batch};
use arrow::error::ArrowError;

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
