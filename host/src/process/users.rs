//! User names: the kernel knows numbers, rules ask for names.

use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustc_hash::FxHashMap;

/// Whose list of users a name comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserSource {
    Host,
    /// The one that the process itself sees, in a mount namespace of its own.
    Container,
}

impl UserSource {
    pub const fn name(self) -> &'static str {
        match self {
            UserSource::Host => "host",
            UserSource::Container => "container",
        }
    }

    pub fn from_name(name: &str) -> Option<UserSource> {
        [UserSource::Host, UserSource::Container].into_iter().find(|s| s.name() == name)
    }
}

/// The host's passwd file, read again when it changes.
#[derive(Debug)]
pub struct Users {
    path: PathBuf,
    names: FxHashMap<u32, Arc<[u8]>>,
    read: Option<SystemTime>,
    /// Event time of the last look at the file's date (ns).
    looked: u64,
}

/// How often the file's date is looked at, in event time.
const LOOK_EVERY: u64 = 1_000_000_000;

impl Users {
    pub fn new(path: PathBuf) -> Users {
        Users { path, names: FxHashMap::default(), read: None, looked: 0 }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name, if there is one.
    pub fn name(&mut self, uid: u32, now: u64) -> Option<Arc<[u8]>> {
        if self.read.is_none() || now.saturating_sub(self.looked) > LOOK_EVERY {
            self.looked = now;
            self.refresh();
        }
        self.names.get(&uid).cloned()
    }

    fn refresh(&mut self) {
        let Ok(date) = std::fs::metadata(&self.path).and_then(|m| m.modified()) else { return };
        if self.read == Some(date) {
            return;
        }
        let Ok(text) = std::fs::read(&self.path) else { return };
        self.read = Some(date);
        self.names.clear();
        for (uid, name) in entries(&text) {
            self.names.entry(uid).or_insert_with(|| name.into());
        }
    }
}

/// A number instead of a name that nobody gave it.
pub(super) fn number(uid: u32) -> Arc<[u8]> {
    uid.to_string().into_bytes().into()
}

/// The lines of a passwd file that name a user.
fn entries(text: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    text.split(|&b| b == b'\n').filter_map(|line| {
        let mut fields = line.split(|&b| b == b':');
        let (name, _, uid) = (fields.next()?, fields.next()?, fields.next()?);
        Some((std::str::from_utf8(uid).ok()?.parse().ok()?, name))
    })
}

/// The users that processes of one mount namespace see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The host's own file.
    Host,
    /// A file of their own; the numbers are the host's, whatever they are inside.
    Own(Arc<FxHashMap<u32, Arc<[u8]>>>),
    /// Nobody can say: no such file, or the process has ended.
    Unknown,
}

/// Bounds of a container's file, which is an attacker's to write.
const MOST_BYTES: u64 = 256 << 10;
const MOST_NAMES: usize = 2_000;
const MOST_NAME: usize = 256;

impl Seen {
    /// Reads what the process `pid` sees; `host` is the host's file. May be slow: never on the builder's thread.
    pub fn read(pid: u32, host: &Path) -> Seen {
        Seen::below(Path::new(&format!("/proc/{pid}")), host).unwrap_or(Seen::Unknown)
    }

    fn below(process: &Path, host: &Path) -> Option<Seen> {
        let etc = process.join("root/etc");
        // An absolute link would lead out of the container and to the host's file.
        if !etc.symlink_metadata().ok()?.is_dir() {
            return None;
        }
        let file = std::fs::File::options()
            .read(true)
            // A pipe in its place must not hold us up.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(etc.join("passwd"))
            .ok()?;
        let about = file.metadata().ok()?;
        if let Ok(own) = std::fs::metadata(host)
            && (about.dev(), about.ino()) == (own.dev(), own.ino())
        {
            return Some(Seen::Host);
        }
        if !about.is_file() || about.len() > MOST_BYTES {
            return None;
        }
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(file, MOST_BYTES), &mut text).ok()?;
        let map = ranges(&std::fs::read_to_string(process.join("uid_map")).ok()?);
        let mut names = FxHashMap::default();
        for (inside, name) in entries(&text).filter(|(_, n)| n.len() <= MOST_NAME).take(MOST_NAMES) {
            if let Some(uid) = outside(&map, inside) {
                names.entry(uid).or_insert_with(|| Arc::from(name));
            }
        }
        Some(Seen::Own(Arc::new(names)))
    }
}

/// Rows of `uid_map`: first number inside, first number outside, how many.
fn ranges(text: &str) -> Vec<(u32, u32, u32)> {
    let row = |line: &str| {
        let mut fields = line.split_ascii_whitespace().map(|f| f.parse().ok());
        Some((fields.next()??, fields.next()??, fields.next()??))
    };
    text.lines().filter_map(row).collect()
}

fn outside(map: &[(u32, u32, u32)], uid: u32) -> Option<u32> {
    map.iter().find_map(|&(inside, outside, count)| {
        let offset = uid.checked_sub(inside).filter(|o| *o < count)?;
        outside.checked_add(offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_changes_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwd");
        std::fs::write(&path, "root:x:0:0::/:/bin/sh\nalias:x:0:0::/:/bin/sh\nbroken\n").unwrap();
        let mut users = Users::new(path.clone());
        assert_eq!(users.name(0, 1).as_deref(), Some(&b"root"[..]));
        assert_eq!(users.name(77, 1), None);
        std::fs::write(&path, "eve:x:77:77::/:/bin/sh\n").unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert_eq!(users.name(77, 2_000_000_000).as_deref(), Some(&b"eve"[..]));
    }

    /// A directory like `/proc/PID`.
    fn process(dir: &Path, passwd: &[u8], uid_map: &str) {
        std::fs::create_dir_all(dir.join("root/etc")).unwrap();
        std::fs::write(dir.join("root/etc/passwd"), passwd).unwrap();
        std::fs::write(dir.join("uid_map"), uid_map).unwrap();
    }

    #[test]
    fn a_containers_names_are_mapped_to_the_hosts_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("passwd");
        std::fs::write(&host, "root:x:0:0::/:/bin/sh\n").unwrap();
        process(
            dir.path(),
            b"root:x:0:0::/:/bin/sh\napp:x:1000:1000::/:/bin/sh\nfar:x:70000:1::/:/\n",
            "0 165536 65536\n",
        );
        let Seen::Own(names) = Seen::below(dir.path(), &host).unwrap() else { panic!("its own file") };
        let name = |uid| names.get(&uid).map(|n| n.to_vec());
        assert_eq!(name(165_536), Some(b"root".to_vec()));
        assert_eq!(name(166_536), Some(b"app".to_vec()));
        assert_eq!((name(0), name(1000), name(70_000)), (None, None, None));
    }

    #[test]
    fn the_hosts_file_is_known_again() {
        let dir = tempfile::tempdir().unwrap();
        process(dir.path(), b"root:x:0:0::/:/bin/sh\n", "0 0 4294967295\n");
        assert_eq!(Seen::below(dir.path(), &dir.path().join("root/etc/passwd")), Some(Seen::Host));
        assert_eq!(Seen::read(std::process::id(), Path::new("/etc/passwd")), Seen::Host);
    }

    #[test]
    fn traps_in_its_place_are_stepped_around() {
        let dir = tempfile::tempdir().unwrap();
        let host = Path::new("/etc/passwd");
        process(dir.path(), &vec![b'\n'; MOST_BYTES as usize + 1], "0 0 4294967295\n");
        assert_eq!(Seen::below(dir.path(), host), None);
        let passwd = dir.path().join("root/etc/passwd");
        std::fs::remove_file(&passwd).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &passwd).unwrap();
        assert_eq!(Seen::below(dir.path(), host), None);
        std::fs::remove_file(&passwd).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&passwd).status().unwrap().success());
        assert_eq!(Seen::below(dir.path(), host), None);
        std::fs::remove_file(&passwd).unwrap();
        std::fs::remove_dir(dir.path().join("root/etc")).unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("root/etc")).unwrap();
        assert_eq!(Seen::below(dir.path(), host), None);
    }
}
