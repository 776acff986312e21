//! What is said about files with mistakes: all of it, each in its place.

use floodmark_pipeline::{Report, parse};

/// What a user sees of a file.
pub(crate) fn report(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> String {
    let diagnostics = match parse(text, environment) {
        Ok((_, notes)) => notes,
        Err(problems) => problems,
    };
    Report {
        file: "pipeline.toml",
        text,
        diagnostics: &diagnostics,
    }
    .render(false)
}

#[test]
fn a_file_with_ten_mistakes_and_more_shows_them_all() {
    let text = include_str!("../ten_mistakes.toml");
    insta::assert_snapshot!(report(text, &|_| None));
}
