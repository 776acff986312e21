//! Secrets are in no message and in no debug output.

use floodmark_pipeline::{Report, parse};

const HIDDEN: &str = "hunter2";

/// Mistakes of every kind around secrets: in the values themselves, on their lines, in their keys.
const FILE: &str = r#"
name = "${HIDDEN}/"
[sources.a]
type = "kafka"
brokers = "${HIDDEN}:x"
topic = "${HIDDEN} topic"
start = "${HIDDEN}"
on_bad_record = "${HIDDEN}"
kafka = { "sasl.password" = "hunter2", "group.id" = "hunter2", "ssl.key.password" = ["hunter2"] }
[sources.a.schema]
x = "${HIDDEN}"
y = { type = "${HIDDEN}<", format = "${HIDDEN}" }
[sources.a.event_time]
column = "${HIDDEN}"
delay = "${HIDDEN}"
[outputs.o]
query = "SELECT"
[outputs.o.sink]
type = "parquet"
path = "${HIDDEN}://x"
target_file_size = "1 ${HIDDEN}"
[late]
type = "${HIDDEN}"
[checkpoint]
path = "s3://${HIDDEN} b"
[storage.s3]
secret_access_key = ["hunter2"]
secret_acess_key = "hunter2"
access_key_id = { a = "hunter2" }
endpoint = "${HIDDEN}"
password = 'hunter2'
"#;

fn environment(name: &str) -> Option<String> {
    (name == "HIDDEN").then(|| HIDDEN.to_owned())
}

fn shown(text: &str) -> String {
    let problems = parse(text, &environment).expect_err("is full of mistakes");
    let report = Report {
        file: "f",
        text,
        diagnostics: &problems,
    };
    let json = serde_json::to_string(&report.to_json()).expect("is JSON");
    report.render(false) + &report.render(true) + &json
}

#[test]
fn no_message_repeats_a_secret() {
    let shown_whole = shown(FILE);
    assert!(!shown_whole.contains(HIDDEN), "{shown_whole}");
    assert!(
        shown_whole.contains("${HIDDEN}"),
        "shows the file as written"
    );
}

#[test]
fn no_message_repeats_a_secret_of_a_file_that_is_no_toml() {
    for broken in [
        "secret_access_key = [\"hunter2\"",
        "password = hunter2",
        "\"sasl.password\" \"hunter2\"",
    ] {
        let text = FILE.replacen(
            "[checkpoint]",
            &format!("[storage\n{broken}\n[checkpoint]"),
            1,
        );
        let shown = shown(&text);
        assert!(!shown.contains(HIDDEN), "{broken}: {shown}");
    }
}

#[test]
fn a_pipeline_hides_its_secrets() {
    let text = r#"
name = "n"
[sources.a]
type = "kafka"
brokers = "b"
topic = "t"
on_bad_record = "skip"
schema = { x = "INT" }
kafka = { "sasl.password" = "${HIDDEN}", "sasl.username" = "hunter2" }
[outputs.o]
query = "SELECT 1"
sink = { type = "kafka", topic = "o" }
[checkpoint]
path = "c"
[storage.s3]
secret_access_key = "${HIDDEN}"
access_key_id = "hunter2"
"#;
    let (pipeline, _) = parse(text, &environment).expect("valid");
    let debug = format!("{pipeline:?}");
    assert!(!debug.contains(HIDDEN), "{debug}");
    let secret = pipeline.storage.secret_access_key.expect("given");
    assert_eq!(secret.expose(), HIDDEN);
}
