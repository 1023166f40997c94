//! The sequencer's side of `@detection`: what detectors found is numbered, shown to the guests that ask for it, and what they make
//! of it is brought together with what it was made from.
//!
//! Live, nothing waits for these guests: a queue that is full gives up its oldest detections, counted. A replay waits for their
//! answer before it goes on, so equal inputs give equal outputs, line by line.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::alert;
use crate::detection::{Analytic, Detected, DetectedRow, Detection};
use crate::guest::{Guest, Handled, numbered};
use crate::ledger::Ledger;
use crate::pipeline::{Flight, Said};
use crate::queue::WhenFull;
use crate::slab::Slab;
use crate::whole;

/// Event time after which the guests are told how far it has come even though nothing was found, nanoseconds.
const TICK: u64 = 1_000_000_000;

/// Detections remembered, for what is made from them later: about 2 MB.
const RECENT: usize = 16_384;

/// Slabs with detections that are held for a while, and bytes of their events.
const HELD: usize = 4_096;
const HELD_BYTES: usize = 32 << 20;

/// A detection that counts: the first of its rule on its event.
pub struct Found {
    pub guest: Arc<Guest>,
    /// The slab that its row is of.
    pub slab: Arc<Slab>,
    pub detection: Detection,
    /// Of the alert that it is, or would be.
    pub id: Arc<str>,
    /// What it was made from: only of one that was made from `@detection`.
    pub related: Vec<Related>,
}

/// A detection that another was made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Related {
    pub seq: u64,
    /// None once it is forgotten.
    pub known: Option<Known>,
}

/// What is remembered of a detection.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    pub id: Arc<str>,
    /// Id of its rule.
    pub rule: Arc<str>,
    /// Time of its event, unix nanoseconds.
    pub time: u64,
}

/// What was found in a slab, or was made of what was found: in the order in which alerts are made of it.
pub struct Finished {
    pub flight: Arc<Flight>,
    pub found: Vec<Found>,
    /// Made from `@detection`: the slab itself was finished before.
    pub correlated: bool,
}

/// The answer of one guest on `@detection`.
pub struct Correlated {
    pub flight: Arc<Flight>,
    pub detected: Arc<Detected>,
    pub lane: String,
    pub handled: Handled,
}

/// The newest detections by their number.
#[derive(Debug, Default)]
struct Recent {
    /// Number of the next detection.
    next: u64,
    known: VecDeque<(u64, Known)>,
}

impl Recent {
    fn add(&mut self, known: Known) -> u64 {
        if self.known.len() >= RECENT {
            self.known.pop_front();
        }
        self.known.push_back((self.next, known));
        self.next += 1;
        self.next - 1
    }

    fn get(&self, seq: u64) -> Option<&Known> {
        let at = self.known.binary_search_by_key(&seq, |(seq, _)| *seq).ok()?;
        self.known.get(at).map(|(_, known)| known)
    }
}

/// A book as it is written: number, id, rule and time of each detection.
#[derive(Serialize, Deserialize)]
struct Written {
    next: u64,
    known: Vec<(u64, String, String, u64)>,
}

impl From<&Recent> for Written {
    fn from(recent: &Recent) -> Written {
        let known = recent.known.iter().map(|(seq, k)| (*seq, k.id.to_string(), k.rule.to_string(), k.time));
        Written { next: recent.next, known: known.collect() }
    }
}

impl From<Written> for Recent {
    fn from(written: Written) -> Recent {
        let known =
            |(seq, id, rule, time): (u64, String, String, u64)| (seq, Known { id: id.into(), rule: rule.into(), time });
        Recent { next: written.next, known: written.known.into_iter().take(RECENT).map(known).collect() }
    }
}

/// The numbers of detections, and what is remembered of the newest; over restarts where it has a directory.
#[derive(Debug, Default)]
pub struct Book {
    recent: Mutex<Recent>,
    dir: Option<PathBuf>,
    /// Number of the next detection as it was written last.
    written: Mutex<u64>,
}

impl Book {
    /// Goes on where the run before ended; a file that cannot be read is said, and numbers go on all the same.
    pub fn open(dir: PathBuf) -> Book {
        let path = dir.join(BOOK);
        let mut recent = match fs::read(&path).map(|bytes| serde_json::from_slice::<Written>(&bytes)) {
            Ok(Ok(written)) => written.into(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Recent::default(),
            Ok(Err(e)) => Book::unread(&path, &e),
            Err(e) => Book::unread(&path, &e),
        };
        if !recent.known.iter().is_sorted_by(|(a, _), (b, _)| a < b) {
            recent.known.clear();
        }
        let last = recent.known.back().map_or(0, |(seq, _)| seq + 1);
        recent.next = recent.next.max(last).max(numbered(&dir));
        let written = Mutex::new(recent.next);
        Book { recent: Mutex::new(recent), dir: Some(dir), written }
    }

    fn unread(path: &Path, error: &dyn std::fmt::Display) -> Recent {
        tracing::warn!(path = %path.display(), %error, "what was found before is forgotten");
        Recent::default()
    }

    /// Where a guest keeps its memory.
    pub fn place(&self, guest: &str) -> Option<PathBuf> {
        // A name of a guest is one of a file, and may be nearly anything.
        let plain = guest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let name = if plain { guest.to_owned() } else { alert::digest(&[guest.as_bytes()]) };
        self.dir.as_ref().map(|dir| dir.join(name))
    }

    /// Before a memory that knows these numbers is written.
    pub fn write(&self) {
        let Some(dir) = &self.dir else { return };
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = self.recent();
        if recent.next == *written {
            return;
        }
        let (next, text) = (recent.next, Written::from(&*recent));
        drop(recent);
        let text = serde_json::to_vec(&text);
        let put = || whole::directory(dir).and_then(|()| whole::write(&dir.join(BOOK), &[&text?]));
        match put() {
            Ok(()) => *written = next,
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "what was found cannot be kept for the next run");
            }
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Name of the book's file.
const BOOK: &str = "detections.json";

/// Slabs with the newest detections, for the events of alerts that are made from these.
#[derive(Default)]
struct Held {
    slabs: VecDeque<HeldSlab>,
    bytes: usize,
}

/// Without the guests that found: a version that was replaced is not kept for this.
struct HeldSlab {
    slab: Arc<Slab>,
    /// Number and row of each detection.
    rows: Vec<(u64, Option<u32>)>,
}

impl Held {
    fn add(&mut self, detected: &Detected) {
        let rows = detected.rows.iter().map(|r| (r.seq, r.row)).collect();
        self.bytes += detected.slab.bytes();
        self.slabs.push_back(HeldSlab { slab: detected.slab.clone(), rows });
        while self.slabs.len() > HELD || (self.bytes > HELD_BYTES && self.slabs.len() > 1) {
            let gone = self.slabs.pop_front();
            self.bytes -= gone.map_or(0, |held| held.slab.bytes());
        }
    }

    /// The event that a detection is about.
    fn get(&self, seq: u64) -> Option<(Arc<Slab>, u32)> {
        let after = self.slabs.partition_point(|held| held.rows.first().is_none_or(|(first, _)| *first <= seq));
        let held = self.slabs.get(after.checked_sub(1)?)?;
        let at = held.rows.binary_search_by_key(&seq, |(seq, _)| *seq).ok()?;
        Some((held.slab.clone(), held.rows[at].1?))
    }
}

/// Belongs to the sequencer.
pub struct Correlation {
    ledger: Arc<Ledger>,
    when_full: WhenFull,
    book: Arc<Book>,
    held: Held,
    /// Watermark that the guests were told last.
    told: u64,
    /// They may have windows open. Live, they may have been restored.
    shown: bool,
    /// Answers that a replay waits for, and those that are there.
    waiting: usize,
    answers: Vec<Correlated>,
}

impl Correlation {
    pub fn new(ledger: Arc<Ledger>, when_full: WhenFull, book: Arc<Book>) -> Correlation {
        let shown = when_full == WhenFull::ShedOldest;
        Correlation { ledger, when_full, book, held: Held::default(), told: 0, shown, waiting: 0, answers: Vec::new() }
    }

    /// Whether the next slab has to wait.
    pub fn waits(&self) -> bool {
        self.waiting > 0
    }

    /// What detectors said of a slab: each detection once, in host order, and shown to those who asked for it.
    pub fn slab(&mut self, flight: Arc<Flight>, said: Said) -> Finished {
        let account = &self.ledger.detections;
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        for (lane, handled) in said {
            account.reported.add(handled.detections.len() as u64);
            let Some(guest) = flight.detector(&lane).map(|l| &l.guest) else { continue };
            for mut detection in handled.detections {
                // Only what is made from @detection has any.
                detection.related.clear();
                let id: Arc<str> = alert::identity(&flight.slab, guest, &detection, &[]).into();
                if seen.insert(id.clone()) {
                    let slab = flight.slab.clone();
                    found.push(Found { guest: guest.clone(), slab, detection, id, related: Vec::new() });
                } else {
                    account.duplicates.add(1);
                }
            }
        }
        // By rows first: which detections are of one slab is chance, which are of one row is not.
        found.sort_by_key(|f| f.detection.row.unwrap_or(u32::MAX));
        self.show(&flight, &found);
        Finished { flight, found, correlated: false }
    }

    fn show(&mut self, flight: &Arc<Flight>, found: &[Found]) {
        let slab = &flight.slab;
        let correlators = &flight.generation.correlators;
        let watermark = if slab.ends { u64::MAX } else { slab.watermark };
        let late = watermark >= self.told.saturating_add(TICK);
        if correlators.is_empty() || (found.is_empty() && !(self.shown && (late || slab.ends))) {
            return;
        }
        // What comes after an end begins anew.
        self.told = if slab.ends { 0 } else { watermark };
        self.shown = !slab.ends;
        let mut recent = self.book.recent();
        let rows = found.iter().map(|f| {
            let row = f.detection.row;
            let time = row.map_or(slab.watermark, |r| slab.rows[r as usize].time);
            let analytic: &Arc<Analytic> = &f.detection.analytic;
            let seq = recent.add(Known { id: f.id.clone(), rule: analytic.id.as_str().into(), time });
            let (analytic, guest) = (analytic.clone(), f.guest.clone());
            let level = f.detection.level.unwrap_or(analytic.level);
            DetectedRow { seq, time, row, id: f.id.clone(), guest, analytic, level }
        });
        let detected = Arc::new(Detected { rows: rows.collect(), slab: slab.clone(), watermark });
        drop(recent);
        if !detected.rows.is_empty() {
            self.held.add(&detected);
        }
        for correlator in correlators {
            correlator.offer_detected(flight.clone(), detected.clone());
            if self.when_full == WhenFull::Wait {
                self.waiting += 1;
            }
        }
    }

    /// A guest on `@detection` has answered. What can be handed on: live at once, in a replay when all have.
    pub fn answered(&mut self, answer: Correlated) -> Vec<Finished> {
        self.answers.push(answer);
        self.waiting = self.waiting.saturating_sub(1);
        if self.waits() {
            return Vec::new();
        }
        let mut answers = std::mem::take(&mut self.answers);
        let place = |a: &Correlated| a.flight.generation.correlators.iter().position(|l| l.label == a.lane);
        answers.sort_by_key(place);
        answers.into_iter().map(|a| self.correlated(a)).collect()
    }

    fn correlated(&self, answer: Correlated) -> Finished {
        let Correlated { flight, detected, lane, handled } = answer;
        let account = &self.ledger.detections;
        account.reported.add(handled.detections.len() as u64);
        let guest = flight.generation.correlators.iter().find(|l| l.label == lane).map(|l| l.guest.clone());
        let Some(guest) = guest else { return Finished { flight, found: Vec::new(), correlated: true } };
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        let recent = self.book.recent();
        for mut detection in handled.detections {
            let row = detection.row.and_then(|r| detected.rows.get(r as usize));
            if detection.related.is_empty() {
                detection.related.extend(row.map(|r| r.seq));
            }
            detection.row = row.and_then(|r| r.row);
            let related: Vec<Related> =
                detection.related.iter().map(|&seq| Related { seq, known: recent.get(seq).cloned() }).collect();
            let id: Arc<str> = alert::identity(&flight.slab, &guest, &detection, &related).into();
            if seen.insert(id.clone()) {
                // That a window is full, or over, is often known only when event time has come further: its event is the last in it.
                let mut slab = flight.slab.clone();
                if detection.row.is_none()
                    && let Some((of, row)) = detection.related.last().and_then(|seq| self.held.get(*seq))
                {
                    slab = of;
                    detection.row = Some(row);
                }
                found.push(Found { guest: guest.clone(), slab, detection, id, related });
            } else {
                account.duplicates.add(1);
            }
        }
        drop(recent);
        Finished { flight, found, correlated: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_found_by_its_number_and_bounded() {
        let mut recent = Recent { next: 7, known: VecDeque::new() };
        let known = |i: u64| Known { id: i.to_string().into(), rule: "r".into(), time: i };
        for i in 0..RECENT as u64 + 10 {
            assert_eq!(recent.add(known(i)), 7 + i);
        }
        assert_eq!(recent.known.len(), RECENT);
        assert_eq!(recent.get(7 + 9), None, "forgotten");
        assert_eq!(recent.get(7 + 10), Some(&known(10)));
        assert_eq!(recent.get(7 + RECENT as u64 + 9), Some(&known(RECENT as u64 + 9)));
        assert_eq!((recent.get(7 + RECENT as u64 + 10), recent.get(u64::MAX), recent.get(0)), (None, None, None));
    }

    #[test]
    fn an_event_is_found_by_the_number_of_its_detection() {
        let slab = |number: u64| Arc::new(Slab { number, ..Slab::default() });
        let held = Held {
            slabs: [
                HeldSlab { slab: slab(1), rows: vec![(3, Some(0)), (4, None)] },
                HeldSlab { slab: slab(2), rows: vec![(5, Some(7))] },
                HeldSlab { slab: slab(5), rows: vec![(8, Some(1)), (9, Some(1))] },
            ]
            .into(),
            bytes: 0,
        };
        let found = |seq| held.get(seq).map(|(slab, row)| (slab.number, row));
        assert_eq!([3, 5, 9].map(found), [Some((1, 0)), Some((2, 7)), Some((5, 1))]);
        assert_eq!([0, 4, 6, 10, u64::MAX].map(found), [None; 5]);
    }

    #[test]
    fn numbers_go_on_over_a_restart_whatever_became_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let known = Known { id: "i".into(), rule: "r".into(), time: 1 };
        let book = Book::open(dir.path().to_owned());
        let add = |book: &Book| book.recent().add(known.clone());
        assert_eq!(add(&book), 0);
        assert_eq!(add(&book), 1);
        book.write();
        let again = Book::open(dir.path().to_owned());
        assert_eq!(again.recent().get(1), Some(&known));
        assert_eq!(add(&again), 2);
        fs::write(dir.path().join(BOOK), "{").unwrap();
        assert_eq!(Book::open(dir.path().to_owned()).recent().next, 0);
        let place = again.place("my-guest").unwrap();
        assert_eq!(place, dir.path().join("my-guest"));
        assert_eq!(again.place("../x").unwrap().parent(), Some(dir.path()), "stays in the directory");
        // A memory that was written after the book.
        fs::create_dir(&place).unwrap();
        let header = r#"{"state_format":1,"part":0,"parts":1,"next":9,"sha256":""}"#;
        fs::write(place.join("part-0"), format!("{header}\n")).unwrap();
        assert_eq!(Book::open(dir.path().to_owned()).recent().next, 9);
    }
}
