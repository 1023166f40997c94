//! A program that does nothing, to be executed under the name of another.
//!
//! The stage of the live firing test copies it to the path that a Sigma rule names and starts it with the arguments that the rule
//! looks for. It must not take part in that command line, so what it is told comes through the environment:
//!
//! - `STAND_IN_CHILD` (a path), `STAND_IN_CHILD_ARG_0`, `STAND_IN_CHILD_ARG_1`, ...: execute this child, with these arguments, and wait
//!   for it. The child is a stand-in as well, and this process is what its rule calls the parent.
//! - `STAND_IN_REPORT` (set): print who this process is, for the tests of the stage.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::{env, io};

/// Between the fields of a report; no fixture has it in an argument.
const SEPARATOR: &str = "\u{1f}";

fn main() -> ExitCode {
    match report().and_then(|()| run_child()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stand-in: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One line: executable, working directory, then each argument.
fn report() -> io::Result<()> {
    if env::var_os("STAND_IN_REPORT").is_none() {
        return Ok(());
    }
    let mut fields = vec![env::current_exe()?.display().to_string(), env::current_dir()?.display().to_string()];
    fields.extend(env::args());
    println!("{}", fields.join(SEPARATOR));
    Ok(())
}

fn run_child() -> io::Result<()> {
    let Some(path) = env::var_os("STAND_IN_CHILD") else { return Ok(()) };
    let arguments: Vec<_> = (0..).map_while(|index| env::var_os(format!("STAND_IN_CHILD_ARG_{index}"))).collect();
    let mut command = Command::new(path);
    command.env_remove("STAND_IN_CHILD");
    if let Some((first, rest)) = arguments.split_first() {
        command.arg0(first).args(rest);
    }
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("the child ended with {status}"))) }
}
