//! `picket.set`: says which files a set consists of, so that one that is still being copied is never taken for a whole one.
//!
//! It is what `sha256sum` writes, made in the root: `sha256sum *.yml linux/*.yml > picket.set`.

use std::collections::BTreeMap;

use super::{File, FileError, Problem};

/// The name of the manifest in a root.
pub const NAME: &str = "picket.set";

/// Digests by relative path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Manifest(BTreeMap<String, String>);

impl Manifest {
    /// Reads the lines; an error names the line, from 1.
    pub(super) fn parse(text: &str) -> Result<Manifest, u32> {
        let mut files = BTreeMap::new();
        for (i, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (digest, name) = entry(line).ok_or(i as u32 + 1)?;
            files.insert(name.to_owned(), digest);
        }
        Ok(Manifest(files))
    }

    /// A listed file that is not there, or is not the listed version. Names that are not of this kind of set (a README,
    /// the tests of rules) may be listed and do not count.
    pub(super) fn missing<'m>(&'m self, files: &[File], counts: impl Fn(&str) -> bool) -> Option<&'m str> {
        let have: BTreeMap<&str, &str> = files.iter().map(|f| (f.name.as_str(), f.digest.as_str())).collect();
        let differs = |name: &str, digest: &str| have.get(name) != Some(&digest) && counts(name);
        self.0.iter().find(|(name, digest)| differs(name, digest)).map(|(name, _)| name.as_str())
    }

    /// Files that are there and not listed are not part of the set, and said.
    pub(super) fn unlisted(&self, file: &File) -> Option<FileError> {
        let listed = self.0.contains_key(&file.name);
        (!listed).then(|| FileError { path: file.path.clone(), name: file.name.clone(), problem: Problem::Unlisted })
    }
}

/// `<sha256>  <path>` or `<sha256> *<path>`.
fn entry(line: &str) -> Option<(String, &str)> {
    let (digest, name) = line.split_once(' ')?;
    let name = name.strip_prefix([' ', '*'])?;
    let name = name.strip_prefix("./").unwrap_or(name);
    let hex = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
    (hex && !name.is_empty()).then(|| (digest.to_ascii_lowercase(), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_sha256sum_writes() {
        let digest = "0123456789abcdef".repeat(4);
        let text = format!("# a comment\n{digest}  a b.yml\n\n{} *./linux/c.yml\n", digest.to_uppercase());
        let manifest = Manifest::parse(&text).unwrap();
        let names: Vec<_> = manifest.0.iter().map(|(n, d)| (n.as_str(), d == &digest)).collect();
        assert_eq!(names, [("a b.yml", true), ("linux/c.yml", true)]);
    }

    #[test]
    fn a_bad_line_is_named() {
        let digest = "0".repeat(64);
        assert_eq!(Manifest::parse(&format!("{digest}  a.yml\nnonsense\n")), Err(2));
        assert_eq!(Manifest::parse(&format!("{digest} a.yml\n")), Err(1));
        assert_eq!(Manifest::parse("12  a.yml\n"), Err(1));
    }
}
