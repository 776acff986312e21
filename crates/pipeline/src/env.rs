//! `${VAR}`, `${VAR:-default}`, `${VAR:?message}` and the escape `$${`.
//!
//! Filled in after parsing and in string values only: a value can change what a string says, never
//! what the file means.

use crate::Span;
use crate::diagnostic::{Diagnostic, Problems};
use crate::node::{Kind, Node, Text};

/// Looks a variable up.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Fills every string below `node`. A string that cannot be filled is reported and broken.
pub(crate) fn fill(node: &mut Node, environment: Environment<'_>, problems: &mut Problems) {
    match &mut node.kind {
        Kind::Str(text) => {
            if !fill_text(text, environment, problems) {
                node.kind = Kind::Broken;
            }
        }
        Kind::Array(items) => items
            .iter_mut()
            .for_each(|item| fill(item, environment, problems)),
        Kind::Table(entries) => entries
            .iter_mut()
            .for_each(|entry| fill(&mut entry.node, environment, problems)),
        Kind::Int(_) | Kind::Float(_) | Kind::Bool(_) | Kind::Datetime(_) | Kind::Broken => {}
    }
}

fn fill_text(text: &mut Text, environment: Environment<'_>, problems: &mut Problems) -> bool {
    let mut filled = String::with_capacity(text.value.len());
    let (mut sound, mut from_outside) = (true, false);
    let mut at = 0;
    while let Some(dollar) = text.value[at..].find('$').map(|found| at + found) {
        filled.push_str(&text.value[at..dollar]);
        let rest = &text.value[dollar..];
        if rest.starts_with("$${") {
            filled.push_str("${");
            at = dollar + 3;
        } else if let Some(inner) = rest.strip_prefix("${") {
            let (length, outcome) = reference(inner, environment);
            let place = text.locate(dollar..dollar + 2 + length);
            match outcome {
                Ok(value) => filled.push_str(&value),
                Err(unfilled) => {
                    problems.push(unfilled.diagnostic(place));
                    sound = false;
                }
            }
            from_outside = true;
            at = dollar + 2 + length;
        } else {
            filled.push('$');
            at = dollar + 1;
        }
    }
    filled.push_str(&text.value[at..]);
    if filled != text.value {
        text.value = filled;
        text.verbatim_at = None;
    }
    text.filled = from_outside;
    sound
}

/// Fills the references of a value that is given elsewhere than in a file, a flag's for instance; or says
/// why one has no value. What a variable holds is never repeated.
pub fn fill_value(value: &str, environment: Environment<'_>) -> Result<String, String> {
    let mut text = Text {
        value: value.to_owned(),
        span: Span::default(),
        verbatim_at: None,
        filled: false,
    };
    let mut problems = Problems::default();
    if fill_text(&mut text, environment, &mut problems) {
        return Ok(text.value);
    }
    let all = problems.into_sorted();
    let said = all.iter().map(|problem| {
        let why = problem.help.as_deref().unwrap_or(&problem.label);
        format!("{}; {why}", problem.message)
    });
    Err(said.collect::<Vec<_>>().join(", "))
}

/// Why a reference has no value.
enum Unfilled<'a> {
    Malformed(&'static str),
    Unset(&'a str),
    Required(&'a str, &'a str),
}

/// Resolves what follows `${`; also returns the length of it, closing brace included.
fn reference<'a>(
    inner: &'a str,
    environment: Environment<'_>,
) -> (usize, Result<String, Unfilled<'a>>) {
    let Some(end) = inner.find('}') else {
        return (inner.len(), Err(Unfilled::Malformed("`${` without `}`")));
    };
    let body = &inner[..end];
    let name_end = body
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(body.len());
    let (name, rest) = body.split_at(name_end);
    let outcome = if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        Err(Unfilled::Malformed(
            "a variable's name has letters, digits and `_`, and no digit first",
        ))
    } else if rest.is_empty() {
        environment(name).ok_or(Unfilled::Unset(name))
    } else if let Some(default) = rest.strip_prefix(":-") {
        Ok(non_empty(name, environment).unwrap_or_else(|| default.to_owned()))
    } else if let Some(message) = rest.strip_prefix(":?") {
        non_empty(name, environment).ok_or(Unfilled::Required(name, message))
    } else {
        Err(Unfilled::Malformed(
            "the forms are `${VAR}`, `${VAR:-default}` and `${VAR:?message}`",
        ))
    };
    (end + 1, outcome)
}

fn non_empty(name: &str, environment: Environment<'_>) -> Option<String> {
    environment(name).filter(|value| !value.is_empty())
}

impl Unfilled<'_> {
    fn diagnostic(self, place: Span) -> Diagnostic {
        match self {
            Self::Malformed(reason) => {
                Diagnostic::error("bad-variable", place, "this is no reference to a variable")
                    .label(reason)
                    .help("write `$${` for a dollar sign and a brace that mean themselves")
            }
            Self::Unset(name) => Diagnostic::error(
                "unset-variable",
                place,
                format!("environment variable `{name}` is not set"),
            )
            .label("has no value")
            .help(format!("set it, or give a default: `${{{name}:-default}}`")),
            Self::Required(name, message) => Diagnostic::error(
                "unset-variable",
                place,
                format!("environment variable `{name}` is not set"),
            )
            .label(if message.is_empty() {
                "needs a value".to_owned()
            } else {
                message.to_owned()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flags_value_is_filled_as_a_files_is() {
        let environment = |name: &str| (name == "WORD").then(|| "hunter2".to_owned());
        let fill = |value| fill_value(value, &environment);
        assert_eq!(fill("${WORD}"), Ok("hunter2".to_owned()));
        assert_eq!(
            fill("a$b ${NO:-c} $${WORD}"),
            Ok("a$b c ${WORD}".to_owned())
        );
        let unset = fill("${WORD} ${NO}").unwrap_err();
        assert!(unset.contains("`NO` is not set; set it"), "{unset}");
        assert!(!unset.contains("hunter2"), "{unset}");
        let required = fill("${NO:?the password}").unwrap_err();
        assert!(required.contains("the password"), "{required}");
        assert!(fill("${WORD").is_err());
    }
}
