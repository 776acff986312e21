//! The file as a tree in which every key and value knows its place.
//!
//! Built from TOML, filled from the environment, checked against the schema, then read into the
//! raw structs. What a check refuses becomes [`Kind::Broken`]: later checks pass over it in
//! silence, so that one mistake is reported once and the sound rest is still checked.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::Span;
use crate::diagnostic::{Diagnostic, Problems};

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Str(Text),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// A bare TOML date or time, as written.
    Datetime(Text),
    Array(Vec<Node>),
    /// In file order.
    Table(Vec<Entry>),
    /// Refused, and the reason has been reported.
    Broken,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) node: Node,
}

/// A key and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) span: Span,
}

/// A string value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    /// Escapes resolved and variables filled in.
    pub(crate) value: String,
    /// Place in the file, quotes included.
    pub(crate) span: Span,
    /// Where the value starts in the file, if file and value agree byte for byte.
    pub(crate) verbatim_at: Option<usize>,
    /// Whether any of it came from `${…}`; such a value is never repeated in a message.
    pub(crate) filled: bool,
}

impl Text {
    /// Place of a byte range of the value: exact where file and value agree, else the whole value.
    pub(crate) fn locate(&self, range: std::ops::Range<usize>) -> Span {
        locate(self.verbatim_at, self.span, self.value.len(), range)
    }

    /// The value for use in a message, or a stand-in if it must not be repeated.
    pub(crate) fn shown(&self) -> String {
        if self.filled {
            "the value".to_owned()
        } else {
            format!("`{}`", self.value.escape_debug())
        }
    }
}

/// See [`Text::locate`] and [`crate::SqlText::locate`].
pub(crate) fn locate(
    verbatim_at: Option<usize>,
    whole: Span,
    len: usize,
    range: std::ops::Range<usize>,
) -> Span {
    match verbatim_at {
        Some(start) if range.start <= range.end && range.end <= len => Span {
            start: start + range.start,
            end: start + range.end,
        },
        _ => whole,
    }
}

impl Node {
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Table(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries()
            .iter()
            .find(|entry| entry.key.name == key)
            .map(|entry| &entry.node)
    }

    /// The kind of value in a reader's words, with its article.
    pub(crate) fn type_name(&self) -> &'static str {
        match self.kind {
            Kind::Str(_) => "a string",
            Kind::Int(_) => "an integer",
            Kind::Float(_) => "a float",
            Kind::Bool(_) => "a boolean",
            Kind::Datetime(_) => "a date or time",
            Kind::Array(_) => "an array",
            Kind::Table(_) => "a table",
            Kind::Broken => "a broken value",
        }
    }
}

/// Parses TOML as far as it can be parsed; syntax errors become problems.
pub(crate) fn parse(text: &str, problems: &mut Problems) -> Node {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut last_line = None;
    for error in errors {
        let span = error.span().map_or_else(Span::default, Span::from);
        // What follows on the same line is mostly a consequence.
        let line = text
            .get(..span.start)
            .map(|before| before.matches('\n').count());
        if line.is_some() && line == last_line {
            continue;
        }
        last_line = line;
        problems.push(
            Diagnostic::error("syntax", span, format!("not TOML: {}", error.message()))
                .label("cannot be read from here"),
        );
    }
    Builder { text, problems }.table(table)
}

struct Builder<'a> {
    text: &'a str,
    problems: &'a mut Problems,
}

impl Builder<'_> {
    fn table(&mut self, table: Spanned<DeTable<'_>>) -> Node {
        let span = Span::from(table.span());
        Node {
            span,
            kind: self.entries(table.into_inner()),
        }
    }

    fn entries(&mut self, table: DeTable<'_>) -> Kind {
        let mut entries: Vec<Entry> = table
            .into_iter()
            .map(|(key, value)| Entry {
                key: Key {
                    span: key.span().into(),
                    name: key.into_inner().into_owned(),
                },
                node: self.value(value),
            })
            .collect();
        // The parser's tables are sorted by name; the order of columns and outputs is the file's.
        entries.sort_by_key(|entry| entry.key.span.start);
        Kind::Table(entries)
    }

    fn value(&mut self, value: Spanned<DeValue<'_>>) -> Node {
        let span = Span::from(value.span());
        let kind = match value.into_inner() {
            // The parser's stand-in for a value it could not read, which is a syntax error.
            DeValue::Integer(_) if span.start == span.end => Kind::Broken,
            DeValue::String(string) => Kind::Str(Text {
                verbatim_at: verbatim(self.text, span, &string),
                value: string.into_owned(),
                span,
                filled: false,
            }),
            DeValue::Integer(digits) => {
                match i64::from_str_radix(digits.as_str(), digits.radix()) {
                    Ok(number) => Kind::Int(number),
                    Err(_) => self.refuse(span, "the integer does not fit into 64 bits"),
                }
            }
            DeValue::Float(digits) => match digits.as_str().parse() {
                Ok(number) => Kind::Float(number),
                Err(_) => self.refuse(span, "not a floating-point number"),
            },
            DeValue::Boolean(value) => Kind::Bool(value),
            DeValue::Datetime(value) => Kind::Datetime(Text {
                value: value.to_string(),
                span,
                verbatim_at: None,
                filled: false,
            }),
            DeValue::Array(items) => {
                Kind::Array(items.into_iter().map(|item| self.value(item)).collect())
            }
            DeValue::Table(table) => self.entries(table),
        };
        Node { span, kind }
    }

    fn refuse(&mut self, span: Span, message: &str) -> Kind {
        self.problems
            .push(Diagnostic::error("out-of-range", span, message));
        Kind::Broken
    }
}

/// Where `value` starts in the file if the string at `span` spells it byte for byte.
fn verbatim(text: &str, span: Span, value: &str) -> Option<usize> {
    let written = text.get(span.start..span.end)?;
    let quote = ["\"\"\"", "'''", "\"", "'"]
        .into_iter()
        .find(|quote| written.starts_with(quote))?;
    let mut inner = written.strip_prefix(quote)?.strip_suffix(quote)?;
    if quote.len() == 3 {
        // A line break right after the opening quotes is no part of the value.
        inner = inner
            .strip_prefix("\r\n")
            .or_else(|| inner.strip_prefix('\n'))
            .unwrap_or(inner);
    }
    (inner == value).then(|| span.end - quote.len() - inner.len())
}

impl crate::SqlText {
    /// Place in the file of a byte range of the text: exact where file and text agree byte for
    /// byte, else the whole value.
    pub fn locate(&self, range: std::ops::Range<usize>) -> Span {
        locate(self.verbatim_at, self.span, self.text.len(), range)
    }
}
