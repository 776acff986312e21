//! Reads pipeline files for the commands that take one.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use floodmark_pipeline::{Diagnostic, Pipeline, Report, Severity};

use super::exit::Failure;

/// Larger files are not read: no pipeline is written in 16 MiB.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// A pipeline file that may run.
#[derive(Debug)]
#[allow(dead_code, reason = "used by `run` and `topics`")]
pub(crate) struct Loaded {
    /// Where it was read from.
    pub(crate) path: PathBuf,
    /// Its text, to show places in it.
    pub(crate) text: String,
    /// The pipeline.
    pub(crate) pipeline: Pipeline,
}

/// Reads and validates a pipeline file with the variables of this process. Problems and warnings
/// are printed to standard error.
#[allow(dead_code, reason = "used by `run` and `topics`")]
pub(crate) fn load(path: &Path) -> Result<Loaded, Failure> {
    let text = read(path)?;
    let (pipeline, diagnostics) = examine(&text);
    print(path, &text, &diagnostics);
    match pipeline {
        Some(pipeline) => Ok(Loaded {
            path: path.to_owned(),
            text,
            pipeline,
        }),
        None => Err(Failure::Invalid),
    }
}

/// Reads a file's text.
pub(crate) fn read(path: &Path) -> anyhow::Result<String> {
    let attempted = || format!("reading {}", path.display());
    let size = std::fs::metadata(path).with_context(attempted)?.len();
    if size > MAX_FILE_BYTES {
        anyhow::bail!("{}: {size} bytes are too many for a pipeline", attempted());
    }
    std::fs::read_to_string(path).with_context(attempted)
}

/// Validates a file's text, SQL included: a pipeline only if nothing is wrong, and all there is to
/// say, in file order.
pub(crate) fn examine(text: &str) -> (Option<Pipeline>, Vec<Diagnostic>) {
    let environment = |name: &str| std::env::var(name).ok();
    match floodmark_pipeline::parse(text, &environment) {
        Ok((pipeline, mut diagnostics)) => {
            diagnostics.extend(sql_problems(&pipeline));
            diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
            let wrong = diagnostics
                .iter()
                .any(|diagnostic| diagnostic.severity == Severity::Error);
            ((!wrong).then_some(pipeline), diagnostics)
        }
        Err(diagnostics) => (None, diagnostics),
    }
}

/// What the engine's planner says about the pipeline's SQL.
fn sql_problems(_pipeline: &Pipeline) -> Vec<Diagnostic> {
    Vec::new()
}

/// Shows diagnostics on standard error, in colour on a terminal that wants it.
pub(crate) fn print(path: &Path, text: &str, diagnostics: &[Diagnostic]) {
    let file = path.display().to_string();
    let report = Report {
        file: &file,
        text,
        diagnostics,
    };
    // Nothing can be done about a closed standard error.
    let _ = std::io::stderr().write_all(report.render(wants_colour()).as_bytes());
}

/// Whether standard error takes colour: a terminal, and `NO_COLOR` (<https://no-color.org>) is
/// not set.
fn wants_colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty())
}
