//! Exit codes: scripts rely on them.

use std::process::ExitCode;

/// How a command that did not succeed ends.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Failed at run time: exit code 1.
    Runtime(anyhow::Error),
    /// Wrong usage that the flag parser could not see: exit code 2.
    Usage(String),
    /// Fenced by another instance: exit code 3.
    Fenced(anyhow::Error),
    /// Invalid configuration, already explained on standard error: exit code 78.
    Invalid,
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Runtime(error)
    }
}

/// Prints a failure to standard error and turns the outcome into the process's exit code.
pub(crate) fn report(outcome: Result<(), Failure>) -> ExitCode {
    let (code, error) = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Runtime(error)) => (1, Some(format!("{error:#}"))),
        Err(Failure::Usage(message)) => (2, Some(message)),
        Err(Failure::Fenced(error)) => (3, Some(format!("{error:#}"))),
        Err(Failure::Invalid) => (78, None),
    };
    if let Some(error) = error {
        eprintln!("error: {error}");
    }
    ExitCode::from(code)
}
