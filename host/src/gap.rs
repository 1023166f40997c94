//! What is remembered about the watch, so that the next start can say how long nobody watched: one small file in the state
//! directory, written at the start, every ten seconds, and at the end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::alert::{Cause, Gap};
use crate::kind;
use crate::notice::Notice;
use crate::whole;

/// Name of the file within `state_dir`.
const FILE: &str = "watch.json";

/// A run of Picket, as far as it got. Times are Unix ns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    pub version: String,
    /// Boot id.
    pub boot: String,
    pub started: u64,
    /// It certainly watched until here.
    pub beat: u64,
    /// It said itself that it ends.
    pub stopped: Option<Stopped>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    pub at: u64,
    /// Not because it was told to.
    pub failed: bool,
}

/// Where it is kept.
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

/// The run before this one. A file that cannot be read still says that there was one, and when it last wrote.
pub fn last(path: &Path) -> Option<Watch> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        Err(_) => Vec::new(),
    };
    serde_json::from_slice(&text).ok().or_else(|| {
        let modified = fs::metadata(path).and_then(|m| m.modified()).ok()?;
        let beat = modified.duration_since(std::time::UNIX_EPOCH).ok()?.as_nanos() as u64;
        Some(Watch { version: String::new(), boot: String::new(), started: beat, beat, stopped: None })
    })
}

impl Watch {
    pub fn new(boot: &str, now: u64) -> Watch {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Watch { version, boot: boot.to_owned(), started: now, beat: now, stopped: None }
    }

    /// Replaces the file as a whole.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        whole::write(path, &[&serde_json::to_vec(self)?])
    }

    /// The end of what it watched.
    pub fn end(&self) -> u64 {
        self.stopped.map_or(self.beat, |s| s.at)
    }

    /// What to say about the time from this run to `next`.
    pub fn gap(&self, next: &Watch) -> Notice {
        let rebooted = self.boot != next.boot;
        let (cause, why) = match self.stopped {
            _ if self.boot.is_empty() => (Cause::Unknown, "the record of the run before is damaged"),
            Some(Stopped { failed: true, .. }) => (Cause::Failure, "collection had ended by itself"),
            Some(_) if rebooted => (Cause::Boot, "Picket was stopped, and the host booted"),
            None if rebooted => (Cause::Boot, "the host booted, and Picket had not been stopped before"),
            Some(_) if self.version != next.version => (Cause::Upgrade, "Picket was replaced by another version"),
            Some(_) => (Cause::Stop, "Picket was stopped"),
            None => (Cause::Crash, "Picket was killed or crashed"),
        };
        // A clock that was set back must not make a gap of less than nothing.
        let to = next.started.max(self.end());
        let gap = Gap {
            from: kind::time_text(self.end()),
            to: kind::time_text(to),
            seconds: (to - self.end()) as f64 / 1e9,
            cause,
            why: why.to_owned(),
            lost: None,
        };
        Notice::of_gap(gap, to, vec![self.boot.clone(), self.end().to_string()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Origin;

    fn watch(boot: &str, version: &str, stopped: Option<bool>) -> Watch {
        let stopped = stopped.map(|failed| Stopped { at: 2_000_000_000, failed });
        Watch { version: version.to_owned(), boot: boot.to_owned(), started: 0, beat: 1_000_000_000, stopped }
    }

    #[test]
    fn the_cause_follows_from_how_the_run_before_ended() {
        let next = Watch { started: 5_000_000_000, ..watch("b", "2", None) };
        for (before, cause, seconds) in [
            (watch("b", "2", Some(false)), Cause::Stop, 3.0),
            (watch("b", "1", Some(false)), Cause::Upgrade, 3.0),
            (watch("a", "2", Some(false)), Cause::Boot, 3.0),
            (watch("b", "2", Some(true)), Cause::Failure, 3.0),
            (watch("b", "2", None), Cause::Crash, 4.0),
            (watch("a", "1", None), Cause::Boot, 4.0),
            (watch("", "", None), Cause::Unknown, 4.0),
        ] {
            let gap = before.gap(&next).gap.unwrap();
            assert_eq!((gap.cause, gap.seconds), (cause, seconds), "{before:?}");
        }
        let back = Watch { started: 500, ..watch("b", "2", None) };
        assert_eq!(watch("b", "2", None).gap(&back).gap.unwrap().seconds.to_bits(), 0f64.to_bits());
    }

    #[test]
    fn a_gap_said_twice_has_one_id() {
        let origin = Origin { machine: "m".to_owned(), boot: "b".to_owned(), hostname: "h".to_owned() };
        let before = watch("b", "1", None);
        let id = |started| before.gap(&Watch { started, ..watch("b", "1", None) }).alert(&origin, 1).id;
        assert_eq!(id(7_000_000_000), id(9_000_000_000));
        assert_ne!(id(7_000_000_000), watch("b", "1", Some(false)).gap(&before).alert(&origin, 1).id);
    }

    #[test]
    fn a_run_is_read_back_and_a_damaged_record_is_still_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = path(dir.path());
        assert_eq!(last(&file), None);
        let run = watch("b", "1", Some(true));
        run.write(&file).unwrap();
        assert_eq!(last(&file), Some(run));
        fs::write(&file, "{\"version\":\"0").unwrap();
        let damaged = last(&file).unwrap();
        assert!(damaged.boot.is_empty() && damaged.beat > 0);
    }
}
