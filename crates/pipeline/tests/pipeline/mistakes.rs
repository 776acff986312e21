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

/// The sound parts of a file that tests add mistakes to.
const SOUND: &str = r#"
name = "test"
[sources.events]
type = "kafka"
brokers = "localhost:9092"
topic = "events"
on_bad_record = "skip"
schema = { id = "STRING NOT NULL", ts = "TIMESTAMP" }
[outputs.all]
query = "SELECT * FROM events"
sink = { type = "parquet", path = "out" }
[checkpoint]
path = "checkpoints"
"#;

/// Codes and pointed-at texts of everything said about a file.
fn found(text: &str) -> Vec<(&'static str, &str)> {
    let diagnostics = match parse(text, &|_| None) {
        Ok((_, notes)) => notes,
        Err(problems) => problems,
    };
    diagnostics
        .iter()
        .map(|it| (it.code, &text[it.span.start..it.span.end]))
        .collect()
}

/// What is said about the sound file after a replacement.
fn after(from: &str, to: &str) -> Vec<(&'static str, String)> {
    assert!(SOUND.contains(from), "{from} is not in the sound file");
    let text = SOUND.replacen(from, to, 1);
    found(&text)
        .into_iter()
        .map(|(code, place)| (code, place.to_owned()))
        .collect()
}

fn one(code: &'static str, place: &str) -> Vec<(&'static str, String)> {
    vec![(code, place.to_owned())]
}

#[test]
fn nothing_is_said_about_a_sound_file() {
    assert_eq!(found(SOUND), []);
}

#[test]
fn syntax_errors_are_shown_with_the_sound_rest() {
    let text = r#"name = "x
[sources.a
type = "kafka"
topik = 3
[outputs.o]
query = 5
sink = { type = "console", colour = true }
[checkpoint]
path = = "c"
interval = "10 parsecs"
"#;
    insta::assert_snapshot!(report(text, &|_| None));
}

#[test]
fn keys_types_and_words_are_checked() {
    assert_eq!(
        after("[checkpoint]", "[chekpoint]"),
        one("unknown-key", "chekpoint")
    );
    assert_eq!(
        after("[checkpoint]\npath = \"checkpoints\"", ""),
        one("missing-key", "")
    );
    assert_eq!(
        after("path = \"checkpoints\"", ""),
        one("missing-key", "checkpoint")
    );
    assert_eq!(
        after("type = \"kafka\"", "type = \"kafca\""),
        one("unknown-value", "\"kafca\"")
    );
    assert_eq!(after("type = \"kafka\"", ""), one("missing-key", "events"));
    assert_eq!(after("name = \"test\"", "name = 5"), one("wrong-type", "5"));
    assert_eq!(after("\"TIMESTAMP\" }", "5 }"), one("wrong-type", "5"));
    assert_eq!(
        after("\"TIMESTAMP\" }", "{ format = \"rfc3339\" } }"),
        one("missing-key", "ts")
    );
    assert_eq!(
        after("schema = {", "schema = {} #"),
        one("missing-value", "schema")
    );
    assert_eq!(
        after("[checkpoint]", "[engine]\nbatch_rows = 0\n[checkpoint]"),
        one("out-of-range", "0")
    );
    assert_eq!(
        after(
            "[checkpoint]",
            "[engine]\nbatch_rows = 99999999999999999999\n[checkpoint]"
        ),
        one("out-of-range", "99999999999999999999")
    );
}

#[test]
fn names_must_suit_sql_and_not_collide() {
    assert_eq!(
        after("[outputs.all]", "[outputs.\"a b\"]"),
        one("bad-name", "\"a b\"")
    );
    assert_eq!(after("\"test\"", "\"-\""), one("bad-name", "\"-\""));
    assert_eq!(
        after("[outputs.all]", "[outputs.late]"),
        one("bad-name", "late")
    );
    assert_eq!(
        after(
            "[checkpoint]",
            "[views]\nEvents = \"SELECT 1\"\n[checkpoint]"
        ),
        one("duplicate-name", "Events")
    );
    assert_eq!(
        after("ts = \"TIME", "ID = \"TIME"),
        one("duplicate-name", "ID")
    );
    assert_eq!(
        after("\"events\"", "\"an event\""),
        one("bad-topic", "\"an event\"")
    );
}

#[test]
fn event_time_is_a_timestamp_column() {
    let with = |column: &str| {
        let event_time = format!("event_time = {{ column = \"{column}\", delay = \"1 s\" }}\n");
        after("[outputs.all]", &format!("{event_time}[outputs.all]"))
    };
    assert_eq!(with("ts"), []);
    assert_eq!(with("tz"), one("unknown-column", "tz"));
    assert_eq!(with("id"), one("bad-event-time", "id"));
}

#[test]
fn kafka_properties_of_the_engine_are_refused_in_every_spelling() {
    let with = |property: &str| {
        let table = format!("[sources.events.kafka]\n{property}\n[outputs.all]");
        after("[outputs.all]", &table)
    };
    assert_eq!(with("\"isolation.level\" = \"read_uncommitted\""), []);
    assert_eq!(with("socket.timeout.ms = 1000"), []);
    assert_eq!(
        with("\"group.id\" = \"x\""),
        one("managed-property", "\"group.id\"")
    );
    assert_eq!(
        with("transactional.id = \"x\""),
        one("managed-property", "id")
    );
    assert_eq!(
        with("sasl.jaas.config = \"x\""),
        one("java-property", "config")
    );
    assert_eq!(with("sasl.mechanism = \"PLAIN\""), []);
    assert_eq!(
        with("sasl.mechanisms = \"OAuthBearer\""),
        one("unsupported-mechanism", "\"OAuthBearer\"")
    );
    assert_eq!(
        with("a.b = 1\n\"a.b\" = 2"),
        one("duplicate-name", "\"a.b\"")
    );
}

#[test]
fn a_kafka_sink_needs_a_cluster() {
    let text = SOUND
        .replacen("type = \"kafka\"", "type = \"generator\"", 1)
        .replacen("brokers = \"localhost:9092\"\ntopic = \"events\"\n", "", 1)
        .replacen(
            "type = \"parquet\", path = \"out\"",
            "type = \"kafka\", topic = \"t\"",
            1,
        );
    assert_eq!(found(&text), [("missing-brokers", "all")]);
    let text = text.replacen("topic = \"t\"", "topic = \"t\", brokers = \"a:1,b:x\"", 1);
    assert_eq!(found(&text), [("bad-brokers", "b:x")]);
}

#[test]
fn a_dead_letter_needs_its_table() {
    assert_eq!(
        after("\"skip\"", "\"dead_letter\""),
        one("missing-dead-letter", "\"dead_letter\"")
    );
    assert_eq!(
        after("on_bad_record = \"skip\"\n", ""),
        one("drops-bad-records", "events")
    );
    assert_eq!(
        after(
            "[checkpoint]",
            "[dead_letter]\ntype = \"kafka\"\ntopic = \"events\"\n[checkpoint]"
        ),
        one("feedback-loop", "\"events\"")
    );
}

#[test]
fn a_start_is_a_word_or_a_moment() {
    let with = |start: &str| after("topic =", &format!("start = {start}\ntopic ="));
    assert_eq!(with("2025-08-17T12:00:00Z"), []);
    assert_eq!(with("2025-08-17 12:00:00+02:00"), []);
    assert_eq!(with("\"2025-08-17T12:00:00Z\""), []);
    assert_eq!(with("\"latest\""), []);
    assert_eq!(with("\"last\""), one("unknown-value", "\"last\""));
    assert_eq!(with("2025-08-17"), one("unknown-value", "2025-08-17"));
    assert_eq!(with("5"), one("wrong-type", "5"));
}

#[test]
fn numbers_beyond_their_range_are_refused() {
    let with = |key: &str| {
        let text = SOUND
            .replacen(
                "type = \"kafka\"",
                &format!("type = \"generator\"\n{key}"),
                1,
            )
            .replacen("brokers = \"localhost:9092\"\ntopic = \"events\"\n", "", 1);
        found(&text)
            .iter()
            .map(|(code, _)| *code)
            .collect::<Vec<_>>()
    };
    assert_eq!(with("rate = 1_000"), [""; 0]);
    for key in [
        "devices = 5_000_000_000",
        "rate = 0",
        "rate = inf",
        "late = nan",
        "count = -1",
    ] {
        assert_eq!(with(key), ["out-of-range"], "{key}");
    }
}

#[test]
fn files_in_a_bucket_are_no_larger_than_a_server_copies() {
    let with = |path: &str, size: &str| {
        let sink = format!("path = \"{path}\", target_file_size = \"{size}\"");
        after("path = \"out\"", &sink)
    };
    assert_eq!(with("s3://b/out", "4 GB"), []);
    assert_eq!(with("s3://b/out", "5 GB"), one("out-of-range", "\"5 GB\""));
    assert_eq!(with("out", "5 GB"), []);
}

#[test]
fn line_ends_and_marks_of_other_systems_change_nothing() {
    assert_eq!(found(&SOUND.replace('\n', "\r\n")), []);
    let marked = format!("\u{feff}{}", SOUND.replacen("\"test\"", "5", 1));
    assert_eq!(found(&marked), [("wrong-type", "5")]);
}

#[test]
fn the_console_is_said_to_be_at_least_once() {
    let sink = "type = \"console\"";
    assert_eq!(
        after("type = \"parquet\", path = \"out\"", sink),
        one("at-least-once", "all")
    );
}

#[test]
fn writers_do_not_share_a_directory() {
    assert_eq!(
        after("\"checkpoints\"", "\"./out/\""),
        one("shared-location", "\"./out/\"")
    );
    assert_eq!(
        after("\"checkpoints\"", "\"out/c\""),
        one("nested-location", "\"out/c\"")
    );
}

#[test]
fn variables_are_reported_where_they_stand() {
    assert_eq!(
        after("\"out\"", "\"a/${B}/c\""),
        one("unset-variable", "${B}")
    );
    assert_eq!(
        after("\"out\"", "\"a/${B:?say where}\""),
        one("unset-variable", "${B:?say where}")
    );
    assert_eq!(after("\"out\"", "\"a/${B\""), one("bad-variable", "${B"));
    assert_eq!(after("\"out\"", "\"a/${1}\""), one("bad-variable", "${1}"));
    assert_eq!(
        after("\"out\"", "\"a/${B-c}\""),
        one("bad-variable", "${B-c}")
    );
    assert_eq!(after("\"out\"", "\"a/$B/$${C}/${D:-d}$\""), []);
}
