//! User names: the kernel knows numbers, rules ask for names.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustc_hash::FxHashMap;

/// The host's passwd file, read again when it changes. A process in a container is named by the host's file, too: the
/// container's own is a later decision, and a wrong name is worse than a number.
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

    /// The name, or the number as text where there is none.
    pub fn name(&mut self, uid: u32, now: u64) -> Arc<[u8]> {
        if self.read.is_none() || now.saturating_sub(self.looked) > LOOK_EVERY {
            self.looked = now;
            self.refresh();
        }
        self.names.get(&uid).cloned().unwrap_or_else(|| uid.to_string().into_bytes().into())
    }

    fn refresh(&mut self) {
        let Ok(date) = std::fs::metadata(&self.path).and_then(|m| m.modified()) else { return };
        if self.read == Some(date) {
            return;
        }
        let Ok(text) = std::fs::read(&self.path) else { return };
        self.read = Some(date);
        self.names.clear();
        for line in text.split(|&b| b == b'\n') {
            let mut fields = line.split(|&b| b == b':');
            let (Some(name), Some(_), Some(uid)) = (fields.next(), fields.next(), fields.next()) else { continue };
            let Some(uid) = std::str::from_utf8(uid).ok().and_then(|u| u.parse().ok()) else { continue };
            self.names.entry(uid).or_insert_with(|| name.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_then_numbers_and_changes_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwd");
        std::fs::write(&path, "root:x:0:0::/:/bin/sh\nalias:x:0:0::/:/bin/sh\nbroken\n").unwrap();
        let mut users = Users::new(path.clone());
        assert_eq!(&*users.name(0, 1), b"root");
        assert_eq!(&*users.name(77, 1), b"77");
        std::fs::write(&path, "eve:x:77:77::/:/bin/sh\n").unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert_eq!(&*users.name(77, 2_000_000_000), b"eve");
    }
}
