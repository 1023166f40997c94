//! Builds the BPF object with clang and leaves it in `OUT_DIR/picket.bpf.o`.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, exit},
};

/// Names under which distributions install clang, the plain one first.
const CLANGS: &[&str] = &["clang", "clang-14", "clang-15", "clang-16", "clang-17", "clang-18", "clang-19"];
/// The first clang that writes every CO-RE relocation the sources use.
const OLDEST: u32 = 14;

fn main() {
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-env-changed=CLANG");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    if let Err(message) = build(&out) {
        eprintln!("error: {message}");
        exit(1);
    }
}

fn build(out: &Path) -> Result<(), String> {
    let arch = match env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default().as_str() {
        "x86_64" => "x86",
        "aarch64" => "arm64",
        other => return Err(format!("the kernel side knows x86_64 and aarch64, not {other}")),
    };
    let clang = find_clang().ok_or_else(|| {
        format!("the kernel side needs clang {OLDEST} or later: apt-get install -y clang libbpf-dev (or set CLANG)")
    })?;
    let object = out.join("picket.bpf.o");
    let result = Command::new(&clang)
        .current_dir("src")
        .args(["-target", "bpf", "-O2", "-g", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror"])
        // no path of the building machine in the object
        .args(["-fdebug-compilation-dir", "."])
        .arg(format!("-D__TARGET_ARCH_{arch}"))
        .args(["-c", "picket.bpf.c", "-o"])
        .arg(&object)
        .output()
        .map_err(|error| format!("cannot run {clang}: {error}"))?;
    if result.status.success() {
        return Ok(());
    }
    let log = String::from_utf8_lossy(&result.stderr);
    if log.contains("bpf/bpf_") && log.contains("file not found") {
        return Err("the kernel side needs the libbpf headers: apt-get install -y libbpf-dev".to_owned());
    }
    Err(format!("{clang} cannot build the kernel side:\n{log}"))
}

/// The first clang that is new enough.
fn find_clang() -> Option<String> {
    let named = env::var("CLANG").ok();
    named
        .iter()
        .map(String::as_str)
        .chain(CLANGS.iter().copied())
        .find(|clang| version(clang) >= Some(OLDEST))
        .map(str::to_owned)
}

/// Major version of a clang, `None` when it does not run.
fn version(clang: &str) -> Option<u32> {
    let output = Command::new(clang).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split("version ").nth(1)?.split('.').next()?.parse().ok()
}
