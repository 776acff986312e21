//! The command line as its users see it: standard output, standard error, exit code.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod broker;
mod check;
mod checkpoint;
mod demo;
mod generate;
mod otlp;
mod probe;
mod process;

use std::path::Path;
use std::process::Command;

/// A pipeline over files, in a directory that it calls DIR.
const SITE: &str = include_str!("site.toml");

/// Runs `floodmark` in the repository's root with no variables but those given.
fn floodmark(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(env!("CARGO_BIN_EXE_floodmark"))
        .args(arguments)
        .current_dir(root)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .expect("runs floodmark");
    format!(
        "exit code: {}\n----- stdout -----\n{}----- stderr -----\n{}",
        output
            .status
            .code()
            .map_or("none".to_owned(), |code| code.to_string()),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    )
}

#[test]
fn the_version_is_one_line_whatever_is_built_in_and_the_help_says_what_is() {
    let version = floodmark(&["--version"], &[]);
    let line = format!("floodmark {}\n", env!("CARGO_PKG_VERSION"));
    let wanted = format!("exit code: 0\n----- stdout -----\n{line}----- stderr -----\n");
    assert_eq!(version, wanted);
    let help = floodmark(&["--help"], &[]);
    let tls = if cfg!(feature = "ssl") {
        "Built with TLS to Kafka (ssl)"
    } else {
        "Built without TLS to Kafka (ssl)"
    };
    assert!(help.contains(tls), "{help}");
}
