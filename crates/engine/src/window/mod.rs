//! Windows: rows into event-time windows, windows into results.
//!
//! ```text
//! worker 0: rows -> WindowOperator -- partial chunks --+
//! worker 1: rows -> WindowOperator -- partial chunks --+--> OpenWindows -- fire --> results
//!                                                      |        ^  |
//!                        at each barrier and at firing +        |  +-- chunks --> checkpoint
//!                                                    restored --+
//! ```
//!
//! A worker's [`WindowOperator`] aggregates only what has come in since the last barrier. At a
//! barrier, and when a window fires, it hands its panes over as [`Chunk`]s: group keys beside
//! mergeable accumulator state, columnar and immutable. [`OpenWindows`] keeps a window's chunks,
//! which is at once the window's state and its checkpoint: a checkpoint stores the chunks that are
//! new, so it is incremental by construction, and a restart loads chunks and starts workers empty,
//! so the number of workers may change. Firing merges a window's chunks.
//!
//! A row is late if its window has fired. The operator refuses it and says so; it never drops one.
//!
//! Pure: no time, no I/O.

mod chunk;
mod keys;
mod open;
mod operator;

pub use chunk::Chunk;
pub use open::{Fired, OpenWindows, StoredChunk, WindowChunks};
pub use operator::{Late, Pushed, WindowOperator};

/// How much is in one window, or in a part of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PaneSize {
    /// Groups.
    pub groups: usize,
    /// Rows they were made of.
    pub rows: u64,
}

/// Why a window operation failed: an expression or accumulator refused its input (an overflow,
/// say), or a chunk does not fit the plan.
#[derive(Debug, thiserror::Error)]
pub enum WindowError {
    /// From an expression or accumulator.
    #[error("aggregation failed: {0}")]
    Aggregate(#[from] datafusion_common::DataFusionError),
    /// From an expression over a batch.
    #[error(transparent)]
    Eval(#[from] floodmark_sql::EvalError),
    /// From an Arrow kernel.
    #[error("aggregation failed: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// The plan and the data do not agree.
    #[error("window state does not fit the plan: {0}")]
    Mismatch(String),
}

/// Start of the epoch-aligned window of `size` microseconds that holds `instant`.
pub(crate) fn window_start(instant: i64, size: i64) -> i64 {
    instant.saturating_sub(instant.rem_euclid(size))
}
