//! What a guest on `@detection` remembers, kept outside of it: parts as they were taken last, and the rows that came since the oldest.
//!
//! One mechanism for a trap, a new version and a restart: a fresh instance is given the parts, and then the rows once more. What it makes
//! of these was reported before and is thrown away. After a crash the rows are gone, and a window may miss what came since its part was
//! taken: at most one round of all parts.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::bindings::{memory, types};
use super::live::{Failed, Live};
use crate::ledger::GuestAccount;
use crate::text::hex;
use crate::whole;

/// Parts of one memory.
const MAX_PARTS: u32 = 4_096;
/// Rows kept since the oldest part, and bytes they may hold; then all parts are taken at once.
const MAX_ROWS: usize = 65_536;
const MAX_BYTES: usize = 32 << 20;
/// Bytes of a row beside those of its columns, about.
const ROW: usize = 64;

/// Where parts are kept, and how often each is taken.
#[derive(Clone, Debug)]
pub struct Place {
    /// Of this guest alone.
    pub dir: PathBuf,
    pub every: Duration,
}

/// A part as it was taken.
#[derive(Debug)]
struct Part {
    held: Held,
    /// Rows below this number are in it.
    next: u64,
}

#[derive(Debug)]
enum Held {
    Bytes(Vec<u8>),
    File(PathBuf),
}

/// Every part, for the next version of a guest.
#[derive(Debug)]
pub struct Kept {
    parts: Vec<Part>,
    bytes: Vec<Vec<u8>>,
    next: u64,
}

/// Rows that were handled, as they were handed over.
struct Logged {
    turn: types::Turn,
    rows: usize,
    bytes: usize,
    /// Number after the last of them.
    next: u64,
}

/// First line of a part's file.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    state_format: u32,
    part: u32,
    parts: u32,
    next: u64,
    sha256: String,
}

pub(super) struct Memory {
    indices: memory::GuestIndices,
    state_format: u32,
    /// As many as the last complete round had.
    parts: Vec<Part>,
    log: VecDeque<Logged>,
    rows: usize,
    bytes: usize,
    /// Number after the last row that was handled.
    next: u64,
    place: Option<Place>,
    account: Arc<GuestAccount>,
    /// The part to take next, and when the last was.
    turn: usize,
    taken: Instant,
}

impl Memory {
    pub fn new(indices: memory::GuestIndices, state_format: u32) -> Memory {
        Memory {
            indices,
            state_format,
            parts: Vec::new(),
            log: VecDeque::new(),
            rows: 0,
            bytes: 0,
            next: 0,
            place: None,
            account: Arc::default(),
            turn: 0,
            taken: Instant::now(),
        }
    }

    /// From now on parts are kept there.
    pub fn keep(&mut self, place: Option<Place>, account: Arc<GuestAccount>) {
        self.place = place;
        self.account = account;
    }

    /// A call was handled: its rows are needed until they are in every part.
    pub fn note(&mut self, turn: types::Turn, next: Option<u64>) {
        let Some(next) = next else {
            if let Some(last) = self.log.back_mut() {
                last.turn.watermark = last.turn.watermark.max(turn.watermark);
            }
            return;
        };
        self.next = next;
        let rows = turn.batches.iter().map(|b| b.rows as usize).max().unwrap_or(0);
        let bytes = size(&turn);
        self.rows += rows;
        self.bytes += bytes;
        self.log.push_back(Logged { turn, rows, bytes, next });
    }

    fn is_full(&self) -> bool {
        self.rows >= MAX_ROWS || self.bytes >= MAX_BYTES
    }

    /// How many parts are due: they are spread over the time of a round.
    fn due(&self) -> u32 {
        let Some(place) = self.place.as_ref().filter(|_| !self.log.is_empty()) else { return 0 };
        let parts = self.parts.len().max(1) as u32;
        let each = (place.every / parts).max(Duration::from_millis(1));
        let due = self.taken.elapsed().as_nanos() / each.as_nanos();
        due.min(u128::from(parts)) as u32
    }

    pub fn is_due(&self) -> bool {
        self.is_full() || self.due() > 0
    }

    /// Between two calls: takes the parts that are due.
    pub fn pause(&mut self, live: &mut Live) -> Result<(), Failed> {
        if self.is_full() {
            let taken = self.take_all(live);
            // A guest that cannot be asked keeps the newest rows only.
            while self.is_full() {
                let Some(lost) = self.forget() else { break };
                self.account.memory.rows_lost.add(lost as u64);
            }
            return taken;
        }
        let due = self.due();
        self.taken = Instant::now();
        (0..due).try_for_each(|_| self.take_next(live))
    }

    /// One part; all of them when a round ends and their number has changed.
    fn take_next(&mut self, live: &mut Live) -> Result<(), Failed> {
        if self.turn >= self.parts.len() {
            self.turn = 0;
            if self.count(live)? as usize != self.parts.len() {
                return self.take_all(live);
            }
        }
        if self.parts.is_empty() {
            self.log.clear();
            (self.rows, self.bytes) = (0, 0);
            return Ok(());
        }
        let (number, count) = (self.turn as u32, self.parts.len() as u32);
        if self.parts[self.turn].next < self.next {
            self.parts[self.turn] = self.take(live, number, count)?;
        }
        self.turn += 1;
        self.trim();
        Ok(())
    }

    /// The guest has had its last call: everything goes to its place, if there is one.
    pub fn end(&mut self, live: &mut Live) -> Result<(), Failed> {
        if self.place.is_none() || self.log.is_empty() {
            return Ok(());
        }
        self.take_all(live)
    }

    fn take_all(&mut self, live: &mut Live) -> Result<(), Failed> {
        let count = self.count(live)?;
        let most = live.store.data().shared.limits.memory_bytes;
        let mut parts = Vec::new();
        let mut bytes = 0;
        for number in 0..count {
            let part = self.take(live, number, count)?;
            if let Held::Bytes(held) = &part.held {
                bytes += held.len();
            }
            if bytes > most {
                return Err(self.failed(format!("its memory has more than {most} bytes")));
            }
            parts.push(part);
        }
        self.parts = parts;
        self.turn = 0;
        self.taken = Instant::now();
        self.trim();
        Ok(())
    }

    fn count(&self, live: &mut Live) -> Result<u32, Failed> {
        let (instance, indices) = (live.instance, self.indices.clone());
        let count = live.long_call(|store| indices.load(&mut *store, &instance)?.call_parts(store));
        match count {
            Ok(count) if count <= MAX_PARTS => Ok(count),
            Ok(count) => Err(self.failed(format!("its memory has {count} parts, above the limit of {MAX_PARTS}"))),
            Err(failed) => Err(self.failed(failed.reason)),
        }
    }

    fn take(&mut self, live: &mut Live, number: u32, parts: u32) -> Result<Part, Failed> {
        let (instance, indices) = (live.instance, self.indices.clone());
        let bytes = live.long_call(|store| indices.load(&mut *store, &instance)?.call_snapshot(store, number));
        let bytes = bytes.map_err(|failed| self.failed(failed.reason))?;
        self.account.memory.parts.add(1);
        let header = Header {
            state_format: self.state_format,
            part: number,
            parts,
            next: self.next,
            sha256: hex(&Sha256::digest(&bytes)),
        };
        let held = match self.place.as_ref().map(|p| write(&p.dir, &header, &bytes)) {
            None => Held::Bytes(bytes),
            Some(Ok(path)) => Held::File(path),
            Some(Err(error)) => {
                self.account.memory.failed.add(1);
                tracing::warn!(%error, "a guest's memory cannot be written");
                Held::Bytes(bytes)
            }
        };
        Ok(Part { held, next: self.next })
    }

    fn failed(&self, reason: String) -> Failed {
        self.account.memory.failed.add(1);
        Failed { reason, deadline: false }
    }

    /// Forgets the rows that are in every part.
    fn trim(&mut self) {
        let oldest = self.parts.iter().map(|p| p.next).min().unwrap_or(0);
        while self.log.front().is_some_and(|l| l.next <= oldest) {
            self.forget();
        }
    }

    fn forget(&mut self) -> Option<usize> {
        let gone = self.log.pop_front()?;
        self.rows -= gone.rows;
        self.bytes -= gone.bytes;
        Some(gone.rows)
    }

    /// Everything, for another instance; this one has had its last call.
    pub fn hand_over(&mut self, live: &mut Live) -> Result<Kept, Failed> {
        self.take_all(live)?;
        let bytes = self.read().map_err(|reason| self.failed(reason))?;
        // The files are the next version's from here on.
        self.place = None;
        Ok(Kept { parts: std::mem::take(&mut self.parts), bytes, next: self.next })
    }

    /// What another instance kept. `false`: this one begins with nothing.
    pub fn take_over(&mut self, live: &mut Live, kept: Kept) -> Result<bool, Failed> {
        let restored = self.restore(live, &kept.bytes)?;
        if restored {
            self.parts = kept.parts;
            self.next = kept.next;
        }
        Ok(restored)
    }

    /// Brings a fresh instance to where the one before was.
    pub fn recover(&mut self, live: &mut Live) -> Result<(), Failed> {
        if self.parts.is_empty() && self.log.is_empty() {
            return Ok(());
        }
        let parts = self.read().map_err(|reason| self.failed(reason))?;
        if !parts.is_empty() && !self.restore(live, &parts)? {
            self.account.memory.lost.add(1);
        }
        for logged in &self.log {
            live.again(&logged.turn)?;
        }
        self.account.memory.restored.add(1);
        Ok(())
    }

    /// Nothing is known any more of what was handled so far.
    pub fn clear(&mut self) {
        self.parts.clear();
        self.log.clear();
        (self.rows, self.bytes, self.turn) = (0, 0, 0);
    }

    /// What is on disk, for a guest that has just been started. What cannot be used is said and counted.
    pub fn load(&mut self, live: &mut Live) -> Result<bool, Failed> {
        let Some(place) = &self.place else { return Ok(false) };
        let parts = match load(&place.dir, self.state_format) {
            Ok(parts) if parts.is_empty() => return Ok(false),
            Ok(parts) => parts,
            Err(why) => {
                self.account.memory.lost.add(1);
                tracing::warn!(%why, dir = %place.dir.display(), "a guest's memory on disk cannot be used: it begins with nothing");
                return Ok(false);
            }
        };
        let bytes: Vec<Vec<u8>> = parts.iter().map(|(_, _, bytes)| bytes.clone()).collect();
        if !self.restore(live, &bytes)? {
            self.account.memory.lost.add(1);
            return Ok(false);
        }
        self.account.memory.restored.add(1);
        self.next = parts.iter().map(|(_, next, _)| *next).max().unwrap_or(0);
        self.parts = parts.into_iter().map(|(path, next, _)| Part { held: Held::File(path), next }).collect();
        Ok(true)
    }

    fn restore(&self, live: &mut Live, parts: &[Vec<u8>]) -> Result<bool, Failed> {
        let (instance, indices) = (live.instance, self.indices.clone());
        let restored = live.long_call(|store| indices.load(&mut *store, &instance)?.call_restore(store, parts))?;
        if let Err(why) = &restored {
            let why = super::context::printable(why, 512);
            tracing::warn!(%why, "a guest does not take back what it remembered: it begins with nothing");
        }
        Ok(restored.is_ok())
    }

    fn read(&self) -> Result<Vec<Vec<u8>>, String> {
        let read = |part: &Part| match &part.held {
            Held::Bytes(bytes) => Ok(bytes.clone()),
            Held::File(path) => read_part(path).map(|(_, bytes)| bytes),
        };
        self.parts.iter().map(read).collect()
    }
}

/// Bytes that a turn holds, about.
fn size(turn: &types::Turn) -> usize {
    let texts = |t: &types::Texts| t.arena.len() + 4 * (t.ends.len() + t.codes.len());
    let column = |c: &types::Column| match &c.cells {
        types::Cells::Text(t) => texts(t),
        types::Cells::TextList(l) => texts(&l.values) + 4 * l.ends.len(),
        types::Cells::Unsigned(v) => 8 * v.len(),
        types::Cells::Signed(v) => 8 * v.len(),
        types::Cells::Float(v) => 8 * v.len(),
        types::Cells::Boolean(v) => v.len(),
    };
    let batch = |b: &types::Batch| ROW + b.rows as usize * 16 + b.columns.iter().map(column).sum::<usize>();
    turn.batches.iter().map(batch).sum()
}

fn file_name(part: u32) -> String {
    format!("part-{part}")
}

fn write(dir: &Path, header: &Header, bytes: &[u8]) -> io::Result<PathBuf> {
    whole::directory(dir)?;
    let path = dir.join(file_name(header.part));
    whole::write(&path, &[&serde_json::to_vec(header)?, b"\n", bytes])?;
    Ok(path)
}

fn read_part(path: &Path) -> Result<(Header, Vec<u8>), String> {
    let said = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let mut bytes = fs::read(path).map_err(|e| said(&e))?;
    let line = bytes.iter().position(|b| *b == b'\n').ok_or_else(|| said(&"no header"))?;
    let header: Header = serde_json::from_slice(&bytes[..line]).map_err(|e| said(&e))?;
    bytes.drain(..=line);
    if hex(&Sha256::digest(&bytes)) != header.sha256 {
        return Err(said(&"its digest differs"));
    }
    Ok((header, bytes))
}

/// The parts in a directory, in order; none if there is nothing of this format.
fn load(dir: &Path, state_format: u32) -> Result<Vec<(PathBuf, u64, Vec<u8>)>, String> {
    let mut parts = Vec::new();
    let mut count = 1;
    while (parts.len() as u32) < count {
        let number = parts.len() as u32;
        let path = dir.join(file_name(number));
        if number == 0 && !path.exists() {
            return Ok(Vec::new());
        }
        let (header, bytes) = read_part(&path)?;
        if header.state_format != state_format {
            return Err(format!("it has state format {}, not {state_format}", header.state_format));
        }
        if number == 0 {
            count = header.parts.min(MAX_PARTS);
        }
        if (header.part, header.parts) != (number, count) {
            return Err(format!("{} is of another round", path.display()));
        }
        parts.push((path, header.next, bytes));
    }
    Ok(parts)
}

/// Number after the last row that any part in these directories has seen.
pub fn numbered(dir: &Path) -> u64 {
    let guests = fs::read_dir(dir).into_iter().flatten().flatten();
    let parts = guests.flat_map(|g| fs::read_dir(g.path()).into_iter().flatten().flatten());
    let next = parts.filter_map(|p| {
        use std::io::BufRead as _;
        let mut line = String::new();
        let file = fs::File::open(p.path()).ok()?;
        // A header has no more than this.
        io::BufReader::new(io::Read::take(file, 4_096)).read_line(&mut line).ok()?;
        serde_json::from_str::<Header>(&line).ok().map(|h| h.next)
    });
    next.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(part: u32, parts: u32, next: u64, bytes: &[u8]) -> Header {
        Header { state_format: 1, part, parts, next, sha256: hex(&Sha256::digest(bytes)) }
    }

    #[test]
    fn a_set_of_parts_is_whole_or_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("guest");
        assert!(load(&dir, 1).unwrap().is_empty());
        write(&dir, &header(0, 2, 5, b"a\nb"), b"a\nb").unwrap();
        assert!(load(&dir, 1).unwrap_err().contains("part-1"), "the second is not there");
        write(&dir, &header(1, 2, 7, b""), b"").unwrap();
        let parts = load(&dir, 1).unwrap();
        assert_eq!(
            parts.iter().map(|(_, next, b)| (*next, b.as_slice())).collect::<Vec<_>>(),
            [(5, &b"a\nb"[..]), (7, b"")]
        );
        assert_eq!(numbered(dir.parent().unwrap()), 7);
        assert!(load(&dir, 2).unwrap_err().contains("state format"));
        write(&dir, &header(1, 3, 7, b""), b"").unwrap();
        assert!(load(&dir, 1).unwrap_err().contains("another round"));
        write(&dir, &header(1, 2, 7, b"x"), b"y").unwrap();
        assert!(load(&dir, 1).unwrap_err().contains("digest"));
    }
}
