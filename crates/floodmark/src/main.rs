//! The `floodmark` command.

mod cli;
mod http;
mod os;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
