//! Debian packages unpacked aside, below `target/vm`: kernels of several releases, and the emulator that boots them.
//!
//! Nothing here is installed: a machine that has another QEMU keeps it, and no privileges are needed. Package lists are
//! private, too, so that a release other than the machine's own can be asked for.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::setup::find_program;

/// Below the project's root.
const ASIDE: &str = "target/vm";
const ARCHIVE: &str = "http://deb.debian.org/debian";
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Which release has kernels of a series.
const RELEASES: &[(&str, &str)] = &[("5.10", "bullseye"), ("6.1", "bookworm"), ("6.12", "trixie")];
/// What runs a virtual machine, and the package of it.
const QEMU: (&str, &str) = ("qemu-system-x86_64", "qemu-system-x86");
/// The tools inside the machine.
const BUSYBOX: (&str, &str) = ("busybox", "busybox-static");

/// A program with what it needs to start from where it was unpacked.
pub struct Tool {
    program: PathBuf,
    /// Root of the unpacked packages, if it is not the machine's own.
    tree: Option<PathBuf>,
}

impl Tool {
    /// The command, with libraries and firmware from the same tree.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(tree) = &self.tree {
            let libraries: Vec<PathBuf> =
                ["usr/lib", "lib"].iter().map(|lib| tree.join(lib).join("x86_64-linux-gnu")).collect();
            if let Ok(path) = std::env::join_paths(libraries) {
                command.env("LD_LIBRARY_PATH", path);
            }
            for firmware in ["qemu", "seabios"] {
                command.arg("-L").arg(tree.join("usr/share").join(firmware));
            }
        }
        command
    }
}

/// The emulator.
pub fn qemu(root: &Path) -> Result<Tool> {
    tool(root, QEMU)
}

/// A busybox that needs no libraries.
pub fn busybox(root: &Path) -> Result<PathBuf> {
    Ok(tool(root, BUSYBOX)?.program)
}

/// The machine's own program, else the one unpacked before, else unpacked now.
fn tool(root: &Path, (program, package): (&str, &str)) -> Result<Tool> {
    if let Some(program) = find_program(program) {
        return Ok(Tool { program, tree: None });
    }
    let tree = root.join(ASIDE).join(package);
    if !tree.is_dir() {
        let apt = Apt::new(root, &own_release())?;
        // What an installation would bring, given what the machine has.
        let plan = apt.output("apt-get", &["install", "-s", "-q", "--no-install-recommends", package])?;
        let missing: Vec<&str> =
            plan.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next()).collect();
        apt.unpack(&missing, &tree)?;
    }
    let found = ["usr/bin", "bin"].iter().map(|bin| tree.join(bin).join(program)).find(|path| path.is_file());
    Ok(Tool { program: found.with_context(|| format!("package {package} has no {program}"))?, tree: Some(tree) })
}

/// The tree of the newest Debian cloud kernel of a series, unpacked the first time.
pub fn kernel(root: &Path, series: &str) -> Result<PathBuf> {
    let tree = root.join(ASIDE).join(series);
    if !tree.is_dir() {
        let release = RELEASES.iter().find(|(own, _)| *own == series).map_or("sid", |(_, release)| release);
        let apt = Apt::new(root, release)?;
        let pattern = format!("^linux-image-{}[.+-][^ ]*cloud-amd64$", series.replace('.', "\\."));
        let found = apt.output("apt-cache", &["search", "--names-only", &pattern])?;
        let packages = found.lines().filter_map(|line| line.split(' ').next());
        let newest = packages.max_by_key(|name| {
            name.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0)).collect::<Vec<u64>>()
        });
        let newest = newest.with_context(|| format!("Debian {release} has no {series} cloud kernel"))?.to_owned();
        apt.unpack(&[&newest], &tree)?;
    }
    Ok(tree)
}

fn own_release() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.unwrap_or("bookworm").trim_matches('"').to_owned()
}

/// The package manager with the lists of one release.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn new(root: &Path, release: &str) -> Result<Apt> {
        ensure!(find_program("apt-get").is_some(), "there is no apt-get to download Debian packages with");
        let home = root.join(ASIDE).join("apt").join(release);
        let (lists, cache, sources) = (home.join("lists"), home.join("cache"), home.join("sources.list"));
        fs::create_dir_all(cache.join("archives/partial"))?;
        fs::create_dir_all(lists.join("partial"))?;
        fs::write(&sources, format!("deb [signed-by={KEYS}] {} {release} main\n", archive()))?;
        let mut options = Vec::new();
        for (name, value) in [("Etc::SourceList", &sources), ("State::Lists", &lists), ("Cache", &cache)] {
            options.extend(["-o".to_owned(), format!("Dir::{name}={}", value.display())]);
        }
        options.extend(["-o", "Dir::Etc::SourceParts=/dev/null", "-o", "APT::Sandbox::User=root"].map(str::to_owned));
        let apt = Apt { options };
        let fetched = fs::read_dir(&lists)?.filter_map(Result::ok).any(|entry| entry.path().is_file());
        if !fetched {
            apt.output("apt-get", &["update", "-q"]).with_context(|| format!("no package lists of {release}"))?;
        }
        Ok(apt)
    }

    /// Downloads packages and unpacks them to `tree`, which appears only when it is complete.
    fn unpack(&self, packages: &[&str], tree: &Path) -> Result<()> {
        let aside = tree.with_extension("new");
        let _ = fs::remove_dir_all(&aside);
        fs::create_dir_all(&aside)?;
        let mut download = self.command("apt-get");
        output(download.args(["download", "-q"]).args(packages).current_dir(&aside))?;
        for entry in fs::read_dir(&aside)?.collect::<Result<Vec<_>, _>>()? {
            output(Command::new("dpkg-deb").arg("-x").arg(entry.path()).arg(&aside))?;
            fs::remove_file(entry.path())?;
        }
        fs::rename(&aside, tree)?;
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options).env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        output(self.command(program).args(arguments))
    }
}

/// Where this machine gets Debian from.
fn archive() -> String {
    let targets = Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI) $(CODENAME)"]).output();
    let text = targets.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let own = own_release();
    let uri = text.lines().filter_map(|line| line.split_once(' ')).find(|(_, name)| *name == own);
    uri.map_or(ARCHIVE, |(uri, _)| uri.trim_end_matches('/')).to_owned()
}

/// Standard output of a command that ends well.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "{} failed: {}",
        command.get_program().display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
