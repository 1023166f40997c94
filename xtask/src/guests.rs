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

    /// Where the components go.
    pub fn output(self, project: &Project) -> PathBuf {
        project.target.join(match self {
            Self::Shipped => "guests",
            Self::Test => "test-guests",
        })
    }
}

struct Guest<'a> {
    /// `sigma` for the package `picket-sigma-guest`.
    name: &'a str,
    package: &'a str,
    library: &'a str,
}

/// Builds every guest of the group; the toolchain is asked for only if there is one.
pub fn build(project: &Project, group: Group, toolchain: impl FnOnce() -> Result<Toolchain>) -> Result<()> {
    let guests = find(&project.packages, &group.sources(project))?;
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

/// The packages below `folder` that are named `picket-NAME-guest`.
///
/// The name decides and not a `crate-type` of cdylib: natively, where cargo would build that too, no linker takes the
/// names of a component's exports (`picket:guest/detector@0.1.0#init`).
fn find<'a>(packages: &'a [Package], folder: &Path) -> Result<Vec<Guest<'a>>> {
    let mut guests = Vec::new();
    for package in packages.iter().filter(|package| package.folder.starts_with(folder)) {
        let name = package.name.strip_prefix("picket-").and_then(|rest| rest.strip_suffix("-guest"));
        let Some(name) = name else { continue };
        let Some(library) = package.targets.iter().find(|target| target.is("lib")) else {
            bail!("guest {name}: package {} has no plain library (without `crate-type`)", package.name);
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
        // Here and not in the package: see `find`; and cargo gives link-time optimisation only to what is a cdylib alone.
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
    fn a_guest_is_known_by_folder_and_name() {
        let packages = [
            package("picket-guest", "/p/guests/sdk", &["lib"]),
            package("picket-sigma", "/p/guests/sigma/engine", &["lib"]),
            package("picket-sigma-guest", "/p/guests/sigma", &["lib"]),
            package("picket-loop-guest", "/p/tests/guests/loop", &["lib"]),
            package("picket-other-guest", "/p/guests-of-others", &["lib"]),
        ];
        let guests = find(&packages, Path::new("/p/guests")).expect("libraries");
        assert_eq!(guests.iter().map(|guest| guest.name).collect::<Vec<_>>(), ["sigma"]);
        assert_eq!(guests[0].library, "picket_sigma_guest");
    }

    #[test]
    fn a_guest_without_a_plain_library_is_refused_by_name() {
        let packages = [package("picket-sigma-guest", "/p/guests/sigma", &["cdylib", "rlib"])];
        let error = find(&packages, Path::new("/p/guests")).err().expect("no plain library");
        assert!(error.to_string().starts_with("guest sigma: package picket-sigma-guest"), "{error}");
    }
}
