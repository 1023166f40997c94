//! Boots a Debian kernel in a virtual machine and runs a script in it.
//!
//! The machine is QEMU without hardware help (TCG): it works everywhere, boots in seconds, and no host
//! kernel feature matters. Nothing is installed into it: the whole system is an initramfs of busybox,
//! the files asked for and the libraries they need, made here and thrown away.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::debian::{self, Tool, output};

/// How long a machine may run: two minutes on an idle host, but an emulated one gets what a loaded host leaves it.
const LIMIT: Duration = Duration::from_mins(8);
/// How often one is started that does not finish. Emulated machines with two processors hang now and then: one of them waits
/// for an interrupt to the other, which sleeps. A hang of our own would be seen again.
const STARTS: usize = 2;
/// Where the machine is put together.
const CACHE: &str = "target/vm";
/// What the script prints last; its exit code follows.
const DONE: &str = "GUEST-DONE ";

const INIT: &str = "#!/bin/sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracing /sys/kernel/tracing
mount -t securityfs security /sys/kernel/security
mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
hostname guest
cd /root
sh /script 2>&1
echo \"GUEST-DONE $?\"
poweroff -f
";

/// What a machine left.
pub struct Told {
    /// Its console.
    pub log: String,
    /// What the script wrote to `/dev/ttyS1`.
    pub data: String,
}

/// Runs `script` under the kernel unpacked in `kernel`, booted with `append` on its command line. `files` are (path here,
/// path there, e.g. `/root/test`); dynamic libraries of programs among them are brought along.
///
/// # Errors
/// When a tool cannot be had (the message says what to type), when the machine does not finish in time however often it is
/// started, and when the script does not end with 0; then the end of the log is in the error.
pub fn machine(root: &Path, kernel: &Path, append: &str, files: &[(PathBuf, &str)], script: &str) -> Result<Told> {
    let image = image_in(kernel).with_context(|| format!("no kernel image in {}", kernel.display()))?;
    let work = root.join(CACHE).join(format!("run-{}", std::process::id()));
    fs::create_dir_all(&work)?;
    let result =
        finish(&debian::qemu(root)?, &image, append, &initramfs(&debian::busybox(root)?, files, script)?, &work);
    let _ = fs::remove_dir_all(&work);
    let (told, code) = result?;
    if code != "0" {
        let log = &told.log;
        let failed: Vec<&str> = log.lines().filter(|line| line.contains("FAILED")).collect();
        bail!("the script in the virtual machine ended with {code}:\n{}\n{}", tail(log), failed.join("\n"))
    }
    Ok(told)
}

/// Boots until a machine finishes; what it left, and the exit code of its script.
fn finish(qemu: &Tool, image: &Path, append: &str, initramfs: &[u8], work: &Path) -> Result<(Told, String)> {
    let mut starts = 0;
    loop {
        starts += 1;
        let told = boot(qemu, image, append, initramfs, work)?;
        let code = told.log.lines().rev().find_map(|line| line.trim().strip_prefix(DONE).map(str::to_owned));
        match code {
            Some(code) => return Ok((told, code)),
            None if starts < STARTS => {
                eprintln!("the virtual machine did not finish, and is started once more:\n{}", tail(&told.log));
            }
            None => bail!("the virtual machine did not finish, {STARTS} times:\n{}", tail(&told.log)),
        }
    }
}

fn boot(qemu: &Tool, image: &Path, append: &str, initramfs: &[u8], work: &Path) -> Result<Told> {
    let (initrd, console, data) = (work.join("initramfs"), work.join("console"), work.join("data"));
    fs::write(&initrd, initramfs)?;
    let log = File::create(&console)?;
    let mut machine = qemu
        .command()
        .args(["-accel", "tcg", "-cpu", "max", "-m", "2048", "-smp", "2"])
        .args(["-display", "none", "-vga", "none", "-monitor", "none", "-no-reboot", "-net", "none"])
        .args(["-serial", "stdio", "-serial", &format!("file:{}", data.display()), "-kernel"])
        .arg(image)
        .arg("-initrd")
        .arg(&initrd)
        .args(["-append", &format!("console=ttyS0 quiet panic=-1 mitigations=off {append}")])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start qemu-system-x86_64")?;
    let start = Instant::now();
    while machine.try_wait()?.is_none() {
        if start.elapsed() > LIMIT {
            machine.kill()?;
            machine.wait()?;
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let text = |file: &Path| fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(Told { log: text(&console)?, data: text(&data).unwrap_or_default() })
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

fn image_in(tree: &Path) -> Option<PathBuf> {
    let boot = fs::read_dir(tree.join("boot")).ok()?;
    boot.filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz")))
}

/// The whole system as a cpio archive.
fn initramfs(busybox: &Path, files: &[(PathBuf, &str)], script: &str) -> Result<Vec<u8>> {
    let mut archive = Cpio::default();
    for dir in ["proc", "sys", "dev", "tmp", "root", "etc", "mnt"] {
        archive.directory(dir);
    }
    archive.file("bin/busybox", 0o755, &fs::read(busybox)?);
    archive.symlink("bin/sh", "busybox");
    archive.file("init", 0o755, INIT.as_bytes());
    archive.file("script", 0o755, script.as_bytes());
    let mut libraries = BTreeSet::new();
    for (here, there) in files {
        let bytes = fs::read(here).with_context(|| format!("cannot read {}", here.display()))?;
        let mode = fs::metadata(here)?.permissions().mode() & 0o777;
        archive.file(there.trim_start_matches('/'), mode, &bytes);
        if bytes.starts_with(b"\x7fELF") {
            libraries.extend(libraries_of(here));
        }
    }
    for library in libraries {
        archive.file(library.trim_start_matches('/'), 0o755, &fs::read(&library)?);
    }
    Ok(archive.finish())
}

/// The shared libraries of a program and its loader, as absolute paths; none of a static one.
fn libraries_of(program: &Path) -> Vec<String> {
    let Ok(listed) = output(Command::new("ldd").arg(program)) else { return Vec::new() };
    listed
        .split_whitespace()
        .filter(|word| word.starts_with('/') && Path::new(word).is_file())
        .map(str::to_owned)
        .collect()
}

/// Writes the `newc` archive format that the kernel unpacks.
#[derive(Default)]
struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
    directories: BTreeSet<String>,
}

impl Cpio {
    const DIRECTORY: u32 = 0o040_755;

    fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.parents(path);
        self.entry(path, 0o100_000 | mode, content);
    }
    fn symlink(&mut self, path: &str, target: &str) {
        self.parents(path);
        self.entry(path, 0o120_777, target.as_bytes());
    }
    fn directory(&mut self, path: &str) {
        if self.directories.insert(path.to_owned()) {
            self.parents(path);
            self.entry(path, Self::DIRECTORY, &[]);
        }
    }
    fn parents(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
    }
    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let header = [self.entries, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, 0, 0, path.len() as u32 + 1, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in header {
            // writing to memory cannot fail
            let _ = write!(self.bytes, "{field:08x}");
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_has_parents_before_children_and_is_padded() {
        let mut archive = Cpio::default();
        archive.file("a/b/c", 0o755, b"hello");
        archive.file("a/b/d", 0o644, b"");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let at = |name: &str| bytes.windows(name.len() + 1).position(|w| w == [name.as_bytes(), b"\0"].concat());
        let (a, b, c) = (at("a"), at("a/b"), at("a/b/c"));
        assert!(a < b && b < c && at("TRAILER!!!").is_some(), "{a:?} {b:?} {c:?}");
        let content = at("a/b/c").map(|at| (at + 6).next_multiple_of(4)).unwrap_or_default();
        assert_eq!(&bytes[content..content + 5], b"hello");
    }
}
