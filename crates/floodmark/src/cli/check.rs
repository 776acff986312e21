//! `floodmark check`: everything that is wrong with a pipeline file, at once.

use std::io::Write;
use std::path::{Path, PathBuf};

use floodmark_pipeline::{JsonDiagnostic, Pipeline, Report, Severity};

use super::exit::Failure;
use super::load;

/// Validate pipeline files
///
/// Shows every problem at once, each with its place in the file, what was expected there and what
/// to do. No server is asked for anything.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  floodmark check pipelines/sensors.toml
  floodmark check --format json pipelines/*.toml
  floodmark check --schema > pipeline.schema.json

Exit codes: 0 all files are valid, 78 some are not, 1 a file cannot be read.")]
pub(crate) struct Args {
    /// Pipeline files
    #[arg(value_name = "FILE", required_unless_present = "schema")]
    files: Vec<PathBuf>,

    /// How problems are written: text to standard error, or one JSON array to standard output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Print the JSON Schema of the pipeline file, for editors
    #[arg(long, conflicts_with = "files")]
    schema: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if args.schema {
        return print_json(&floodmark_pipeline::json_schema());
    }
    let texts = args
        .files
        .iter()
        .map(|path| load::read(path).map(|text| (path, text)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut valid = true;
    let mut for_programs: Vec<JsonDiagnostic> = Vec::new();
    for (path, text) in &texts {
        let (pipeline, diagnostics) = load::examine(text, &load::variable);
        valid &= pipeline.is_some();
        let file = path.display().to_string();
        let report = Report {
            file: &file,
            text,
            diagnostics: &diagnostics,
        };
        match args.format {
            Format::Json => for_programs.extend(report.to_json()),
            Format::Text => {
                load::print(path, text, &diagnostics);
                verdict(path, pipeline.as_ref(), &report)?;
            }
        }
    }
    if args.format == Format::Json {
        print_json(&for_programs)?;
    }
    if valid { Ok(()) } else { Err(Failure::Invalid) }
}

/// One line a file: to standard output if it may run, else to standard error.
fn verdict(path: &Path, pipeline: Option<&Pipeline>, report: &Report<'_>) -> Result<(), Failure> {
    let path = path.display();
    let summary = report.summary();
    let Some(pipeline) = pipeline else {
        eprintln!("{path}: {summary}");
        return Ok(());
    };
    let warned = report
        .diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity == Severity::Warning);
    let remark = if warned {
        format!(", {summary}")
    } else {
        String::new()
    };
    let line = format!(
        "{path}: ok ({}, {}, {}{remark})",
        count(pipeline.sources.len(), "source"),
        count(pipeline.views.len(), "view"),
        count(pipeline.outputs.len(), "output"),
    );
    print_line(&line)
}

fn count(count: usize, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(anyhow::Error::from)?;
    print_line(&text)
}

fn print_line(line: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{line}").map_err(|error| {
        anyhow::Error::from(error)
            .context("writing to standard output")
            .into()
    })
}
