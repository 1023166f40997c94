//! `cargo xtask run`: everything, then Picket itself.

use std::{ffi::OsString, fs, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context, Result, bail};

use crate::{Cannot, build, guests::Group, project::Project, stages::Stages};

/// Sets up, builds, and becomes `picket run` with `arguments`. Returns only if it cannot.
pub fn run(stages: &mut Stages, arguments: &[OsString]) -> Result<()> {
    // First, so that nobody waits for a build to read this.
    let status = fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    if !may_load_programs(&status) {
        bail!(Cannot(
            "loading eBPF programs needs root: type \
             `cargo xtask build && sudo target/release/picket run --guests target/guests --rules rules`, or try \
             `target/release/picket replay FILE --guests target/guests --rules rules`, which needs none"
                .to_owned()
        ));
    }
    let project = Project::load()?;
    build::everything(&project, stages)?;
    let mut picket = Command::new(project.picket());
    picket.arg("run").arg("--guests").arg(Group::Shipped.output(&project));
    picket.arg("--rules").arg(project.root.join("rules")).args(arguments);
    Err(picket.exec()).with_context(|| format!("{} does not start", project.picket().display()))
}

/// Whether the effective capabilities in the text of `/proc/self/status` hold `CAP_SYS_ADMIN`, or both `CAP_PERFMON` and
/// `CAP_BPF`. Asking for uid 0 instead would refuse a process that was given just these, and admit a stripped container.
fn may_load_programs(status: &str) -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    const PERFMON_AND_BPF: u64 = 1 << 38 | 1 << 39;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
        .unwrap_or(0);
    effective & SYS_ADMIN != 0 || effective & PERFMON_AND_BPF == PERFMON_AND_BPF
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_decide_not_the_user() {
        assert!(may_load_programs("Name:\tx\nCapEff:\t000001ffffffffff\n"));
        assert!(may_load_programs("CapEff:\t000000c000000000\n"));
        assert!(!may_load_programs("CapEff:\t0000004000000000\n"), "CAP_PERFMON alone");
        assert!(!may_load_programs("CapEff:\t0000000000000000\n"));
        assert!(!may_load_programs(""));
    }
}
