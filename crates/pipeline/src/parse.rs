//! From text to pipeline: the steps in order.

use crate::diagnostic::{Diagnostic, Problems};
use crate::env::{self, Environment};
use crate::raw::RawPipeline;
use crate::{Pipeline, Span, de, node, validate, walk};

/// Reads and validates a pipeline file.
///
/// Returns the pipeline with warnings and notes, or everything that is wrong, in file order (with
/// the warnings too).
pub fn parse(
    text: &str,
    environment: Environment<'_>,
) -> Result<(Pipeline, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut problems = Problems::default();
    let mut tree = node::parse(text, &mut problems);
    let shadows = shadows(text, &problems);
    env::fill(&mut tree, environment, &mut problems);
    walk::check(&mut tree, &mut problems);
    let pipeline = match de::read::<RawPipeline>(&tree) {
        Ok(raw) => validate::pipeline(&raw, &mut problems),
        Err(mismatch) => {
            problems.push(Diagnostic::error(
                "bad-structure",
                Span::default(),
                mismatch.to_string(),
            ));
            None
        }
    };
    if !shadows.is_empty() {
        problems.retain(|diagnostic| !is_in_doubt(diagnostic, &shadows));
    }
    match pipeline {
        Some(pipeline) if !problems.has_errors() => Ok((pipeline, problems.into_sorted())),
        _ => {
            if !problems.has_errors() {
                problems.push(Diagnostic::error(
                    "bad-structure",
                    Span::default(),
                    "the file cannot be read as a pipeline",
                ));
            }
            Err(problems.into_sorted())
        }
    }
}

/// Where a syntax error makes doubtful what the parser has made of the text: its line, and after a
/// broken table header all lines up to the next header.
fn shadows(text: &str, problems: &Problems) -> Vec<Span> {
    problems
        .iter()
        .filter(|diagnostic| diagnostic.code == "syntax")
        .map(|diagnostic| {
            let at = diagnostic.span.start.min(text.len());
            let bytes = text.as_bytes();
            let line_end = |from: usize| {
                bytes[from..]
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .map_or(bytes.len(), |length| from + length)
            };
            let start = bytes[..at]
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |newline| newline + 1);
            let mut end = line_end(at);
            if bytes[start..].first() == Some(&b'[') {
                while end < bytes.len() && bytes.get(end + 1) != Some(&b'[') {
                    end = line_end(end + 1);
                }
            }
            Span { start, end }
        })
        .collect()
}

/// Whether a problem may be nothing but the consequence of a syntax error.
fn is_in_doubt(diagnostic: &Diagnostic, shadows: &[Span]) -> bool {
    !matches!(diagnostic.code, "syntax" | "bad-structure")
        && (diagnostic.code.starts_with("missing-")
            || shadows.iter().any(|shadow| {
                diagnostic.span.start <= shadow.end && shadow.start <= diagnostic.span.end
            }))
}
