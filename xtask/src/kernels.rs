//! The kernel side under other kernels: the live test of the host, in a virtual machine.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    Misuse,
    build::NATIVE,
    project::Project,
    setup,
    stages::Outcome,
    vm::{vm, vm_tree},
};

/// What `test` boots, as kernel and boot arguments: Debian 12's kernel as it is, and with the preemption that lets a
/// program be interrupted between its two probes.
pub const BOOTS: &[(&str, &str)] = &[("6.1", ""), ("6.1", "preempt=full")];

/// The test of `host/tests/` that needs nothing but itself and a kernel.
const LIVE_TEST: &str = "ebpf_live";

/// A small module that needs no other, for the live test to load.
const TEST_MODULE: &str = "dummy.ko";

/// `cargo xtask vm KERNEL [--append ARGS]`
pub fn command(arguments: &[OsString]) -> Result<()> {
    let words: Option<Vec<&str>> = arguments.iter().map(|argument| argument.to_str()).collect();
    let (kernel, append) = match words.as_deref() {
        Some([kernel]) => (*kernel, ""),
        Some([kernel, "--append", append]) => (*kernel, *append),
        _ => bail!(Misuse("vm takes a kernel series such as 6.1".to_owned())),
    };
    match boot(&Project::load()?, kernel, append)? {
        Outcome::Done => Ok(()),
        Outcome::Skipped(reason) => bail!(crate::Cannot(reason)),
    }
}

/// Runs the live test on the kprobe rung, which the machine that builds often lacks, and prints what it said.
pub fn boot(project: &Project, kernel: &str, append: &str) -> Result<Outcome> {
    for (program, package) in [("qemu-system-x86_64", "qemu-system-x86"), ("busybox", "busybox-static")] {
        if setup::find_program(program).is_none() {
            return Ok(Outcome::Skipped(format!("{program} is missing (Debian package {package})")));
        }
    }
    // The kernels are kept below the folder in which this tool works.
    env::set_current_dir(&project.root).with_context(|| format!("cannot enter {}", project.root.display()))?;
    let test = live_test(project)?;
    let module = module_of(&vm_tree(kernel)?, TEST_MODULE);
    let mut files = vec![(test, "/root/ebpf_live")];
    files.extend(module.map(|module| (module, "/root/test.ko")));
    let log = vm(kernel, append, &files, "/root/ebpf_live --rung kprobe")?;
    println!("{}", log.trim_end());
    Ok(Outcome::Done)
}

/// The module of this name below a kernel package's tree, compressed or not; none in kernels that have it built in.
fn module_of(tree: &Path, name: &str) -> Option<PathBuf> {
    let mut open = vec![tree.join("lib/modules"), tree.join("usr/lib/modules")];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                open.push(path);
            } else if entry.file_name().to_string_lossy().starts_with(name) {
                return Some(path);
            }
        }
    }
    None
}

/// Builds the live test with the features of every other build, and says where it is.
fn live_test(project: &Project) -> Result<PathBuf> {
    let mut cargo = project.cargo();
    cargo.args(["test", "--release", "--no-run", "--message-format", "json-render-diagnostics", "--test", LIVE_TEST]);
    let output = cargo.args(NATIVE).stderr(Stdio::inherit()).output().context("cargo does not start")?;
    if !output.status.success() {
        bail!("building the test {LIVE_TEST} failed ({})", output.status);
    }
    executable(&String::from_utf8_lossy(&output.stdout)).with_context(|| format!("cargo made no test {LIVE_TEST}"))
}

/// The path of the live test in cargo's messages, one JSON object a line.
fn executable(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut own = messages.filter(|message| message["target"]["name"] == LIVE_TEST);
    own.find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_live_test_is_found_among_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"picket"},"executable":"/t/release/picket"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"ebpf_live"},"executable":"/t/release/deps/ebpf_live-1"}"#,
            "\nnot json\n",
        );
        assert_eq!(executable(messages), Some("/t/release/deps/ebpf_live-1".into()));
        assert_eq!(executable("{}"), None);
    }

    #[test]
    fn a_module_is_found_at_any_depth() -> Result<()> {
        let tree = env::temp_dir().join(format!("picket-module-{}", std::process::id()));
        let deep = tree.join("lib/modules/6.1/kernel/drivers/net");
        fs::create_dir_all(&deep)?;
        assert_eq!(module_of(&tree, TEST_MODULE), None);
        fs::write(deep.join("dummy.ko.xz"), "")?;
        let found = module_of(&tree, TEST_MODULE);
        fs::remove_dir_all(&tree)?;
        assert_eq!(found, Some(deep.join("dummy.ko.xz")));
        Ok(())
    }

    #[test]
    fn a_kernel_must_be_named() {
        assert!(command(&[]).expect_err("no kernel").is::<Misuse>());
        assert!(command(&["6.1".into(), "--apend".into(), "x".into()]).expect_err("a typo").is::<Misuse>());
    }
}
