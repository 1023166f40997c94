//! How often each rule fired, and when last: what tells a rule that is quiet from one that is dead, and what a rule in shadow would
//! have done. Kept over restarts in one file, which may lag some seconds behind.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::correlate::Finished;
use crate::notice;
use crate::tune::Mode;
use crate::whole;

/// Rules that are counted, those of earlier sets included: as many as a guest may have.
const MAX_RULES: usize = 200_000;

/// Hours of all rules together: some 24 MB.
const MAX_HOURS: usize = 1_000_000;

/// How far back hits are kept by the hour: a week.
pub const HOURS: u32 = 7 * 24;

/// Name of the file within `state_dir`.
const FILE: &str = "hits.json";
/// Largest file that is read.
const MAX_FILE: u64 = 256 << 20;

const HOUR: u64 = 3_600_000_000_000;

/// The count of one rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hit {
    pub count: u64,
    /// Time of the newest event, Unix ns; 0 = a detection without an event only.
    pub last: u64,
}

/// Hits of one rule in one hour, in one mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hour {
    /// Since 1970.
    pub hour: u32,
    pub mode: Mode,
    pub count: u32,
}

#[derive(Debug, Default)]
struct OfRule {
    hit: Hit,
    hours: VecDeque<Hour>,
}

/// Hits by guest and rule. They survive reloads and restarts: the id is what makes a rule the same.
#[derive(Debug, Default)]
pub struct Hits(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    rules: HashMap<String, HashMap<String, OfRule>>,
    known: usize,
    hours: usize,
    uncounted: u64,
    /// Hits whose hour was one too many.
    unplaced: u64,
    /// Since when hits are counted, Unix ns; 0 = nothing is kept.
    since: u64,
    path: Option<PathBuf>,
    changed: bool,
    failing: bool,
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Written {
    v: u32,
    since: u64,
    /// Guest, rule, count, newest event, hours.
    rules: Vec<(String, String, u64, u64, Vec<Hour>)>,
}

impl Hits {
    /// Goes on with what is kept below a state directory, and keeps it there from now on. A file that cannot be read is said, and
    /// counting begins anew.
    pub fn keep_in(&self, state_dir: &Path) {
        let path = state_dir.join(FILE);
        let written = read_file(&path).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "what rules found before is forgotten");
            None
        });
        let mut inner = self.lock();
        inner.since = notice::now();
        if let Some(written) = written {
            inner.take(written);
        }
        inner.path = Some(path);
    }

    /// What is kept below a state directory, of a Picket that runs or has run.
    pub fn read(state_dir: &Path) -> io::Result<Hits> {
        let mut inner = Inner::default();
        if let Some(written) = read_file(&state_dir.join(FILE))? {
            inner.take(written);
        }
        Ok(Hits(Mutex::new(inner)))
    }

    /// Writes what changed.
    pub fn write(&self) {
        let mut inner = self.lock();
        let Some(path) = inner.path.clone().filter(|_| inner.changed) else { return };
        inner.prune((notice::now() / HOUR) as u32);
        inner.changed = false;
        let written = inner.written();
        drop(inner);
        // Not under the lock: the sequencer counts meanwhile.
        let put = serde_json::to_vec(&written).map_err(io::Error::from).and_then(|text| whole::write(&path, &[&text]));
        let mut inner = self.lock();
        if let Err(error) = &put
            && !inner.failing
        {
            tracing::error!(path = %path.display(), %error, "hits of rules cannot be kept for the next run");
        }
        inner.failing = put.is_err();
        inner.changed |= put.is_err();
    }

    /// Counts what was found in a slab, or made of what was found. For the sequencer: once for each detection, never for an event.
    pub fn note(&self, finished: &Finished) {
        let time = |row: Option<u32>| finished.flight.slab.rows.get(row? as usize).map(|r| r.time);
        if finished.found.is_empty() {
            return;
        }
        let tuning = &finished.flight.generation.tuning;
        let mut inner = self.lock();
        for found in &finished.found {
            // What was made of several events is as new as the newest of them.
            let related = || found.related.iter().filter_map(|r| r.known.as_ref()).map(|k| k.time).max();
            let time = time(found.detection.row).or_else(related).unwrap_or_default();
            let analytic = &found.detection.analytic;
            let level = found.detection.level.unwrap_or(analytic.level);
            // What is only for other detectors has no mode.
            let mode = analytic.deliver.then(|| tuning.of(&found.guest.name, analytic, level).mode);
            inner.count(&found.guest.name, &analytic.id, time, mode);
        }
    }

    pub fn of(&self, guest: &str, rule: &str) -> Hit {
        self.lock().rules.get(guest).and_then(|rules| rules.get(rule)).map(|r| r.hit).unwrap_or_default()
    }

    /// The hits of a rule in the last week, by day (`2027-02-01`, UTC) and mode, the oldest day first. Days without are left out.
    pub fn week(&self, guest: &str, rule: &str, now: u64) -> Vec<(String, Mode, u64)> {
        let inner = self.lock();
        let from = ((now / HOUR) as u32).saturating_sub(HOURS);
        let hours = inner.rules.get(guest).and_then(|rules| rules.get(rule)).map(|r| &r.hours);
        let mut days: std::collections::BTreeMap<(String, Mode), u64> = std::collections::BTreeMap::new();
        for hour in hours.into_iter().flatten().filter(|h| h.hour > from) {
            let time = crate::kind::time_text(u64::from(hour.hour) * HOUR);
            let day = time.get(..10).unwrap_or_default().to_owned();
            *days.entry((day, hour.mode)).or_default() += u64::from(hour.count);
        }
        days.into_iter().map(|((day, mode), count)| (day, mode, count)).collect()
    }

    /// Since when hits are counted, Unix ns.
    pub fn since(&self) -> u64 {
        self.lock().since
    }

    /// Detections of rules that were one too many to count.
    pub fn uncounted(&self) -> u64 {
        self.lock().uncounted
    }

    /// Hits that are counted, but in no hour: there were too many of these.
    pub fn unplaced(&self) -> u64 {
        self.lock().unplaced
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_file(path: &Path) -> io::Result<Option<Written>> {
    let size = match fs::metadata(path) {
        Ok(meta) => meta.len(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    if size > MAX_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(Some(serde_json::from_slice(&fs::read(path)?)?))
}

impl Inner {
    fn count(&mut self, guest: &str, rule: &str, time: u64, mode: Option<Mode>) {
        self.changed = true;
        if self.rules.get(guest).and_then(|rules| rules.get(rule)).is_none() {
            if self.known >= MAX_RULES {
                self.uncounted += 1;
                return;
            }
            self.known += 1;
            self.rules.entry(guest.to_owned()).or_default().insert(rule.to_owned(), OfRule::default());
        }
        let Some(known) = self.rules.get_mut(guest).and_then(|rules| rules.get_mut(rule)) else { return };
        known.hit.count += 1;
        known.hit.last = known.hit.last.max(time);
        let Some(mode) = mode else { return };
        let hour = (if time > 0 { time } else { notice::now() } / HOUR) as u32;
        // Nearly always the hour that was counted last.
        if let Some(same) = known.hours.iter_mut().rev().find(|h| h.hour == hour && h.mode == mode) {
            same.count = same.count.saturating_add(1);
        } else if self.hours < MAX_HOURS {
            self.hours += 1;
            known.hours.push_back(Hour { hour, mode, count: 1 });
        } else {
            self.unplaced += 1;
        }
    }

    /// Forgets hours that are older than a week.
    fn prune(&mut self, now: u32) {
        let from = now.saturating_sub(HOURS);
        for rule in self.rules.values_mut().flat_map(HashMap::values_mut) {
            rule.hours.retain(|h| h.hour > from);
        }
        self.hours = self.rules.values().flat_map(HashMap::values).map(|r| r.hours.len()).sum();
    }

    fn written(&self) -> Written {
        let rules = self.rules.iter().flat_map(|(guest, rules)| {
            let line = move |(rule, of): (&String, &OfRule)| {
                (guest.clone(), rule.clone(), of.hit.count, of.hit.last, of.hours.iter().copied().collect())
            };
            rules.iter().map(line)
        });
        let mut rules: Vec<_> = rules.collect();
        rules.sort_by(|a: &(String, String, u64, u64, Vec<Hour>), b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        Written { v: 1, since: self.since, rules }
    }

    fn take(&mut self, written: Written) {
        self.since = written.since;
        for (guest, rule, count, last, hours) in written.rules.into_iter().take(MAX_RULES) {
            let room = MAX_HOURS.saturating_sub(self.hours);
            let hours: VecDeque<Hour> = hours.into_iter().take(room).collect();
            self.known += 1;
            self.hours += hours.len();
            let of = OfRule { hit: Hit { count, last }, hours };
            self.rules.entry(guest).or_default().insert(rule, of);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_event_counts_whatever_the_order() {
        let hits = Hits::default();
        hits.lock().count("sigma", "a", 7, None);
        hits.lock().count("sigma", "a", 5, None);
        hits.lock().count("other", "a", 1, None);
        assert_eq!(hits.of("sigma", "a"), Hit { count: 2, last: 7 });
        assert_eq!(hits.of("other", "a"), Hit { count: 1, last: 1 });
        assert_eq!(hits.of("sigma", "b"), Hit::default());
    }

    #[test]
    fn rules_beyond_the_bound_are_counted_together() {
        let hits = Hits::default();
        hits.lock().known = MAX_RULES - 1;
        for rule in ["a", "b", "a", "c"] {
            hits.lock().count("sigma", rule, 1, None);
        }
        assert_eq!((hits.of("sigma", "a").count, hits.uncounted()), (2, 2));
        hits.lock().hours = MAX_HOURS;
        hits.lock().count("sigma", "a", 1, Some(Mode::Live));
        assert_eq!((hits.of("sigma", "a").count, hits.unplaced()), (3, 1));
    }

    #[test]
    fn a_week_is_told_by_day_and_mode_and_survives_a_restart() {
        const DAY: u64 = 24 * HOUR;
        let dir = tempfile::tempdir().unwrap();
        let now = notice::now();
        let hits = Hits::default();
        hits.keep_in(dir.path());
        for (time, mode) in [
            (now - 8 * DAY, Mode::Shadow),
            (now - 2 * DAY, Mode::Shadow),
            (now - 2 * DAY + HOUR, Mode::Shadow),
            (now, Mode::Live),
        ] {
            hits.lock().count("sigma", "a", time, Some(mode));
        }
        hits.write();
        let again = Hits::read(dir.path()).unwrap();
        assert_eq!((again.of("sigma", "a"), again.since()), (Hit { count: 4, last: now }, hits.since()));
        let week = again.week("sigma", "a", now);
        let shadow: u64 = week.iter().filter(|(_, mode, _)| *mode == Mode::Shadow).map(|(.., n)| n).sum();
        assert_eq!((shadow, week.last().map(|(_, mode, n)| (*mode, *n))), (2, Some((Mode::Live, 1))));
        // What is older than a week is not even in the file.
        assert_eq!(again.lock().hours, hits.lock().hours);
        assert!(again.lock().rules["sigma"]["a"].hours.iter().all(|h| h.hour > (now / HOUR) as u32 - HOURS));
    }

    #[test]
    fn a_damaged_file_is_no_reason_not_to_start() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(Hits::read(dir.path()).is_err());
        let hits = Hits::default();
        hits.keep_in(dir.path());
        hits.lock().count("sigma", "a", 1, None);
        hits.write();
        assert_eq!(Hits::read(dir.path()).unwrap().of("sigma", "a").count, 1);
    }
}
