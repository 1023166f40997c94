//! `cargo xtask bench`: the measurements of `picket-bench`, with a build before them.

use std::{ffi::OsString, process::Command};

use anyhow::{Result, bail};

use crate::{
    build,
    project::{Project, succeed},
    stages::Stages,
};

const BINARY: &str = "picket-bench";

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
    let mut command = Command::new(project.target.join("release").join(BINARY));
    succeed(command.current_dir(&project.root).args(arguments), BINARY)
}
