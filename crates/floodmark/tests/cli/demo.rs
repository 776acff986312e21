//! `floodmark demo`.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use super::broker::read;
use super::floodmark;
use super::process::Process;

/// Runs a demo that must not come to run, and hides what differs from run to run.
fn refused(dir: &Path, listen: &str) -> String {
    let data = dir.to_str().unwrap();
    let flags = ["demo", "--listen", listen, "--data", data, "--http", "off"];
    let shown = floodmark(&flags, &[]);
    shown.replace(data, "DIR").replace(listen, "HOST:PORT")
}

/// Parquet files that a reader of the directory sees.
fn parquet_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        let visible = !path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with(['.', '_']);
        if path.is_dir() && visible {
            found.extend(parquet_files(&path));
        } else if visible && path.extension().is_some_and(|ending| ending == "parquet") {
            found.push(path);
        }
    }
    found
}

/// The number before ` taken` in an output's line of the ledger.
fn taken(output: &str, by: &str) -> usize {
    let line = output
        .lines()
        .find(|line| line.starts_with(&format!("  {by}: ")));
    let line = line.unwrap_or_else(|| panic!("no ledger of {by}:\n{output}"));
    let (before, _) = line.split_once(" taken").unwrap();
    let number = before.rsplit(' ').next().unwrap().replace(',', "");
    number.parse().unwrap()
}

#[test]
fn its_help_says_what_it_does() {
    insta::assert_snapshot!(floodmark(&["demo", "--help"], &[]));
}

#[test]
fn from_nothing_to_alerts_and_files_and_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (listen, data_dir) = ("127.0.0.1:0", data.to_str().unwrap());
    let flags = ["--listen", listen, "--data", data_dir, "--http", "off"];
    let demo = |run_for| Process::start(&[&["demo", "--for", run_for], &flags[..]].concat());

    let mut first = demo("12s");
    let address = first.address();
    let early = read(&address, "sensor_alerts", 1);
    assert!(early[0].contains("\"temperature_c\":"), "{}", early[0]);
    assert_eq!(first.end().code(), Some(0), "{}", first.output());
    let files = parquet_files(&data.join("curated"));
    assert!(!files.is_empty(), "{}", first.output());
    assert!(taken(&first.output(), "curated") > 15_000);

    let mut second = demo("1s");
    assert_eq!(second.end().code(), Some(0), "{}", second.output());
    let alerts = taken(&second.output(), "alerts");
    assert!(alerts >= taken(&first.output(), "alerts"));
    assert!(taken(&second.output(), "curated") > taken(&first.output(), "curated"));
    let now = parquet_files(&data.join("curated"));
    assert!(files.iter().all(|file| now.contains(file)), "{now:?}");

    let topics = data.join("broker");
    let topics = topics.to_str().unwrap();
    let mut broker = Process::start(&["broker", "--listen", "127.0.0.1:0", "--data", topics]);
    assert_eq!(
        read(&broker.address(), "sensor_alerts", alerts).len(),
        alerts
    );
}

#[test]
fn the_first_ctrl_c_drains() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let (listen, http) = ("127.0.0.1:0", "127.0.0.1:0");
    let flags = ["demo", "--listen", listen, "--http", http, "--data", data];
    let mut demo = Process::start(&flags);
    read(&demo.address(), "sensor_alerts", 1);
    demo.interrupt();
    assert_eq!(demo.end().code(), Some(0), "{}", demo.output());
    assert!(taken(&demo.output(), "alerts") > 0);
}

#[test]
fn a_port_that_is_taken_is_named_with_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(refused(
        dir.path(),
        &taken.local_addr().unwrap().to_string()
    ));
}

#[test]
fn a_dashboard_s_port_that_is_taken_is_named_with_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (data, at) = (
        dir.path().to_str().unwrap(),
        taken.local_addr().unwrap().to_string(),
    );
    let flags = [
        "demo",
        "--listen",
        "127.0.0.1:0",
        "--data",
        data,
        "--http",
        &at,
    ];
    let shown = floodmark(&flags, &[]);
    insta::assert_snapshot!(shown.replace(&at, "HOST:PORT"));
}

#[test]
fn a_second_demo_in_a_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let lock = fs::File::create(dir.path().join("demo.lock")).unwrap();
    lock.lock().unwrap();
    insta::assert_snapshot!(refused(dir.path(), "127.0.0.1:0"));
}

#[test]
fn a_directory_of_a_newer_floodmark_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("demo.json"), r#"{"format":2}"#).unwrap();
    insta::assert_snapshot!(refused(dir.path(), "127.0.0.1:0"));
}

#[test]
fn a_directory_of_somebody_else_s_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("sensors.toml"), "").unwrap();
    insta::assert_snapshot!(refused(dir.path(), "127.0.0.1:0"));
}

#[test]
fn mistakes_in_the_edited_file_are_shown_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("demo.lock"), "").unwrap();
    let mistakes = include_str!("two_mistakes.toml");
    fs::write(dir.path().join("sensors.toml"), mistakes).unwrap();
    insta::assert_snapshot!(refused(dir.path(), "127.0.0.1:0"));
}

#[test]
fn a_file_that_reads_nothing_from_the_demo_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("demo.lock"), "").unwrap();
    let reference = include_str!("../../../../pipelines/sensors.toml");
    let elsewhere = reference
        .replace("${KAFKA_BROKERS:-localhost:9092}", "127.0.0.1:1")
        .replace("s3://rt-stream", "/nonexistent");
    fs::write(dir.path().join("sensors.toml"), elsewhere).unwrap();
    insta::assert_snapshot!(refused(dir.path(), "127.0.0.1:0"));
}
