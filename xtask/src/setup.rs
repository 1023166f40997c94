//! What the machine must have, and how it gets there.
//!
//! On a Debian-like machine, as root, what is missing is installed with apt-get. Otherwise the one sentence of [`Cannot`]
//! says what to type. A complete machine costs a few file look-ups.

use std::{
    env, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    Cannot,
    stages::{Outcome, Stages},
    wasm::{self, Toolchain},
};

/// A thing to find on the machine, and the Debian package that brings it.
struct Need {
    sign: Sign,
    package: &'static str,
}

enum Sign {
    /// A program in PATH, or where root's programs are.
    Program(&'static str),
    /// A header below `/usr/include` or `/usr/local/include`.
    Header(&'static str),
    /// Python can make virtual environments with pip in them.
    PythonVenv,
    /// Python has this module.
    PythonModule(&'static str),
}

use Sign::{Header, Program, PythonModule, PythonVenv};

/// For the kernel object.
const BUILD: &[Need] = &[
    Need { sign: Program("clang"), package: "clang" },
    Need { sign: Header("bpf/bpf_helpers.h"), package: "libbpf-dev" },
];

/// For the tests alone.
const TEST: &[Need] = &[
    // The network namespaces. (The virtual machine is not installed: see debian.rs.)
    Need { sign: Program("ip"), package: "iproute2" },
    // The receiver that checks signatures with the reference library.
    Need { sign: Program("python3"), package: "python3" },
    Need { sign: PythonVenv, package: "python3-venv" },
    // Rules and their tests against the schemas that editors use.
    Need { sign: PythonModule("jsonschema"), package: "python3-jsonschema" },
    // The real programs that rules are about, which the firing tests run.
    Need { sign: Program("at"), package: "at" },
    Need { sign: Program("chattr"), package: "e2fsprogs" },
    Need { sign: Program("crontab"), package: "cron" },
    Need { sign: Program("curl"), package: "curl" },
    Need { sign: Program("git"), package: "git" },
    Need { sign: Program("nc.openbsd"), package: "netcat-openbsd" },
    Need { sign: Program("perl"), package: "perl-base" },
    Need { sign: Program("setcap"), package: "libcap2-bin" },
    Need { sign: Program("useradd"), package: "passwd" },
    Need { sign: Program("vim"), package: "vim" },
    Need { sign: Program("wget"), package: "wget" },
];

/// Everything `build` and `run` need.
pub fn build_needs(stages: &mut Stages) -> Result<()> {
    stages.stage("set-up", || {
        provide(BUILD)?;
        provide_wasm()?;
        Ok(Outcome::Done)
    })
}

/// What only the tests need. Where it cannot be installed the tests that use it are skipped, not the others.
pub fn test_needs(stages: &mut Stages) -> Result<()> {
    stages.stage("set-up for tests", || match provide(TEST) {
        Err(error) if error.is::<Cannot>() => Ok(Outcome::Skipped(error.to_string())),
        result => result.map(|()| Outcome::Done),
    })
}

/// The toolchain for guests; [`build_needs`] has run before.
pub fn wasm_toolchain() -> Result<Toolchain> {
    Toolchain::find().context("no Rust for wasm32-unknown-unknown: run `cargo xtask setup`")
}

pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn provide(needs: &[Need]) -> Result<()> {
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() || find_program("apt-get").is_none() {
        bail!(Cannot(sentence(&missing, find_program("apt-get").is_some())));
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    apt_install(&packages)
}

fn missing(needs: &[Need]) -> Vec<&Need> {
    needs.iter().filter(|need| !need.sign.is_there()).collect()
}

impl Sign {
    fn is_there(&self) -> bool {
        match self {
            Program(name) => find_program(name).is_some(),
            Header(name) => ["/usr/include", "/usr/local/include"].iter().any(|dir| Path::new(dir).join(name).exists()),
            PythonVenv => quiet(Command::new("python3").args(["-c", "import ensurepip, venv"])),
            PythonModule(name) => quiet(Command::new("python3").args(["-c", &format!("import {name}")])),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Program(name) | Header(name) | PythonModule(name) => name,
            PythonVenv => "python3 with venv",
        }
    }
}

/// What a person types to get what is missing.
fn sentence(missing: &[&Need], apt: bool) -> String {
    let names: Vec<&str> = missing.iter().map(|need| need.sign.name()).collect();
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    let (names, packages) = (names.join(", "), packages.join(" "));
    if apt {
        format!("missing: {names}: type `sudo apt-get install -y --no-install-recommends {packages}`")
    } else {
        format!("missing: {names}: install them with this system's package manager (Debian calls them: {packages})")
    }
}

fn provide_wasm() -> Result<()> {
    if Toolchain::find().is_some() {
        return Ok(());
    }
    // 30 MB against Debian's 300, and it is the Rust that the user already has.
    if find_program("rustup").is_some() {
        eprintln!("set-up: rustup target add {}", wasm::TARGET);
        // rustup's own words say why if it fails; Debian's Rust is the other way.
        let _ = Command::new("rustup").args(["target", "add", wasm::TARGET]).stdout(Stdio::null()).status();
        if Toolchain::find().is_some() {
            return Ok(());
        }
    }
    if is_root() && find_program("apt-get").is_some() {
        apt_install(wasm::DEBIAN_PACKAGES)?;
        if Toolchain::find().is_some() {
            return Ok(());
        }
    }
    bail!(Cannot(if find_program("rustup").is_some() {
        format!("missing: Rust for {0}: type `rustup target add {0}`", wasm::TARGET)
    } else {
        format!(
            "missing: Rust for {}: type `sudo apt-get install -y --no-install-recommends {}`",
            wasm::TARGET,
            wasm::DEBIAN_PACKAGES.join(" ")
        )
    }))
}

/// Installs packages, after a refresh of the package lists if it does not work without: a fresh machine has none.
fn apt_install(packages: &[&str]) -> Result<()> {
    eprintln!("set-up: apt-get install {}", packages.join(" "));
    // --no-remove: a conflict with something the user has is for the user to resolve.
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends", "--no-remove"];
    install.extend(packages);
    if apt_get(&install).is_ok() {
        return Ok(());
    }
    eprintln!("set-up: apt-get update");
    apt_get(&["update", "-qq"])?;
    apt_get(&install)
}

/// Runs apt-get in silence; the error carries the end of what it said.
fn apt_get(arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .context("apt-get does not start")?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    bail!("apt-get {} failed ({}):\n{}", arguments.join(" "), output.status, tail(&String::from_utf8_lossy(&said), 20))
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Whether a command ends well; what it prints does not matter.
pub fn quiet(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // A user's PATH often lacks the folders of root's programs, which the tests call all the same.
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_command_to_type() {
        let needs = [
            Need { sign: Program("no-such-program"), package: "some-package" },
            Need { sign: Program("sh"), package: "dash" },
            Need { sign: Header("no/such/header.h"), package: "some-dev" },
        ];
        let missing = missing(&needs);
        assert_eq!(
            sentence(&missing, true),
            "missing: no-such-program, no/such/header.h: \
             type `sudo apt-get install -y --no-install-recommends some-package some-dev`"
        );
        assert!(!sentence(&missing, false).contains("apt-get"));
    }

    #[test]
    fn only_the_end_of_a_long_failure_is_kept() {
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
    }
}
