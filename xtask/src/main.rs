//! The only build tool of the repository: set-up, build, run, test and bench.
//!
//! Standard output carries data (the summary of `test`, the rows of `bench`); everything else goes to standard error.

mod bench;
mod build;
mod debian;
mod guests;
mod kernels;
mod project;
mod run;
mod rungs;
mod setup;
mod stages;
mod test;
mod vm;
mod wasm;

use std::{env, ffi::OsString, fmt, process::ExitCode};

use anyhow::{Result, bail};

use crate::{
    project::Project,
    stages::{Outcome, Stages},
};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  setup [--test]               install what is missing on this machine (--test: also what only the tests need)
  build [--only-guests]        kernel object, host and guests: target/release/picket, target/guests/*.wasm
        [--test-guests]        (--test-guests: also those of tests/guests, to target/test-guests/*.wasm)
  run [ARGS...]                set up, build, then `picket run` with our guests and rules and ARGS (needs root)
  test [-- CARGO-TEST-ARGS...] set up, build, then every check and every test
  vm KERNEL [--append ARGS]    the live test on another kernel (6.1), in QEMU; ARGS go to the kernel's command line
  vm all                       the live test on every kernel we claim, and docs/kernels.md from what it saw
  rungs                        whether rules find the same on kprobes and on tracepoints, in QEMU
  bench [NAME] [--json]        build, then measure; --json prints one object per row; dispatch and replay if none is named
        correlation | live     what correlating costs; what collecting costs a host, beside others
        sigma [--full] [--alone] [--rules=N]
                               our engine beside others (--full: the whole matrix; --alone: without the others)

exit codes: 0 ok, 1 failed, 2 wrong usage, 4 this machine cannot";

/// This machine lacks something that may not be installed from here. The text is one sentence with what to type.
#[derive(Debug)]
struct Cannot(String);

impl fmt::Display for Cannot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Cannot {}

/// The command line makes no sense.
#[derive(Debug)]
struct Misuse(String);

impl fmt::Display for Misuse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}\n\n{USAGE}", self.0)
    }
}

impl std::error::Error for Misuse {}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(if error.is::<Misuse>() {
                2
            } else if error.is::<Cannot>() {
                4
            } else {
                1
            })
        }
    }
}

fn dispatch(arguments: &[OsString]) -> Result<()> {
    let Some((command, rest)) = arguments.split_first() else { bail!(Misuse("no command given".to_owned())) };
    let command = command.to_string_lossy();
    if matches!(command.as_ref(), "help" | "--help" | "-h") {
        println!("{USAGE}");
        return Ok(());
    }
    let mut stages = Stages::new();
    match command.as_ref() {
        "setup" => {
            let [tests] = flags(rest, ["--test"])?;
            setup::build_needs(&mut stages)?;
            if tests { setup::test_needs(&mut stages) } else { Ok(()) }
        }
        "build" => {
            // There is one profile; `--release` is accepted because fingers type it.
            let [only_guests, test_guests, _] = flags(rest, ["--only-guests", "--test-guests", "--release"])?;
            let project = Project::load()?;
            setup::build_needs(&mut stages)?;
            if !only_guests {
                build::host(&project, &mut stages)?;
            }
            build::guests(&project, &mut stages)?;
            if test_guests { build::test_guests(&project, &mut stages) } else { Ok(()) }
        }
        "run" => run::run(&mut stages, rest),
        "test" => test::test(stages, rest),
        "vm" => kernels::command(rest),
        "rungs" => rungs::compare(&Project::load()?).and_then(|outcome| match outcome {
            Outcome::Done => Ok(()),
            Outcome::Skipped(reason) => bail!(Cannot(reason)),
        }),
        "bench" => bench::bench(&mut stages, rest),
        other => bail!(Misuse(format!("there is no command `{other}`"))),
    }
}

/// Whether each flag of `known` was given; anything else is misuse.
fn flags<const N: usize>(arguments: &[OsString], known: [&str; N]) -> Result<[bool; N]> {
    let mut given = [false; N];
    for argument in arguments {
        match known.iter().position(|flag| argument == flag) {
            Some(index) => given[index] = true,
            None => bail!(Misuse(format!("unknown argument `{}`", argument.display()))),
        }
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_flags_are_misuse_and_known_ones_are_seen() {
        let given = flags(&["--b".into()], ["--a", "--b"]).expect("a known flag");
        assert_eq!(given, [false, true]);
        let error = flags(&["--c".into()], ["--a", "--b"]).expect_err("an unknown flag");
        assert!(error.is::<Misuse>() && error.to_string().contains("--c"), "{error}");
    }

    #[test]
    fn an_unknown_command_is_misuse() {
        assert!(dispatch(&["biuld".into()]).expect_err("no such command").is::<Misuse>());
        assert!(dispatch(&[]).expect_err("no command").is::<Misuse>());
    }
}
