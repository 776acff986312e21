//! `floodmark completions`.

use clap::CommandFactory;

use super::exit::Failure;

/// Print shell completions
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: floodmark completions bash > /etc/bash_completion.d/floodmark")]
pub(crate) struct Args {
    /// Shell to print completions for
    shell: clap_complete::Shell,
}

#[allow(clippy::unnecessary_wraps, reason = "every command has this signature")]
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    clap_complete::generate(
        args.shell,
        &mut super::Cli::command(),
        "floodmark",
        &mut std::io::stdout(),
    );
    Ok(())
}
