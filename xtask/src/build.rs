//! Builds: the host with the kernel object inside it, and the guests.

use anyhow::Result;

use crate::{
    guests::{self, Group},
    project::{Project, succeed},
    setup,
    stages::{Outcome, Stages},
};

/// What every native cargo command is about, for building and testing alike. With another selection cargo would choose
/// other features for shared dependencies, and compile wasmtime once more.
pub const NATIVE: &[&str] = &["--workspace", "--exclude", "xtask"];

/// Set-up, then what Picket runs with.
pub fn everything(project: &Project, stages: &mut Stages) -> Result<()> {
    setup::build_needs(stages)?;
    host(project, stages)?;
    guests(project, stages)
}

/// `target/release/picket`, with the kernel object inside it
pub fn host(project: &Project, stages: &mut Stages) -> Result<()> {
    stages.stage("kernel object and host", || {
        succeed(project.cargo().args(["build", "--release"]).args(NATIVE), "cargo build")?;
        Ok(Outcome::Done)
    })
}

/// `target/guests/*.wasm`
pub fn guests(project: &Project, stages: &mut Stages) -> Result<()> {
    stages.stage("guests", || guests::build(project, Group::Shipped, setup::wasm_toolchain).map(|()| Outcome::Done))
}

/// `target/test-guests/*.wasm`
pub fn test_guests(project: &Project, stages: &mut Stages) -> Result<()> {
    stages.stage("test guests", || guests::build(project, Group::Test, setup::wasm_toolchain).map(|()| Outcome::Done))
}
