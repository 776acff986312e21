//! The `floodmark` command.

mod cli;
mod http;
mod os;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(not(feature = "otlp"))]
#[path = "otlp/absent.rs"]
mod otlp;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
