//! One consistent view of a set of files.
//!
//! A directory cannot be read atomically. A snapshot is consistent in this sense: a listing of all files with their versions
//! is taken before and after the contents are read, and both are the same; else it is read again.

use crate::text::hex;
use std::collections::HashMap;
use std::fs::{File as OsFile, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::FileSet;
use super::manifest::Manifest;
use super::walk::{Found, Listing, Stamp, list};

/// Files of a set, at most.
pub const MAX_FILES: usize = 50_000;
/// Bytes of all files of a set, at most.
pub const MAX_BYTES: u64 = 2 << 30;
/// How often a set that changes while it is read is read again.
const ATTEMPTS: usize = 5;
/// A version is trusted without reading only if it was older than this when it was read: a file that is written twice
/// within one tick of the file system's clock looks the same both times.
const TICK_SECONDS: i64 = 3;
/// The largest manifest: 50,000 lines of a digest and a path.
const MAX_MANIFEST: u64 = 16 << 20;

/// A file as it was read.
#[derive(Clone, Debug)]
pub struct File {
    /// Absolute, as reached through the root (links not resolved).
    pub path: PathBuf,
    /// Relative to the root it was found in.
    pub name: String,
    /// SHA-256 of the content, hex.
    pub digest: String,
    pub content: Arc<[u8]>,
    root: usize,
    stamp: Stamp,
    read_at: i64,
}

impl File {
    /// A file that is on no disk: of an exported alert.
    pub fn given(name: &str, content: &[u8]) -> File {
        File {
            path: name.into(),
            name: name.to_owned(),
            digest: hex(&Sha256::digest(content)),
            content: content.into(),
            root: 0,
            stamp: Stamp::default(),
            read_at: 0,
        }
    }
}

/// A file that could not be read: the rest of the snapshot stands without it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("cannot load {}: {problem}", path.display())]
pub struct FileError {
    pub path: PathBuf,
    /// Relative to the root it was found in.
    pub name: String,
    pub problem: Problem,
}

/// Why a file or directory is not in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    #[error("it does not exist, or is a link to nothing")]
    Missing,
    #[error("permission denied")]
    Denied,
    #[error("{0}")]
    Other(io::ErrorKind),
    #[error("it is neither a regular file nor a directory")]
    NotAFile,
    #[error("larger than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("more than {limit} entries")]
    TooMany { limit: usize },
    #[error("directories are nested too deep")]
    TooDeep,
    #[error("the set is larger than {limit} bytes")]
    SetTooLarge { limit: u64 },
    #[error("it is not listed in {}", super::manifest::NAME)]
    Unlisted,
}

impl From<&io::Error> for Problem {
    fn from(error: &io::Error) -> Problem {
        match error.kind() {
            io::ErrorKind::NotFound => Problem::Missing,
            io::ErrorKind::PermissionDenied => Problem::Denied,
            other => Problem::Other(other),
        }
    }
}

/// Why there is no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WatchError {
    /// Files changed while they were read, each time.
    #[error("the files below {} keep changing", root.display())]
    Changing { root: PathBuf },
    /// A manifest lists a file that is not there (yet), or is another version.
    #[error("the set below {} is not complete: {missing} is not as listed in {}", root.display(), super::manifest::NAME)]
    Incomplete { root: PathBuf, missing: String },
    /// A manifest is not what `sha256sum` writes.
    #[error("{}:{line}: expected a SHA-256 digest, two spaces and a path", path.display())]
    Manifest { path: PathBuf, line: u32 },
    /// A manifest cannot be read.
    #[error("cannot read {}: {problem}", path.display())]
    ManifestUnreadable { path: PathBuf, problem: Problem },
}

/// One consistent view of a set of files.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// In order of root and path.
    pub files: Vec<File>,
    pub errors: Vec<FileError>,
    /// SHA-256 over paths, digests and errors, hex: equal if nothing differs.
    pub digest: String,
}

impl Snapshot {
    /// Reads a set.
    pub fn read(set: &FileSet) -> Result<Snapshot, WatchError> {
        Snapshot::read_after(set, list(set), None)
    }

    /// Reads a set of which `listing` was just taken; what is the same version as in `last` is not read again.
    pub(super) fn read_after(
        set: &FileSet,
        mut listing: Listing,
        last: Option<&Snapshot>,
    ) -> Result<Snapshot, WatchError> {
        let mut known: HashMap<PathBuf, File> =
            last.into_iter().flat_map(|s| &s.files).map(|f| (f.path.clone(), f.clone())).collect();
        for _ in 0..ATTEMPTS {
            let read = read_listed(set, &listing, &mut known);
            let after = list(set);
            if let Some((snapshot, manifests)) = read
                && after.same(&listing)
            {
                return finish(snapshot, set, &manifests);
            }
            listing = after;
        }
        Err(WatchError::Changing { root: set.roots.first().cloned().unwrap_or_default() })
    }
}

type Manifests = Vec<(usize, PathBuf, Result<Vec<u8>, Problem>)>;

/// Reads what is listed; `None` if something was not as listed any more.
fn read_listed(set: &FileSet, listing: &Listing, known: &mut HashMap<PathBuf, File>) -> Option<(Snapshot, Manifests)> {
    let mut snapshot = Snapshot { errors: listing.errors.clone(), ..Snapshot::default() };
    let mut room = MAX_BYTES;
    for found in &listing.files {
        let mut refuse = |problem| {
            snapshot.errors.push(FileError { path: found.path.clone(), name: found.name.clone(), problem });
        };
        if snapshot.files.len() >= MAX_FILES {
            refuse(Problem::TooMany { limit: MAX_FILES });
            break;
        }
        if found.stamp.len > set.max_file {
            refuse(Problem::TooLarge { limit: set.max_file });
            continue;
        }
        if found.stamp.len > room {
            refuse(Problem::SetTooLarge { limit: MAX_BYTES });
            continue;
        }
        if let Some(file) = known.get(&found.path).filter(|f| is_current(f, found)) {
            room -= found.stamp.len;
            snapshot.files.push(File { name: found.name.clone(), root: found.root, ..file.clone() });
            continue;
        }
        match read_file(&found.path, set.max_file) {
            Ok((stamp, content)) if stamp == found.stamp => {
                room = room.saturating_sub(stamp.len);
                let file = File {
                    path: found.path.clone(),
                    name: found.name.clone(),
                    digest: hex(&Sha256::digest(&content)),
                    content: content.into(),
                    root: found.root,
                    stamp,
                    read_at: now(),
                };
                known.insert(found.path.clone(), file.clone());
                snapshot.files.push(file);
            }
            // Another version, cut short while it was read, or gone: the listing is stale.
            Ok(_) => return None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => refuse(Problem::from(&error)),
        }
    }
    let manifests = listing.manifests.iter().map(|(root, path)| {
        let bytes = read_file(path, MAX_MANIFEST).map(|(_, bytes)| bytes).map_err(|e| Problem::from(&e));
        (*root, path.clone(), bytes)
    });
    Some((snapshot, manifests.collect()))
}

/// Whether what was read before still is what is on disk.
fn is_current(file: &File, found: &Found) -> bool {
    file.stamp == found.stamp && found.stamp.changed() + TICK_SECONDS < file.read_at
}

/// Applies the manifests and seals the snapshot with its digest.
fn finish(mut snapshot: Snapshot, set: &FileSet, manifests: &Manifests) -> Result<Snapshot, WatchError> {
    for (root, path, bytes) in manifests {
        let bytes = bytes
            .as_ref()
            .map_err(|problem| WatchError::ManifestUnreadable { path: path.clone(), problem: problem.clone() })?;
        let manifest = Manifest::parse(&String::from_utf8_lossy(bytes))
            .map_err(|line| WatchError::Manifest { path: path.clone(), line })?;
        let (inside, outside): (Vec<File>, Vec<File>) = snapshot.files.into_iter().partition(|f| f.root == *root);
        if let Some(missing) =
            manifest.missing(&inside, |name| set.wants(Path::new(name).file_name().unwrap_or_default()))
        {
            let root = path.parent().unwrap_or(path).to_owned();
            return Err(WatchError::Incomplete { root, missing: missing.to_owned() });
        }
        snapshot.errors.extend(inside.iter().filter_map(|f| manifest.unlisted(f)));
        snapshot.files = outside;
        snapshot.files.extend(inside.into_iter().filter(|f| manifest.unlisted(f).is_none()));
    }
    snapshot.files.sort_by(|a, b| (a.root, &a.path).cmp(&(b.root, &b.path)));
    snapshot.errors.sort_by(|a, b| a.path.cmp(&b.path));
    let mut hash = Sha256::new();
    let mut add = |path: &Path, rest: &str| {
        // A zero byte cannot be in a path: no two lists of pairs run together to the same bytes.
        hash.update(path.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(rest);
        hash.update([0]);
    };
    snapshot.files.iter().for_each(|f| add(&f.path, &f.digest));
    snapshot.errors.iter().for_each(|e| add(&e.path, &e.problem.to_string()));
    snapshot.digest = hex(&hash.finalize());
    Ok(snapshot)
}

/// The content with the version it is of.
fn read_file(path: &Path, limit: u64) -> io::Result<(Stamp, Vec<u8>)> {
    // Not blocking: between the listing and now it may have become a pipe.
    let mut file: OsFile = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let before = file.metadata()?;
    if !before.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut content = Vec::with_capacity(before.len().min(limit) as usize);
    (&mut file).take(limit + 1).read_to_end(&mut content)?;
    let (before, after) = (Stamp::of(&before), Stamp::of(&file.metadata()?));
    if before != after || content.len() as u64 != after.len {
        // As if it had gone: the caller lists again.
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok((after, content))
}

fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64)
}
