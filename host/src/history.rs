//! The alerts of this host, for whoever asks about one later: `alerts ls`, `explain ALERT-ID`, exceptions, exports.
//!
//! The spool forgets an alert when every endpoint has it; this keeps it, one line each, in two files of which the older one is
//! dropped when the newer one is full. It is written after the alert is durable in the spool and is not synced by itself: a power
//! loss may cost the last seconds of the history, and never an alert.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::ledger::HistoryAccount as Account;
use crate::whole;

/// Directory within `state_dir`.
const DIR: &str = "history";
const NEWER: &str = "alerts.ndjson";
const OLDER: &str = "alerts.1.ndjson";

/// In the place of an id.
const LAST: &str = "last";

/// The shortest part of an id that may stand for it.
const SHORTEST: usize = 4;

/// Longest line read: an alert is far shorter.
const LONGEST: u64 = 16 << 20;

/// Why an alert cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("cannot read the history of alerts in {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("`{id}` is the beginning of several alerts: {candidates}")]
    Ambiguous { id: String, candidates: String },
    #[error("`{id}` is no id of an alert: give its first {SHORTEST} hexadecimal digits or more")]
    NoId { id: String },
}

/// The writing end. One at a time: the alerts thread has it.
pub struct History {
    dir: PathBuf,
    file: Option<File>,
    size: u64,
    /// Of each of the two files.
    most: u64,
}

impl History {
    /// Opens the history below a state directory.
    pub fn open(state_dir: &Path, max_bytes: u64) -> io::Result<History> {
        let dir = state_dir.join(DIR);
        whole::directory(&dir)?;
        let (file, size) = append(&dir.join(NEWER))?;
        Ok(History { dir, file: Some(file), size, most: max_bytes / 2 })
    }

    /// Keeps an alert. `line` is its JSON without a line end.
    pub fn keep(&mut self, line: &[u8], account: &Account) {
        match self.write(line, account) {
            Ok(()) => account.kept.add(1),
            Err(e) => {
                // Said once: the count says how often.
                if account.failed.get() == 0 {
                    tracing::error!(error = %e, dir = %self.dir.display(), "the history of alerts cannot be written");
                }
                account.failed.add(1);
                self.file = None;
            }
        }
    }

    fn write(&mut self, line: &[u8], account: &Account) -> io::Result<()> {
        if self.size > 0 && self.size + line.len() as u64 + 1 > self.most {
            let older = self.dir.join(OLDER);
            account.dropped_files.add(u64::from(older.exists()));
            fs::rename(self.dir.join(NEWER), older)?;
            self.file = None;
        }
        if self.file.is_none() {
            let (file, size) = append(&self.dir.join(NEWER))?;
            (self.file, self.size) = (Some(file), size);
        }
        if let Some(file) = &mut self.file {
            let mut whole = Vec::with_capacity(line.len() + 1);
            whole.extend_from_slice(line);
            whole.push(b'\n');
            file.write_all(&whole)?;
            self.size += whole.len() as u64;
        }
        Ok(())
    }
}

/// Opens for appending. What a crash left without a line end is ended, so that the next line is one of its own.
fn append(path: &Path) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new().append(true).read(true).create(true).mode(0o600).open(path)?;
    let mut size = file.metadata()?.len();
    if size > 0 {
        let mut last = [0];
        file.seek(io::SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
            size += 1;
        }
    }
    Ok((file, size))
}

/// Calls `f` with the line of every alert that is kept, the oldest first, until it says `false`. What is no JSON is left out: a
/// crash may have cut one.
pub fn each(state_dir: &Path, f: &mut dyn FnMut(&str) -> bool) -> Result<(), HistoryError> {
    for name in [OLDER, NEWER] {
        let path = state_dir.join(DIR).join(name);
        let failed = |source| HistoryError::Read { path: path.clone(), source };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(failed(e)),
        };
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut line = Vec::new();
        loop {
            line.clear();
            if (&mut reader).take(LONGEST).read_until(b'\n', &mut line).map_err(failed)? == 0 {
                break;
            }
            let Ok(text) = std::str::from_utf8(&line) else { continue };
            let text = text.trim_end();
            if text.starts_with('{') && text.ends_with('}') && !f(text) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The alert with this id, or the only one whose id begins so, in its newest state; `last` is the newest of all that a rule made.
pub fn find(state_dir: &Path, id: &str) -> Result<Option<Json>, HistoryError> {
    if id == LAST {
        let mut last = None;
        each(state_dir, &mut |line| {
            let alert = serde_json::from_str::<Json>(line).ok();
            // Those of the host itself have no rule of a file.
            last = alert.filter(|a| a["rule"]["digest"].as_str().is_some_and(|d| !d.is_empty())).or(last.take());
            true
        })?;
        return Ok(last);
    }
    let id = id.to_ascii_lowercase();
    if id.len() < SHORTEST || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(HistoryError::NoId { id });
    }
    let needle = format!("\"id\":\"{id}");
    let mut found: Vec<(String, Json)> = Vec::new();
    each(state_dir, &mut |line| {
        // The id comes first in an alert; the event within may hold anything.
        if line.get(..HEAD.min(line.len())).is_some_and(|head| head.contains(&needle))
            && let Ok(alert) = serde_json::from_str::<Json>(line)
            && let Some(whole) = alert["id"].as_str().filter(|whole| whole.starts_with(&id)).map(str::to_owned)
        {
            found.retain(|(known, _)| *known != whole);
            found.push((whole, alert));
        }
        true
    })?;
    if found.len() > 1 {
        let candidates: Vec<&str> = found.iter().map(|(whole, _)| whole.as_str()).take(5).collect();
        return Err(HistoryError::Ambiguous { id, candidates: candidates.join(", ") });
    }
    Ok(found.pop().map(|(_, alert)| alert))
}

/// `{"v":1,"id":"` and the id stand within so many bytes.
const HEAD: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(id: &str, n: usize) -> String {
        format!(r#"{{"v":1,"id":"{id}","n":{n},"event":{{"id":"ffff0000"}}}}"#)
    }

    #[test]
    fn an_alert_is_found_by_its_id_or_the_beginning_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let account = Account::default();
        let mut history = History::open(dir.path(), 1 << 20).unwrap();
        for (id, n) in [("aabb0011", 1), ("aabb0022", 2), ("aabb0011", 3)] {
            history.keep(alert(id, n).as_bytes(), &account);
        }
        let find = |id: &str| find(dir.path(), id);
        assert_eq!(find("AABB0011").unwrap().unwrap()["n"], 3, "the newest state");
        assert_eq!(find("aabb002").unwrap().unwrap()["n"], 2);
        assert!(find("last").unwrap().is_none(), "none of them is of a rule");
        history.keep(br#"{"v":1,"id":"cc110000","rule":{"digest":"d"},"n":4}"#, &account);
        assert_eq!(find("last").unwrap().unwrap()["n"], 4);
        assert!(matches!(find("aabb"), Err(HistoryError::Ambiguous { .. })));
        assert!(find("ffff").unwrap().is_none(), "what an event holds is no id");
        assert!(matches!(find("a"), Err(HistoryError::NoId { .. })));
        assert!(matches!(find("../x"), Err(HistoryError::NoId { .. })));
        assert_eq!((account.kept.get(), account.failed.get()), (4, 0));
    }

    #[test]
    fn it_stays_within_its_bound_and_keeps_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let account = Account::default();
        let mut history = History::open(dir.path(), 2000).unwrap();
        for n in 0..500 {
            history.keep(alert(&format!("{n:08x}"), n).as_bytes(), &account);
        }
        let size: u64 = fs::read_dir(dir.path().join(DIR)).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(size <= 2000, "{size}");
        assert!(account.dropped_files.get() > 0);
        assert!(find(dir.path(), &format!("{:08x}", 499)).unwrap().is_some());
        assert!(find(dir.path(), &format!("{:08x}", 0)).unwrap().is_none());
    }

    #[test]
    fn a_line_that_a_crash_cut_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let account = Account::default();
        let mut history = History::open(dir.path(), 1 << 20).unwrap();
        history.keep(alert("aabb0011", 1).as_bytes(), &account);
        drop(history);
        let path = dir.path().join(DIR).join(NEWER);
        let mut text = fs::read(&path).unwrap();
        text.extend_from_slice(br#"{"v":1,"id":"cut"#);
        fs::write(&path, text).unwrap();
        let mut history = History::open(dir.path(), 1 << 20).unwrap();
        history.keep(alert("aabb0022", 2).as_bytes(), &account);
        assert!(find(dir.path(), "aabb0022").unwrap().is_some());
        let mut lines = 0;
        each(dir.path(), &mut |_| {
            lines += 1;
            true
        })
        .unwrap();
        assert_eq!(lines, 2);
    }
}
