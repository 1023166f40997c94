//! Lists the files of a set, and everything whose change could change that list.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::{FileError, FileSet, Problem};

/// Directories below a root are searched so deep.
const MAX_DEPTH: usize = 32;
/// Symbolic links of one path, as the kernel counts.
const MAX_LINKS: usize = 40;
/// Entries of all directories of a set, wanted or not: bounds the work for a root that was meant differently (`/`).
const MAX_ENTRIES: usize = 500_000;

/// What identifies a version of a file without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    dev: u64,
    ino: u64,
    pub(super) len: u64,
    mode: u32,
    mtime: (i64, i64),
    /// Unlike mtime it cannot be set back by who owns the file.
    ctime: (i64, i64),
}

impl Stamp {
    pub(super) fn of(meta: &Metadata) -> Stamp {
        Stamp {
            dev: meta.dev(),
            ino: meta.ino(),
            len: meta.len(),
            mode: meta.mode(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// Seconds since 1970 of the last change of any kind.
    pub(super) fn changed(&self) -> i64 {
        self.mtime.0.max(self.ctime.0)
    }
}

/// A wanted file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// Relative to its root.
    pub(super) name: String,
    /// Which root of the set.
    pub(super) root: usize,
    pub(super) stamp: Stamp,
}

/// The directories to watch.
///
/// Directories, never files: editors and package managers replace files, and a watch on the replaced inode hears nothing more.
/// Directories are by their resolved path, because the kernel has one watch for each inode however it was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Interest {
    dirs: BTreeMap<PathBuf, Names>,
}

/// What matters in a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names {
    /// Device and inode: a directory that was removed and made again needs a new watch.
    identity: (u64, u64),
    /// Its files are searched: whatever has a wanted name, and directories.
    searched: bool,
    /// These names, because a path leads through them: links, roots, and what does not exist yet.
    only: BTreeSet<OsString>,
}

impl Interest {
    pub(super) fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.dirs.keys().map(PathBuf::as_path)
    }

    pub(super) fn extend(&mut self, other: Interest) {
        for (dir, names) in other.dirs {
            let mine = self.dirs.entry(dir).or_default();
            mine.identity = names.identity;
            mine.searched |= names.searched;
            mine.only.extend(names.only);
        }
    }

    fn dir(&mut self, dir: &Path) -> &mut Names {
        let names = self.dirs.entry(dir.to_owned()).or_default();
        if let Ok(meta) = fs::metadata(dir) {
            names.identity = (meta.dev(), meta.ino());
        }
        names
    }

    /// Whether a change at `path` (in a watched directory) can change what a set holds.
    pub(super) fn concerns(&self, path: &Path, sets: &[FileSet]) -> bool {
        if self.dirs.contains_key(path) {
            return true;
        }
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return true };
        let Some(names) = self.dirs.get(dir) else { return true };
        names.only.contains(name)
            || names.searched
                && !is_hidden(name)
                && (name == super::manifest::NAME || sets.iter().any(|s| s.wants(name)) || path.is_dir())
    }

    /// Walks a path as the kernel does and notes each directory in which a link could be turned elsewhere.
    fn trace(&mut self, path: &Path) {
        let mut ahead: VecDeque<OsString> = components(path).collect();
        let mut here = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&name);
            let meta = fs::symlink_metadata(&next);
            let link = meta.as_ref().is_ok_and(Metadata::is_symlink);
            if link || meta.is_err() || ahead.is_empty() {
                self.dir(&here).only.insert(name);
            }
            if meta.is_err() {
                return;
            }
            if !link {
                here = next;
                continue;
            }
            links += 1;
            let Ok(target) = fs::read_link(&next) else { return };
            if links > MAX_LINKS {
                return;
            }
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            let rest = std::mem::take(&mut ahead);
            ahead = components(&target).chain(rest).collect();
        }
    }
}

fn components(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|c| match c {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

/// Hidden files, and those that editors write beside the one they edit. Also `..data` and its targets in Kubernetes volumes,
/// whose files are reached by the visible links.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    // vim probes whether it can write with a file named so.
    name.starts_with(b".") || name.starts_with(b"#") || name.ends_with(b"~") || name == b"4913"
}

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// In order of root and path.
    pub(super) files: Vec<Found>,
    pub(super) errors: Vec<FileError>,
    pub(super) interest: Interest,
    /// Roots with a manifest.
    pub(super) manifests: Vec<(usize, PathBuf)>,
}

impl Listing {
    /// Whether both saw the same versions of the same files.
    pub(super) fn same(&self, other: &Listing) -> bool {
        self.files == other.files && self.errors == other.errors && self.manifests == other.manifests
    }
}

/// Lists a set.
pub(super) fn list(set: &FileSet) -> Listing {
    let mut walk = Walk { set, listing: Listing::default(), entries: 0, root: 0 };
    for (i, root) in set.roots.iter().enumerate() {
        walk.root = i;
        walk.root(root);
    }
    walk.listing
}

struct Walk<'a> {
    set: &'a FileSet,
    listing: Listing,
    entries: usize,
    root: usize,
}

impl Walk<'_> {
    fn root(&mut self, root: &Path) {
        // Where the working directory is gone the path stays relative and is reported as missing.
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        self.listing.interest.trace(&root);
        let name = root.file_name().map_or_else(|| root.display().to_string(), |n| n.to_string_lossy().into_owned());
        match fs::metadata(&root) {
            Ok(meta) if meta.is_dir() => self.dir(&root, "", &mut Vec::new()),
            // A file that is named is wanted, whatever its extension.
            Ok(meta) if meta.is_file() => self.file(root, name, &meta),
            Ok(_) => self.error(root, name, Problem::NotAFile),
            Err(error) => self.error(root, name, Problem::from(&error)),
        }
    }

    fn error(&mut self, path: PathBuf, name: String, problem: Problem) {
        self.listing.errors.push(FileError { path, name, problem });
    }

    fn file(&mut self, path: PathBuf, name: String, meta: &Metadata) {
        let found = Found { path, name, root: self.root, stamp: Stamp::of(meta) };
        self.listing.files.push(found);
    }

    /// `above` holds the directories on the way here: a link back to one of them ends the descent.
    fn dir(&mut self, dir: &Path, rel: &str, above: &mut Vec<(u64, u64)>) {
        let shown = || if rel.is_empty() { ".".to_owned() } else { rel.to_owned() };
        let entered = fs::canonicalize(dir).and_then(|real| {
            let meta = fs::metadata(&real)?;
            Ok((real, (meta.dev(), meta.ino())))
        });
        let (real, identity) = match entered {
            Ok(entered) => entered,
            Err(error) => return self.error(dir.to_owned(), shown(), Problem::from(&error)),
        };
        if above.contains(&identity) {
            return;
        }
        if above.len() >= MAX_DEPTH {
            return self.error(dir.to_owned(), shown(), Problem::TooDeep);
        }
        self.listing.interest.dir(&real).searched = true;
        let names: io::Result<Vec<OsString>> = fs::read_dir(dir).and_then(|entries| {
            let room = MAX_ENTRIES.saturating_sub(self.entries);
            entries.take(room + 1).map(|entry| entry.map(|e| e.file_name())).collect()
        });
        let mut names = match names {
            Ok(names) => names,
            Err(error) => return self.error(dir.to_owned(), shown(), Problem::from(&error)),
        };
        self.entries += names.len();
        if self.entries > MAX_ENTRIES {
            return self.error(dir.to_owned(), shown(), Problem::TooMany { limit: MAX_ENTRIES });
        }
        names.sort();
        above.push(identity);
        for name in names {
            self.entry(dir, rel, &name, above);
        }
        above.pop();
    }

    fn entry(&mut self, dir: &Path, rel: &str, name: &OsStr, above: &mut Vec<(u64, u64)>) {
        if rel.is_empty() && name == super::manifest::NAME {
            self.listing.manifests.push((self.root, dir.join(name)));
            return;
        }
        if is_hidden(name) {
            return;
        }
        let path = dir.join(name);
        let shown = name.to_string_lossy();
        let rel = if rel.is_empty() { shown.into_owned() } else { format!("{rel}/{shown}") };
        let Ok(own) = fs::symlink_metadata(&path) else { return };
        if own.is_symlink() {
            self.listing.interest.trace(&path);
        }
        match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => self.dir(&path, &rel, above),
            _ if !self.set.wants(name) => {}
            Ok(meta) if meta.is_file() => self.file(path, rel, &meta),
            Ok(_) => self.error(path, rel, Problem::NotAFile),
            // Removed between the two looks; only a link can lead to nothing.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !own.is_symlink() => {}
            Err(error) => self.error(path, rel, Problem::from(&error)),
        }
    }
}
