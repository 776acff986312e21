//! `floodmark check`.

use super::floodmark;

const SENSORS: &str = "pipelines/sensors.toml";
const MISTAKES: &str = "crates/floodmark/tests/cli/two_mistakes.toml";

#[test]
fn a_valid_file_is_ok() {
    insta::assert_snapshot!(floodmark(&["check", SENSORS], &[]));
}

#[test]
fn every_file_is_checked_and_every_problem_shown() {
    insta::assert_snapshot!(floodmark(&["check", MISTAKES, SENSORS], &[]));
}

#[test]
fn problems_are_written_for_programs_too() {
    insta::assert_snapshot!(floodmark(&["check", "--format", "json", MISTAKES], &[]));
}

#[test]
fn no_problems_are_an_empty_array() {
    insta::assert_snapshot!(floodmark(&["check", "--format", "json", SENSORS], &[]));
}

#[test]
fn variables_come_from_the_environment() {
    let variables = [("KAFKA_BROKERS", "not a broker")];
    insta::assert_snapshot!(floodmark(&["check", SENSORS], &variables));
}

#[test]
fn a_file_that_is_not_there_is_a_run_time_error() {
    insta::assert_snapshot!(floodmark(&["check", "no/such.toml"], &[]));
}

#[test]
fn a_file_is_needed() {
    insta::assert_snapshot!(floodmark(&["check"], &[]));
}

#[test]
fn the_schema_is_json() {
    let shown = floodmark(&["check", "--schema"], &[]);
    let schema = shown
        .split("----- stdout -----\n")
        .nth(1)
        .and_then(|rest| rest.split("----- stderr -----").next())
        .expect("has standard output");
    let schema: serde_json::Value = serde_json::from_str(schema).expect("is JSON");
    assert_eq!(schema["title"], "Floodmark pipeline");
}
