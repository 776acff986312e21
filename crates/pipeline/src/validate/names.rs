//! Names: of the pipeline, and of tables in SQL.

use crate::diagnostic::Diagnostic;
use crate::field::Field;
use crate::node::{Key, Text};
use crate::raw::RawPipeline;

use super::Validator;

/// Longest name: it becomes part of Kafka's transactional ids and of file names.
const MAX_NAME: usize = 64;

/// What dead letters and late rows are called beside outputs, in metrics.
const RESERVED: [&str; 2] = ["dead_letter", "late"];

impl Validator<'_> {
    /// The pipeline's own name, which ends up in ids and groups but not in SQL.
    pub(super) fn pipeline_name(&mut self, field: &Field<Text>) -> Option<String> {
        let text = field.given()?;
        let name = &text.value;
        let sound = name.len() <= MAX_NAME
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        if !sound {
            self.problems.push(
                Diagnostic::error("bad-name", text.span, "this cannot be the pipeline's name")
                    .label(format!(
                        "expected up to {MAX_NAME} letters, digits, `_`, `-` and `.`, first a \
                         letter or digit"
                    )),
            );
            return None;
        }
        Some(name.clone())
    }

    /// Sources and views share the tables' names, whatever their case.
    pub(super) fn table_names(&mut self, raw: &RawPipeline) {
        let sources = raw.sources.given().map(|table| &table.0);
        let views = raw.views.given().map(|table| &table.0);
        let sources = sources
            .into_iter()
            .flatten()
            .map(|(key, _)| (key, "a source"));
        let views = views.into_iter().flatten().map(|(key, _)| (key, "a view"));
        let mut seen: Vec<(&Key, &str)> = Vec::new();
        for (key, what) in sources.chain(views) {
            self.identifier(key, what);
            let taken = seen
                .iter()
                .find(|(other, _)| other.name.eq_ignore_ascii_case(&key.name));
            if let Some((other, other_what)) = taken {
                self.problems.push(
                    Diagnostic::error(
                        "duplicate-name",
                        key.span,
                        format!("{other_what} is called `{}` already", other.name),
                    )
                    .label("a table in SQL needs a name of its own")
                    .help("names of sources and views differ by more than case"),
                );
            }
            seen.push((key, what));
        }
        if raw.sources.given().is_some_and(|table| table.0.is_empty()) {
            self.nothing(raw.sources.span(), "source", "[sources.NAME]");
        }
        if raw.outputs.given().is_some_and(|table| table.0.is_empty()) {
            self.nothing(raw.outputs.span(), "output", "[outputs.NAME]");
        }
    }

    fn nothing(&mut self, span: Option<crate::Span>, what: &str, table: &str) {
        self.problems.push(
            Diagnostic::error(
                "missing-value",
                span.unwrap_or_default(),
                format!("the pipeline has no {what}"),
            )
            .label(format!("needs a {table}")),
        );
    }

    /// An output's name must not be that of what catches the rest.
    pub(super) fn not_reserved(&mut self, key: &Key) {
        let name = key.name.as_str();
        if RESERVED.contains(&name) {
            self.problems.push(
                Diagnostic::error(
                    "bad-name",
                    key.span,
                    format!("`{name}` cannot be the name of an output"),
                )
                .label(format!("in metrics, [{name}] is called that"))
                .help("choose another name"),
            );
        }
    }

    /// A name that SQL takes without quotes.
    pub(super) fn identifier(&mut self, key: &Key, what: &str) {
        let name = &key.name;
        let sound = name.len() <= MAX_NAME
            && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !sound {
            self.problems.push(
                Diagnostic::error(
                    "bad-name",
                    key.span,
                    format!("`{}` cannot be the name of {what}", name.escape_debug()),
                )
                .label(format!(
                    "expected up to {MAX_NAME} letters, digits and `_`, no digit first"
                )),
            );
        }
    }
}
