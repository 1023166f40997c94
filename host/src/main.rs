//! The `picket` command.

use clap::Parser as _;
use picket::cli::args::Cli;

fn main() -> std::process::ExitCode {
    picket::cli::main(&Cli::parse()).into()
}
