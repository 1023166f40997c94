//! `cargo xtask test`: every check and every test, in the order in which a mistake is cheapest to find.

use std::{ffi::OsString, process::Command};

use anyhow::Result;

use crate::{
    build::{self, NATIVE},
    kernels,
    project::{Project, succeed},
    rungs,
    setup::{self, quiet},
    stages::{Outcome, Stages},
};

/// Runs all stages up to the first that fails, and prints the summary in either case. Arguments (after a `--`, which may
/// be left out) go to cargo test; so does the filter in `PICKET_TEST_FILTER`.
pub fn test(mut stages: Stages, arguments: &[OsString]) -> Result<()> {
    let arguments = match arguments.split_first() {
        Some((first, rest)) if first == "--" => rest,
        _ => arguments,
    };
    let filter = std::env::var_os("PICKET_TEST_FILTER");
    let arguments: Vec<OsString> = arguments.iter().cloned().chain(filter).collect();
    let result = every_stage(&mut stages, &arguments);
    println!("{}", stages.summary());
    result
}

fn every_stage(stages: &mut Stages, arguments: &[OsString]) -> Result<()> {
    let project = Project::load()?;
    stages.stage("format", || cargo(&project, &["fmt", "--all", "--check"], "fmt"))?;
    build::everything(&project, stages)?;
    build::test_guests(&project, stages)?;
    setup::test_needs(stages)?;
    stages.stage("clippy", || clippy(&project))?;
    stages.stage("licences and sources", || cargo(&project, &["deny", "check"], "deny"))?;
    stages.stage("cargo test of xtask", || {
        succeed(project.cargo().args(["test", "--package", "xtask"]), "cargo test").map(|()| Outcome::Done)
    })?;
    stages.stage("cargo test", || {
        let mut command = project.cargo();
        command.args(["test", "--release"]);
        if !names_packages(arguments) {
            command.args(NATIVE);
        }
        succeed(command.args(arguments), "cargo test").map(|()| Outcome::Done)
    })?;
    stages.stage("our rules", || rules(&project))?;
    for (kernel, append) in kernels::BOOTS {
        stages.stage(format!("kernel {kernel} {append}").trim_end(), || kernels::boot(&project, kernel, append))?;
    }
    stages.stage("rungs", || rungs::compare(&project))?;
    Ok(())
}

/// Runs a subcommand of cargo that may not be installed.
fn cargo(project: &Project, arguments: &[&str], tool: &str) -> Result<Outcome> {
    if !quiet(project.cargo().args([tool, "--version"])) {
        return Ok(Outcome::Skipped(format!("cargo-{tool} is not installed")));
    }
    succeed(project.cargo().args(arguments), &format!("cargo {tool}")).map(|()| Outcome::Done)
}

fn clippy(project: &Project) -> Result<Outcome> {
    let lints = ["--all-targets", "--", "--deny", "warnings"];
    // In the release profile, so that build scripts and macros are those of the build.
    let native = [&["clippy", "--release"], NATIVE, &lints].concat();
    if let skipped @ Outcome::Skipped(_) = cargo(project, &native, "clippy")? {
        return Ok(skipped);
    }
    cargo(project, &[&["clippy", "--package", "xtask"][..], &lints].concat(), "clippy")
}

/// Whether the arguments for cargo test choose packages themselves.
fn names_packages(arguments: &[OsString]) -> bool {
    let own = arguments.iter().take_while(|argument| *argument != "--");
    own.map(|argument| argument.to_string_lossy())
        .any(|argument| argument == "--workspace" || argument.starts_with("-p") || argument.starts_with("--package"))
}

/// `picket validate` and `picket test` over our own rules.
fn rules(project: &Project) -> Result<Outcome> {
    if !project.root.join("rules").is_dir() {
        return Ok(Outcome::Skipped("there is no folder rules".to_owned()));
    }
    for command in ["validate", "test"] {
        let mut picket = Command::new(project.picket());
        picket.current_dir(&project.root).args([command, "rules"]);
        succeed(&mut picket, &format!("picket {command} rules"))?;
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_package_replaces_the_workspace() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert!(names_packages(&words("-p picket live")));
        assert!(names_packages(&words("--package=picket")));
        assert!(!names_packages(&words("live -- -p")));
        assert!(!names_packages(&[]));
    }
}
