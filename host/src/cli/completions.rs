//! `picket completions SHELL`.

use clap::CommandFactory;

use super::args::{Cli, CompletionsArgs, ExitCode, Global};

/// Prints the completion script of a shell.
pub fn run(args: &CompletionsArgs, _: &Global) -> anyhow::Result<ExitCode> {
    // Into memory first: the generator panics when a pipe is closed under it.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "picket", &mut script);
    super::print(&script)
}
