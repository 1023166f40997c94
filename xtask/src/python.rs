//! The Python environment of the receivers under `tests/`.

use std::{fs, process::Command};

use anyhow::Result;

use crate::{
    project::{Project, succeed},
    setup::quiet,
    stages::Outcome,
};

/// The reference implementation that checks our signatures.
const PACKAGES: &[&str] = &["standardwebhooks==1.0.0"];

/// Makes `target/python` with [`PACKAGES`], unless it is there.
pub fn environment(project: &Project) -> Result<Outcome> {
    let folder = project.target.join("python");
    let stamp = folder.join("picket-packages");
    let wanted = PACKAGES.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|present| present == wanted) {
        return Ok(Outcome::Done);
    }
    let python = ["/usr/bin/python3", "python3"]
        .into_iter()
        .find(|python| quiet(Command::new(python).args(["-c", "import ensurepip, venv"])));
    let Some(python) = python else {
        return Ok(Outcome::Skipped("there is no python3 with venv".to_owned()));
    };
    succeed(Command::new(python).args(["-m", "venv", "--clear"]).arg(&folder), "making a Python environment")?;
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
    succeed(&mut pip, "installing Python packages")?;
    fs::write(&stamp, wanted)?;
    Ok(Outcome::Done)
}
