//! The stage of the live firing test: runs one stimulus where it can touch nothing outside.
//!
//! `picket-stage SPEC.json` enters new mount, pid, network, IPC and UTS namespaces and starts itself again as the first process of the
//! new pid namespace (`picket-stage SPEC.json inside`). That one mounts /proc and the hidden directories, makes the files, runs the
//! program and ends with the program's exit code; its end takes every process that the program left behind with it.
//!
//! The stimulus comes through a file and not through arguments, because the stage's own command line is an event like any other: were
//! the stimulus in it, rules would fire for the stage. Exit code 125 means that the stage itself failed.

mod resolver;
mod spec;

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::{env, error::Error};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use spec::{Content, Spec};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const STAGE_FAILED: u8 = 125;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let outcome = match arguments.get(1..).unwrap_or_default() {
        [spec] => enter(Path::new(spec)),
        [spec, inside] if inside == "inside" => perform(Path::new(spec)),
        _ => Err("usage: picket-stage SPEC.json".into()),
    };
    match outcome {
        // A program ended by a signal has no code; 1 says that it did not succeed.
        Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(error) => {
            eprintln!("stage: {error}");
            ExitCode::from(STAGE_FAILED)
        }
    }
}

fn enter(spec: &Path) -> Result<ExitStatus, Box<dyn Error>> {
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS,
    )?;
    // Before anything is mounted: nothing may propagate to the namespace we came from.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    Ok(Command::new(env::current_exe()?).arg(spec).arg("inside").status()?)
}

fn perform(path: &Path) -> Result<ExitStatus, Box<dyn Error>> {
    let spec: Spec = serde_json::from_slice(&fs::read(path)?)?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>)?;
    configure_network(&spec)?;
    // Sources are read and directories chosen before the first tmpfs can hide them.
    let copies = read_copies(&spec)?;
    let mut hidden: Vec<PathBuf> = Vec::new();
    for directory in &spec.hide {
        let directory = existing_parent(directory)?;
        if !hidden.contains(&directory) {
            hidden.push(directory);
        }
    }
    for directory in &hidden {
        hide(directory)?;
    }
    for (file, copy) in spec.files.iter().zip(copies) {
        make(&file.path, &file.content, copy)?;
    }
    fs::create_dir_all(&spec.cwd)?;
    if !spec.names.is_empty() {
        // Beside the spec, which nothing hides.
        let config = path.with_file_name("resolv.conf");
        fs::write(&config, "nameserver 127.0.0.1\n")?;
        mount(Some(&config), "/etc/resolv.conf", None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        resolver::start(spec.names.clone())?;
    }
    run(&spec)
}

/// Brings the loopback device up and gives it the addresses, so that a connection to one of them starts although nobody listens.
fn configure_network(spec: &Spec) -> Result<(), Box<dyn Error>> {
    let ip = |arguments: &[&str]| -> Result<(), Box<dyn Error>> {
        let status = Command::new("ip").args(arguments).env("PATH", PATH).status()?;
        if status.success() { Ok(()) } else { Err(format!("ip {} failed: {status}", arguments.join(" ")).into()) }
    };
    // Only where a stimulus needs it: the set-up program is an event too.
    if !spec.addresses.is_empty() || !spec.names.is_empty() {
        ip(&["link", "set", "lo", "up"])?;
    }
    spec.addresses.iter().try_for_each(|address| ip(&["address", "add", address, "dev", "lo", "nodad"]))
}

fn read_copies(spec: &Spec) -> Result<Vec<Option<Vec<u8>>>, Box<dyn Error>> {
    let read = |content: &Content| match content {
        Content::Copy(source) => {
            fs::read(source).map(Some).map_err(|error| format!("{}: {error}", source.display()).into())
        }
        _ => Ok(None),
    };
    spec.files.iter().map(|file| read(&file.content)).collect()
}

/// The directory itself, or the nearest parent that exists, with links resolved (`/bin` is `/usr/bin` on merged systems).
fn existing_parent(directory: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let found = directory.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(Path::new("/")).canonicalize()?;
    if found == Path::new("/") || found == Path::new("/usr") {
        return Err(format!("{} cannot be hidden: no directory of its own exists", directory.display()).into());
    }
    Ok(found)
}

fn hide(directory: &Path) -> Result<(), Box<dyn Error>> {
    // The mode stays what it was: /tmp must be open to all for a stimulus of another user.
    let mode = fs::metadata(directory)?.permissions().mode() & 0o7777;
    let options = format!("size=64m,mode={mode:o}");
    mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options.as_str()))?;
    Ok(())
}

fn make(path: &Path, content: &Content, copy: Option<Vec<u8>>) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let write = |bytes: &[u8], mode: u32| {
        fs::write(path, bytes)?;
        fs::set_permissions(path, Permissions::from_mode(mode))
    };
    match content {
        Content::Text(text) => write(text.as_bytes(), 0o644),
        Content::Script(text) => write(text.as_bytes(), 0o755),
        Content::Copy(_) => write(&copy.unwrap_or_default(), 0o755),
        Content::Link(target) => symlink(target, path),
        Content::Directory(_) => fs::create_dir_all(path),
    }
}

fn run(spec: &Spec) -> Result<ExitStatus, Box<dyn Error>> {
    let (first, rest) = spec.argv.split_first().ok_or("argv is empty")?;
    let mut command = Command::new(&spec.program);
    command.arg0(first).args(rest).current_dir(&spec.cwd);
    command.env_clear().envs([("PATH", PATH), ("HOME", "/root"), ("LC_ALL", "C.UTF-8"), ("TERM", "dumb")]);
    command.envs(spec.env.iter().map(|(name, value)| (name, value)));
    if spec.uid != 0 {
        command.uid(spec.uid).gid(spec.uid);
    }
    let mut child =
        command.stdin(Stdio::piped()).spawn().map_err(|error| format!("{}: {error}", spec.program.display()))?;
    if let Some(mut input) = child.stdin.take() {
        // A program that does not read its input ends the pipe; that is its right.
        let _ = input.write_all(spec.input.as_bytes());
    }
    Ok(child.wait()?)
}
