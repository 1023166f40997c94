//! Rule sets of others: a checkout or a release archive becomes a directory of rules, with its licence and where it is from.
//!
//! Nothing is downloaded. What an archive says is not believed: names that lead elsewhere refuse the whole of it, links and devices are
//! left out, and sizes are measured while reading. The directory is replaced as a whole or not at all.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek as _};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::text::hex;
use crate::watch::{MANIFEST, MAX_FILES};

/// Bytes of one file, at most, as the loader takes them.
const MAX_FILE: u64 = 16 << 20;
/// Bytes of all files together, after unpacking.
const MAX_ALL: u64 = 512 << 20;
/// Entries of an archive or a checkout, wanted or not.
const MAX_ENTRIES: usize = 200_000;
/// Directories below each other in a checkout.
const MAX_DEPTH: usize = 32;

/// Says where a directory is from.
pub const ORIGIN: &str = "picket.origin.json";

#[derive(Debug, thiserror::Error)]
pub enum VendorError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path} is no archive that can be read: use .zip, .tar.gz or .tar")]
    NoArchive { path: PathBuf, source: io::Error },
    #[error("{path}: an entry leads out of it, `{entry}`: nothing was taken from it")]
    Escape { path: PathBuf, entry: String },
    #[error("{path}: {what}, more than {limit} are not taken")]
    TooMuch { path: PathBuf, what: &'static str, limit: u64 },
    #[error("{path} holds no rule{of_linux}")]
    NoRule { path: PathBuf, of_linux: &'static str },
    #[error("{path} is there and was not made by `picket rules fetch`: give another --to")]
    Foreign { path: PathBuf },
}

/// Where a directory of rules is from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Name of the archive or directory.
    pub source: String,
    /// SHA-256 of the archive; of a checkout, over its files.
    pub digest: String,
    pub version: Option<String>,
    pub licences: Vec<String>,
    pub files: usize,
    /// Rules of other systems, and what is no rule.
    pub left_out: usize,
    /// RFC 3339.
    pub fetched: String,
}

/// Text files by their path within the source.
type Files = BTreeMap<String, Vec<u8>>;

/// Collects entries and keeps the bounds.
struct Intake<'p> {
    path: &'p Path,
    files: Files,
    entries: usize,
    bytes: u64,
    left_out: usize,
}

impl Intake<'_> {
    fn too_much(&self, what: &'static str, limit: u64) -> VendorError {
        VendorError::TooMuch { path: self.path.to_owned(), what, limit }
    }

    fn entry(&mut self) -> Result<(), VendorError> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES { Err(self.too_much("it has many entries", MAX_ENTRIES as u64)) } else { Ok(()) }
    }

    /// Takes a regular file, if its name is of any interest.
    fn file(&mut self, name: &str, reader: &mut dyn Read) -> Result<(), VendorError> {
        let name =
            plain(name).ok_or_else(|| VendorError::Escape { path: self.path.to_owned(), entry: name.to_owned() })?;
        if !is_yaml(&name) && !is_licence(&name) && !is_version(&name) {
            return Ok(());
        }
        if self.files.len() >= MAX_FILES {
            return Err(self.too_much("it has many files", MAX_FILES as u64));
        }
        let mut content = Vec::new();
        let failed = |source| VendorError::Read { path: self.path.to_owned(), source };
        // What is in an archive may be far larger than it says.
        reader.take(MAX_FILE + 1).read_to_end(&mut content).map_err(failed)?;
        self.bytes += content.len() as u64;
        if content.len() as u64 > MAX_FILE {
            return Err(self.too_much("a file in it is large, bytes", MAX_FILE));
        }
        if self.bytes > MAX_ALL {
            return Err(self.too_much("it is large, bytes", MAX_ALL));
        }
        self.files.insert(name, content);
        Ok(())
    }
}

/// A relative path of ordinary parts; none where it leads elsewhere.
fn plain(name: &str) -> Option<String> {
    if name.contains(['\\', '\0']) {
        return None;
    }
    let mut parts = Vec::new();
    for part in Path::new(name).components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn is_yaml(name: &str) -> bool {
    let hidden = name.split('/').any(|part| part.starts_with('.'));
    !hidden && Path::new(name).extension().is_some_and(|e| e == "yml" || e == "yaml")
}

fn is_licence(name: &str) -> bool {
    let name = last(name).to_ascii_lowercase();
    name.starts_with("license") || name.starts_with("licence") || name.starts_with("copying")
}

fn is_version(name: &str) -> bool {
    last(name).eq_ignore_ascii_case("version.txt")
}

/// Makes `to` from a checkout or an archive; rules of other systems too with `all`.
pub fn fetch(from: &Path, to: &Path, all: bool, version: Option<&str>, now: &str) -> Result<Origin, VendorError> {
    let foreign = fs::read_dir(to).is_ok_and(|mut d| d.next().is_some()) && !to.join(ORIGIN).is_file();
    if foreign || to.is_file() {
        return Err(VendorError::Foreign { path: to.to_owned() });
    }
    let (files, left_out, digest) = read(from)?;
    let (root, files) = unwrap(files);
    let said =
        files.iter().find(|(name, _)| is_version(name)).map(|(_, text)| String::from_utf8_lossy(text).into_owned());
    let said = said.and_then(|text| text.lines().next().map(|line| line.trim().chars().take(100).collect::<String>()));
    let version = version.map(str::to_owned).or(said).or(root);
    let all_files = files.len();
    let (rules, others): (Files, Files) =
        files.into_iter().partition(|(name, text)| is_yaml(name) && is_rule(text, all));
    let licences: Files = others.into_iter().filter(|(name, _)| is_licence(name)).collect();
    if rules.is_empty() {
        let of_linux = if all { "" } else { " for Linux; --all keeps those of other systems, too" };
        return Err(VendorError::NoRule { path: from.to_owned(), of_linux });
    }
    let source = from.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let origin = Origin {
        source,
        digest,
        version,
        licences: licences.keys().cloned().collect(),
        files: rules.len(),
        left_out: left_out + all_files - rules.len() - licences.len(),
        fetched: now.to_owned(),
    };
    replace(to, &rules, &licences, &origin)?;
    Ok(origin)
}

/// The files of a source, how much was left out unread, and the digest.
fn read(from: &Path) -> Result<(Files, usize, String), VendorError> {
    let mut intake = Intake { path: from, files: Files::new(), entries: 0, bytes: 0, left_out: 0 };
    let failed = |source| VendorError::Read { path: from.to_owned(), source };
    if from.is_dir() {
        checkout(from, "", 0, &mut intake)?;
        let mut hash = Sha256::new();
        for (name, text) in &intake.files {
            hash.update(name);
            hash.update([0]);
            hash.update(Sha256::digest(text));
        }
        return Ok((intake.files, intake.left_out, hex(&hash.finalize())));
    }
    let mut file = File::open(from).map_err(failed)?;
    let mut hash = Sha256::new();
    io::copy(&mut file, &mut hash).map_err(failed)?;
    file.rewind().map_err(failed)?;
    let mut magic = [0; 4];
    let known = file.read_exact(&mut magic).map(|()| magic).unwrap_or_default();
    file.rewind().map_err(failed)?;
    match known {
        [b'P', b'K', ..] => zipped(file, &mut intake)?,
        [0x1f, 0x8b, ..] => tarred(flate2::read::MultiGzDecoder::new(io::BufReader::new(file)), &mut intake)?,
        _ => tarred(io::BufReader::new(file), &mut intake)?,
    }
    Ok((intake.files, intake.left_out, hex(&hash.finalize())))
}

fn checkout(dir: &Path, name: &str, depth: usize, intake: &mut Intake<'_>) -> Result<(), VendorError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| VendorError::Read { path, source }
    };
    if depth > MAX_DEPTH {
        return Err(intake.too_much("directories below each other", MAX_DEPTH as u64));
    }
    for entry in fs::read_dir(dir).map_err(failed(dir))? {
        let entry = entry.map_err(failed(dir))?;
        intake.entry()?;
        let Ok(own) = entry.file_name().into_string() else {
            intake.left_out += 1;
            continue;
        };
        let path = entry.path();
        let within = if name.is_empty() { own.clone() } else { format!("{name}/{own}") };
        let kind = entry.file_type().map_err(failed(&path))?;
        if kind.is_dir() && !own.starts_with('.') {
            checkout(&path, &within, depth + 1, intake)?;
        } else if kind.is_file() {
            let mut file = File::open(&path).map_err(failed(&path))?;
            intake.file(&within, &mut file)?;
        } else if kind.is_symlink() {
            intake.left_out += 1;
        }
    }
    Ok(())
}

fn zipped(file: File, intake: &mut Intake<'_>) -> Result<(), VendorError> {
    let path = intake.path.to_owned();
    let bad = |e: zip::result::ZipError| VendorError::NoArchive { path: path.clone(), source: io::Error::other(e) };
    let mut archive = zip::ZipArchive::new(io::BufReader::new(file)).map_err(bad)?;
    for number in 0..archive.len() {
        intake.entry()?;
        let mut entry = archive.by_index(number).map_err(bad)?;
        let name = entry.name().map_err(bad)?.into_owned();
        if entry.is_file() {
            intake.file(&name, &mut entry)?;
        } else if entry.is_symlink() {
            intake.left_out += 1;
        } else if plain(&name).is_none() {
            return Err(VendorError::Escape { path, entry: name });
        }
    }
    Ok(())
}

fn tarred(reader: impl Read, intake: &mut Intake<'_>) -> Result<(), VendorError> {
    let path = intake.path.to_owned();
    let bad = |source| VendorError::NoArchive { path: path.clone(), source };
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries().map_err(bad)? {
        let mut entry = entry.map_err(bad)?;
        intake.entry()?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if entry.header().entry_type().is_file() {
            intake.file(&name, &mut entry)?;
        } else if entry.header().entry_type().is_dir() && plain(&name).is_none() && name != "./" {
            return Err(VendorError::Escape { path, entry: name });
        } else if !entry.header().entry_type().is_dir() {
            intake.left_out += 1;
        }
    }
    Ok(())
}

/// Without the one directory that archives often wrap everything in; its name is often the version.
fn unwrap(files: Files) -> (Option<String>, Files) {
    let first = files.keys().next().and_then(|name| name.split_once('/')).map(|(root, _)| format!("{root}/"));
    match first {
        Some(root) if files.keys().all(|name| name.starts_with(&root)) => {
            let files = files.into_iter().map(|(name, text)| (name[root.len()..].to_owned(), text)).collect();
            (Some(root.trim_end_matches('/').to_owned()), files)
        }
        _ => (None, files),
    }
}

/// Whether a file is one of rules: for Linux, or for anything.
fn is_rule(text: &[u8], all: bool) -> bool {
    #[derive(Deserialize)]
    struct Document {
        logsource: Option<Source>,
        detection: Option<serde::de::IgnoredAny>,
        correlation: Option<serde::de::IgnoredAny>,
    }
    #[derive(Deserialize)]
    struct Source {
        product: Option<String>,
    }
    let Ok(text) = std::str::from_utf8(text) else { return false };
    // Each document by itself: one that cannot be read does not hide the others.
    let mut documents = vec![String::new()];
    for line in text.lines() {
        if line.starts_with("---") {
            documents.push(String::new());
        } else if let Some(document) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    documents.iter().filter_map(|d| serde_saphyr::from_str::<Document>(d).ok()).any(|d| {
        let linux = d.logsource.and_then(|s| s.product).is_some_and(|p| p.eq_ignore_ascii_case("linux"));
        (d.detection.is_some() || all && d.correlation.is_some()) && (all || linux)
    })
}

/// Puts the files in the place of what is there.
fn replace(to: &Path, rules: &Files, licences: &Files, origin: &Origin) -> Result<(), VendorError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| VendorError::Write { path, source }
    };
    let beside = |end: &str| {
        let mut path = to.as_os_str().to_owned();
        path.push(end);
        PathBuf::from(path)
    };
    let (new, old) = (beside(".new"), beside(".old"));
    for path in [&new, &old] {
        match fs::remove_dir_all(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(path)(e)),
            _ => {}
        }
    }
    fs::create_dir_all(&new).map_err(failed(&new))?;
    let mut manifest = String::new();
    for (name, text) in rules.iter().chain(licences) {
        let path = new.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed(parent))?;
        }
        fs::write(&path, text).map_err(failed(&path))?;
        manifest.push_str(&format!("{}  {name}\n", hex(&Sha256::digest(text))));
    }
    let path = new.join(MANIFEST);
    fs::write(&path, manifest).map_err(failed(&path))?;
    let path = new.join(ORIGIN);
    let text = serde_json::to_string_pretty(origin).map_err(io::Error::from).map_err(failed(&path))?;
    fs::write(&path, text + "\n").map_err(failed(&path))?;
    // Two renames: in between there is no directory, which the loader reads as files that change.
    let there = to.exists();
    if there {
        fs::rename(to, &old).map_err(failed(to))?;
    }
    if let Err(e) = fs::rename(&new, to) {
        if there {
            let _ = fs::rename(&old, to);
        }
        return Err(failed(to)(e));
    }
    if there {
        fs::remove_dir_all(&old).map_err(failed(&old))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const LINUX: &str =
        "title: A\nlogsource: {product: linux, category: process_creation}\ndetection: {s: {A: b}, condition: s}\n";
    const WINDOWS: &str = "title: B\nlogsource: {product: windows}\ndetection: {s: {A: b}, condition: s}\n";

    /// Name and content of each entry.
    const TREE: [(&str, &str); 6] = [
        ("sigma-2026/rules/linux/a.yml", LINUX),
        ("sigma-2026/rules/windows/b.yml", WINDOWS),
        ("sigma-2026/LICENSE", "Detection Rule License"),
        ("sigma-2026/tests/settings.yml", "a: 1\n"),
        ("sigma-2026/README.md", "read"),
        ("sigma-2026/.github/x.yml", LINUX),
    ];

    fn tarball(entries: &[(&str, &str)], link: bool) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, text) in entries {
            let mut header = tar::Header::new_gnu();
            // By hand: the library refuses to write what must be refused when read.
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            header.set_entry_type(tar::EntryType::Regular);
            header.set_cksum();
            builder.append(&header, text.as_bytes()).unwrap();
        }
        if link {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, "sigma-2026/rules/linux/evil.yml", "/etc/passwd").unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(bytes).unwrap();
        gz.finish().unwrap()
    }

    fn zipped(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        for (name, text) in entries {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn kept(to: &Path) -> Vec<String> {
        let mut intake = Intake { path: to, files: Files::new(), entries: 0, bytes: 0, left_out: 0 };
        checkout(to, "", 0, &mut intake).unwrap();
        intake.files.into_keys().collect()
    }

    #[test]
    fn archives_and_checkouts_become_the_same_directory() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("checkout");
        for (name, text) in TREE {
            let path = tree.join(name.trim_start_matches("sigma-2026/"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        for (name, bytes) in [
            ("a.tar", tarball(&TREE, true)),
            ("a.tar.gz", gzipped(&tarball(&TREE, true))),
            ("a.zip", zipped(&TREE)),
            ("checkout", Vec::new()),
        ] {
            let from = dir.path().join(name);
            if !bytes.is_empty() {
                fs::write(&from, bytes).unwrap();
            }
            let to = dir.path().join("out");
            let origin = fetch(&from, &to, false, None, "now").unwrap();
            assert_eq!(kept(&to), ["LICENSE", "rules/linux/a.yml"], "{name}");
            let version = (name != "checkout").then(|| "sigma-2026".to_owned());
            assert_eq!((origin.version, origin.files, origin.digest.len()), (version, 1, 64), "{name}");
            // The manifest holds: the loader takes the whole of it.
            let snapshot = crate::watch::Snapshot::read(&crate::watch::FileSet::rules(vec![to.clone()])).unwrap();
            assert_eq!((snapshot.files.len(), snapshot.errors.len()), (1, 0), "{name}");
            assert!(!dir.path().join("out.new").exists() && !dir.path().join("out.old").exists());
        }
        let origin = fetch(&tree, &dir.path().join("out"), true, Some("r1"), "now").unwrap();
        assert_eq!((origin.version.as_deref(), origin.files), (Some("r1"), 2));
    }

    #[test]
    fn an_archive_that_leads_elsewhere_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["../evil.yml", "/etc/evil.yml", "a/../../evil.yml", "a\\..\\evil.yml"] {
            for (kind, bytes) in [
                ("x.tar", tarball(&[("a.yml", LINUX), (name, LINUX)], false)),
                ("x.zip", zipped(&[("a.yml", LINUX), (name, LINUX)])),
            ] {
                let from = dir.path().join(kind);
                fs::write(&from, bytes).unwrap();
                let to = dir.path().join("out");
                let error = fetch(&from, &to, false, None, "now").unwrap_err();
                assert!(matches!(error, VendorError::Escape { .. }), "{kind} {name}: {error}");
                assert!(!to.exists());
            }
        }
    }

    #[test]
    fn what_is_too_large_or_no_archive_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("bomb.tar.gz");
        let zeros = "0".repeat(MAX_FILE as usize + 1);
        fs::write(&from, gzipped(&tarball(&[("a.yml", &zeros)], false))).unwrap();
        let to = dir.path().join("out");
        assert!(matches!(fetch(&from, &to, false, None, "now"), Err(VendorError::TooMuch { .. })));
        for text in ["", "no archive at all", "PK\u{3}\u{4}broken"] {
            fs::write(&from, text).unwrap();
            let error = fetch(&from, &to, false, None, "now").unwrap_err();
            assert!(matches!(error, VendorError::NoArchive { .. } | VendorError::NoRule { .. }), "{text}: {error}");
        }
        assert!(!to.exists());
    }

    #[test]
    fn a_directory_of_somebody_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a.tar"), dir.path().join("mine"));
        fs::write(&from, tarball(&TREE, false)).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(to.join("mine.yml"), LINUX).unwrap();
        assert!(matches!(fetch(&from, &to, false, None, "now"), Err(VendorError::Foreign { .. })));
        assert_eq!(kept(&to), ["mine.yml"]);
    }
}
