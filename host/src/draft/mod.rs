//! Rules that are begun for their authors: from a template, or from an event that somebody wants to see again. Each comes with its
//! tests, loads as it is, and passes them.

mod event;
mod template;

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

pub use event::from_event;
pub use template::{TEMPLATES, Template, from_template};

/// Why there is no draft.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    #[error("there is no template `{name}`; one of {}", template::names())]
    NoTemplate { name: String },
    #[error("`{0}` is no name for a rule: letters, digits, `-` and `_`")]
    BadName(String),
    #[error("the event cannot be read")]
    Event(#[source] crate::kind::DecodeError),
    #[error("the event is of no kind that Picket knows, so it cannot tell which fields say something")]
    UnknownKind,
    #[error("an event of the kind {0} is made from others, and comes without them; draft a rule from one of those")]
    Derived(&'static str),
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    #[error("cannot write {}", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot get an id")]
    Random(#[source] io::Error),
}

/// A rule and its tests, as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// What its files are called if nobody says so.
    pub name: String,
    pub rule: String,
    pub test: String,
}

/// What of a draft is no part of what it detects.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// Two, for a correlation and the rule that it counts.
    pub ids: [String; 2],
    /// YYYY-MM-DD.
    pub date: String,
}

/// Who a rule is by until its author says so.
const AUTHOR: &str = "Your Name";

impl Stamp {
    /// New ids and today's date.
    pub fn new() -> Result<Stamp, DraftError> {
        let ids = [uuid().map_err(DraftError::Random)?, uuid().map_err(DraftError::Random)?];
        let mut date = jiff::Timestamp::now().to_string();
        date.truncate("YYYY-MM-DD".len());
        Ok(Stamp { ids, date })
    }
}

/// A random UUID, version 4.
fn uuid() -> io::Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = crate::text::hex(&bytes);
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

/// The first line of a file, by which editors find its schema: `picket schema rule > rule.schema.json` beside it.
fn modeline(schema: &str) -> String {
    format!("# yaml-language-server: $schema={schema}.schema.json\n")
}

/// Writes `NAME.yml` and `NAME.test.yml`; neither if one of them is there.
pub fn write(directory: &Path, name: &str, draft: &Draft) -> Result<[PathBuf; 2], DraftError> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(part) {
        return Err(DraftError::BadName(name.to_owned()));
    }
    let paths = [directory.join(format!("{name}.yml")), directory.join(format!("{name}.test.yml"))];
    if let Some(there) = paths.iter().find(|p| p.symlink_metadata().is_ok()) {
        return Err(DraftError::Exists(there.clone()));
    }
    // The test first: a rule that is live before its test is there looks untested.
    for (path, text) in [(&paths[1], &draft.test), (&paths[0], &draft.rule)] {
        let written = fs::create_dir_all(directory)
            .and_then(|()| OpenOptions::new().write(true).create_new(true).open(path))
            .and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|source| DraftError::Write { path: path.clone(), source })?;
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_random_and_of_version_4() {
        let (a, b) = (uuid().unwrap(), uuid().unwrap());
        assert_ne!(a, b);
        assert_eq!((a.len(), a.as_bytes()[14]), (36, b'4'));
        assert!(matches!(a.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{a}");
    }

    #[test]
    fn nothing_is_overwritten_and_no_name_is_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let draft = Draft { name: "x".into(), rule: "r".into(), test: "t".into() };
        write(dir.path(), "x", &draft).unwrap();
        assert!(matches!(write(dir.path(), "x", &draft), Err(DraftError::Exists(_))));
        for bad in ["", "../x", "a/b", ".x", "é"] {
            assert!(matches!(write(dir.path(), bad, &draft), Err(DraftError::BadName(_))), "{bad}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
