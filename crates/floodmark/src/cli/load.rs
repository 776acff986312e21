//! Reads pipeline files for the commands that take one.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use floodmark_pipeline::{
    Diagnostic, Environment, Pipeline, Report, Severity, Sink, Span, SqlText,
};
use floodmark_sql::{Plan, QueryRef, SqlProblem};

use super::exit::Failure;

/// Larger files are not read: no pipeline is written in 16 MiB.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// A pipeline file that may run.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The pipeline.
    pub(crate) pipeline: Pipeline,
    /// The file's text.
    text: String,
}

/// The variables of this process.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads and validates a pipeline file. Problems and warnings are printed to standard error.
pub(crate) fn load(path: &Path, environment: Environment<'_>) -> Result<Loaded, Failure> {
    let text = read(path)?;
    let (pipeline, diagnostics) = examine(&text, environment);
    print(path, &text, &diagnostics);
    match pipeline {
        Some(pipeline) => Ok(Loaded { pipeline, text }),
        None => Err(Failure::Invalid),
    }
}

/// A pipeline ready to run.
pub(crate) struct Planned {
    /// The pipeline.
    pub(crate) pipeline: Arc<Pipeline>,
    /// Its queries.
    pub(crate) plan: Arc<Plan>,
    /// The file's text.
    pub(crate) text: String,
}

/// Reads, validates and plans a pipeline file.
pub(crate) fn load_and_plan(path: &Path, environment: Environment<'_>) -> Result<Planned, Failure> {
    let loaded = load(path, environment)?;
    let plan = floodmark_sql::plan(&loaded.pipeline);
    // `load` has planned it once to show what is wrong.
    let plan = plan.map_err(|_| Failure::Invalid)?;
    Ok(Planned {
        pipeline: Arc::new(loaded.pipeline),
        plan: Arc::new(plan),
        text: loaded.text,
    })
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
pub(crate) fn examine(
    text: &str,
    environment: Environment<'_>,
) -> (Option<Pipeline>, Vec<Diagnostic>) {
    match floodmark_pipeline::parse(text, environment) {
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
fn sql_problems(pipeline: &Pipeline) -> Vec<Diagnostic> {
    let problems = floodmark_sql::plan(pipeline).err().unwrap_or_default();
    let diagnostic = |problem: SqlProblem| {
        let text = sql_text(pipeline, &problem.query);
        let span = text.map_or_else(Span::default, |text| match problem.at.clone() {
            Some(range) => text.locate(range),
            None => text.span,
        });
        let diagnostic = Diagnostic::error(problem.code.as_str(), span, problem.to_string());
        diagnostic.maybe_help(problem.help)
    };
    problems.into_iter().map(diagnostic).collect()
}

/// The text a problem is in.
fn sql_text<'a>(pipeline: &'a Pipeline, query: &QueryRef) -> Option<&'a SqlText> {
    let sink = |name: &str| {
        let output = pipeline.outputs.iter().find(|output| output.name == name);
        output.map(|output| &output.sink)
    };
    match query {
        QueryRef::View(name) => pipeline
            .views
            .iter()
            .find(|view| view.name == *name)
            .map(|view| &view.query),
        QueryRef::Output(name) => {
            let output = pipeline.outputs.iter().find(|output| output.name == *name);
            output.map(|output| &output.query)
        }
        QueryRef::PartitionBy { output, column } => match sink(output)? {
            Sink::Parquet(sink) => named(&sink.partition_by, column),
            _ => None,
        },
        QueryRef::Key { output } => match sink(output)? {
            Sink::Kafka(sink) => sink.key.as_ref(),
            _ => None,
        },
        QueryRef::Header { output, header } => match sink(output)? {
            Sink::Kafka(sink) => named(&sink.headers, header),
            _ => None,
        },
    }
}

fn named<'a>(texts: &'a [(String, SqlText)], name: &str) -> Option<&'a SqlText> {
    texts
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, text)| text)
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
