//! What a windowed query asks of the window operator: window size, keys and aggregates.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StructArray, TimestampMicrosecondArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, SchemaRef};
use datafusion_common::Result as PlannerResult;
use datafusion_expr::GroupsAccumulator;
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::GroupsAccumulatorAdapter;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::aggregate::AggregateFunctionExpr;

use super::step::{EvalError, evaluate, evaluate_predicate};
use super::types::{UTC, timestamp};
use super::units::EventMicros;

/// Length of a tumbling window: a positive number of microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowSize(i64);

impl WindowSize {
    /// A window of `micros` microseconds; `None` unless positive.
    pub fn from_micros(micros: i64) -> Option<Self> {
        (micros > 0).then_some(Self(micros))
    }

    /// Microseconds.
    #[inline]
    pub fn micros(self) -> i64 {
        self.0
    }

    /// The start of the window that `time` falls in: windows are half-open and one of them starts
    /// at the epoch. `None` for instants within one window of the end of representable time.
    #[inline]
    pub fn start(self, time: EventMicros) -> Option<EventMicros> {
        let start = time.0.checked_sub(time.0.rem_euclid(self.0))?;
        start.checked_add(self.0).map(|_| EventMicros(start))
    }

    /// The end, exclusive, of the window that starts at `start`.
    #[inline]
    pub fn end(self, start: EventMicros) -> EventMicros {
        EventMicros(start.0.saturating_add(self.0))
    }
}

/// One aggregate of a windowed query.
#[derive(Debug, Clone)]
pub struct Aggregate {
    /// The function and its arguments, over the output of the steps before the window.
    pub function: Arc<AggregateFunctionExpr>,
    /// `FILTER (WHERE …)`: the rows that count for this aggregate alone.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
}

impl Aggregate {
    /// A fresh accumulator, one state a group. Every aggregate has one: those that `DataFusion` only
    /// knows row by row are adapted.
    pub fn accumulator(&self) -> PlannerResult<Box<dyn GroupsAccumulator>> {
        if self.function.groups_accumulator_supported() {
            return self.function.create_groups_accumulator();
        }
        let function = Arc::clone(&self.function);
        Ok(Box::new(GroupsAccumulatorAdapter::new(move || {
            function.create_accumulator()
        })))
    }

    /// The columns of a group's state in a snapshot.
    pub fn state_fields(&self) -> PlannerResult<Vec<FieldRef>> {
        self.function.state_fields()
    }

    /// The values this aggregate takes of a batch.
    pub fn arguments(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>, EvalError> {
        self.function
            .expressions()
            .iter()
            .map(|expr| evaluate(expr, batch))
            .collect()
    }

    /// The rows of a batch that count; `None` is all of them.
    pub fn mask(&self, batch: &RecordBatch) -> Result<Option<BooleanArray>, EvalError> {
        self.filter
            .as_ref()
            .map_or(Ok(None), |filter| evaluate_predicate(filter, batch))
    }
}

/// A tumbling window with keys and aggregates.
#[derive(Debug, Clone)]
pub struct WindowPlan {
    /// Length of the window.
    pub size: WindowSize,
    /// Event time, over the output of the steps before: microseconds UTC, null where a row has none.
    pub event_time: Arc<dyn PhysicalExpr>,
    /// Group keys beside the window, in the order written.
    pub keys: Vec<(Arc<dyn PhysicalExpr>, Field)>,
    /// Aggregates, in the order of `schema`.
    pub aggregates: Vec<Aggregate>,
    /// Position of the window among the group columns of `schema`.
    pub window_position: usize,
    /// Rows that enter the window: the output of the steps before.
    pub input: SchemaRef,
    /// What a fired window yields, the input of the steps after: the group columns in the order
    /// written, the window among them as a struct of start and end, then the aggregates.
    pub schema: SchemaRef,
}

impl WindowPlan {
    /// The columns of a fired window in the order of `schema`.
    pub fn assemble(
        &self,
        start: EventMicros,
        keys: Vec<ArrayRef>,
        aggregates: Vec<ArrayRef>,
        rows: usize,
    ) -> Vec<ArrayRef> {
        let mut columns = keys;
        let position = self.window_position.min(columns.len());
        columns.insert(position, window_column(start, self.size.end(start), rows));
        columns.extend(aggregates);
        columns
    }
}

/// The fields of a window's struct.
pub(super) fn window_fields() -> Fields {
    Fields::from(vec![
        Field::new("start", timestamp(), false),
        Field::new("end", timestamp(), false),
    ])
}

/// The type of a window column: a struct of start and end.
pub fn window_type() -> DataType {
    DataType::Struct(window_fields())
}

fn window_column(start: EventMicros, end: EventMicros, rows: usize) -> ArrayRef {
    let instant = |at: EventMicros| -> ArrayRef {
        let values = ScalarBuffer::from(vec![at.0; rows]);
        Arc::new(TimestampMicrosecondArray::new(values, None).with_timezone(UTC))
    };
    let columns = vec![instant(start), instant(end)];
    Arc::new(StructArray::new(window_fields(), columns, None))
}
