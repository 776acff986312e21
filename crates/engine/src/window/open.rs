//! The open windows of one output: chunks by window.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;

use super::WindowError;
use super::chunk::{Chunk, Shape};
use crate::units::EventMicros;
use crate::watermark::Watermark;
use floodmark_sql::WindowPlan;

/// A window with more chunks than this has them merged into one, which bounds what repeated keys
/// cost in memory and at firing. Merging at a growing size keeps the work linear.
const MAX_CHUNKS_PER_WINDOW: usize = 8;

/// A chunk and, if a checkpoint has stored it, where.
#[derive(Debug, Clone)]
pub struct StoredChunk<R> {
    /// The state.
    pub chunk: Chunk,
    /// Where it is stored.
    pub stored: Option<R>,
}

/// The chunks of one window.
pub type WindowChunks<R> = Vec<StoredChunk<R>>;

/// A window that has fired.
#[derive(Debug, Clone)]
pub struct Fired {
    /// Its start.
    pub start: EventMicros,
    /// Its end.
    pub end: EventMicros,
    /// Rows that went into it.
    pub rows: u64,
    /// Its results, one a group, with the schema of [`WindowPlan::schema`].
    pub results: RecordBatch,
}

/// Windows that have not fired. `R` refers to a stored chunk.
pub struct OpenWindows<R> {
    shape: Shape,
    windows: BTreeMap<EventMicros, WindowChunks<R>>,
    /// See [`OpenWindows::closed`].
    closed: BTreeSet<EventMicros>,
}

impl<R: Clone> OpenWindows<R> {
    /// No windows.
    pub fn new(plan: Arc<WindowPlan>) -> Result<Self, WindowError> {
        Ok(Self {
            shape: Shape::new(plan)?,
            windows: BTreeMap::new(),
            closed: BTreeSet::new(),
        })
    }

    /// Takes a stored chunk of so many rows back.
    pub fn restore(
        &mut self,
        start: EventMicros,
        batch: RecordBatch,
        rows: u64,
        stored: R,
    ) -> Result<(), WindowError> {
        let chunk = self.shape.chunk(batch, rows)?;
        let stored = StoredChunk {
            chunk,
            stored: Some(stored),
        };
        self.windows.entry(start).or_default().push(stored);
        Ok(())
    }

    /// Adds a worker's chunk.
    pub fn add(&mut self, start: EventMicros, chunk: Chunk) -> Result<(), WindowError> {
        if chunk.groups() == 0 {
            return Ok(());
        }
        let chunks = self.windows.entry(start).or_default();
        chunks.push(StoredChunk {
            chunk,
            stored: None,
        });
        if chunks.len() > MAX_CHUNKS_PER_WINDOW {
            let all: Vec<Chunk> = chunks.drain(..).map(|c| c.chunk).collect();
            let chunk = self.shape.compact(&all)?;
            chunks.push(StoredChunk {
                chunk,
                stored: None,
            });
        }
        Ok(())
    }

    /// Takes the windows out that `watermark` has reached, in order.
    pub fn fire(&mut self, watermark: Watermark) -> Result<Vec<Fired>, WindowError> {
        let mut fired = Vec::new();
        while let Some(entry) = self.windows.first_entry() {
            let start = *entry.key();
            let end = self.shape.plan.size.end(start);
            if !watermark.has_reached(end) {
                break;
            }
            let chunks: Vec<Chunk> = entry.remove().into_iter().map(|c| c.chunk).collect();
            fired.push(Fired {
                start,
                end,
                rows: chunks.iter().map(Chunk::rows).sum(),
                results: self.shape.results(start, &chunks)?,
            });
        }
        Ok(fired)
    }

    /// Fires every window, in order. Those that `watermark` has not reached are noted as closed.
    pub fn fire_all(&mut self, watermark: Watermark) -> Result<Vec<Fired>, WindowError> {
        let mut fired = self.fire(watermark)?;
        self.closed.extend(self.windows.keys());
        fired.extend(self.fire(Watermark(i64::MAX))?);
        Ok(fired)
    }

    /// Starts of windows that were fired ahead of the watermark: their rows are late.
    pub fn closed(&self) -> &BTreeSet<EventMicros> {
        &self.closed
    }

    /// Takes over what a checkpoint says of windows fired ahead of the watermark, of which those
    /// that `fired` has reached need no note any more.
    pub fn restore_closed(&mut self, closed: &BTreeSet<EventMicros>, fired: Option<Watermark>) {
        let size = self.shape.plan.size;
        let ahead = |start: &&EventMicros| !fired.is_some_and(|f| f.has_reached(size.end(**start)));
        self.closed = closed.iter().filter(ahead).copied().collect();
    }

    /// All windows and their chunks.
    pub fn windows(&self) -> impl Iterator<Item = (EventMicros, &WindowChunks<R>)> + '_ {
        self.windows.iter().map(|(start, chunks)| (*start, chunks))
    }

    /// All windows and their chunks, to note where a chunk was stored.
    pub fn windows_mut(
        &mut self,
    ) -> impl Iterator<Item = (EventMicros, &mut WindowChunks<R>)> + '_ {
        self.windows
            .iter_mut()
            .map(|(start, chunks)| (*start, chunks))
    }

    /// End of the window that starts at `start`.
    pub fn end(&self, start: EventMicros) -> EventMicros {
        self.shape.plan.size.end(start)
    }

    /// End of the last open window.
    pub fn last_end(&self) -> Option<EventMicros> {
        self.windows
            .last_key_value()
            .map(|(s, _)| self.shape.plan.size.end(*s))
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.windows
            .values()
            .flatten()
            .map(|c| c.chunk.memory())
            .sum()
    }
}
