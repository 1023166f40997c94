//! The SHA-256 of executables: read on a thread of its own, each version of a file once.

use std::io::Read as _;
use std::os::linux::fs::MetadataExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{FileId, Image, Key, Process, SHA256, procfs};
use crate::ledger::Count;
use crate::text::hex;

/// Longest time on one file; what takes longer lies on a medium that cannot be waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// A file that changed so recently may change again without a new change time: its hash is not remembered.
const SETTLED: Duration = Duration::from_secs(2);

/// File systems whose files are as far away, or as slow, as somebody else likes.
const REMOTE: &[&str] = &["fuse", "nfs", "cifs", "smb", "9p", "ceph", "afs", "gfs2", "lustre", "glusterfs"];

/// What became of every executable that was to be hashed.
#[derive(Debug, Default, Serialize)]
pub struct HashAccount {
    /// Read and hashed.
    pub hashed: Count,
    /// Known from before.
    pub cached: Count,
    /// Not there in time: the process and its file were gone, or another version was in its place.
    pub gone: Count,
    pub too_large: Count,
    /// On a network or FUSE file system: never read.
    pub remote: Count,
    pub failed: Count,
    /// Not hashed within `hashes.wait`.
    pub late: Count,
    /// Passed on without hashes because too many batches waited.
    pub shed: Count,
    /// Hashes forgotten because there were too many.
    pub evicted: Count,
}

/// An executable to be hashed, and where it may be found.
pub(crate) struct Subject {
    pub file: FileId,
    key: Key,
    exe: Option<Arc<[u8]>>,
    /// Sees the same files, and often lives longer.
    parent: Option<Key>,
}

impl Subject {
    /// `None` for what has no file: kernel threads, and processes that no record described.
    pub fn of(process: &Process) -> Option<Subject> {
        let image: &Image = &process.image;
        let parent = process.ancestors.first().map(|p| p.key);
        Some(Subject { file: image.file?, key: image.key, exe: image.exe.clone(), parent })
    }
}

/// A hash, and whether it may be remembered for this version of the file.
pub(crate) struct Hashed {
    pub text: Arc<[u8]>,
    pub lasting: bool,
}

/// Why there is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unhashed {
    Gone,
    TooLarge,
    Remote,
    Failed,
}

impl HashAccount {
    pub(crate) fn count(&self, result: Result<&Hashed, Unhashed>) {
        let count = match result {
            Ok(_) => &self.hashed,
            Err(Unhashed::Gone) => &self.gone,
            Err(Unhashed::TooLarge) => &self.too_large,
            Err(Unhashed::Remote) => &self.remote,
            Err(Unhashed::Failed) => &self.failed,
        };
        count.add(1);
    }
}

/// Finds the file and hashes it. May take long: on no thread that anybody waits for without a limit.
pub(crate) fn hash(subject: &Subject, most: u64) -> Result<Hashed, Unhashed> {
    let pids = [Some(subject.key), subject.parent].into_iter().flatten().filter(|k| procfs::is(*k)).map(|k| k.tgid);
    if pids.chain([std::process::id()]).any(|pid| is_remote(pid, subject.file.dev)) {
        return Err(Unhashed::Remote);
    }
    let mut why = Unhashed::Gone;
    for (path, own) in places(subject) {
        match hash_at(&path, subject.file, own, most) {
            Ok(hashed) => return Ok(hashed),
            Err(Unhashed::Gone) => {}
            Err(other) => why = other,
        }
    }
    Err(why)
}

/// Where the file may be, and whether the link is the process's own: that leads nowhere else, whatever the device says.
fn places(subject: &Subject) -> Vec<(PathBuf, bool)> {
    let mut places = Vec::new();
    if procfs::is(subject.key) {
        places.push((format!("/proc/{}/exe", subject.key.tgid).into(), true));
    }
    if let Some(exe) = subject.exe.as_deref().filter(|e| e.starts_with(b"/")) {
        let exe = Path::new(std::ffi::OsStr::from_bytes(exe));
        let below = exe.strip_prefix("/").unwrap_or(exe);
        if let Some(parent) = subject.parent.filter(|p| procfs::is(*p)) {
            places.push((Path::new(&format!("/proc/{}/root", parent.tgid)).join(below), false));
        }
        places.push((exe.to_path_buf(), false));
    }
    places
}

fn hash_at(path: &Path, file: FileId, own: bool, most: u64) -> Result<Hashed, Unhashed> {
    let options = std::fs::File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let mut open = options.map_err(|_| Unhashed::Gone)?;
    let about = |open: &std::fs::File| open.metadata().map_err(|_| Unhashed::Failed);
    let is_it = |m: &std::fs::Metadata| {
        let ctime = u64::try_from(m.st_ctime() * 1_000_000_000 + m.st_ctime_nsec()).unwrap_or_default();
        m.is_file() && m.st_ino() == file.inode && ctime == file.ctime && (own || device(m.st_dev()) == file.dev)
    };
    let before = about(&open)?;
    if !is_it(&before) {
        return Err(Unhashed::Gone);
    }
    if before.len() > most {
        return Err(Unhashed::TooLarge);
    }
    let started = Instant::now();
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match open.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => hash.update(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Unhashed::Failed),
        }
        if started.elapsed() > PATIENCE {
            return Err(Unhashed::Failed);
        }
    }
    if !is_it(&about(&open)?) {
        return Err(Unhashed::Gone);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let lasting = now.saturating_sub(Duration::from_nanos(file.ctime)) > SETTLED;
    Ok(Hashed { text: format!("{SHA256}{}", hex(&hash.finalize())).into_bytes().into(), lasting })
}

/// A device number of the C library as the kernel encodes it.
pub(crate) fn device(dev: u64) -> u32 {
    let major = (dev >> 8 & 0xfff) | (dev >> 32 & !0xfff);
    let minor = (dev & 0xff) | (dev >> 12 & !0xff);
    (major << 20 | minor & 0xf_ffff) as u32
}

/// Whether a process sees this device as a file system that is not to be waited for. Asking the file itself could hang.
fn is_remote(pid: u32, dev: u32) -> bool {
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    let number = format!("{}:{}", dev >> 20, dev & 0xf_ffff);
    mounts.lines().filter(|line| line.split(' ').nth(2) == Some(&number)).any(|line| {
        let kind = line.split_once(" - ").and_then(|(_, rest)| rest.split(' ').next()).unwrap_or_default();
        // `fuseblk` is a local disk, but read by a process all the same.
        REMOTE.iter().any(|remote| kind.starts_with(remote))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(path: &Path) -> FileId {
        let m = std::fs::metadata(path).unwrap();
        let ctime = (m.st_ctime() * 1_000_000_000 + m.st_ctime_nsec()) as u64;
        FileId { dev: device(m.st_dev()), inode: m.st_ino(), ctime }
    }

    fn subject(path: &Path) -> Subject {
        let exe = path.as_os_str().as_bytes().into();
        Subject { file: id(path), key: Key { tgid: u32::MAX, start: 0 }, exe: Some(exe), parent: None }
    }

    #[test]
    fn the_very_version_of_the_file_is_hashed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tool");
        std::fs::write(&path, "abc").unwrap();
        let asked = subject(&path);
        let found = hash(&asked, 3).unwrap();
        assert_eq!(&*found.text, b"SHA256=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(!found.lasting, "it was written a moment ago");
        assert_eq!(hash(&asked, 2).err(), Some(Unhashed::TooLarge));
        // Another file in its place, another version of it, or nothing.
        let kept = dir.path().join("kept");
        std::fs::rename(&path, &kept).unwrap();
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(hash(&asked, 3).err(), Some(Unhashed::Gone));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(hash(&asked, 3).err(), Some(Unhashed::Gone));
    }

    #[test]
    fn a_running_process_shows_its_file_even_when_it_has_no_name_any_more() {
        let me = std::process::id();
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let ticks: u64 = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap();
        let key = Key { tgid: me, start: ticks * 10_000_000 };
        let file = id(Path::new("/proc/self/exe"));
        let found = hash(&Subject { file, key, exe: None, parent: None }, u64::MAX).unwrap();
        let all = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(&*found.text, format!("SHA256={}", hex(&Sha256::digest(&all))).as_bytes());
    }

    #[test]
    fn device_numbers_are_the_kernels() {
        let kernel = |major: u32, minor: u32| major << 20 | minor;
        assert_eq!(device(0x0801), kernel(8, 1));
        assert_eq!(device(0x10_0302), kernel(3, 0x102));
        assert_eq!(device(0x2a), kernel(0, 0x2a));
    }
}
