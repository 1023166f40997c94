//! A Rust that compiles for `wasm32-unknown-unknown`.
//!
//! That target, and not `wasm32-wasip2`, because a guest must import nothing but `picket:guest`, and std on the WASI
//! targets imports WASI even where nothing uses it.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::project::{Project, about_this_tool};

pub const TARGET: &str = "wasm32-unknown-unknown";

const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_STD_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";
/// The packages behind the three paths above and the linker; there is no package with a compiled std for wasm32.
pub const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src", "lld-22"];

/// Where the guests' compiler comes from.
pub enum Toolchain {
    /// The Rust that builds the host has a compiled std for the target.
    Rustup,
    /// Debian's Rust, which compiles std from its own source. The host's Rust cannot take that source: a std fits only
    /// the rustc of its own version.
    Debian { linker: PathBuf },
}

impl Toolchain {
    /// What is installed now, the host's own Rust first.
    pub fn find() -> Option<Self> {
        if rustup_has_target() { Some(Self::Rustup) } else { debian_linker().map(|linker| Self::Debian { linker }) }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Rustup => "the host's Rust",
            Self::Debian { .. } => "Debian's Rust with its own std",
        }
    }

    /// `cargo rustc` for the target; the caller adds the package. Flags and wrappers meant for the host stay outside.
    pub fn cargo_rustc(&self, project: &Project) -> Command {
        let mut command = match self {
            Self::Rustup => project.cargo(),
            Self::Debian { .. } => {
                // By full path, because a rustup proxy usually comes first in PATH.
                let mut command = Command::new(DEBIAN_CARGO);
                command
                    .current_dir(&project.root)
                    .env("RUSTC", DEBIAN_RUSTC)
                    .env("RUSTC_BOOTSTRAP", "1") // -Zbuild-std on a stable compiler; only this command sees it
                    .env_remove("RUSTUP_TOOLCHAIN")
                    .env_remove("LD_LIBRARY_PATH"); // `cargo run` points it at the host's Rust
                command
            }
        };
        for variable in about_this_tool() {
            command.env_remove(variable);
        }
        command.args(["rustc", "--target", TARGET]);
        if matches!(self, Self::Debian { .. }) {
            command.arg("-Zbuild-std=std,panic_abort");
        }
        for variable in ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET"] {
            command.env_remove(variable);
        }
        command.env("CARGO_ENCODED_RUSTFLAGS", self.rustflags());
        command
    }

    fn rustflags(&self) -> OsString {
        // simd128 makes regex 1.3 and memmem 3 times as fast, and every wasmtime host has it.
        let mut flags: Vec<OsString> = vec!["-Ctarget-feature=+simd128".into()];
        if let Self::Debian { linker } = self {
            let mut flag = OsString::from("-Clinker=");
            flag.push(linker);
            flags.push(flag);
        }
        // Panic messages name source files: without the builder's home folder, equal sources give equal guests.
        if let Some(registry) = cargo_home().map(|home| home.join("registry/src")) {
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(registry);
            flag.push("=registry");
            flags.push(flag);
        }
        flags.join(&OsString::from("\u{1f}"))
    }
}

fn cargo_home() -> Option<PathBuf> {
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
}

fn rustup_has_target() -> bool {
    let output =
        Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).stderr(Stdio::null()).output();
    // rustc prints the folder whether or not it exists.
    output.is_ok_and(|output| {
        output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir()
    })
}

/// The wasm linker, if all of Debian's toolchain is there.
fn debian_linker() -> Option<PathBuf> {
    let version = Command::new(DEBIAN_RUSTC).arg("--version").stderr(Stdio::null()).output().ok()?;
    // Debian 12 also has a `rustc` 1.63 under the same path: too old for this workspace.
    let recent = minor_version(&String::from_utf8_lossy(&version.stdout))? >= 95;
    if !recent || !Path::new(DEBIAN_CARGO).exists() || !Path::new(DEBIAN_STD_SOURCE).exists() {
        return None;
    }
    let names = fs::read_dir("/usr/bin").ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    newest_linker(names).map(|name| Path::new("/usr/bin").join(name))
}

/// `rustc 1.96.0 (...)` -> 96
fn minor_version(version: &str) -> Option<u32> {
    version.strip_prefix("rustc 1.")?.split('.').next()?.parse().ok()
}

/// Of `wasm-ld-NN`, the one with the greatest NN.
fn newest_linker(names: impl Iterator<Item = String>) -> Option<String> {
    names
        .filter_map(|name| Some((name.strip_prefix("wasm-ld-")?.parse::<u32>().ok()?, name)))
        .max()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(minor_version("rustc 1.96.0 (abc 2026-01-01) (built from a source tarball)\n"), Some(96));
        assert_eq!(minor_version("rustc 2.0.0"), None);
        let names = ["wasm-ld", "wasm-ld-9", "wasm-ld-22", "wasm-ld-19", "wasm-ld-x"].map(str::to_owned);
        assert_eq!(newest_linker(names.into_iter()).as_deref(), Some("wasm-ld-22"));
    }
}
