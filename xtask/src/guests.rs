//! Guests: Rust packages compiled to core modules and wrapped as components.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use wit_component::ComponentEncoder;

use crate::{
    project::{Package, Project, succeed},
    wasm::{TARGET, Toolchain},
};

/// A group of guests that are built together.
#[derive(Clone, Copy)]
pub enum Group {
    /// `guests/`: what Picket ships; `target/guests/`.
    Shipped,
    /// `tests/guests/`: hostile and broken on purpose; `target/test-guests/`.
    Test,
}

impl Group {
    fn sources(self, project: &Project) -> PathBuf {
        project.root.join(match self {
            Self::Shipped => "guests",
            Self::Test => "tests/guests",
        })
    }

    fn pattern(self) -> &'static str {
        match self {
            Self::Shipped => "picket-NAME-guest",
            Self::Test => "picket-test-NAME",
        }
    }

    /// The NAME in the name of a package, if that follows the pattern.
    fn guest_name(self, package: &str) -> Option<&str> {
        let (start, end) = self.pattern().split_once("NAME")?;
        package.strip_prefix(start)?.strip_suffix(end).filter(|name| !name.is_empty())
    }

    /// Where the components go.
    pub fn output(self, project: &Project) -> PathBuf {
        project.target.join(match self {
            Self::Shipped => "guests",
            Self::Test => "test-guests",
        })
    }
}

struct Guest<'a> {
    /// `sigma` for the package `picket-sigma-guest`: the component is `sigma.wasm`.
    name: &'a str,
    package: &'a str,
    library: &'a str,
}

/// Builds every guest of the group; the toolchain is asked for only if there is one.
pub fn build(project: &Project, group: Group, toolchain: impl FnOnce() -> Result<Toolchain>) -> Result<()> {
    let guests = find(&project.packages, &group.sources(project), group)?;
    let output = group.output(project);
    fs::create_dir_all(&output).with_context(|| format!("cannot make {}", output.display()))?;
    name_strangers(&output, &guests);
    if guests.is_empty() {
        return Ok(());
    }
    let toolchain = toolchain()?;
    eprintln!("guests: compiled by {}", toolchain.name());
    for guest in &guests {
        let start = Instant::now();
        let core = compile(project, guest, &toolchain)?;
        let compiled = start.elapsed().as_secs_f64();
        let component = output.join(format!("{}.wasm", guest.name));
        if is_newer(&component, &core) {
            eprintln!("guest {}: up to date ({compiled:.1} s)", guest.name);
            continue;
        }
        let size = componentize(&core, &component).with_context(|| format!("guest {}", guest.name))?;
        let total = start.elapsed().as_secs_f64();
        eprintln!(
            "guest {}: {} kB ({compiled:.1} s to compile, {:.1} s to wrap)",
            guest.name,
            size / 1000,
            total - compiled
        );
    }
    Ok(())
}

/// The packages below the group's folder that make a C dynamic library, which is what cargo calls a Wasm module.
fn find<'a>(packages: &'a [Package], folder: &Path, group: Group) -> Result<Vec<Guest<'a>>> {
    let mut guests = Vec::new();
    for package in packages.iter().filter(|package| package.folder.starts_with(folder)) {
        let Some(library) = package.targets.iter().find(|target| target.is("cdylib")) else { continue };
        let Some(name) = group.guest_name(&package.name) else {
            bail!("package {} is a guest (its library is a cdylib) but is not named {}", package.name, group.pattern());
        };
        guests.push(Guest { name, package: &package.name, library: &library.name });
    }
    Ok(guests)
}

/// Compiles one guest and returns the path of its core module.
fn compile(project: &Project, guest: &Guest<'_>, toolchain: &Toolchain) -> Result<PathBuf> {
    // A folder of its own: other flags and perhaps another compiler than the host's.
    let target = project.target.join("guests-build");
    let mut command = toolchain.cargo_rustc(project);
    command
        .args(["--profile", "guest", "--package", guest.package, "--lib"])
        // Cargo refuses link-time optimisation to a package that is an rlib too, which is what native tests want.
        .args(["--crate-type", "cdylib"])
        .arg("--target-dir")
        .arg(&target);
    succeed(&mut command, &format!("guest {}: compiling {}", guest.name, guest.package))?;
    // Cargo turns hyphens of a library's name into underscores.
    Ok(target.join(TARGET).join("guest").join(format!("{}.wasm", guest.library.replace('-', "_"))))
}

/// Wraps a core module after the interface that `wit-bindgen` left in it, and validates the result. Returns its size in
/// bytes.
fn componentize(core: &Path, component: &Path) -> Result<usize> {
    let module = fs::read(core).with_context(|| format!("cannot read {}", core.display()))?;
    let mut encoder = ComponentEncoder::default();
    let encoder = encoder.validate(true).module(&module).context("is not a guest")?;
    let bytes = encoder.encode().context("cannot be made a component")?;
    // By rename, because a running Picket may watch this folder.
    let partial = component.with_extension("partial");
    fs::write(&partial, &bytes).with_context(|| format!("cannot write {}", partial.display()))?;
    fs::rename(&partial, component).with_context(|| format!("cannot replace {}", component.display()))?;
    Ok(bytes.len())
}

/// A component is made again when its module or this tool is newer.
fn is_newer(component: &Path, core: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    let tool = std::env::current_exe().ok().and_then(|path| modified(&path)).unwrap_or(SystemTime::UNIX_EPOCH);
    match (modified(component), modified(core)) {
        (Some(component), Some(core)) => component >= core && component >= tool,
        _ => false,
    }
}

/// A file that no guest makes any more would still be loaded; deleting what someone put there would be worse.
fn name_strangers(output: &Path, guests: &[Guest<'_>]) {
    for entry in fs::read_dir(output).into_iter().flatten().flatten() {
        let path = entry.path();
        let known = guests.iter().any(|guest| path.file_stem().is_some_and(|stem| stem == guest.name));
        if path.extension().is_some_and(|extension| extension == "wasm") && !known {
            eprintln!("guests: note: no source here makes {}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Target;

    fn package(name: &str, folder: &str, kinds: &[&str]) -> Package {
        let kinds = kinds.iter().map(|&kind| kind.to_owned()).collect();
        let targets = vec![Target { name: name.replace('-', "_"), kinds }];
        Package { name: name.to_owned(), folder: folder.into(), targets }
    }

    #[test]
    fn a_guest_is_a_cdylib_below_the_folder() {
        let packages = [
            package("picket-guest", "/p/guests/sdk", &["lib"]),
            package("picket-sigma-guest", "/p/guests/sigma", &["cdylib", "rlib"]),
            package("picket-test-spin", "/p/tests/guests/spin", &["cdylib"]),
            package("picket-plugin", "/p/guests-of-others", &["cdylib"]),
        ];
        let found = |folder, group| {
            let guests = find(&packages, Path::new(folder), group).expect("well named");
            guests.iter().map(|guest| (guest.name, guest.library)).collect::<Vec<_>>()
        };
        assert_eq!(found("/p/guests", Group::Shipped), [("sigma", "picket_sigma_guest")]);
        assert_eq!(found("/p/tests/guests", Group::Test), [("spin", "picket_test_spin")]);
    }

    #[test]
    fn a_badly_named_guest_is_refused_by_name() {
        for name in ["sigma", "picket-test-sigma", "picket--guest"] {
            let packages = [package(name, "/p/guests/sigma", &["cdylib"])];
            let error = find(&packages, Path::new("/p/guests"), Group::Shipped).err().expect("badly named");
            assert!(error.to_string().starts_with(&format!("package {name} is a guest")), "{error}");
        }
    }

    #[test]
    fn a_module_becomes_a_component_and_anything_else_is_refused() {
        let folder = std::env::temp_dir().join(format!("picket-xtask-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        let (core, component) = (folder.join("core.wasm"), folder.join("guest.wasm"));

        fs::write(&core, b"\0asm\x01\0\0\0").expect("an empty module");
        let size = componentize(&core, &component).expect("an empty module is a module");
        let bytes = fs::read(&component).expect("the component");
        assert_eq!((bytes.len(), &bytes[..8]), (size, b"\0asm\x0d\0\x01\0".as_slice()));

        // What was there stays when the next one cannot be made.
        fs::write(&core, b"#!/bin/sh").expect("no module");
        assert!(componentize(&core, &component).is_err());
        assert_eq!(fs::read(&component).expect("the component"), bytes);
        assert!(!component.with_extension("partial").exists());
        fs::remove_dir_all(&folder).expect("the temporary folder");
    }
}
