//! The runtime: threads that carry an event along its way.
//!
//! ```text
//!  source ──> worker 0 ──┬─ stateless rows, dead letters, late rows ──> sink threads
//!         ──> worker 1 ──┤                                                ^   |
//!                        └─ window chunks ──> coordinator ── results ─────+   |
//!                            ^                    |  ^                        |
//!                            +── close, barrier ──+  +──── pre-commit, commit +
//!                                                 |
//!                                          checkpoint store
//! ```
//!
//! - A **worker** owns partitions. It polls, decodes, evaluates, aggregates and routes, all in one
//!   thread and batch by batch; nothing is shuffled between workers.
//! - The **coordinator** combines watermarks, fires windows and takes checkpoints. It never touches
//!   an event.
//! - A **sink thread** drives one sink through one bounded queue.
//!
//! **Barriers.** For a checkpoint the coordinator stops every worker between two batches, which
//! takes as long as the slowest worker's current batch. What a worker has sent to a sink before its
//! barrier is in the sink's queue before the coordinator's `pre_commit`, and nothing after: the cut
//! is exact without markers in the data. Workers go on as soon as `pre_commit` is queued; uploads,
//! the manifest and commits happen beside them.
//!
//! **Bounds.** Workers block when a sink's queue is full, which stops their polling and so the
//! fetching: a slow sink slows the source. Replies to the coordinator are bounded by protocol:
//! nobody has more than a few outstanding, and the inbox holds them all, so no two threads can wait
//! for each other.

mod barrier;
mod coordinator;
mod error;
mod fenced;
mod journey;
mod keep;
mod lane;
mod message;
mod monitor;
mod observe;
mod round;
mod sinks;
mod start;
mod status;
mod threads;
mod worker;

#[doc(hidden)]
pub use barrier::{Frozen, OpenChunk};
pub use coordinator::{Finished, run};
pub use error::EngineError;
#[doc(hidden)]
pub use fenced::blame;
pub use keep::keep_running;
#[doc(hidden)]
pub use message::SinkId;
#[doc(hidden)]
pub use round::{Next, Round, Unasked};
pub use start::{DEAD_LETTER, LATE, Parts, SinkContext, SinkFactory, SinkSlot};
pub use status::{
    CheckpointStatus, HeldBack, HeldBackReason, MOST_WINDOWS, OpenWindow, OutputStatus,
    PartitionStatus, Phase, SourceStatus, Status, StatusBoard,
};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How a run ends by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    /// End when everything that stood in the sources at the start is read and committed.
    pub until_caught_up: bool,
    /// Fire all open windows at the end instead of leaving them in the checkpoint.
    pub close_windows: bool,
}

/// Asks a run to drain, checkpoint and end. Cheap to clone; may be used from a signal handler's
/// thread.
#[derive(Debug, Clone, Default)]
pub struct StopSignal(Arc<AtomicBool>);

impl StopSignal {
    /// A signal that has not been given.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the signal.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was given.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
