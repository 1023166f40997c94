//! The files of a recording: bounded in size and age, each with what is needed to read it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::RangeInclusive;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::block::{self, Block, Columns, Open, Summary};
use super::{DIR, RecorderError};
use crate::config::RecorderConfig;
use crate::kind::KindId;
use crate::ledger::RecorderAccount;
use crate::notice::now;
use crate::slab::Origin;
use crate::whole;

const MAGIC: [u8; 4] = *b"PKTR";
const VERSION: u32 = 1;
const SUFFIX: &str = "rec";
/// No head of a file is longer.
const MOST_HEAD: u32 = 4 << 20;

/// A recording is cut into so many files, about: the oldest goes as a whole.
const FILES: u64 = 32;

/// Events of different processors may step back in time by this much against host order, nanoseconds.
const SLACK: u64 = 10_000_000_000;

/// The head of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Heading {
    version: u32,
    picket: String,
    machine: String,
    boot: String,
    hostname: String,
    /// Paths of the columns of each kind.
    columns: BTreeMap<String, Vec<String>>,
}

/// The writing end.
pub struct Store {
    dir: PathBuf,
    origin: Origin,
    max_bytes: u64,
    max_age: u64,
    /// The file that is written, its size, and the time of its first event.
    file: Option<(File, PathBuf, u64, u64)>,
}

impl Store {
    pub fn open(dir: &Path, config: &RecorderConfig, origin: Origin) -> Result<Store, RecorderError> {
        whole::directory(dir).map_err(|source| RecorderError::Directory { path: dir.to_owned(), source })?;
        let (max_bytes, max_age) = (config.max_bytes.bytes(), config.max_age.duration().as_nanos() as u64);
        Ok(Store { dir: dir.to_owned(), origin, max_bytes, max_age, file: None })
    }

    /// Writes a block.
    pub fn append(
        &mut self,
        open: &Open,
        collected: &[String],
        account: &RecorderAccount,
    ) -> Result<(), RecorderError> {
        let (summary, bytes) = open.write(collected).map_err(RecorderError::Read)?;
        let old = |first: u64| summary.last.saturating_sub(first) > self.max_age / FILES;
        if self.file.as_ref().is_some_and(|(_, _, size, first)| *size > self.max_bytes / FILES || old(*first)) {
            self.file = None;
        }
        let written = self.write(&summary, &bytes);
        match written {
            Ok(new) => {
                account.blocks.add(1);
                account.bytes.add(new);
                Ok(())
            }
            Err(source) => {
                // What was written of the block is no block: the next one begins a file of its own.
                let path = self.file.take().map_or_else(|| self.dir.clone(), |(_, path, ..)| path);
                Err(RecorderError::Directory { path, source })
            }
        }
    }

    fn write(&mut self, summary: &Summary, bytes: &[u8]) -> std::io::Result<u64> {
        let mut new = 0;
        if self.file.is_none() {
            let heading = Heading {
                version: VERSION,
                picket: env!("CARGO_PKG_VERSION").to_owned(),
                machine: self.origin.machine.clone(),
                boot: self.origin.boot.clone(),
                hostname: self.origin.hostname.clone(),
                columns: block::columns(),
            };
            let heading = serde_json::to_vec(&heading)?;
            let (mut file, path) = self.create(summary.first)?;
            file.write_all(&[&MAGIC[..], &(heading.len() as u32).to_le_bytes(), &heading].concat())?;
            new = 8 + heading.len() as u64;
            self.file = Some((file, path, new, summary.first));
        }
        if let Some((file, _, size, _)) = &mut self.file {
            file.write_all(bytes)?;
            file.sync_data()?;
            new += bytes.len() as u64;
            *size += bytes.len() as u64;
        }
        Ok(new)
    }

    /// A file named after the time of its first event, or the next one that is free: a clock that was set back makes the same time twice.
    fn create(&self, first: u64) -> std::io::Result<(File, PathBuf)> {
        for time in first.. {
            let path = self.dir.join(format!("{time:020}.{SUFFIX}"));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                opened => return opened.map(|file| (file, path)),
            }
        }
        Err(std::io::ErrorKind::AlreadyExists.into())
    }

    /// Drops the oldest files until the rest is within its bounds.
    pub fn tidy(&mut self, account: &RecorderAccount) {
        let Ok(mut files) = files(&self.dir) else { return };
        let mut total: u64 = files.iter().map(|f| f.size).sum();
        account.held.set(total);
        account.oldest.set(files.first().map_or(0, |f| f.first));
        // The newest is being written.
        files.pop();
        for (at, file) in files.iter().enumerate() {
            let until = files.get(at + 1).map_or_else(now, |next| next.first);
            let old = now().saturating_sub(until) > self.max_age;
            if !old && total <= self.max_bytes {
                return;
            }
            if let Err(e) = fs::remove_file(&file.path) {
                return tracing::warn!(error = %e, path = %file.path.display(), "cannot remove an old recording");
            }
            total -= file.size;
            account.dropped_files.add(1);
            account.held.set(total);
            account.oldest.set(until);
        }
    }
}

struct Entry {
    path: PathBuf,
    size: u64,
    /// Time of its first event, Unix ns.
    first: u64,
}

/// The files of a recording, the oldest first.
fn files(dir: &Path) -> std::io::Result<Vec<Entry>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let first = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse().ok());
        if let (Some(first), true) = (first, path.extension().is_some_and(|x| x == SUFFIX)) {
            // It may have been dropped since.
            let size = entry.metadata().map_or(0, |m| m.len());
            files.push(Entry { path, size, first });
        }
    }
    files.sort_by_key(|f| f.first);
    Ok(files)
}

/// A recording that is read, block by block.
pub struct Recording {
    files: std::vec::IntoIter<Entry>,
    current: Option<(BufReader<File>, Arc<Origin>, Columns)>,
    times: RangeInclusive<u64>,
    /// Bytes of files, and how many of them are behind.
    pub size: u64,
    pub done: u64,
    /// Files and blocks that could not be read, in words.
    pub problems: Vec<String>,
    /// How often each kind was collected as a whole, in part, or not at all, in blocks.
    pub blocks: u64,
    pub collected: BTreeMap<String, u64>,
    /// First and last time of an event in the blocks that were read.
    pub span: Option<(u64, u64)>,
    path: PathBuf,
}

/// Problems that are told; there may be many.
const PROBLEMS: usize = 20;

impl Recording {
    /// The recording of a state directory, of these times (Unix ns); an empty one if nothing was ever recorded.
    pub fn open(state_dir: &Path, times: RangeInclusive<u64>) -> Result<Recording, RecorderError> {
        let dir = state_dir.join(DIR);
        let mut found = match files(&dir) {
            Ok(found) => found,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(RecorderError::Directory { path: dir, source }),
        };
        // A file ends where the next one begins.
        let late = found.iter().skip(1).take_while(|next| next.first.saturating_add(SLACK) < *times.start()).count();
        found.drain(..late);
        found.retain(|f| f.first.saturating_sub(SLACK) <= *times.end());
        let size = found.iter().map(|f| f.size).sum();
        Ok(Recording {
            files: found.into_iter(),
            current: None,
            times,
            size,
            done: 0,
            problems: Vec::new(),
            blocks: 0,
            collected: BTreeMap::new(),
            span: None,
            path: dir,
        })
    }

    /// What was recorded in the last so long.
    pub fn last(state_dir: &Path, since: Duration) -> Result<Recording, RecorderError> {
        Recording::open(state_dir, now().saturating_sub(since.as_nanos() as u64)..=u64::MAX)
    }

    /// The next block that has rows of the wanted kinds and times; `None` at the end. What cannot be read is told in `problems`, and
    /// the rest is read.
    pub fn next(&mut self, wanted: &dyn Fn(KindId) -> bool) -> Option<Block> {
        loop {
            if self.current.is_none() {
                let entry = self.files.next()?;
                self.path.clone_from(&entry.path);
                match open(&entry.path) {
                    Ok(opened) => self.current = Some(opened),
                    Err(e) => {
                        self.problem(&e);
                        continue;
                    }
                }
            }
            match self.block(wanted) {
                Ok(Some(block)) if block.rows() > 0 => return Some(block),
                Ok(Some(_)) => {}
                Ok(None) => self.current = None,
                Err(e) => {
                    // Where the next block begins is not known any more.
                    self.problem(&e);
                    self.current = None;
                }
            }
        }
    }

    /// The next block of the current file, without rows if none of them is wanted.
    fn block(&mut self, wanted: &dyn Fn(KindId) -> bool) -> Result<Option<Block>, RecorderError> {
        let Some((file, origin, columns)) = &mut self.current else { return Ok(None) };
        let Some((summary, length)) = block::next(file)? else { return Ok(None) };
        self.done += block::FRAME as u64 + u64::from(length);
        if summary.last < *self.times.start() || summary.first > *self.times.end() {
            file.seek_relative(i64::from(length)).map_err(RecorderError::Read)?;
            return Ok(Some(Block::empty(origin.clone())));
        }
        let mut packed = vec![0; length as usize];
        if !block::fill(file, &mut packed)? {
            return Ok(None);
        }
        let block =
            Block::read(&summary, &packed, columns, origin.clone(), wanted).map_err(|_| RecorderError::Damaged)?;
        self.blocks += 1;
        for kind in summary.collected {
            *self.collected.entry(kind).or_default() += 1;
        }
        let (first, last) = self.span.unwrap_or((summary.first, summary.last));
        self.span = Some((first.min(summary.first), last.max(summary.last)));
        Ok(Some(block))
    }

    /// Whether an event of this time is asked for.
    pub fn covers(&self, time: u64) -> bool {
        self.times.contains(&time)
    }

    fn problem(&mut self, e: &RecorderError) {
        if self.problems.len() < PROBLEMS {
            self.problems.push(format!("{}: {}", self.path.display(), crate::text::chain(e)));
        }
    }
}

fn open(path: &Path) -> Result<(BufReader<File>, Arc<Origin>, Columns), RecorderError> {
    let file = File::open(path).map_err(RecorderError::Read)?;
    let mut file = BufReader::with_capacity(1 << 20, file);
    file.seek(SeekFrom::Start(0)).map_err(RecorderError::Read)?;
    let mut start = [0; 8];
    file.read_exact(&mut start).map_err(RecorderError::Read)?;
    let length = u32::from_le_bytes([start[4], start[5], start[6], start[7]]);
    if start[..4] != MAGIC || length > MOST_HEAD {
        return Err(RecorderError::Damaged);
    }
    let mut heading = vec![0; length as usize];
    file.read_exact(&mut heading).map_err(RecorderError::Read)?;
    let heading: Heading = serde_json::from_slice(&heading).map_err(|_| RecorderError::Damaged)?;
    if heading.version != VERSION {
        return Err(RecorderError::Version { found: heading.version, by: heading.picket });
    }
    let origin = Origin { machine: heading.machine, boot: heading.boot, hostname: heading.hostname };
    Ok((file, Arc::new(origin), Columns::of(&heading.columns)))
}
