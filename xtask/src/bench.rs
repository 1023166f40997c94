//! `cargo xtask bench`: the measurements of `picket-bench`, with a build before them.

use std::{ffi::OsString, process::Command};

use anyhow::{Result, bail};

use crate::{
    build,
    project::{Project, succeed},
    stages::{Outcome, Stages},
};

const BINARY: &str = "picket-bench";

/// The engines that ours is compared with: a workspace of its own, because they need a newer compiler than Picket does.
fn peers(project: &Project) -> Outcome {
    let manifest = project.root.join("tests/peers/Cargo.toml");
    // The default compiler first; rustup knows the other.
    for toolchain in [None, Some("nightly")] {
        let mut command = match toolchain {
            None => project.cargo(),
            Some(name) => {
                let mut command = Command::new("rustup");
                command.args(["run", name, "cargo"]);
                command
            }
        };
        command.args(["build", "--release", "--locked", "--manifest-path"]).arg(&manifest);
        command.arg("--target-dir").arg(project.target.join("peers"));
        if succeed(&mut command, "the other engines").is_ok() {
            return Outcome::Done;
        }
    }
    Outcome::Skipped("they need Rust 1.96 or later".to_owned())
}

/// Builds and passes `arguments` (a name, `--json`) on: `picket-bench` knows its names and lists them.
pub fn bench(stages: &mut Stages, arguments: &[OsString]) -> Result<()> {
    let project = Project::load()?;
    if !project
        .packages
        .iter()
        .flat_map(|package| &package.targets)
        .any(|target| target.name == BINARY && target.is("bin"))
    {
        bail!("no package of the workspace has a binary {BINARY}");
    }
    build::everything(&project, stages)?;
    let given = |word: &str| arguments.iter().any(|argument| argument == word);
    if given("sigma") && !given("--alone") {
        stages.stage("other engines", || Ok(peers(&project)))?;
    }
    let mut command = Command::new(project.target.join("release").join(BINARY));
    succeed(command.current_dir(&project.root).args(arguments), BINARY)
}
