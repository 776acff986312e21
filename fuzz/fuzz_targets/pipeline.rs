//! The pipeline file, SQL included: any text.
//!
//! `cargo +nightly fuzz run pipeline -- -dict=fuzz/pipeline.dict` from the repository's root. A
//! text becomes a pipeline and a plan, or problems, each of which can be shown; nothing panics.

#![no_main]

use floodmark_pipeline::{Diagnostic, Report, parse};
use libfuzzer_sys::fuzz_target;

fn variable(name: &str) -> Option<String> {
    (name.len() % 2 == 0).then(|| format!("value of {name}"))
}

fn show(text: &str, diagnostics: &[Diagnostic]) {
    let report = Report {
        file: "pipeline.toml",
        text,
        diagnostics,
    };
    assert!(diagnostics.is_empty() || !report.render(true).is_empty());
    assert_eq!(report.to_json().len(), diagnostics.len());
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match parse(text, &variable) {
        Ok((pipeline, diagnostics)) => {
            show(text, &diagnostics);
            if let Err(problems) = floodmark_sql::plan(&pipeline) {
                assert!(!problems.is_empty(), "a refusal says why");
            }
        }
        Err(diagnostics) => {
            assert!(!diagnostics.is_empty(), "a refusal says why");
            show(text, &diagnostics);
        }
    }
});
