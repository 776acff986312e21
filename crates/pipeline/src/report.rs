//! Diagnostics as a person or a program reads them.
//!
//! Shows the file's own lines with secrets blanked (see [`crate::redact`]), whatever the spans
//! are: a span outside the text or inside a character is moved to the nearest sound place.

use std::fmt::Write;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

use crate::redact::redact;
use crate::{Diagnostic, Severity, Span};

/// A file and what there is to say about it.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// Name of the file, as the user gave it.
    pub file: &'a str,
    /// Its text.
    pub text: &'a str,
    /// What there is to say.
    pub diagnostics: &'a [Diagnostic],
}

/// A diagnostic for programs: lines and columns count from 1, columns in characters; the end is
/// one past the last character.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JsonDiagnostic {
    /// Name of the file.
    pub file: String,
    /// First line.
    pub line: usize,
    /// First column.
    pub column: usize,
    /// Last line.
    pub end_line: usize,
    /// Column after the last.
    pub end_column: usize,
    /// How bad it is.
    pub severity: Severity,
    /// Stable name.
    pub code: &'static str,
    /// What is wrong, and what was expected there.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Report<'_> {
    /// The diagnostics as text, each with its line of the file and a caret, with a blank line
    /// after each.
    pub fn render(&self, colour: bool) -> String {
        let shown = redact(self.text);
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut out = String::new();
        for diagnostic in self.diagnostics {
            let span = sound(&shown, diagnostic.span);
            let annotation = AnnotationKind::Primary
                .span(span.start..span.end)
                .label(diagnostic.label.as_str());
            let snippet = Snippet::source(shown.as_ref())
                .path(self.file)
                .annotation(annotation);
            let title = level(diagnostic.severity)
                .primary_title(diagnostic.message.as_str())
                .id(diagnostic.code);
            let mut group: Group<'_> = title.element(snippet);
            if let Some(help) = &diagnostic.help {
                group = group.element(Level::HELP.message(help.as_str()));
            }
            out.push_str(&renderer.render(&[group]));
            out.push_str("\n\n");
        }
        out
    }

    /// How many there are of each kind, such as "2 errors, 1 warning"; notes are not counted.
    pub fn summary(&self) -> String {
        let mut out = String::new();
        for (severity, name) in [(Severity::Error, "error"), (Severity::Warning, "warning")] {
            let count = self
                .diagnostics
                .iter()
                .filter(|diagnostic| diagnostic.severity == severity)
                .count();
            if count > 0 {
                let separator = if out.is_empty() { "" } else { ", " };
                let plural = if count == 1 { "" } else { "s" };
                // Writing to a string does not fail.
                let _ = write!(out, "{separator}{count} {name}{plural}");
            }
        }
        out
    }

    /// The diagnostics for programs.
    pub fn to_json(&self) -> Vec<JsonDiagnostic> {
        self.diagnostics
            .iter()
            .map(|diagnostic| {
                let span = sound(self.text, diagnostic.span);
                let (line, column) = position(self.text, span.start);
                let (end_line, end_column) = position(self.text, span.end);
                let mut message = diagnostic.message.clone();
                if !diagnostic.label.is_empty() {
                    message.push_str(": ");
                    message.push_str(&diagnostic.label);
                }
                JsonDiagnostic {
                    file: self.file.to_owned(),
                    line,
                    column,
                    end_line,
                    end_column,
                    severity: diagnostic.severity,
                    code: diagnostic.code,
                    message,
                    help: diagnostic.help.clone(),
                }
            })
            .collect()
    }
}

fn level(severity: Severity) -> Level<'static> {
    match severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    }
}

/// The nearest span that lies in the text, on whole characters, and on one line if it was empty.
fn sound(text: &str, span: Span) -> Span {
    let floor = |at: usize| {
        let mut at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(span.start);
    Span {
        start,
        end: floor(span.end).max(start),
    }
}

/// Line and column, both from 1, of a byte offset on a character boundary.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}
