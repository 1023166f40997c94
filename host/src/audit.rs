//! Who changed what: every load, and every change of a mode or an exception, one line each in the state directory.
//!
//! A line is on the disk before the next thing is done. Two files of which the older one goes when the newer one is full. What stood
//! last is kept beside them, so that a change made while no Picket ran is found at the next start.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::kind::time_text;
use crate::notice;
use crate::reload::{Inputs, SourceFile};
use crate::tune::{Standing, Tuning};
use crate::whole;

const NEWER: &str = "audit.ndjson";
const OLDER: &str = "audit.1.ndjson";
/// What stood when it was written last.
const STATE: &str = "tuning.json";

/// Size of each of the two files, at most: some ten thousand lines.
const MAX_BYTES: u64 = 4 << 20;
/// Files named in one line; of more only the number is said.
const MAX_FILES: usize = 50;
/// Longest line read.
const LONGEST: u64 = 1 << 20;

/// Who was at the other end of the control socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Peer {
    pub uid: u32,
    pub gid: u32,
    pub pid: i32,
    /// User who logged in, whoever it became since; none for a service.
    pub login_uid: Option<u32>,
}

impl Peer {
    /// From what the kernel says of the other end. The login user is read while it waits for its answer.
    pub fn new(uid: u32, gid: u32, pid: i32) -> Peer {
        let login = fs::read_to_string(format!("/proc/{pid}/loginuid")).ok();
        let login_uid = login.and_then(|text| text.trim().parse().ok()).filter(|uid| *uid != u32::MAX);
        Peer { uid, gid, pid, login_uid }
    }
}

/// Who wanted a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Asker {
    Control(Peer),
    Signal,
}

/// A file that was changed, and whose it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    pub file: String,
    /// `added`, `changed` or `removed`.
    pub change: &'static str,
    /// Of who owns it.
    pub uid: Option<u32>,
    /// When it was changed last, RFC 3339.
    pub mtime: Option<String>,
}

impl Changed {
    fn of(file: String, change: &'static str, path: Option<&Path>) -> Changed {
        let meta = path.and_then(|p| fs::metadata(p).ok());
        let nanos = |m: &fs::Metadata| {
            u64::try_from(m.mtime()).unwrap_or_default() * 1_000_000_000
                + u64::try_from(m.mtime_nsec()).unwrap_or_default()
        };
        Changed {
            file,
            change,
            uid: meta.as_ref().map(fs::Metadata::uid),
            mtime: meta.as_ref().map(|m| time_text(nanos(m))),
        }
    }
}

/// One line.
#[derive(Debug, Serialize)]
struct Line<'a> {
    time: String,
    /// `start`, `reload`, `mode` or `exception`.
    what: &'a str,
    /// Which rules, or which exception; nothing of a load.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    before: Json,
    after: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    /// As the entry or exception says.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
    asked_by: &'a [Asker],
    files: &'a [Changed],
    /// Further files that were changed.
    #[serde(skip_serializing_if = "is_zero")]
    more_files: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// The writing end. The reload thread has it.
pub struct Audit {
    dir: PathBuf,
    before: Option<Before>,
    failing: bool,
}

/// What was loaded last.
struct Before {
    generation: u64,
    rules: usize,
    inputs: Option<Inputs>,
    standing: BTreeMap<String, Standing>,
}

/// The state file.
#[derive(Default, Serialize, Deserialize)]
struct State {
    standing: BTreeMap<String, Standing>,
}

/// A set that was published.
pub struct Loaded<'a> {
    pub generation: u64,
    pub rules: usize,
    pub inputs: &'a Inputs,
    pub tuning: &'a Tuning,
}

impl Audit {
    /// The log of a state directory, which has to exist.
    pub fn open(state_dir: &Path) -> Audit {
        let text = fs::read(state_dir.join(STATE)).ok();
        let state: Option<State> = text.and_then(|text| serde_json::from_slice(&text).ok());
        let before = state.map(|s| Before { generation: 0, rules: 0, inputs: None, standing: s.standing });
        Audit { dir: state_dir.to_owned(), before, failing: false }
    }

    /// Notes a set that is live now, and what in it is another than before.
    pub fn loaded(&mut self, loaded: &Loaded<'_>, asked_by: &[Asker]) {
        let standing = loaded.tuning.standing();
        let before = self.before.take();
        let inputs = before.as_ref().and_then(|b| b.inputs.as_ref());
        let mut files = inputs.map(|before| changes(before, loaded.inputs)).unwrap_or_default();
        let more_files = files.len().saturating_sub(MAX_FILES);
        files.truncate(MAX_FILES);
        let time = time_text(notice::now());
        let set = |generation: u64, rules: usize| serde_json::json!({ "generation": generation, "rules": rules });
        let mut lines = vec![Line {
            time: time.clone(),
            what: if inputs.is_some() { "reload" } else { "start" },
            subject: None,
            before: before.as_ref().filter(|b| b.inputs.is_some()).map_or(Json::Null, |b| set(b.generation, b.rules)),
            after: set(loaded.generation, loaded.rules),
            why: None,
            owner: None,
            asked_by,
            files: &files,
            more_files,
        }];
        let none = BTreeMap::new();
        let stood = before.as_ref().map_or(&none, |b| &b.standing);
        let subjects: std::collections::BTreeSet<&String> = stood.keys().chain(standing.keys()).collect();
        let mut named: Vec<Vec<Changed>> = Vec::new();
        let changed: Vec<_> = subjects
            .into_iter()
            .map(|subject| (subject, stood.get(subject), standing.get(subject)))
            .filter(|(_, was, is)| was.map(|s| &s.effect) != is.map(|s| &s.effect))
            .collect();
        for (_, was, is) in &changed {
            let file = is.or(*was).map(|s| s.file.as_str()).unwrap_or_default();
            let all = loaded.inputs.rules.iter().chain(&loaded.inputs.tuning);
            let path = all.into_iter().find(|f| f.name == file).map(|f| f.path.as_path());
            let change = match (was, is) {
                (None, _) => "added",
                (_, None) => "removed",
                _ => "changed",
            };
            named.push(vec![Changed::of(file.to_owned(), change, path)]);
        }
        for ((subject, was, is), files) in changed.iter().zip(&named) {
            let (what, subject) = subject.split_once(' ').unwrap_or(("mode", subject));
            let now = is.or(*was);
            lines.push(Line {
                time: time.clone(),
                what,
                subject: Some(subject),
                before: was.map(|s| s.effect.clone()).into(),
                after: is.map(|s| s.effect.clone()).into(),
                why: now.and_then(|s| s.reason.as_deref()),
                owner: now.and_then(|s| s.owner.as_deref()),
                asked_by,
                files,
                more_files: 0,
            });
        }
        let state = State { standing: standing.clone() };
        // The lines first: a crash in between says a change twice, and hides none.
        self.write(&lines);
        let text = serde_json::to_vec(&state);
        let kept = text.map_err(io::Error::from).and_then(|text| whole::write(&self.dir.join(STATE), &[&text]));
        self.said(&kept);
        let (generation, rules, inputs) = (loaded.generation, loaded.rules, Some(loaded.inputs.clone()));
        self.before = Some(Before { generation, rules, inputs, standing });
    }

    /// Notes a set that was refused; what is live stays.
    pub fn refused(&mut self, generation: u64, why: &str, asked_by: &[Asker]) {
        let line = Line {
            time: time_text(notice::now()),
            what: "reload",
            subject: None,
            before: serde_json::json!({ "generation": generation }),
            after: serde_json::json!({ "generation": generation, "refused": true }),
            why: Some(why),
            owner: None,
            asked_by,
            files: &[],
            more_files: 0,
        };
        self.write(&[line]);
    }

    fn write(&mut self, lines: &[Line<'_>]) {
        let mut text = Vec::new();
        let written = lines.iter().try_for_each(|line| {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
            Ok(())
        });
        let written = written.and_then(|()| append(&self.dir, &text));
        self.said(&written);
    }

    fn said(&mut self, done: &io::Result<()>) {
        if let Err(error) = done
            && !self.failing
        {
            tracing::error!(dir = %self.dir.display(), %error, "what is changed cannot be noted");
        }
        self.failing = done.is_err();
    }
}

fn append(dir: &Path, text: &[u8]) -> io::Result<()> {
    let path = dir.join(NEWER);
    let open = || OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
    let mut file = open()?;
    if file.metadata()?.len() + text.len() as u64 > MAX_BYTES {
        fs::rename(&path, dir.join(OLDER))?;
        file = open()?;
    }
    file.write_all(text)?;
    file.sync_all()
}

/// Files that are in one set and not, or not so, in the other.
fn changes(before: &Inputs, after: &Inputs) -> Vec<Changed> {
    let by_path = |inputs: &Inputs| -> BTreeMap<PathBuf, (String, String)> {
        let Inputs { rules, guests, tuning, lists, .. } = inputs;
        let all = [rules, guests, tuning, lists].into_iter().flatten();
        all.map(|f: &SourceFile| (f.path.clone(), (f.name.clone(), f.digest.clone()))).collect()
    };
    let (was, is) = (by_path(before), by_path(after));
    let mut found = Vec::new();
    for (path, (name, digest)) in &is {
        match was.get(path) {
            None => found.push(Changed::of(name.clone(), "added", Some(path))),
            Some((_, old)) if old != digest => found.push(Changed::of(name.clone(), "changed", Some(path))),
            Some(_) => {}
        }
    }
    let gone = was.iter().filter(|(path, _)| !is.contains_key(*path));
    found.extend(gone.map(|(_, (name, _))| Changed::of(name.clone(), "removed", None)));
    if before.config != after.config {
        found.push(Changed { file: "the config".to_owned(), change: "changed", uid: None, mtime: None });
    }
    found
}

/// Calls `f` with every line that is kept, the oldest first. What a crash cut is left out.
pub fn each(state_dir: &Path, f: &mut dyn FnMut(&Json, &str) -> bool) -> io::Result<()> {
    for name in [OLDER, NEWER] {
        let file = match File::open(state_dir.join(name)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        loop {
            line.clear();
            if (&mut reader).take(LONGEST).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let Ok(text) = std::str::from_utf8(&line) else { continue };
            if let Ok(entry) = serde_json::from_str::<Json>(text)
                && !f(&entry, text.trim_end())
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Config;
    use crate::detection::Level;
    use crate::tune;

    fn tuning(text: &str, now: i64) -> Tuning {
        let mut said = Vec::new();
        let entries = tune::read("a.toml", text, &mut said);
        Tuning::new(Level::Medium, entries, Vec::new(), &[], now, &mut said)
    }

    fn inputs() -> Inputs {
        Inputs {
            config: Arc::new(Config::default()),
            rules: Vec::new(),
            guests: Vec::new(),
            tuning: Vec::new(),
            lists: Vec::new(),
            now: 0,
            unread: Vec::new(),
        }
    }

    fn lines(dir: &Path) -> Vec<Json> {
        let mut all = Vec::new();
        each(dir, &mut |entry, _| {
            all.push(entry.clone());
            true
        })
        .unwrap();
        all
    }

    const SHADOW: &str = "[[tune]]\nrule = 'r'\nmode = 'shadow'\nreason = 'loud'\nowner = 'me'\nexpires = 2027-02-01\n";

    #[test]
    fn each_change_of_a_mode_is_a_line_with_before_and_after() {
        let dir = tempfile::tempdir().unwrap();
        let inputs = inputs();
        let mut audit = Audit::open(dir.path());
        let peer = Asker::Control(Peer { uid: 1, gid: 2, pid: 3, login_uid: Some(4) });
        let end = tune::Expiry::parse("2027-02-01").unwrap().at;
        for (generation, text, now) in [(1, "", 0), (2, SHADOW, 0), (3, SHADOW, 1), (4, SHADOW, end)] {
            let tuning = tuning(text, now);
            audit.loaded(&Loaded { generation, rules: 1, inputs: &inputs, tuning: &tuning }, &[peer]);
        }
        let all = lines(dir.path());
        let told: Vec<(&str, &Json, &Json)> =
            all.iter().map(|l| (l["what"].as_str().unwrap(), &l["before"], &l["after"])).collect();
        let set = |n: u64| serde_json::json!({"generation": n, "rules": 1});
        let [one, two, three, four] = [1, 2, 3, 4].map(set);
        let (shadow, expired) =
            (Json::from("shadow until 2027-02-01"), Json::from("expired (shadow until 2027-02-01)"));
        let expected = [
            ("start", &Json::Null, &one),
            ("reload", &one, &two),
            ("mode", &Json::Null, &shadow),
            ("reload", &two, &three),
            ("reload", &three, &four),
            ("mode", &shadow, &expired),
        ];
        assert_eq!(told, expected);
        let mode = &all[2];
        assert_eq!((mode["subject"].as_str(), mode["why"].as_str()), (Some("rule r"), Some("loud")));
        assert_eq!(mode["asked_by"], serde_json::json!([{"control": {"uid": 1, "gid": 2, "pid": 3, "login_uid": 4}}]));
        assert_eq!(mode["owner"], "me");
    }

    #[test]
    fn a_change_while_nobody_ran_is_found_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let inputs = inputs();
        let load = |text: &str| {
            let tuning = tuning(text, 0);
            Audit::open(dir.path()).loaded(&Loaded { generation: 1, rules: 1, inputs: &inputs, tuning: &tuning }, &[]);
        };
        load(SHADOW);
        load(&SHADOW.replace("shadow", "off"));
        let all = lines(dir.path());
        let what: Vec<&str> = all.iter().map(|l| l["what"].as_str().unwrap()).collect();
        assert_eq!(what, ["start", "mode", "start", "mode"]);
        assert_eq!(all[3]["before"], "shadow until 2027-02-01");
        assert_eq!(all[3]["after"], "off until 2027-02-01");
    }

    #[test]
    fn it_stays_within_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let mut audit = Audit::open(dir.path());
        let why = "x".repeat(100_000);
        (0..200).for_each(|n| audit.refused(n, &why, &[Asker::Signal]));
        let size: u64 = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(size <= 2 * MAX_BYTES, "{size}");
        assert_eq!(lines(dir.path()).last().unwrap()["before"]["generation"], 199);
    }
}
