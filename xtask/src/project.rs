//! The workspace as cargo describes it.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The workspace this tool was built in.
pub struct Project {
    /// Folder of the root `Cargo.toml`.
    pub root: PathBuf,
    /// Where cargo puts its output: `target/`, unless the user moved it.
    pub target: PathBuf,
    pub packages: Vec<Package>,
}

/// A workspace member.
pub struct Package {
    pub name: String,
    pub folder: PathBuf,
    pub targets: Vec<Target>,
}

/// A library or binary of a package.
pub struct Target {
    pub name: String,
    /// `lib`, `cdylib`, `bin`, `test`, ... in cargo's words.
    pub kinds: Vec<String>,
}

impl Project {
    pub fn load() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in no workspace")?.to_owned();
        let output = cargo(&root)
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .stderr(Stdio::inherit())
            .output()
            .context("cargo does not start")?;
        if !output.status.success() {
            bail!("cargo metadata failed");
        }
        let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
        Self::read(root, &metadata).context("cargo metadata lacks a field that this tool needs")
    }

    fn read(root: PathBuf, metadata: &Value) -> Option<Self> {
        let packages = metadata["packages"].as_array()?.iter().map(Package::read).collect::<Option<_>>()?;
        Some(Self { root, target: metadata["target_directory"].as_str()?.into(), packages })
    }

    /// The cargo that started this tool, in the root folder.
    pub fn cargo(&self) -> Command {
        cargo(&self.root)
    }

    /// The built host.
    pub fn picket(&self) -> PathBuf {
        self.target.join("release/picket")
    }
}

impl Package {
    fn read(package: &Value) -> Option<Self> {
        Some(Self {
            name: package["name"].as_str()?.to_owned(),
            folder: Path::new(package["manifest_path"].as_str()?).parent()?.to_owned(),
            targets: package["targets"].as_array()?.iter().map(Target::read).collect::<Option<_>>()?,
        })
    }
}

impl Target {
    fn read(target: &Value) -> Option<Self> {
        let kinds =
            target["kind"].as_array()?.iter().map(|kind| kind.as_str().map(str::to_owned)).collect::<Option<_>>()?;
        Some(Self { name: target["name"].as_str()?.to_owned(), kinds })
    }

    pub fn is(&self, kind: &str) -> bool {
        self.kinds.iter().any(|own| own == kind)
    }
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    for variable in about_this_tool() {
        command.env_remove(variable);
    }
    command
}

/// What `cargo run` says about xtask in the environment. Build scripts watch such variables (ring's does), so a cargo that
/// inherits them builds again what the user's own cargo has built, and the other way round.
pub fn about_this_tool() -> impl Iterator<Item = OsString> {
    env::vars_os().map(|(name, _)| name).filter(|name| {
        name.to_str().is_some_and(|name| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start)))
    })
}

/// Runs a command that talks to the user itself; an unsuccessful end is an error that names `what`.
pub fn succeed(command: &mut Command, what: &str) -> Result<()> {
    let program = command.get_program().to_owned();
    let status = command.status().with_context(|| format!("{what}: {} does not start", program.display()))?;
    if !status.success() {
        bail!("{what} failed ({status})");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_describes_itself() {
        let project = Project::load().expect("cargo metadata of this workspace");
        let own = project.packages.iter().find(|package| package.name == "xtask").expect("this package");
        assert_eq!(own.folder, project.root.join("xtask"));
        assert!(own.targets.iter().any(|target| target.name == "xtask" && target.is("bin")));
    }

    #[test]
    fn a_failing_command_is_named() {
        let error = succeed(&mut Command::new("false"), "guest decode").expect_err("false fails");
        assert!(error.to_string().starts_with("guest decode failed"), "{error}");
    }
}
