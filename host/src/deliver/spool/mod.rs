//! The spool: every accepted alert, on disk, until each endpoint has it.
//!
//! # Invariants
//!
//! 1. [`Spool::commit`] returns `Ok` only after two fsyncs (redb's two-phase commit: a crash between them leaves the old
//!    state, and the checksum of a page that an attacker shaped is never what decides). An alert is *accepted* then.
//! 2. A message row exists exactly as long as some endpoint has it queued or as a dead letter. Its body never changes:
//!    each repeat sends the same bytes.
//! 3. Per endpoint, `alerts = filtered + accepted` and `accepted = delivered + pending + dead + evicted`. The counters are
//!    written in the transaction that changes what they count, so a crash cannot part them.
//! 4. An id is stored once: while it is held, and for [`DEDUP_IDS`] later messages and [`DEDUP_MILLIS`] after that.
//! 5. Sequence numbers only grow, also across restarts: a reader that remembers the last one it saw misses nothing.
//! 6. Bytes held (bodies, ids and [`OVERHEAD`] per message) never exceed the limit after a commit. Dead letters give way
//!    first, then the lowest level, oldest first; each is counted as evicted. The file itself is larger (B-tree slack,
//!    copy on write: up to about twice) and is compacted at start.
//! 7. The spool's clock never runs backwards, also across restarts, and a change of the wall clock does not move it.
//!
//! # Layout
//!
//! | table | key | value |
//! |---|---|---|
//! | `messages` | level, seq | time accepted (u64 LE), length of the id (u16 LE), id, body |
//! | `queue` | endpoint, seq | level, time accepted, attempts, last fault, times alone, not before |
//! | `dead` | level, seq, endpoint | JSON of [`DeadLetter`] |
//! | `ids` | id | seq |
//! | `recent` | seq | level, time accepted, id |
//! | `endpoints` | name | JSON of [`Row`]: number, counters, schedule |
//! | `meta` | `format`, `next_seq`, `bytes`, `clock` | u64 |
//!
//! `messages` and `dead` begin with the level, so that the first row is the next to evict. `queue` begins with the
//! endpoint, so that a range is its backlog in the order of acceptance.
//!
//! # Operation
//!
//! One writer thread applies [`Change`]s, as many as are waiting, in one transaction (group commit). Readers use
//! snapshots and never wait for it. After an I/O error redb refuses every further call, so the file is closed and opened
//! again. A file that is not a sound spool is moved aside (`spool.redb.damaged-N`) and a new one is begun: what it held is
//! counted as evicted where the counters are still known.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use serde::{Deserialize, Serialize};

mod file;
mod row;
#[cfg(test)]
mod tests;
mod transaction;

use file::{Opening, load, move_aside, open_checked};
use row::{QueueRow, parse, unpack};
use transaction::{Transaction, dead_of};

use super::Outgoing;
use super::schedule::{Attempts, Saved};
use crate::detection::Level;

/// Accounting charge per message besides id and body, bytes: keys, queue row and dedup rows.
pub const OVERHEAD: u64 = 256;
/// An id is remembered for at least this many later messages...
pub const DEDUP_IDS: u64 = 100_000;
/// ...unless this long has passed.
pub const DEDUP_MILLIS: u64 = 24 * 3_600_000;
const FORMAT: u64 = 1;

const MESSAGES: TableDefinition<'_, (u8, u64), &[u8]> = TableDefinition::new("messages");
const QUEUE: TableDefinition<'_, (u16, u64), QueueRow> = TableDefinition::new("queue");
const DEAD: TableDefinition<'_, (u8, u64, u16), &[u8]> = TableDefinition::new("dead");
const IDS: TableDefinition<'_, &str, u64> = TableDefinition::new("ids");
const RECENT: TableDefinition<'_, u64, (u8, u64, &str)> = TableDefinition::new("recent");
const ENDPOINTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("endpoints");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// What stands in the way of reading or writing the spool.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another process has it open.
    #[error("spool {path} is in use by another picket; stop it or give this one its own state_dir")]
    InUse { path: PathBuf },
    /// The file cannot be read or written: full disk, permissions, I/O error.
    #[error("spool {path}: {doing} failed; free space there, lower spool_max_bytes, or move state_dir")]
    Storage { path: PathBuf, doing: &'static str, source: Box<redb::Error> },
    /// The damaged file cannot be moved aside.
    #[error("spool {path} is damaged and cannot be moved aside")]
    MoveAside { path: PathBuf, source: std::io::Error },
    /// The storage library gave up in the middle of a transaction, which was not applied.
    #[error("spool {path}: transaction failed unexpectedly")]
    Panicked { path: PathBuf },
    /// The directory or the file cannot be made.
    #[error("cannot create {path}")]
    Create { path: PathBuf, source: std::io::Error },
}

impl SpoolError {
    /// What the file holds cannot be trusted.
    pub fn is_damage(&self) -> bool {
        matches!(self, SpoolError::Storage { source, .. } if matches!(**source, redb::Error::Corrupted(_)))
    }
}

/// Account of one endpoint. Cumulative over restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Alerts made while it was configured; repeats of a known id are not alerts.
    pub alerts: u64,
    /// Below its level.
    pub filtered: u64,
    /// Stored for it.
    pub accepted: u64,
    /// Answered with 2xx.
    pub delivered: u64,
    /// Still to be delivered.
    pub pending: u64,
    /// Refused or expired; kept.
    pub dead: u64,
    /// Given up for want of space, or lost with a damaged spool.
    pub evicted: u64,
    /// Ids that were made again and not stored twice.
    pub repeated: u64,
    /// Requests made.
    pub attempts: u64,
}

/// One endpoint in the spool.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Short form of the name in keys.
    pub number: u16,
    pub ledger: Ledger,
    pub schedule: Saved,
    /// Level filter; none = not configured now, only its queue is kept.
    #[serde(skip)]
    pub min_level: Option<Level>,
    /// Last failure, for status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Everything the writer knows besides the tables: replaced as a whole after each commit.
#[derive(Clone, Debug, Default)]
pub struct Book {
    pub rows: BTreeMap<String, Row>,
    pub next_seq: u64,
    pub bytes: u64,
}

/// A message that will not be sent again by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    pub id: String,
    /// Why: `refused with 400: ...`, `expired after 3d`.
    pub reason: String,
    pub attempts: u32,
    /// Spool time, unix milliseconds.
    pub at: u64,
}

/// What an endpoint's worker reports about one message.
#[derive(Clone, Debug)]
pub struct Settlement {
    pub endpoint: Arc<str>,
    pub level: u8,
    pub seq: u64,
    pub end: End,
    pub attempts: Attempts,
    /// Requests this settles: 0 for an expiry.
    pub requests: u64,
    pub schedule: Saved,
    pub error: Option<String>,
}

/// Where a message goes after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Delivered,
    Retry,
    Dead(String),
}

/// One thing to write.
#[derive(Debug)]
pub enum Change {
    Append(Vec<Outgoing>),
    Settle(Settlement),
    /// The endpoints configured now, with their level and the fingerprint of their URL.
    Configure(BTreeMap<String, (Level, String)>),
    /// Puts these dead letters of an endpoint, by level and seq, back into its queue.
    Retry(String, Vec<(u8, u64)>),
    /// Forgets an endpoint that is not configured, with everything queued for it.
    Drop(String),
    /// Forgets 410 and the delay.
    Enable(String),
}

/// A message waiting for an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Queued {
    pub seq: u64,
    pub level: u8,
    pub accepted: u64,
    pub attempts: Attempts,
}

/// The store. Shared by the writer and by readers.
#[derive(Debug)]
pub struct Spool {
    db: RwLock<Option<Database>>,
    path: PathBuf,
    max_bytes: u64,
    clock: Clock,
}

#[derive(Debug)]
struct Clock {
    at: u64,
    since: Instant,
}

impl Clock {
    fn now(&self) -> u64 {
        self.at + self.since.elapsed().as_millis() as u64
    }
}

/// The wall clock, unix milliseconds.
fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

impl Spool {
    /// Opens or creates the spool at `path`. The second value is where a damaged predecessor was moved, if there was one.
    pub fn open(path: &Path, max_bytes: u64) -> Result<(Spool, Book, Option<PathBuf>), SpoolError> {
        let (db, book, last, aside) = match open_checked(path) {
            Ok((db, book, last)) => (db, book, last, None),
            Err(Opening::Damaged) => {
                let aside = move_aside(path)?;
                let (db, book, last) = open_checked(path).map_err(|e| e.into_error(path))?;
                (db, book, last, Some(aside))
            }
            Err(other) => return Err(other.into_error(path)),
        };
        let clock = Clock { at: wall().max(last), since: Instant::now() };
        Ok((Spool { db: RwLock::new(Some(db)), path: path.to_owned(), max_bytes, clock }, book, aside))
    }

    /// A spool in any redb backend: for crash tests.
    pub fn open_backend(backend: impl StorageBackend, max_bytes: u64) -> Result<(Spool, Book), SpoolError> {
        let path = PathBuf::from("(backend)");
        let fail = |source: redb::Error| storage(&path, "opening")(source);
        let mut db = Database::builder().create_with_backend(backend).map_err(|e| fail(e.into()))?;
        let (book, last) = load(&mut db).map_err(fail)?;
        let clock = Clock { at: wall().max(last), since: Instant::now() };
        Ok((Spool { db: RwLock::new(Some(db)), path, max_bytes, clock }, book))
    }

    /// The spool's clock, milliseconds: near unix time, never backwards.
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Most bytes held.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Applies `changes` in one durable transaction, in order. On error nothing of them has happened and `book` is as
    /// before; [`Spool::reopen`] must be called before the next try.
    pub fn commit(&self, changes: &[Change], book: &mut Book) -> Result<(), SpoolError> {
        let mut next = book.clone();
        self.with(|db| {
            let mut write = db.begin_write()?;
            write.set_durability(Durability::Immediate)?;
            write.set_two_phase_commit(true);
            let mut tx = Transaction::open(&write, &mut next, self.now(), self.max_bytes)?;
            for change in changes {
                tx.apply(change)?;
            }
            tx.finish()?;
            write.commit()?;
            Ok(())
        })
        .map_err(storage(&self.path, "writing"))?;
        *book = next;
        Ok(())
    }

    /// Closes and opens the file after an error. Returns where a `damaged` file was moved: what it held is then counted as
    /// evicted.
    pub fn reopen(&self, book: &mut Book, damaged: bool) -> Result<Option<PathBuf>, SpoolError> {
        let mut slot = self.db.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        drop(slot.take());
        let opened = if damaged { Err(Opening::Damaged) } else { open_checked(&self.path) };
        match opened {
            Ok((db, found, _)) => {
                // A commit that reported an error may still have reached the disk: what the file says holds.
                let filters: Vec<(String, Level)> =
                    book.rows.iter().filter_map(|(name, row)| Some((name.clone(), row.min_level?))).collect();
                let next_seq = book.next_seq.max(found.next_seq);
                *book = Book { next_seq, ..found };
                for (name, level) in filters {
                    book.configure(&name, level, None);
                }
                *slot = Some(db);
                Ok(None)
            }
            Err(Opening::Damaged) => {
                let aside = move_aside(&self.path)?;
                let (db, _, _) = open_checked(&self.path).map_err(|e| e.into_error(&self.path))?;
                *slot = Some(db);
                book.bytes = 0;
                for row in book.rows.values_mut() {
                    let ledger = &mut row.ledger;
                    ledger.evicted += ledger.pending + ledger.dead;
                    (ledger.pending, ledger.dead) = (0, 0);
                }
                Ok(Some(aside))
            }
            Err(other) => Err(other.into_error(&self.path)),
        }
    }

    /// Up to `limit` messages queued for endpoint `number` after `seq`, oldest first.
    pub fn queued(&self, number: u16, after: Option<u64>, limit: usize) -> Result<Vec<Queued>, SpoolError> {
        let first = after.map_or(0, |seq| seq + 1);
        self.with(|db| {
            let table = db.begin_read()?.open_table(QUEUE)?;
            let mut found = Vec::new();
            for row in table.range((number, first)..=(number, u64::MAX))?.take(limit) {
                let (key, value) = row?;
                let (level, accepted, made, fault, alone, not_before) = value.value();
                let attempts = Attempts::restored(made, fault, alone, not_before);
                found.push(Queued { seq: key.value().1, level, accepted, attempts });
            }
            Ok(found)
        })
        .map_err(storage(&self.path, "reading"))
    }

    /// Id and body of a message; none when it was evicted meanwhile.
    pub fn message(&self, level: u8, seq: u64) -> Result<Option<(String, Bytes)>, SpoolError> {
        self.with(|db| {
            let table = db.begin_read()?.open_table(MESSAGES)?;
            match table.get((level, seq))? {
                Some(row) => {
                    Ok(Some(unpack(row.value())?).map(|(_, id, body)| (id.to_owned(), Bytes::copy_from_slice(body))))
                }
                None => Ok(None),
            }
        })
        .map_err(storage(&self.path, "reading"))
    }

    /// Level and seq of every dead letter of endpoint `number`.
    pub fn dead_keys(&self, number: u16) -> Result<Vec<(u8, u64)>, SpoolError> {
        self.with(|db| dead_of(&db.begin_read()?.open_table(DEAD)?, number)).map_err(storage(&self.path, "reading"))
    }

    /// Up to `limit` dead letters of endpoint `number`, lowest level and oldest first.
    pub fn dead(&self, number: u16, limit: usize) -> Result<Vec<DeadLetter>, SpoolError> {
        self.with(|db| {
            let table = db.begin_read()?.open_table(DEAD)?;
            let mut found = Vec::new();
            for row in table.iter()? {
                let (key, value) = row?;
                if key.value().2 == number {
                    found.push(parse(value.value())?);
                    if found.len() >= limit {
                        break;
                    }
                }
            }
            Ok(found)
        })
        .map_err(storage(&self.path, "reading"))
    }

    fn with<T>(&self, read: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, redb::Error> {
        let slot = self.db.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        read(slot.as_ref().ok_or(redb::Error::DatabaseClosed)?)
    }
}

fn storage(path: &Path, doing: &'static str) -> impl Fn(redb::Error) -> SpoolError {
    move |source| SpoolError::Storage { path: path.to_owned(), doing, source: Box::new(source) }
}

impl Book {
    /// Marks an endpoint as configured, adding it if it is new.
    fn configure(&mut self, name: &str, level: Level, fingerprint: Option<&str>) {
        let free = (0..=u16::MAX).find(|n| self.rows.values().all(|row| row.number != *n)).unwrap_or(u16::MAX);
        let row = self.rows.entry(name.to_owned()).or_insert_with(|| Row {
            number: free,
            ledger: Ledger::default(),
            schedule: Saved::default(),
            min_level: None,
            last_error: None,
        });
        row.min_level = Some(level);
        // 410 was said by another place.
        if fingerprint.is_some() && row.schedule.gone.is_some() && row.schedule.gone.as_deref() != fingerprint {
            row.schedule = Saved::default();
        }
    }
}
