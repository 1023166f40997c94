//! The command line: one file per subcommand.

pub mod args;
pub mod completions;
pub mod config;
pub mod fields;
pub mod man;
pub mod schema;
pub mod terminal;

use std::io::Write;

use args::ExitCode;

/// Writes data to stdout. A reader that has seen enough (`| head`) is not an error.
pub fn print(data: &[u8]) -> anyhow::Result<ExitCode> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(data).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(ExitCode::Ok),
    }
}
