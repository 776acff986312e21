//! The spans of a run: their names, how they nest, and what they say.
//!
//! ```text
//!   start ─┬─ open store           checkpoint ─┬─ barrier ── fire windows (only a run's last)
//!          ├─ open source NAME                 ├─ pre-commit ── sink NAME …
//!          ├─ read checkpoint                  ├─ store
//!          ├─ claim                            ├─ commit ── sink NAME …
//!          ├─ open sink NAME                   └─ settle (only a run's last)
//!          ├─ load windows
//!          └─ start threads        fire windows        collect garbage
//! ```
//!
//! `start`, each `checkpoint`, each `fire windows` and each `collect garbage` is a trace of its own: a
//! run lasts for weeks, and a trace is looked at as a whole. There is none for a batch or a record.
//!
//! A span is held where its work is waited for, and passed to the thread that does a part of it. It is
//! entered only around calls that stay in one thread, so that warnings within become its events. All
//! have the target [`TARGET`], which no log line shows; while nobody subscribes to it, a span is a
//! branch that is not taken.
//!
//! Names of sources and outputs, numbers and times are attributes; nothing that comes out of a record
//! is, and of an error only what cannot hold any of it (`without_values`).

use std::fmt::Display;

use tracing::field::Empty;
use tracing::{Span, info, info_span};

use super::{FiredWindow, rfc3339};
use crate::runtime::EngineError;
use crate::sink::SinkError;
use crate::units::{Epoch, EventMicros, Generation};
use crate::watermark::Watermark;

/// The target of all spans and of the events that exist for them alone.
pub const TARGET: &str = "floodmark::trace";

/// The field that makes a span's status an error, with this description.
const FAILED: &str = "otel.status_description";

/// A span below another one, which may be marked as failed.
macro_rules! part {
    ($parent:expr, $name:literal $(, $($field:tt)+)?) => {
        info_span!(
            target: TARGET,
            parent: $parent,
            $name,
            $($($field)+,)?
            otel.status_description = Empty,
        )
    };
}

/// A part of the start.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step<'a> {
    /// The checkpoint's place is opened and tried.
    OpenStore,
    /// A source is connected.
    OpenSource(&'a str),
    /// The newest checkpoint is looked for and read.
    ReadCheckpoint,
    /// The sources are asked where they stand, and the checkpoint is claimed.
    Claim,
    /// A sink is opened and commits again what the checkpoint lists.
    OpenSink(&'a str),
    /// Open windows are read from the checkpoint.
    LoadWindows,
    /// Readers and threads are put in place.
    StartThreads,
}

/// The start of a run.
#[derive(Debug)]
pub(super) struct StartSpans {
    whole: Span,
    step: Span,
}

impl StartSpans {
    pub(super) fn begin() -> Self {
        let whole = info_span!(
            target: TARGET,
            parent: None,
            "start",
            generation = Empty,
            checkpoint = Empty,
            otel.status_description = Empty,
        );
        Self {
            whole,
            step: Span::none(),
        }
    }

    /// The step before is over, this one begins.
    pub(super) fn step(&mut self, step: Step<'_>) {
        let parent = &self.whole;
        self.step = match step {
            Step::OpenStore => part!(parent, "open store"),
            Step::OpenSource(source) => part!(
                parent,
                "open source",
                otel.name = %format_args!("open source {source}"),
                source
            ),
            Step::ReadCheckpoint => part!(parent, "read checkpoint"),
            Step::Claim => part!(parent, "claim"),
            Step::OpenSink(output) => part!(
                parent,
                "open sink",
                otel.name = %format_args!("open sink {output}"),
                output
            ),
            Step::LoadWindows => part!(parent, "load windows"),
            Step::StartThreads => part!(parent, "start threads"),
        };
    }

    /// Whose the pipeline is now, and the checkpoint it goes on from.
    pub(super) fn claimed(&self, generation: Generation, found: Option<Epoch>) {
        self.whole.record("generation", generation.0 as i64);
        if let Some(found) = found {
            self.whole.record("checkpoint", found.0 as i64);
        }
    }

    /// The step is over, and with this error the start.
    pub(super) fn step_over(&mut self, failure: Option<&EngineError>) {
        if let Some(error) = failure {
            failed(&self.step, error.without_values());
            failed(&self.whole, error.without_values());
        }
        self.step = Span::none();
    }

    /// The start as a whole.
    pub(super) fn whole(&self) -> &Span {
        &self.whole
    }
}

/// A part of a checkpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stage {
    /// Sinks make rows durable.
    PreCommit,
    /// State files and manifest are put.
    Store,
    /// Sinks make rows visible.
    Commit,
    /// The run's last manifest, which lists no work, is put.
    Settle,
}

/// A checkpoint, from the order to stop to its last commit.
#[derive(Debug)]
pub(crate) struct CheckpointSpans {
    whole: Span,
    stage: Span,
}

impl CheckpointSpans {
    /// Workers are told to stop.
    pub(crate) fn begin(epoch: Epoch, generation: Generation, last: bool) -> Self {
        let whole = info_span!(
            target: TARGET,
            parent: None,
            "checkpoint",
            epoch = epoch.0 as i64,
            generation = generation.0 as i64,
            last,
            bytes = Empty,
            otel.status_description = Empty,
        );
        let stage = part!(&whole, "barrier");
        Self { whole, stage }
    }

    /// The stage before is over, this one begins.
    pub(crate) fn enter(&mut self, stage: Stage) {
        let parent = &self.whole;
        self.stage = match stage {
            Stage::PreCommit => part!(parent, "pre-commit"),
            Stage::Store => part!(parent, "store"),
            Stage::Commit => part!(parent, "commit"),
            Stage::Settle => part!(parent, "settle"),
        };
    }

    /// The stage that it is in.
    pub(crate) fn stage(&self) -> &Span {
        &self.stage
    }

    /// The checkpoint as a whole.
    pub(crate) fn whole(&self) -> &Span {
        &self.whole
    }

    /// Bytes of its manifest and of the state files it refers to.
    pub(crate) fn measured(&self, bytes: u64) {
        self.whole.record("bytes", bytes as i64);
    }

    /// The run has failed in it.
    pub(crate) fn failed(&self, error: &EngineError) {
        failed(&self.stage, error.without_values());
        failed(&self.whole, error.without_values());
    }
}

/// What one sink does in a stage, the wait in its queue included.
pub(crate) fn sink(stage: &Span, output: &str) -> Span {
    part!(
        stage,
        "sink",
        otel.name = %format_args!("sink {output}"),
        output,
        rows = Empty
    )
}

/// Has a sink do what `span` is about, now that it has done all that was queued before.
pub(crate) fn within<T>(
    span: &Span,
    work: impl FnOnce() -> Result<T, SinkError>,
) -> Result<T, SinkError> {
    info!(target: TARGET, parent: span, "begins");
    let done = span.in_scope(work);
    done.inspect_err(|error| failed(span, error.without_values()))
}

/// Rows that a sink has made visible.
pub(crate) fn committed(span: &Span, rows: u64) {
    span.record("rows", rows as i64);
}

/// Windows of a source that fire together: from the order to hand them over until their rows are queued.
pub(crate) fn firing(parent: Option<&Span>, source: &str, watermark: Option<Watermark>) -> Span {
    let reached = watermark.map(|watermark| EventMicros(watermark.0.saturating_mul(1_000)));
    info_span!(
        target: TARGET,
        parent: parent.and_then(Span::id),
        "fire windows",
        source,
        watermark = reached.map(rfc3339),
        otel.status_description = Empty,
    )
}

/// A window has fired.
pub(crate) fn fired(firing: &Span, output: &str, window: &FiredWindow) {
    info!(
        target: TARGET,
        parent: firing,
        output,
        start = %rfc3339(window.start),
        end = %rfc3339(window.end),
        groups = window.groups as i64,
        rows = window.rows as i64,
        "window fired"
    );
}

/// State files of a checkpoint are stored; its manifest comes next.
pub(crate) fn states_stored(files: usize, bytes: usize) {
    info!(
        target: TARGET,
        files = files as i64,
        bytes = bytes as i64,
        "state files stored"
    );
}

/// Old checkpoints are deleted.
pub(crate) fn garbage() -> Span {
    info_span!(target: TARGET, parent: None, "collect garbage")
}

/// Marks a span as failed.
pub(crate) fn failed(span: &Span, why: impl Display) {
    span.record(FAILED, tracing::field::display(why));
}
