//! The rule files that the console shows and writes: those of the configured rules directories and no others.
//!
//! What is asked for is a name among the files that were found, never a path. A file is opened below its root by the kernel's
//! own rule that nothing on the way may lead out of it or be a link (openat2), so there is no moment between a check and its
//! use in which somebody who may write in the directory could turn it elsewhere.

use std::fs::{File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use sha2::{Digest as _, Sha256};

use crate::text::hex;
use crate::watch::{FileSet, Snapshot, WatchError};

/// Longest rule file that is shown or written.
pub const LONGEST: usize = 512 << 10;

/// Why a file cannot be shown or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("the rules cannot be listed")]
    List(#[from] WatchError),
    #[error("no rule file is called `{name}`")]
    Unknown { name: String },
    #[error("two rules directories have a file called `{name}`: edit it there")]
    Ambiguous { name: String },
    #[error("`{name}` is longer than {LONGEST} bytes")]
    TooLong { name: String },
    #[error("`{name}` is not UTF-8")]
    NotText { name: String },
    #[error("`{name}` is a link, or reached by one: edit the file that it leads to")]
    Link { name: String },
    #[error("`{name}` was changed meanwhile: load it again, then make your change")]
    Changed { name: String },
    #[error("`{name}` is there already")]
    Exists { name: String },
    #[error("a new rule needs a name like `rule.yml` in a rules directory that is there, not `{name}`")]
    Name { name: String },
    #[error("cannot write `{name}`: {why}")]
    Write { name: String, why: String },
}

/// A rule file or the test beside it.
#[derive(Clone, Debug)]
pub struct RuleFile {
    pub name: String,
    pub text: String,
    /// SHA-256 of the text, hex.
    pub digest: String,
    /// The configured directory (or the directory of the configured file) that it is in.
    root: PathBuf,
    /// Its way from there.
    below: PathBuf,
}

fn digest(text: &[u8]) -> String {
    hex(&Sha256::digest(text))
}

/// Where the files of each configured path begin.
fn roots(rules: &[PathBuf]) -> impl Iterator<Item = PathBuf> + '_ {
    rules.iter().filter_map(|rule| {
        let path = std::path::absolute(rule).ok()?;
        if path.is_dir() { Some(path) } else { path.parent().map(Path::to_path_buf) }
    })
}

/// Finds the file that the rules call `name`.
pub fn find(rules: &[PathBuf], name: &str) -> Result<RuleFile, FileError> {
    let owned = || name.to_owned();
    let listed = Snapshot::read(&FileSet::rules_and_tests(rules.to_vec()))?;
    let mut found = listed.files.iter().filter(|f| f.name == name);
    let file = found.next().ok_or_else(|| FileError::Unknown { name: owned() })?;
    if found.next().is_some() {
        return Err(FileError::Ambiguous { name: owned() });
    }
    if file.content.len() > LONGEST {
        return Err(FileError::TooLong { name: owned() });
    }
    let text = String::from_utf8(file.content.to_vec()).map_err(|_| FileError::NotText { name: owned() })?;
    let in_root = |root: PathBuf| Some((file.path.strip_prefix(&root).ok()?.to_path_buf(), root));
    let (below, root) = roots(rules).find_map(in_root).ok_or_else(|| FileError::Unknown { name: owned() })?;
    Ok(RuleFile { name: owned(), digest: digest(text.as_bytes()), text, root, below })
}

/// Replaces a file as a whole, with its mode and owner; `expected` is the digest of the text that was edited.
pub fn save(file: &RuleFile, text: &str, expected: &str) -> Result<String, FileError> {
    let name = &file.name;
    let failed = |e: io::Error| FileError::Write { name: name.clone(), why: why(&e) };
    let (directory, last) = open_parent(file)?;
    let old = openat(&directory, last.as_path(), OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty());
    let mut old = File::from(old.map_err(|e| refused(name, e))?);
    let meta = old.metadata().map_err(failed)?;
    let mut before = Vec::new();
    (&mut old).take(LONGEST as u64 + 1).read_to_end(&mut before).map_err(failed)?;
    if !meta.is_file() || digest(&before) != expected {
        return Err(FileError::Changed { name: name.clone() });
    }
    let aside = PathBuf::from(format!(".{}.{}.new", last.display(), std::process::id()));
    let made = create(&directory, &aside, name)?;
    let put = |mut new: File| -> io::Result<()> {
        new.write_all(text.as_bytes())?;
        let own = new.metadata()?;
        if (own.uid(), own.gid()) != (meta.uid(), meta.gid()) {
            std::os::unix::fs::fchown(&new, Some(meta.uid()), Some(meta.gid()))?;
        }
        new.set_permissions(Permissions::from_mode(meta.mode() & 0o7777))?;
        new.sync_all()?;
        renameat(&directory, aside.as_path(), &directory, last.as_path())?;
        File::from(directory.try_clone()?).sync_all()
    };
    put(made).map_err(|e| {
        // What was begun is no rule: its name is hidden. Nothing else can be done about it.
        let _ = unlinkat(&directory, aside.as_path(), UnlinkatFlags::NoRemoveDir);
        failed(e)
    })?;
    Ok(digest(text.as_bytes()))
}

/// Makes a file that was not there, in the first rules directory.
pub fn make(rules: &[PathBuf], name: &str, text: &str) -> Result<String, FileError> {
    let bad = || FileError::Name { name: name.to_owned() };
    let part = |p: &str| {
        !p.is_empty() && !p.starts_with('.') && p.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    let ending = Path::new(name).extension().is_some_and(|e| e == "yml" || e == "yaml");
    let root = rules.iter().find(|r| r.is_dir()).and_then(|r| std::path::absolute(r).ok()).ok_or_else(bad)?;
    if !ending || name.len() > 200 || !name.split('/').all(part) {
        return Err(bad());
    }
    let file = RuleFile { name: name.to_owned(), text: String::new(), digest: String::new(), root, below: name.into() };
    let (directory, last) = open_parent(&file).map_err(|_| bad())?;
    let failed = |e: io::Error| FileError::Write { name: name.to_owned(), why: why(&e) };
    let mut new = create(&directory, &last, name)?;
    new.write_all(text.as_bytes())
        .and_then(|()| new.set_permissions(Permissions::from_mode(0o644)))
        .and_then(|()| new.sync_all())
        .map_err(failed)?;
    Ok(digest(text.as_bytes()))
}

fn create(directory: &OwnedFd, at: &Path, name: &str) -> Result<File, FileError> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let made = openat(directory, at, flags, Mode::S_IRUSR | Mode::S_IWUSR);
    made.map(File::from).map_err(|e| refused(name, e))
}

/// The directory of a file, opened, and the file's name in it. The root itself may be reached by links: it was configured.
fn open_parent(file: &RuleFile) -> Result<(OwnedFd, PathBuf), FileError> {
    let place = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let parent = file.below.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let last = file.below.file_name().ok_or_else(|| FileError::Name { name: file.name.clone() })?;
    let how = OpenHow::new()
        .flags(place | OFlag::O_RDONLY)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let opened = open(&file.root, place | OFlag::O_RDONLY, Mode::empty()).and_then(|root| openat2(root, parent, how));
    Ok((opened.map_err(|e| refused(&file.name, e))?, PathBuf::from(last)))
}

fn refused(name: &str, e: nix::Error) -> FileError {
    let name = name.to_owned();
    match e {
        nix::Error::ELOOP | nix::Error::EXDEV => FileError::Link { name },
        nix::Error::EEXIST => FileError::Exists { name },
        e => FileError::Write { name, why: why(&e.into()) },
    }
}

fn why(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::PermissionDenied => {
            "picket may not: it gave up the right to pass over permissions and owners".to_owned()
        }
        _ => e.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn at() -> (tempfile::TempDir, Vec<PathBuf>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("rules/sub")).unwrap();
        std::fs::write(dir.path().join("rules/sub/a.yml"), "old").unwrap();
        std::fs::write(dir.path().join("secret.yml"), "secret").unwrap();
        let rules = vec![dir.path().join("rules")];
        (dir, rules)
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_nothing_is_left_beside_it() {
        let (dir, rules) = at();
        let path = dir.path().join("rules/sub/a.yml");
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let file = find(&rules, "sub/a.yml").unwrap();
        assert_eq!(file.text, "old");
        let inode = std::fs::metadata(&path).unwrap().ino();
        save(&file, "new", &file.digest).unwrap();
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), meta.mode() & 0o777), ("new", 0o640));
        assert_ne!(meta.ino(), inode, "a reader of the old file keeps it whole");
        assert_eq!(std::fs::read_dir(dir.path().join("rules/sub")).unwrap().count(), 1);
        let error = save(&file, "newer", &file.digest).unwrap_err();
        assert!(matches!(error, FileError::Changed { .. }), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn only_names_of_rule_files_are_known() {
        let (dir, rules) = at();
        let absolute = dir.path().join("secret.yml").display().to_string();
        for name in
            ["../secret.yml", "sub/../../secret.yml", absolute.as_str(), "/etc/passwd", "", "sub", "sub/a.yml\0"]
        {
            assert!(matches!(find(&rules, name), Err(FileError::Unknown { .. })), "{name}");
        }
    }

    #[test]
    fn links_lead_nowhere() {
        let (dir, rules) = at();
        symlink(dir.path().join("secret.yml"), dir.path().join("rules/link.yml")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        std::fs::write(dir.path().join("outside/b.yml"), "b").unwrap();
        symlink(dir.path().join("outside"), dir.path().join("rules/out")).unwrap();
        for name in ["link.yml", "out/b.yml"] {
            let file = find(&rules, name).unwrap();
            let error = save(&file, "x", &file.digest).unwrap_err();
            assert!(matches!(error, FileError::Link { .. }), "{name}: {error}");
        }
        // A directory that became a link after the file was found.
        let file = find(&rules, "sub/a.yml").unwrap();
        std::fs::rename(dir.path().join("rules/sub"), dir.path().join("rules/was")).unwrap();
        symlink(dir.path().join("outside"), dir.path().join("rules/sub")).unwrap();
        std::fs::write(dir.path().join("outside/a.yml"), "old").unwrap();
        assert!(matches!(save(&file, "x", &file.digest), Err(FileError::Link { .. })));
        assert_eq!(std::fs::read_to_string(dir.path().join("outside/a.yml")).unwrap(), "old");
        assert!(matches!(make(&rules, "out/c.yml", "x"), Err(FileError::Name { .. })));
        assert_eq!(std::fs::read_to_string(dir.path().join("secret.yml")).unwrap(), "secret");
    }

    #[test]
    fn a_new_file_is_inside_and_was_not_there() {
        let (dir, rules) = at();
        make(&rules, "sub/b.yml", "b").unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("rules/sub/b.yml")).unwrap(), "b");
        assert!(matches!(make(&rules, "sub/b.yml", "x"), Err(FileError::Exists { .. })));
        for name in
            ["../b.yml", "/b.yml", "b.sh", "b.yml/", ".b.yml", "sub/../b.yml", "none/b.yml", "b\n.yml", "rule.yml.wasm"]
        {
            assert!(matches!(make(&rules, name, "x"), Err(FileError::Name { .. })), "{name}");
        }
    }

    #[test]
    fn one_name_in_two_directories_is_nobodys() {
        let (dir, mut rules) = at();
        std::fs::create_dir_all(dir.path().join("more/sub")).unwrap();
        std::fs::write(dir.path().join("more/sub/a.yml"), "other").unwrap();
        rules.push(dir.path().join("more"));
        assert!(matches!(find(&rules, "sub/a.yml"), Err(FileError::Ambiguous { .. })));
    }
}
