//! What is wrong with a query, and where.

use std::fmt;
use std::ops::Range;

use datafusion_common::DataFusionError;

use super::text::Text;

/// The piece of SQL in the pipeline file that a problem is in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum QueryRef {
    /// The query of a view.
    View(String),
    /// The query of an output.
    Output(String),
    /// A partition column of an output's sink.
    PartitionBy {
        /// Output.
        output: String,
        /// Partition column.
        column: String,
    },
    /// The record key of an output's sink.
    Key {
        /// Output.
        output: String,
    },
    /// A record header of an output's sink.
    Header {
        /// Output.
        output: String,
        /// Header.
        header: String,
    },
}

impl fmt::Display for QueryRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::View(name) => write!(f, "view `{name}`"),
            Self::Output(name) => write!(f, "output `{name}`"),
            Self::PartitionBy { output, column } => {
                write!(f, "partition column `{column}` of output `{output}`")
            }
            Self::Key { output } => write!(f, "key of output `{output}`"),
            Self::Header { output, header } => write!(f, "header `{header}` of output `{output}`"),
        }
    }
}

/// What kind of problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlCode {
    /// Not a query of Spark's dialect.
    Syntax,
    /// A table, column, field or function that does not exist.
    UnknownName,
    /// Spark runs it; this engine does not yet.
    NotBuilt,
    /// Has no meaning over an unbounded stream.
    Unbounded,
    /// Its result would change when rows are evaluated again after a restart.
    NotRepeatable,
    /// Types or arguments that do not go together.
    Type,
    /// The time of a window is not the source's event time.
    EventTime,
}

impl SqlCode {
    /// The code as diagnostics show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "sql-syntax",
            Self::UnknownName => "sql-unknown-name",
            Self::NotBuilt => "sql-not-built",
            Self::Unbounded => "sql-unbounded",
            Self::NotRepeatable => "sql-not-repeatable",
            Self::Type => "sql-type",
            Self::EventTime => "sql-event-time",
        }
    }
}

/// One problem of one query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{query}: {message}")]
pub struct SqlProblem {
    /// Where the query stands.
    pub query: QueryRef,
    /// Bytes of that query's text, if the problem has a place narrower than the whole.
    pub at: Option<Range<usize>>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// What kind of problem it is.
    pub code: SqlCode,
}

/// Collects the problems of one query.
#[derive(Debug)]
pub(super) struct Problems<'a> {
    query: &'a QueryRef,
    found: &'a mut Vec<SqlProblem>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(query: &'a QueryRef, found: &'a mut Vec<SqlProblem>) -> Self {
        Self { query, found }
    }

    /// Reports a problem.
    pub(super) fn add(
        &mut self,
        code: SqlCode,
        at: Option<Range<usize>>,
        message: impl Into<String>,
    ) {
        self.push(code, at, message.into(), None);
    }

    /// Reports a problem and its way out.
    pub(super) fn add_with_help(
        &mut self,
        code: SqlCode,
        at: Option<Range<usize>>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(code, at, message.into(), Some(help.into()));
    }

    fn push(
        &mut self,
        code: SqlCode,
        at: Option<Range<usize>>,
        message: String,
        help: Option<String>,
    ) {
        let problem = SqlProblem {
            query: self.query.clone(),
            at,
            message,
            help,
            code,
        };
        if !self.found.contains(&problem) {
            self.found.push(problem);
        }
    }

    /// How many problems there are, of all queries.
    pub(super) fn count(&self) -> usize {
        self.found.len()
    }

    /// Reports what the planner refused.
    pub(super) fn planner(&mut self, error: &DataFusionError, text: &Text<'_>) {
        for error in error.iter() {
            let root = error.find_root();
            let message = tidy(&root.message());
            let code = match root {
                DataFusionError::NotImplemented(_) => SqlCode::NotBuilt,
                DataFusionError::SchemaError(_, _) => SqlCode::UnknownName,
                _ => SqlCode::Type,
            };
            let Some(diagnostic) = error.diagnostic() else {
                self.add(code, mentioned(&message, text), message);
                continue;
            };
            let at = diagnostic.span.and_then(|span| text.planner_range(span));
            let at = at.or_else(|| mentioned(&message, text));
            let help = diagnostic.helps.first().map(|h| h.message.clone());
            self.push(code, at, message, help);
        }
    }
}

/// The planner's messages without its own signature listings and bug-report notes.
fn tidy(message: &str) -> String {
    let message = message.split("\n\nbacktrace").next().unwrap_or(message);
    let message = message
        .split(" No function matches the given name")
        .next()
        .unwrap_or(message);
    let message = message
        .split("\n\tCandidate functions")
        .next()
        .unwrap_or(message);
    let message = message
        .split("This issue was likely caused by a bug")
        .next()
        .unwrap_or(message);
    message.trim().trim_end_matches('.').to_owned()
}

/// The place of the first word of the query that a message names in quotes or calls.
fn mentioned(message: &str, text: &Text<'_>) -> Option<Range<usize>> {
    let quoted = message
        .split(['`', '\'', '"', '(', ' '])
        .filter(|w| w.len() > 1);
    let mut words = quoted.filter(|w| w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    words.find_map(|word| {
        let marked = ["`", "'", "\""]
            .iter()
            .any(|q| message.contains(&format!("{q}{word}{q}")))
            || message.contains(&format!("{word}("));
        if marked { text.word(word) } else { None }
    })
}

/// The name nearest to `wanted` among `names`, if one is near enough to be meant.
pub(super) fn nearest<'n>(
    wanted: &str,
    names: impl IntoIterator<Item = &'n str>,
) -> Option<&'n str> {
    let wanted = wanted.to_ascii_lowercase();
    let most = (wanted.chars().count() / 3).clamp(1, 3);
    names
        .into_iter()
        .map(|name| (distance(&wanted, &name.to_ascii_lowercase()), name))
        .filter(|(d, _)| *d <= most)
        .min()
        .map(|(_, name)| name)
}

/// "did you mean" for a name, if there is one to propose.
pub(super) fn did_you_mean<'n>(
    wanted: &str,
    names: impl IntoIterator<Item = &'n str>,
) -> Option<String> {
    nearest(wanted, names).map(|name| format!("did you mean `{name}`?"))
}

/// Levenshtein's distance, a swap of neighbours counting as one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}
