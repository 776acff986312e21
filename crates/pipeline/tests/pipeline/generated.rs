//! Files made from the documented structs are what the structs say.
//!
//! `UPDATE_GENERATED=1 cargo test -p floodmark-pipeline` rewrites them.

use std::path::Path;

use floodmark_pipeline::{json_schema, reference};

fn holds(path: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path);
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::create_dir_all(path.parent().expect("has a parent")).expect("creates directory");
        std::fs::write(&path, expected).expect("writes file");
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{} is not what the structs in raw.rs say; run UPDATE_GENERATED=1 cargo test -p \
         floodmark-pipeline",
        path.display()
    );
}

#[test]
fn the_reference_page_is_true() {
    holds("docs/guide/pipeline-file.md", &reference());
}

#[test]
fn the_json_schema_is_true() {
    let schema = serde_json::to_string_pretty(&json_schema()).expect("is JSON");
    holds("schema/pipeline.schema.json", &format!("{schema}\n"));
}
