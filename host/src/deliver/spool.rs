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
//! | `queue` | endpoint, seq | level, time accepted, attempts, last 5xx, times alone, not before |
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
use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, StorageError, Table, TableDefinition,
};
use serde::{Deserialize, Serialize};

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

type QueueRow = (u8, u64, u32, u16, u32, u64);
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
    /// Puts dead letters back into the queue.
    Retry(String),
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
                let (level, accepted, made, status, alone, not_before) = value.value();
                let attempts = Attempts::restored(made, status, alone, not_before);
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

/// Why a file could not be opened.
enum Opening {
    Damaged,
    Other(redb::Error),
    Create(std::io::Error),
}

impl Opening {
    fn into_error(self, path: &Path) -> SpoolError {
        let path = path.to_owned();
        match self {
            Opening::Other(redb::Error::DatabaseAlreadyOpen) => SpoolError::InUse { path },
            Opening::Other(source) => SpoolError::Storage { path, doing: "opening", source: Box::new(source) },
            Opening::Create(source) => SpoolError::Create { path, source },
            Opening::Damaged => SpoolError::Create { path, source: std::io::Error::other("a new spool is damaged") },
        }
    }
}

/// Opens, verifying every page: the file is read whole once, which is the price for never trusting a damaged one.
fn open_checked(path: &Path) -> Result<(Database, Book, u64), Opening> {
    use std::os::unix::fs::OpenOptionsExt;
    // Created here rather than by redb: alerts hold command lines, nobody else may read them.
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(Opening::Create)?;
    let classify = |error: redb::Error| match error {
        redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::RepairAborted => Opening::Damaged,
        redb::Error::Io(e)
            if matches!(e.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof) =>
        {
            Opening::Damaged
        }
        other => Opening::Other(other),
    };
    // A panic inside redb on a file that something else wrote must not stop the service from starting.
    let opened = std::panic::catch_unwind(|| {
        let mut db = Database::builder()
            .set_cache_size(64 << 20)
            .set_check_integrity_on_open(true)
            .create(path)
            .map_err(redb::Error::from)?;
        let (book, clock) = load(&mut db)?;
        Ok((db, book, clock))
    });
    match opened {
        Ok(result) => result.map_err(classify),
        Err(_) => Err(Opening::Damaged),
    }
}

/// Reads the counters, creating the tables in a new file; compacts a file that is mostly air.
fn load(db: &mut Database) -> Result<(Book, u64), redb::Error> {
    let mut write = db.begin_write()?;
    write.set_two_phase_commit(true);
    let (mut book, clock) = (Book::default(), {
        let mut meta = write.open_table(META)?;
        let format = meta.get("format")?.map(|v| v.value());
        match format {
            None => drop(meta.insert("format", FORMAT)?),
            Some(FORMAT) => {}
            Some(other) => {
                return Err(StorageError::Corrupted(format!("format {other}, this build reads {FORMAT}")).into());
            }
        }
        meta.get("clock")?.map_or(0, |v| v.value())
    });
    {
        let meta = write.open_table(META)?;
        book.next_seq = meta.get("next_seq")?.map_or(1, |v| v.value());
        book.bytes = meta.get("bytes")?.map_or(0, |v| v.value());
        for row in write.open_table(ENDPOINTS)?.iter()? {
            let (name, row) = row?;
            book.rows.insert(name.value().to_owned(), parse(row.value())?);
        }
        write.open_table(MESSAGES)?;
        write.open_table(QUEUE)?;
        write.open_table(DEAD)?;
        write.open_table(IDS)?;
        write.open_table(RECENT)?;
    }
    let stats = write.stats()?;
    let (stored, allocated) = (stats.stored_bytes(), stats.allocated_pages() * stats.page_size() as u64);
    write.commit()?;
    if allocated > (64 << 20) && stored < allocated / 4 {
        db.compact().map_err(redb::Error::from)?;
    }
    Ok((book, clock))
}

fn move_aside(path: &Path) -> Result<PathBuf, SpoolError> {
    let fail = |source| SpoolError::MoveAside { path: path.to_owned(), source };
    let mut target = PathBuf::new();
    for n in 1..=1000 {
        target = path.with_extension(format!("redb.damaged-{n}"));
        if !target.exists() {
            break;
        }
    }
    std::fs::rename(path, &target).map_err(fail)?;
    Ok(target)
}

/// JSON in the file that does not parse is damage.
fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, redb::Error> {
    serde_json::from_slice(bytes).map_err(|e| StorageError::Corrupted(format!("bad row: {e}")).into())
}

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>, redb::Error> {
    serde_json::to_vec(value).map_err(|e| StorageError::Corrupted(format!("row cannot be written: {e}")).into())
}

fn pack(accepted: u64, id: &str, body: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(10 + id.len() + body.len());
    row.extend_from_slice(&accepted.to_le_bytes());
    row.extend_from_slice(&(id.len() as u16).to_le_bytes());
    row.extend_from_slice(id.as_bytes());
    row.extend_from_slice(body);
    row
}

fn unpack(row: &[u8]) -> Result<(u64, &str, &[u8]), redb::Error> {
    fn split(row: &[u8]) -> Option<(u64, &str, &[u8])> {
        let (accepted, rest) = row.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (id, body) = rest.split_at_checked(u16::from_le_bytes(*length) as usize)?;
        Some((u64::from_le_bytes(*accepted), std::str::from_utf8(id).ok()?, body))
    }
    split(row).ok_or_else(|| StorageError::Corrupted("bad message row".to_owned()).into())
}

/// Charge of one message against the limit.
fn charge(id: &str, body: &[u8]) -> u64 {
    id.len() as u64 + body.len() as u64 + OVERHEAD
}

fn dead_of(
    table: &impl ReadableTable<(u8, u64, u16), &'static [u8]>,
    number: u16,
) -> Result<Vec<(u8, u64)>, redb::Error> {
    let mut found = Vec::new();
    for row in table.iter()? {
        let (level, seq, endpoint) = row?.0.value();
        if endpoint == number {
            found.push((level, seq));
        }
    }
    Ok(found)
}

/// The tables of one write transaction, with the counters it will leave.
struct Transaction<'t> {
    messages: Table<'t, (u8, u64), &'static [u8]>,
    queue: Table<'t, (u16, u64), QueueRow>,
    dead: Table<'t, (u8, u64, u16), &'static [u8]>,
    ids: Table<'t, &'static str, u64>,
    recent: Table<'t, u64, (u8, u64, &'static str)>,
    endpoints: Table<'t, &'static str, &'static [u8]>,
    meta: Table<'t, &'static str, u64>,
    book: &'t mut Book,
    now: u64,
    max_bytes: u64,
}

impl<'t> Transaction<'t> {
    fn open(
        write: &'t redb::WriteTransaction,
        book: &'t mut Book,
        now: u64,
        max_bytes: u64,
    ) -> Result<Transaction<'t>, redb::Error> {
        Ok(Transaction {
            messages: write.open_table(MESSAGES)?,
            queue: write.open_table(QUEUE)?,
            dead: write.open_table(DEAD)?,
            ids: write.open_table(IDS)?,
            recent: write.open_table(RECENT)?,
            endpoints: write.open_table(ENDPOINTS)?,
            meta: write.open_table(META)?,
            book,
            now,
            max_bytes,
        })
    }

    fn apply(&mut self, change: &Change) -> Result<(), redb::Error> {
        match change {
            Change::Append(batch) => {
                for outgoing in batch {
                    self.append(outgoing)?;
                }
                self.evict()?;
                self.forget()
            }
            Change::Settle(settlement) => self.settle(settlement),
            Change::Configure(now) => {
                for (name, row) in &mut self.book.rows {
                    if !now.contains_key(name) {
                        row.min_level = None;
                    }
                }
                for (name, (level, fingerprint)) in now {
                    self.book.configure(name, *level, Some(fingerprint));
                }
                Ok(())
            }
            Change::Retry(name) => self.retry(name),
            Change::Drop(name) => self.drop_endpoint(name),
            Change::Enable(name) => {
                if let Some(row) = self.book.rows.get_mut(name) {
                    row.schedule = Saved::default();
                    row.last_error = None;
                }
                Ok(())
            }
        }
    }

    fn append(&mut self, outgoing: &Outgoing) -> Result<(), redb::Error> {
        let known = self.ids.get(outgoing.id.as_str())?.is_some();
        let (level, seq) = (outgoing.level as u8, self.book.next_seq);
        let mut taken = false;
        for row in self.book.rows.values_mut() {
            let Some(min_level) = row.min_level else { continue };
            if outgoing.level < min_level {
                // An id that nobody stored cannot be told from a new one: it is counted as an alert again.
                if !known {
                    row.ledger.alerts += 1;
                    row.ledger.filtered += 1;
                }
            } else if known {
                row.ledger.repeated += 1;
            } else {
                row.ledger.alerts += 1;
                row.ledger.accepted += 1;
                row.ledger.pending += 1;
                self.queue.insert((row.number, seq), (level, self.now, 0, 0, 0, 0))?;
                taken = true;
            }
        }
        if taken {
            self.book.next_seq += 1;
            self.book.bytes += charge(&outgoing.id, &outgoing.body);
            self.messages.insert((level, seq), pack(self.now, &outgoing.id, &outgoing.body).as_slice())?;
            self.ids.insert(outgoing.id.as_str(), seq)?;
            self.recent.insert(seq, (level, self.now, outgoing.id.as_str()))?;
        }
        Ok(())
    }

    fn settle(&mut self, done: &Settlement) -> Result<(), redb::Error> {
        let Some(row) = self.book.rows.get_mut(&*done.endpoint) else { return Ok(()) };
        row.schedule = done.schedule.clone();
        row.ledger.attempts += done.requests;
        if done.error.is_some() {
            row.last_error.clone_from(&done.error);
        }
        let key = (row.number, done.seq);
        let accepted = match self.queue.get(key)? {
            Some(queued) => queued.value().1,
            // Evicted or dropped meanwhile, and counted as that.
            None => return Ok(()),
        };
        let a = done.attempts;
        match &done.end {
            End::Retry => {
                self.queue.insert(key, (done.level, accepted, a.made, a.status, a.alone, a.not_before))?;
            }
            End::Delivered => {
                row.ledger.pending -= 1;
                row.ledger.delivered += 1;
                self.queue.remove(key)?;
                self.release(done.level, done.seq)?;
            }
            End::Dead(reason) => {
                row.ledger.pending -= 1;
                row.ledger.dead += 1;
                let number = row.number;
                self.queue.remove(key)?;
                let id = match self.messages.get((done.level, done.seq))? {
                    Some(message) => unpack(message.value())?.1.to_owned(),
                    None => return Err(StorageError::Corrupted("a queued message has no body".to_owned()).into()),
                };
                let letter = DeadLetter { id, reason: reason.clone(), attempts: a.made, at: self.now };
                self.dead.insert((done.level, done.seq, number), to_json(&letter)?.as_slice())?;
            }
        }
        Ok(())
    }

    /// Whether an endpoint still has the message queued.
    fn is_queued(&self, seq: u64) -> Result<bool, redb::Error> {
        for row in self.book.rows.values() {
            if self.queue.get((row.number, seq))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_dead(&self, level: u8, seq: u64) -> Result<bool, redb::Error> {
        Ok(self.dead.range((level, seq, 0)..=(level, seq, u16::MAX))?.next().is_some())
    }

    /// Removes the message if nobody holds it any more.
    fn release(&mut self, level: u8, seq: u64) -> Result<bool, redb::Error> {
        if self.is_queued(seq)? || self.is_dead(level, seq)? {
            return Ok(false);
        }
        let Some(message) = self.messages.remove((level, seq))? else { return Ok(true) };
        let (_, id, body) = unpack(message.value())?;
        self.book.bytes = self.book.bytes.saturating_sub(charge(id, body));
        // Beyond the dedup window nothing else remembers the id.
        if self.recent.get(seq)?.is_none() {
            self.ids.remove(id)?;
        }
        Ok(true)
    }

    /// Makes room: dead letters first, then the lowest level, oldest first.
    fn evict(&mut self) -> Result<(), redb::Error> {
        if self.book.bytes <= self.max_bytes {
            return Ok(());
        }
        let dead: Vec<(u8, u64, u16)> =
            self.dead.iter()?.map(|row| Ok(row?.0.value())).collect::<Result<_, redb::Error>>()?;
        for (level, seq, number) in dead {
            if self.book.bytes <= self.max_bytes {
                return Ok(());
            }
            if self.is_queued(seq)? {
                continue;
            }
            self.dead.remove((level, seq, number))?;
            if let Some(row) = self.book.rows.values_mut().find(|row| row.number == number) {
                row.ledger.dead -= 1;
                row.ledger.evicted += 1;
            }
            self.release(level, seq)?;
        }
        while self.book.bytes > self.max_bytes {
            let Some((level, seq)) = self.messages.first()?.map(|(key, _)| key.value()) else { break };
            for row in self.book.rows.values_mut() {
                if self.queue.remove((row.number, seq))?.is_some() {
                    row.ledger.pending -= 1;
                    row.ledger.evicted += 1;
                }
                if self.dead.remove((level, seq, row.number))?.is_some() {
                    row.ledger.dead -= 1;
                    row.ledger.evicted += 1;
                }
            }
            self.release(level, seq)?;
        }
        Ok(())
    }

    /// Forgets ids that have left the dedup window.
    fn forget(&mut self) -> Result<(), redb::Error> {
        let oldest_seq = self.book.next_seq.saturating_sub(DEDUP_IDS);
        let oldest_time = self.now.saturating_sub(DEDUP_MILLIS);
        loop {
            let (seq, level, id) = match self.recent.first()? {
                Some((seq, row)) if seq.value() < oldest_seq || row.value().1 < oldest_time => {
                    (seq.value(), row.value().0, row.value().2.to_owned())
                }
                _ => return Ok(()),
            };
            self.recent.remove(seq)?;
            if self.messages.get((level, seq))?.is_none() {
                self.ids.remove(id.as_str())?;
            }
        }
    }

    fn retry(&mut self, name: &str) -> Result<(), redb::Error> {
        let Some(number) = self.book.rows.get(name).map(|row| row.number) else { return Ok(()) };
        for (level, seq) in dead_of(&self.dead, number)? {
            self.dead.remove((level, seq, number))?;
            self.queue.insert((number, seq), (level, self.now, 0, 0, 0, 0))?;
            if let Some(row) = self.book.rows.get_mut(name) {
                row.ledger.dead -= 1;
                row.ledger.pending += 1;
            }
        }
        Ok(())
    }

    fn drop_endpoint(&mut self, name: &str) -> Result<(), redb::Error> {
        let number = match self.book.rows.get(name) {
            Some(row) if row.min_level.is_none() => row.number,
            _ => return Ok(()),
        };
        let mut held = dead_of(&self.dead, number)?;
        for row in self.queue.range((number, 0)..=(number, u64::MAX))? {
            let (key, value) = row?;
            held.push((value.value().0, key.value().1));
        }
        for (level, seq) in held {
            self.queue.remove((number, seq))?;
            self.dead.remove((level, seq, number))?;
            self.release(level, seq)?;
        }
        self.book.rows.remove(name);
        self.endpoints.remove(name)?;
        Ok(())
    }

    fn finish(mut self) -> Result<(), redb::Error> {
        for (name, row) in &self.book.rows {
            self.endpoints.insert(name.as_str(), to_json(row)?.as_slice())?;
        }
        self.meta.insert("next_seq", self.book.next_seq)?;
        self.meta.insert("bytes", self.book.bytes)?;
        self.meta.insert("clock", self.now)?;
        Ok(())
    }
}
