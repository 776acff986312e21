//! Why a run ends without having been asked to.

use crate::checkpoint::{CheckpointError, Manifest};
use crate::ledger::Imbalance;
use crate::sink::SinkError;
use crate::source::SourceError;
use crate::units::Epoch;
use crate::window::WindowError;
use floodmark_sql::EvalError;

/// Why a run failed. What was committed before stays; a restart goes on from the newest checkpoint.
///
/// Each says its cause itself, so none hands it on as `source`: who prints a chain would say it twice.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A source cannot go on.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A sink cannot go on.
    #[error("output '{sink}': {cause}")]
    Sink {
        /// The sink's name.
        sink: String,
        /// Why.
        cause: SinkError,
    },
    /// A checkpoint cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint found belongs to another pipeline, or to another query of this one.
    #[error("the checkpoint cannot be continued: {}. Start with a new checkpoint path, or restore the pipeline file it was made with", differences.join("; "))]
    Incompatible {
        /// Each difference.
        differences: Vec<String>,
    },
    /// Another instance owns the checkpoint now.
    #[error(
        "fenced: {by} has taken this pipeline over; this instance stops and has made nothing visible since"
    )]
    Fenced {
        /// Who took over, as far as known.
        by: String,
    },
    /// A sink was fenced although no other instance owns the checkpoint.
    #[error(
        "output '{sink}': {attempted}: the broker no longer takes this instance's transactions, but no \
         other instance has taken over. Either a transaction took longer than its timeout, or an \
         instance that was replaced has interfered before it noticed. Nothing is lost. If it comes again and \
         again, see that nothing holds this process up for that long, and that no older instance is left"
    )]
    Ousted {
        /// The sink's name.
        sink: String,
        /// What it was doing.
        attempted: String,
    },
    /// A record could not be decoded and the pipeline file says to fail.
    #[error(
        "source '{source_name}': {topic}, partition {partition}, offset {offset}: {reason} \
         (on_bad_record = \"fail\"; choose \"dead_letter\" to keep such records and go on)"
    )]
    BadRecord {
        /// Source.
        source_name: String,
        /// Topic or file.
        topic: String,
        /// Partition.
        partition: i32,
        /// Offset.
        offset: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// A query failed on a row.
    #[error("output '{output}': {cause}")]
    Query {
        /// Output.
        output: String,
        /// Why.
        cause: EvalError,
    },
    /// Aggregation failed.
    #[error("output '{output}': {cause}")]
    Window {
        /// Output.
        output: String,
        /// Why.
        cause: WindowError,
    },
    /// The ledger does not balance.
    #[error(transparent)]
    Imbalance(#[from] Imbalance),
    /// Draining took too long.
    #[error(
        "still draining after {seconds} s: {waiting_for}. Nothing is lost: the next start goes on from checkpoint {epoch}"
    )]
    DrainTimeout {
        /// Seconds waited.
        seconds: u64,
        /// What had not answered.
        waiting_for: String,
        /// The newest durable checkpoint.
        epoch: Epoch,
    },
    /// A thread ended on its own, or something held that must not.
    #[error(
        "internal error in {thread}: {reason}. This is a defect of Floodmark; please report it"
    )]
    Internal {
        /// Which thread.
        thread: String,
        /// What happened.
        reason: String,
    },
}

impl EngineError {
    /// Whether another instance took over.
    pub fn is_fenced(&self) -> bool {
        matches!(
            self,
            Self::Fenced { .. }
                | Self::Sink {
                    cause: SinkError::Fenced { .. },
                    ..
                }
        )
    }

    /// What it says, without what a record may hold.
    pub(crate) fn without_values(&self) -> String {
        match self {
            Self::Sink { sink, cause } => {
                format!("output '{sink}': {}", cause.without_values())
            }
            Self::BadRecord { source_name, .. } => {
                format!("source '{source_name}': a record could not be decoded")
            }
            Self::Query { output, .. } => format!("output '{output}': a query failed on a row"),
            Self::Window { output, .. } => format!("output '{output}': aggregation failed"),
            other => other.to_string(),
        }
    }

    /// Fenced by the instance that wrote `newest`.
    pub(super) fn fenced_by(newest: &Manifest) -> Self {
        Self::Fenced {
            by: format!(
                "instance {} (generation {}, checkpoint {})",
                newest.instance, newest.generation, newest.epoch
            ),
        }
    }

    #[allow(
        clippy::needless_pass_by_value,
        reason = "callers have a text or an error in hand"
    )]
    pub(super) fn internal(thread: impl Into<String>, reason: impl ToString) -> Self {
        Self::Internal {
            thread: thread.into(),
            reason: reason.to_string(),
        }
    }
}
