//! Why a record was refused, in words for whoever reads the dead letters.

use std::fmt;
use std::sync::Arc;

/// Longest timestamp or date that is quoted in a reason; anything longer is not one anyway.
const MAX_QUOTED: usize = 32;

/// Why a record was refused. One pointer wide: it travels through the hot path's return values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject(Box<Detail>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Detail {
    problem: Problem,
    /// Byte of the record the problem was seen at; `None` for the record as a whole.
    at: Option<usize>,
    column: Option<Arc<Label>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Problem {
    Utf8,
    Syntax(&'static str),
    NumberRange,
    TooDeep,
    NotAnObject(&'static str),
    Missing,
    WrongType(&'static str),
    OutOfRange,
    Malformed {
        what: &'static str,
        quoted: Option<Box<str>>,
    },
    TooLarge,
}

/// What a column, or a place inside one, is called in a reason.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Label {
    /// `temperature_c`, `position.lat`, `tags[]`.
    pub(super) path: String,
    /// The SQL type, as the pipeline file writes it.
    pub(super) ty: String,
}

impl Reject {
    #[cold]
    fn new(problem: Problem, at: Option<usize>) -> Self {
        Self(Box::new(Detail {
            problem,
            at,
            column: None,
        }))
    }

    pub(super) fn utf8(at: usize) -> Self {
        Self::new(Problem::Utf8, Some(at))
    }

    /// `expected` completes "expected …".
    pub(super) fn syntax(at: usize, expected: &'static str) -> Self {
        Self::new(Problem::Syntax(expected), Some(at))
    }

    pub(super) fn number_range(at: usize) -> Self {
        Self::new(Problem::NumberRange, Some(at))
    }

    pub(super) fn too_deep(at: usize) -> Self {
        Self::new(Problem::TooDeep, Some(at))
    }

    pub(super) fn not_an_object(at: usize, found: Option<&u8>) -> Self {
        match kind_of(found) {
            Some(found) => Self::new(Problem::NotAnObject(found), Some(at)),
            None => Self::syntax(at, "'{'"),
        }
    }

    /// The value that begins with the byte `found` does not fit the column.
    pub(super) fn wrong_type(at: usize, found: Option<&u8>) -> Self {
        match kind_of(found) {
            Some(found) => Self::wrong_kind(at, found),
            None => Self::syntax(at, "a value"),
        }
    }

    pub(super) fn wrong_kind(at: usize, found: &'static str) -> Self {
        Self::new(Problem::WrongType(found), Some(at))
    }

    pub(super) fn out_of_range(at: usize) -> Self {
        Self::new(Problem::OutOfRange, Some(at))
    }

    /// A string that is not `what`. Short text is quoted: the reader wants to see it.
    #[cold]
    pub(super) fn malformed(at: usize, what: &'static str, text: &str) -> Self {
        let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let quoted = (printable && text.len() <= MAX_QUOTED).then(|| text.into());
        Self::new(Problem::Malformed { what, quoted }, Some(at))
    }

    /// A string that is not `what` and whose text stays out of the reason.
    pub(super) fn malformed_unquoted(at: usize, what: &'static str) -> Self {
        Self::new(Problem::Malformed { what, quoted: None }, Some(at))
    }

    #[cold]
    pub(super) fn missing(column: &Arc<Label>) -> Self {
        Self::new(Problem::Missing, None).of(column)
    }

    pub(super) fn too_large() -> Self {
        Self::new(Problem::TooLarge, None)
    }

    /// Names the column, unless a place inside it is named already or it is not the column's fault.
    #[cold]
    pub(super) fn of(mut self, column: &Arc<Label>) -> Self {
        let about_column = !matches!(
            self.0.problem,
            Problem::Utf8 | Problem::Syntax(_) | Problem::NumberRange | Problem::TooDeep
        );
        if about_column && self.0.column.is_none() {
            self.0.column = Some(Arc::clone(column));
        }
        self
    }

    /// A stable name for metrics and dead letters, in kebab case.
    pub fn code(&self) -> &'static str {
        match self.0.problem {
            Problem::Utf8 => "invalid-utf8",
            Problem::Syntax(_) | Problem::NumberRange => "invalid-json",
            Problem::TooDeep => "too-deep",
            Problem::NotAnObject(_) => "not-an-object",
            Problem::Missing => "missing-field",
            Problem::WrongType(_) => "wrong-type",
            Problem::OutOfRange => "out-of-range",
            Problem::Malformed { .. } => "malformed-value",
            Problem::TooLarge => "too-large",
        }
    }

    /// The column at fault, or the place inside it (`position.lat`, `tags[]`).
    pub fn column(&self) -> Option<&str> {
        self.0.column.as_deref().map(|label| label.path.as_str())
    }

    /// The byte of the record the problem was seen at.
    pub fn at(&self) -> Option<usize> {
        self.0.at
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Detail {
            problem,
            at,
            column,
        } = &*self.0;
        let at = at.unwrap_or_default();
        let ty = column.as_ref().map_or("a value", |label| label.ty.as_str());
        if let Some(label) = column {
            write!(f, "{}: ", label.path)?;
        }
        match problem {
            Problem::Utf8 => write!(f, "not valid UTF-8 at byte {at}"),
            Problem::Syntax(expected) => {
                write!(f, "not valid JSON at byte {at}: expected {expected}")
            }
            Problem::NumberRange => {
                write!(
                    f,
                    "not valid JSON at byte {at}: number beyond the range of a double"
                )
            }
            Problem::TooDeep => write!(
                f,
                "nested deeper than {} levels at byte {at}",
                super::MAX_DEPTH
            ),
            Problem::NotAnObject(found) => {
                write!(f, "expected a JSON object, found {found} at byte {at}")
            }
            Problem::Missing => f.write_str("required but missing or null"),
            Problem::WrongType(found) => write!(f, "expected {ty}, found {found} at byte {at}"),
            Problem::OutOfRange => write!(f, "value at byte {at} is out of range for {ty}"),
            Problem::Malformed {
                what,
                quoted: Some(text),
            } => write!(f, "'{text}' is not {what}"),
            Problem::Malformed { what, quoted: None } => {
                write!(f, "the string at byte {at} is not {what}")
            }
            Problem::TooLarge => f.write_str("too large for one batch"),
        }
    }
}

impl std::error::Error for Reject {}

/// What kind of value begins with this byte.
fn kind_of(first: Option<&u8>) -> Option<&'static str> {
    Some(match first? {
        b'"' => "a string",
        b'{' => "an object",
        b'[' => "an array",
        b't' | b'f' => "a boolean",
        b'n' => "null",
        b'-' | b'0'..=b'9' => "a number",
        _ => return None,
    })
}
