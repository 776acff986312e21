//! Sinks: where rows go, each exactly once.
//!
//! A sink runs on a thread of its own and is driven through one bounded queue, so its calls come
//! one after the other. Two disciplines exist:
//!
//! - **With the checkpoint** (files, windowed results to Kafka): `write` takes rows, `pre_commit`
//!   makes them durable but invisible and says what is left to do, the checkpoint manifest stores
//!   that, `commit` makes them visible. `commit` is idempotent and is repeated after a crash.
//! - **Ahead of the checkpoint** (stateless rows to Kafka): rows go out on short transactions that
//!   carry the source offsets they came from; `pre_commit` only waits until everything written is
//!   committed. After a restart rows below those offsets are not sent again, but they are reported
//!   as visible: the instance that sent them died before a checkpoint could count them.
//!
//! Call order: `restore` (first, at most once, with the newest checkpoint's work), then any of
//! `write`, `poll`, and for each epoch `pre_commit` followed by `commit`; rows written between the
//! two belong to the next epoch. A sink that is dropped without `commit` leaves nothing visible.

pub mod console;
pub mod kafka;
pub mod parquet;

use std::time::Duration;

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::rows::Origin;
use crate::units::{Epoch, Offset, Partition, SourceId};

/// Rows for a sink.
#[derive(Debug, Clone)]
pub struct OutputRows {
    /// The rows, in the output's schema.
    pub batch: RecordBatch,
    /// Where they came from; `None` for window results, which have no single origin.
    pub origin: Option<Origin>,
}

/// How far a source was evaluated for an output, whether or not rows came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Source.
    pub source: SourceId,
    /// Partition.
    pub partition: Partition,
    /// Every record below this offset has been evaluated and its rows were written.
    pub next: Offset,
}

/// What `commit` has left to do, as stored in the checkpoint manifest.
#[derive(Debug, Clone, Default)]
pub struct PreCommit {
    /// The sink's own description of the work (staged files, transaction stamps).
    pub work: serde_json::Value,
    /// Rows that are durable only because the checkpoint stores them: rows of a file that is still
    /// open, or rows a transaction sends at commit.
    pub carried: Vec<RecordBatch>,
}

/// Proof that the manifest of `epoch` is durable. Only the checkpoint coordinator makes one.
#[derive(Debug)]
pub struct CommitPermit {
    epoch: Epoch,
}

impl CommitPermit {
    /// For the checkpoint coordinator, after the manifest was stored (or read back on recovery).
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self { epoch }
    }

    /// The epoch whose work may become visible.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
}

/// What became visible.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// Rows.
    pub rows: u64,
    /// Files; 0 for sinks without files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
    /// Rows among what was sent that the target does not take and that became dead letters instead.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused: u64,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl std::ops::AddAssign for Committed {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.files += other.files;
        self.bytes += other.bytes;
        self.refused += other.refused;
    }
}

/// A place for rows. See the module for the order of calls.
pub trait Sink: Send {
    /// Takes over what the newest checkpoint says: `commit`s the work of `epoch` again (idempotent)
    /// and takes back the carried rows of files that stay open.
    fn restore(
        &mut self,
        permit: &CommitPermit,
        pre_commit: PreCommit,
    ) -> Result<Committed, SinkError>;

    /// Takes rows. Blocks while the sink cannot keep up.
    fn write(&mut self, rows: OutputRows, progress: &[Progress]) -> Result<(), SinkError>;

    /// Does what is due by time (a short transaction's commit); returns what became visible since
    /// the last report, transactions committed inside `write` and `pre_commit` included, and how
    /// long until it wants to be called again (`None`: not before the next call).
    fn poll(&mut self) -> Result<(Committed, Option<Duration>), SinkError>;

    /// Says where the rows written so far end: the sources' next offsets, as JSON. For sinks that
    /// stamp what they write; called before each `pre_commit`, and before the first `write` with
    /// where the sources begin.
    fn describe_offsets(&mut self, _offsets: &str) {}

    /// Next offset below which an earlier instance has shown a partition's rows, so that this one does
    /// not show them again; `None` if there is none.
    fn resumed_at(&self, _source: SourceId, _partition: Partition) -> Option<Offset> {
        None
    }

    /// Makes all rows written so far durable but, for sinks that go with the checkpoint, invisible.
    /// `last` is true when the pipeline ends: nothing may stay open.
    fn pre_commit(&mut self, epoch: Epoch, last: bool) -> Result<PreCommit, SinkError>;

    /// Makes the work of the last `pre_commit` visible, and returns what that is. Idempotent.
    fn commit(&mut self, permit: &CommitPermit) -> Result<Committed, SinkError>;
}

/// Why a sink cannot go on. Transient trouble is retried inside the sink with bounded backoff and
/// surfaces here only when its limit is used up.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Another instance took over.
    #[error("{attempted}: fenced, another instance of this pipeline has taken over")]
    Fenced {
        /// What was attempted, on which object.
        attempted: String,
    },
    /// The configuration or the server must be changed by somebody.
    #[error("{attempted}: {reason}. {hint}")]
    Misconfigured {
        /// What was attempted, on which object.
        attempted: String,
        /// What the server or client said.
        reason: String,
        /// What to do next.
        hint: String,
    },
    /// Did not work within the retry limit.
    #[error("{attempted}: {reason}")]
    Failed {
        /// What was attempted, on which object.
        attempted: String,
        /// What went wrong.
        reason: String,
    },
}

impl SinkError {
    /// What it is about. The rest of what it says may hold values of rows: the path of a file has
    /// those that it is partitioned by.
    pub(crate) fn without_values(&self) -> &'static str {
        match self {
            Self::Fenced { .. } => "fenced",
            Self::Misconfigured { .. } => "misconfigured; the log says what to change",
            Self::Failed { .. } => "failed; the log says why",
        }
    }
}
