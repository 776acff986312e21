//! Chunks: partial aggregates of one window, columnar and mergeable.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, FieldRef, Schema};
use datafusion_expr::{EmitTo, GroupsAccumulator};

use super::keys::{Groups, KeyCodec, Keys};
use super::{PaneSize, WindowError};
use crate::units::EventMicros;
use floodmark_sql::WindowPlan;

/// Partial aggregates of one window: one row a group, key columns then accumulator state columns.
/// Two chunks of the same window may hold the same group; merging adds them up.
#[derive(Debug, Clone)]
pub struct Chunk {
    batch: RecordBatch,
    rows: u64,
}

impl Chunk {
    /// The chunk as a batch key columns first.
    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// Number of groups.
    pub fn groups(&self) -> usize {
        self.batch.num_rows()
    }

    /// Number of rows they were made of.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.batch.get_array_memory_size()
    }
}

/// What panes of one output have in common: its plan and the layouts that follow from it.
pub(super) struct Shape {
    pub(super) plan: Arc<WindowPlan>,
    pub(super) codec: KeyCodec,
    /// Number of state columns of each aggregate.
    state_widths: Vec<usize>,
}

impl Shape {
    pub(super) fn new(plan: Arc<WindowPlan>) -> Result<Self, WindowError> {
        let key_fields: Vec<FieldRef> = plan
            .keys
            .iter()
            .map(|(_, field)| Arc::new(field.clone()))
            .collect();
        let codec = KeyCodec::new(&key_fields)?;
        let mut state_widths = Vec::new();
        for aggregate in &plan.aggregates {
            state_widths.push(aggregate.state_fields()?.len());
        }
        Ok(Self {
            plan,
            codec,
            state_widths,
        })
    }

    /// Takes a stored batch back as a chunk of so many rows, if it has this output's layout.
    pub(super) fn chunk(&self, batch: RecordBatch, rows: u64) -> Result<Chunk, WindowError> {
        let width = self.plan.keys.len() + self.state_widths.iter().sum::<usize>();
        let keys = self.plan.keys.iter().map(|(_, field)| field.data_type());
        let fits = batch.num_columns() == width
            && keys
                .zip(batch.columns())
                .all(|(ty, column)| ty == column.data_type());
        if fits {
            return Ok(Chunk { batch, rows });
        }
        Err(WindowError::Mismatch(format!(
            "{width} columns expected, beginning with the group keys; found {:?}",
            batch.schema()
        )))
    }

    /// Merges the chunks of one window into results (schema of [`WindowPlan::schema`]).
    pub(super) fn results(
        &self,
        start: EventMicros,
        chunks: &[Chunk],
    ) -> Result<RecordBatch, WindowError> {
        self.merge(chunks)?.into_results(self, start)
    }

    /// Merges chunks of one window into one chunk.
    pub(super) fn compact(&self, chunks: &[Chunk]) -> Result<Chunk, WindowError> {
        self.merge(chunks)?.into_chunk(self)
    }

    fn merge(&self, chunks: &[Chunk]) -> Result<Pane, WindowError> {
        let mut pane = Pane::new(self)?;
        let mut ids = Vec::new();
        for chunk in chunks {
            let columns = chunk.batch.columns();
            let (key_columns, mut states) = columns.split_at(self.plan.keys.len());
            let keys = self.codec.encode(key_columns, chunk.groups())?;
            pane.groups.intern(&keys, None, &mut ids);
            pane.rows += chunk.rows;
            for (accumulator, width) in pane.accumulators.iter_mut().zip(&self.state_widths) {
                let (mine, rest) = states.split_at(*width);
                accumulator.merge_batch(mine, &ids, pane.groups.len())?;
                states = rest;
            }
        }
        Ok(pane)
    }
}

/// Evaluated aggregate arguments of a batch.
pub(super) struct Arguments {
    pub(super) values: Vec<Vec<ArrayRef>>,
    pub(super) filters: Vec<Option<BooleanArray>>,
}

/// The groups of one window and their accumulators.
pub(super) struct Pane {
    groups: Groups,
    rows: u64,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
}

impl Pane {
    pub(super) fn new(shape: &Shape) -> Result<Self, WindowError> {
        let accumulators = shape
            .plan
            .aggregates
            .iter()
            .map(|a| a.accumulator())
            .collect::<Result<_, _>>()?;
        Ok(Self {
            groups: Groups::new(),
            rows: 0,
            accumulators,
        })
    }

    /// Aggregates the rows at `selection` (all if `None`). `arguments` are those rows' only.
    pub(super) fn update(
        &mut self,
        keys: &Keys,
        selection: Option<&[u32]>,
        arguments: &Arguments,
        ids: &mut Vec<usize>,
    ) -> Result<(), WindowError> {
        self.groups.intern(keys, selection, ids);
        self.rows += ids.len() as u64;
        let inputs = arguments.values.iter().zip(&arguments.filters);
        for (accumulator, (values, filter)) in self.accumulators.iter_mut().zip(inputs) {
            accumulator.update_batch(values, ids, filter.as_ref(), self.groups.len())?;
        }
        Ok(())
    }

    pub(super) fn size(&self) -> PaneSize {
        PaneSize {
            groups: self.groups.len(),
            rows: self.rows,
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.groups.memory() + self.accumulators.iter().map(|a| a.size()).sum::<usize>()
    }

    pub(super) fn into_chunk(mut self, shape: &Shape) -> Result<Chunk, WindowError> {
        let (groups, rows) = (self.groups.len(), self.rows);
        let mut states = Vec::new();
        for accumulator in &mut self.accumulators {
            states.extend(accumulator.state(EmitTo::All)?);
        }
        let mut columns = shape.codec.decode(self.groups)?;
        columns.extend(states);
        // Types are the accumulators' own: what they declare may differ in nullability inside.
        let fields = columns.iter().enumerate();
        let fields = fields.map(|(i, c)| Field::new(format!("c{i}"), c.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let options = RecordBatchOptions::new().with_row_count(Some(groups));
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        Ok(Chunk { batch, rows })
    }

    fn into_results(
        mut self,
        shape: &Shape,
        start: EventMicros,
    ) -> Result<RecordBatch, WindowError> {
        let rows = self.groups.len();
        let mut aggregates = Vec::new();
        for accumulator in &mut self.accumulators {
            aggregates.push(accumulator.evaluate(EmitTo::All)?);
        }
        let keys = shape.codec.decode(self.groups)?;
        let columns = shape.plan.assemble(start, keys, aggregates, rows);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(&shape.plan.schema);
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }
}
