//! One worker's windows of one output, since the last barrier.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::TimestampMicrosecondType;

use super::chunk::{Arguments, Chunk, Pane, Shape};
use super::keys::Keys;
use super::{PaneSize, WindowError, window_start};
use crate::rows::Rows;
use crate::units::EventMicros;
use crate::watermark::Watermark;
use floodmark_sql::{WindowPlan, evaluate};

/// Rows whose window had fired.
#[derive(Debug)]
pub struct Late {
    /// The rows, as the window operator saw them.
    pub rows: Rows,
    /// Event time of each.
    pub event_time: Vec<EventMicros>,
    /// Start of the window each belonged to.
    pub window_start: Vec<EventMicros>,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Pushed {
    /// Rows aggregated.
    pub taken: u64,
    /// Rows refused as late.
    pub late: Option<Late>,
}

/// Aggregates rows into windows. See the module for its place.
pub struct WindowOperator {
    shape: Arc<Shape>,
    panes: BTreeMap<EventMicros, Pane>,
    /// Windows that end at or before this have fired.
    fired: Option<Watermark>,
    /// Starts of windows that have fired ahead of the watermark.
    closed: BTreeSet<EventMicros>,
    ids: Vec<usize>,
}

impl WindowOperator {
    /// An operator without panes; windows that `fired` has reached and those that start at one of
    /// `closed` count as fired.
    pub fn new(
        plan: Arc<WindowPlan>,
        fired: Option<Watermark>,
        closed: BTreeSet<EventMicros>,
    ) -> Result<Self, WindowError> {
        let shape = Arc::new(Shape::new(plan)?);
        Ok(Self {
            shape,
            panes: BTreeMap::new(),
            fired,
            closed,
            ids: Vec::new(),
        })
    }

    /// Aggregates a batch; late rows come back.
    pub fn push(&mut self, rows: &Rows) -> Result<Pushed, WindowError> {
        if rows.is_empty() {
            return Ok(Pushed::default());
        }
        let times = self.event_times(&rows.batch)?;
        let size = self.shape.plan.size.micros();
        let starts: Vec<i64> =
            WindowStarts::new(size).of(times.as_primitive::<TimestampMicrosecondType>().values());
        let Some(late) = self.late_mask(&starts) else {
            self.aggregate(&rows.batch, &starts)?;
            return Ok(Pushed {
                taken: rows.len() as u64,
                late: None,
            });
        };
        let keep = arrow::compute::not(&late)?;
        let kept = rows.filter(&keep)?;
        let pick = |wanted: &BooleanArray, from: &[i64]| -> Vec<i64> {
            from.iter()
                .zip(wanted.values())
                .filter_map(|(v, keep)| keep.then_some(*v))
                .collect()
        };
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let refused = Late {
            rows: rows.filter(&late)?,
            event_time: pick(&late, times.values())
                .into_iter()
                .map(EventMicros)
                .collect(),
            window_start: pick(&late, &starts).into_iter().map(EventMicros).collect(),
        };
        if !kept.is_empty() {
            self.aggregate(&kept.batch, &pick(&keep, &starts))?;
        }
        Ok(Pushed {
            taken: kept.len() as u64,
            late: Some(refused),
        })
    }

    /// Marks the windows that `watermark` has reached as fired and hands over their panes.
    pub fn close(
        &mut self,
        watermark: Watermark,
    ) -> Result<Vec<(EventMicros, Chunk)>, WindowError> {
        self.fired = self.fired.max(Some(watermark));
        let mut closed = Vec::new();
        while let Some((start, pane)) = self.panes.pop_first() {
            if !watermark.has_reached(self.shape.plan.size.end(start)) {
                self.panes.insert(start, pane);
                break;
            }
            closed.push((start, pane.into_chunk(&self.shape)?));
        }
        Ok(closed)
    }

    /// Hands over all panes; their windows stay open.
    pub fn take(&mut self) -> Result<Vec<(EventMicros, Chunk)>, WindowError> {
        let panes = std::mem::take(&mut self.panes).into_iter();
        panes
            .map(|(start, pane)| Ok((start, pane.into_chunk(&self.shape)?)))
            .collect()
    }

    /// Windows that have rows since the last barrier: start, and what is in them.
    pub fn panes(&self) -> impl Iterator<Item = (EventMicros, PaneSize)> + '_ {
        self.panes.iter().map(|(start, pane)| (*start, pane.size()))
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.panes.values().map(Pane::memory).sum()
    }

    fn event_times(&self, batch: &RecordBatch) -> Result<ArrayRef, WindowError> {
        let times = evaluate(&self.shape.plan.event_time, batch)?;
        if times
            .as_primitive_opt::<TimestampMicrosecondType>()
            .is_none()
            || times.null_count() > 0
        {
            return Err(WindowError::Mismatch(format!(
                "event time must be non-null microseconds, found {} with {} nulls",
                times.data_type(),
                times.null_count()
            )));
        }
        Ok(times)
    }

    /// Which rows are late; `None` if none is.
    fn late_mask(&self, starts: &[i64]) -> Option<BooleanArray> {
        let size = self.shape.plan.size;
        let fired = self.fired;
        let is_late = |start: EventMicros| {
            fired.is_some_and(|fired| fired.has_reached(size.end(start)))
                || self.closed.contains(&start)
        };
        let earliest = EventMicros(*starts.iter().min()?);
        if self.closed.is_empty() && !is_late(earliest) {
            return None;
        }
        let mask: BooleanArray = starts
            .iter()
            .map(|s| Some(is_late(EventMicros(*s))))
            .collect();
        (mask.true_count() > 0).then_some(mask)
    }

    fn aggregate(&mut self, batch: &RecordBatch, starts: &[i64]) -> Result<(), WindowError> {
        let mut key_columns = Vec::with_capacity(self.shape.plan.keys.len());
        for (expr, _) in &self.shape.plan.keys {
            key_columns.push(evaluate(expr, batch)?);
        }
        let keys = self.shape.codec.encode(&key_columns, batch.num_rows())?;
        let arguments = self.arguments(batch)?;
        if starts.iter().all(|s| *s == starts[0]) {
            return self.update(EventMicros(starts[0]), &keys, None, &arguments);
        }
        for (start, rows) in rows_by_window(starts) {
            let picked = UInt32Array::from(rows);
            let arguments = arguments.take(&picked)?;
            self.update(EventMicros(start), &keys, Some(picked.values()), &arguments)?;
        }
        Ok(())
    }

    fn arguments(&self, batch: &RecordBatch) -> Result<Arguments, WindowError> {
        let mut arguments = Arguments {
            values: Vec::new(),
            filters: Vec::new(),
        };
        for aggregate in &self.shape.plan.aggregates {
            arguments.values.push(aggregate.arguments(batch)?);
            arguments.filters.push(aggregate.mask(batch)?);
        }
        Ok(arguments)
    }

    fn update(
        &mut self,
        start: EventMicros,
        keys: &Keys,
        selection: Option<&[u32]>,
        arguments: &Arguments,
    ) -> Result<(), WindowError> {
        let pane = match self.panes.entry(start) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(Pane::new(&self.shape)?)
            }
        };
        pane.update(keys, selection, arguments, &mut self.ids)
    }
}

impl Arguments {
    fn take(&self, rows: &UInt32Array) -> Result<Self, WindowError> {
        let mut values = Vec::with_capacity(self.values.len());
        for columns in &self.values {
            let picked: Result<Vec<ArrayRef>, _> = columns
                .iter()
                .map(|column| take(column, rows, None))
                .collect();
            values.push(picked?);
        }
        let mut filters = Vec::with_capacity(self.filters.len());
        for filter in &self.filters {
            filters.push(match filter {
                None => None,
                Some(mask) => Some(take(mask, rows, None)?.as_boolean().clone()),
            });
        }
        Ok(Self { values, filters })
    }
}

/// Computes window starts; neighbouring rows mostly share a window, so the division is rare.
struct WindowStarts {
    size: i64,
    current: i64,
}

impl WindowStarts {
    fn new(size: i64) -> Self {
        Self { size, current: 0 }
    }

    fn of(&mut self, times: &[i64]) -> Vec<i64> {
        times
            .iter()
            .map(|&time| {
                // Wrapping: a time before `current` becomes huge and misses as well.
                if (time.wrapping_sub(self.current) as u64) >= self.size as u64 {
                    self.current = window_start(time, self.size);
                }
                self.current
            })
            .collect()
    }
}

/// The rows of each window, windows in order of first appearance. A batch has few windows, mostly
/// in runs, so the last hit is tried first.
fn rows_by_window(starts: &[i64]) -> Vec<(i64, Vec<u32>)> {
    let mut windows: Vec<(i64, Vec<u32>)> = Vec::new();
    let mut index: BTreeMap<i64, usize> = BTreeMap::new();
    let mut last = (starts.first().map_or(0, |s| s.wrapping_add(1)), 0_usize);
    for (row, &start) in starts.iter().enumerate() {
        if start != last.0 {
            let at = *index.entry(start).or_insert_with(|| {
                windows.push((start, Vec::new()));
                windows.len() - 1
            });
            last = (start, at);
        }
        windows[last.1].1.push(row as u32);
    }
    windows
}
