//! No file, however broken, makes reading or showing it fail.

use floodmark_pipeline::{Diagnostic, Report, Severity, Span, parse};
use proptest::collection::vec;
use proptest::prelude::*;

const SENSORS: &str = include_str!("../../../../pipelines/sensors.toml");
const MISTAKES: &str = include_str!("../ten_mistakes.toml");

/// Pieces of the language, to build nonsense that gets past the first check.
const PIECES: [&str; 36] = [
    "\n",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    ".",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "\\",
    "\\u",
    "${",
    "${A",
    "${A:-",
    "${A:?",
    "$${",
    "}",
    "type",
    "\"kafka\"",
    "sources",
    "schema",
    "sink",
    "outputs.a",
    "\"ARRAY<\"",
    "DECIMAL(",
    "1e999",
    "99999999999999999999",
    "-1",
    "1979-05-27",
    "é\u{301}😀",
    "\r\n",
];

fn examine(text: &str) {
    let outcome = parse(text, &|name| (name == "A").then(|| "\u{0}é\n\"".to_owned()));
    let diagnostics = match outcome {
        Ok((_, notes)) => notes,
        Err(problems) => {
            assert!(
                problems.iter().all(|it| it.code != "bad-structure"),
                "the schema let through what the structs do not take"
            );
            assert!(
                problems.iter().any(|it| it.severity == Severity::Error),
                "refused without an error"
            );
            problems
        }
    };
    let report = Report {
        file: "f",
        text,
        diagnostics: &diagnostics,
    };
    report.render(true);
    report.to_json();
}

fn cut(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

proptest! {
    #[test]
    fn a_mutated_file_is_read_or_refused(
        start in prop_oneof![Just(SENSORS), Just(MISTAKES)],
        edits in vec((any::<prop::sample::Index>(), 0..40usize, vec(0..PIECES.len(), 0..4)), 1..6),
    ) {
        let mut text = start.to_owned();
        for (place, removed, pieces) in edits {
            let from = cut(&text, place.index(text.len() + 1));
            let to = cut(&text, from + removed);
            let inserted: String = pieces.into_iter().map(|piece| PIECES[piece]).collect();
            text.replace_range(from..to.max(from), &inserted);
        }
        examine(&text);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*", pieces in vec(0..PIECES.len(), 0..60)) {
        examine(&text);
        examine(&pieces.into_iter().map(|piece| PIECES[piece]).collect::<String>());
    }

    #[test]
    fn any_span_can_be_shown(text in "(\\PC|\n|\r\n|\t){0,40}", start: usize, end in 0..60usize) {
        let spans = [(start % 60, end), (end, end), (start, usize::MAX), (end, start % 60)];
        let diagnostics: Vec<Diagnostic> = spans
            .into_iter()
            .map(|(start, end)| Diagnostic::error("x", Span { start, end }, "m\n\u{1b}").label("l"))
            .collect();
        let report = Report { file: "f", text: &text, diagnostics: &diagnostics };
        report.render(false);
        report.render(true);
        prop_assert_eq!(report.to_json().len(), diagnostics.len());
    }
}

#[test]
fn deep_nesting_is_refused() {
    examine(&format!("a = {}", "[".repeat(100_000)));
    examine(&format!(
        "a = {}1{}",
        "{a=".repeat(5_000),
        "}".repeat(5_000)
    ));
    examine(&format!("[{}a]", "a.".repeat(100_000)));
    examine(&format!("sources.x.kafka{} = 1", ".a".repeat(2_000)));
}
