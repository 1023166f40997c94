//! The process table: who is behind an event.
//!
//! Invariants
//! - The key is (host pid, start of the leader in ns since boot): a reused pid is another process.
//! - Records are applied in ring order and win over the seed; a pid whose exit was read is never brought back by a seed.
//! - Ancestors follow the creator at fork and are images, not table rows: a parent's end changes nothing for its children.
//! - Exited rows stay [`LINGER`] so that late events of a process still find it; the table is capped, exited rows go first,
//!   and every live row that had to go is counted.

use std::collections::VecDeque;
use std::sync::Arc;

use picket_ebpf::kind::sched_process_exec::Exec;
use picket_ebpf::kind::sched_process_fork::Fork;
use picket_ebpf::kind::seed::Seed;
use picket_ebpf::{Header, Record, TaskFacts};
use rustc_hash::FxHashMap;

use super::{ANCESTORS, Image, Key, Process, Users, facts, procfs};
use crate::kind;

/// How long an exited process stays findable, nanoseconds of event time.
const LINGER: u64 = 60_000_000_000;

/// Rows at most; a host's pid_max is 32,768 to 4 million, most run a few hundred processes.
const CAPACITY: usize = 65_536;

/// What the table had to do; all counts since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct TableCounters {
    pub live: u64,
    pub lingering: u64,
    /// Live rows that were dropped because the table was full.
    pub evicted: u64,
    /// Events of a process that no record had described.
    pub unknown: u64,
    /// Lifecycle kinds lost, and the table seeded anew because of it.
    pub reseeded: u64,
}

struct Entry {
    process: Arc<Process>,
    /// Event time of the exit, boot clock ns.
    exited: Option<u64>,
}

/// The table.
pub struct Table {
    rows: FxHashMap<Key, Entry>,
    exits: VecDeque<(u64, Key)>,
    users: Users,
    /// realtime - boot clock, nanoseconds.
    offset: u64,
    salt: u64,
    images: u64,
    counters: TableCounters,
}

impl Table {
    /// `boot` makes process ids unique between boots.
    pub fn new(boot: &str, users: Users) -> Table {
        Table {
            rows: FxHashMap::default(),
            exits: VecDeque::new(),
            users,
            offset: 0,
            salt: xxhash_rust::xxh3::xxh3_64(boot.as_bytes()),
            images: 0,
            counters: TableCounters::default(),
        }
    }

    /// The realtime clock minus the boot clock, nanoseconds.
    pub fn set_offset(&mut self, offset: u64) {
        self.offset = offset;
    }

    pub fn counters(&self) -> TableCounters {
        let lingering = self.exits.len() as u64;
        TableCounters { live: (self.rows.len() as u64).saturating_sub(lingering), lingering, ..self.counters }
    }

    /// Adds the processes that were there before the first record; `records` come from the task iterator.
    /// Later events override what is said here.
    pub fn seed(&mut self, records: &[Vec<u8>], again: bool) {
        self.counters.reseeded += u64::from(again);
        let mut parents: FxHashMap<Key, Key> = FxHashMap::default();
        let mut fresh = Vec::new();
        for bytes in records {
            let Ok(record) = Record::parse(bytes) else { continue };
            let h = record.header();
            let key = Key { tgid: h.pid, start: h.leader_start };
            parents.insert(key, Key { tgid: h.ppid, start: h.parent_start });
            if self.rows.contains_key(&key) {
                continue;
            }
            let argv: Option<Arc<[Box<[u8]>]>> = procfs::argv(key).map(Into::into);
            let image = Image {
                exe: bytes_of(&record, Seed::PATHNAME),
                cwd: bytes_of(&record, Seed::CWD),
                cgroup: bytes_of(&record, Seed::CGROUP),
                tty: bytes_of(&record, Seed::TTY),
                // What was executed is not kept by the kernel; the first argument is what most programs are called by.
                executed: None,
                cmdline: argv.as_deref().map(kind::join),
                argv,
                ..self.identity(h, key)
            };
            fresh.push((key, with_facts(image, record.body::<Seed>().map(|b| b.facts))));
        }
        for (key, image) in fresh {
            let process = self.process(Arc::new(image), Box::default());
            self.insert(key, process, 0);
        }
        // Second pass: every parent is there now.
        for key in parents.keys() {
            let mut ancestors = Vec::new();
            let mut at = *key;
            while let Some(parent) = parents.get(&at).filter(|p| **p != at && ancestors.len() < ANCESTORS) {
                let Some(entry) = self.rows.get(parent) else { break };
                ancestors.push(entry.process.image.clone());
                at = *parent;
            }
            if let Some(entry) = self.rows.get_mut(key)
                && entry.process.ancestors.is_empty()
                && !ancestors.is_empty()
            {
                let p = &entry.process;
                entry.process = Arc::new(Process { id: p.id, image: p.image.clone(), ancestors: ancestors.into() });
            }
        }
    }

    /// Applies a record and returns the process behind it.
    pub fn apply(&mut self, record: &Record<'_>) -> Arc<Process> {
        match record.kind() {
            picket_ebpf::Kind::SchedProcessExec => self.exec(record),
            picket_ebpf::Kind::SchedProcessFork => self.fork(record),
            picket_ebpf::Kind::SchedProcessExit => self.exit(record),
            _ => self.actor(record.header()),
        }
    }

    fn exec(&mut self, record: &Record<'_>) -> Arc<Process> {
        let h = record.header();
        let key = Key { tgid: h.pid, start: h.leader_start };
        let ancestors = match self.rows.get(&key) {
            Some(entry) => entry.process.ancestors.clone(),
            None => self.ancestors_of(Key { tgid: h.ppid, start: h.parent_start }),
        };
        let argv: Option<Arc<[Box<[u8]>]>> =
            kind::argv(record).map(|items| items.into_iter().map(Into::into).collect());
        let image = Image {
            exe: bytes_of(record, Exec::PATHNAME),
            executed: bytes_of(record, Exec::CMDPATH),
            cwd: bytes_of(record, Exec::CWD),
            cgroup: bytes_of(record, Exec::CGROUP),
            tty: bytes_of(record, Exec::TTY),
            env: kind::env(record).map(|items| items.map(Into::into).collect()),
            cmdline: argv.as_deref().map(kind::join),
            argv,
            ..self.identity(h, key)
        };
        let image = with_facts(image, record.body::<Exec>().map(|b| b.facts));
        let process = self.process(Arc::new(image), ancestors);
        self.insert(key, process.clone(), h.time);
        process
    }

    fn fork(&mut self, record: &Record<'_>) -> Arc<Process> {
        let creator = self.actor(record.header());
        let Some(body) = record.body::<Fork>() else { return creator };
        let key = Key { tgid: body.child_pid, start: body.child_start };
        let mut image = (*creator.image).clone();
        image.key = key;
        image.create_time = Some(body.child_start + self.offset);
        let mut image = with_facts(image, Some(body.child));
        if let Some(cgroup) = bytes_of(record, Fork::CGROUP) {
            image.cgroup = Some(cgroup);
        }
        let ancestors =
            std::iter::once(&creator.image).chain(creator.ancestors.iter()).take(ANCESTORS).cloned().collect();
        let child = self.process(Arc::new(image), ancestors);
        self.insert(key, child, record.header().time);
        creator
    }

    fn exit(&mut self, record: &Record<'_>) -> Arc<Process> {
        let h = record.header();
        let process = self.actor(h);
        let key = Key { tgid: h.pid, start: h.leader_start };
        if let Some(entry) = self.rows.get_mut(&key)
            && entry.exited.is_none()
        {
            entry.exited = Some(h.time);
            self.exits.push_back((h.time, key));
        }
        self.expire(h.time);
        process
    }

    /// The process that acted, with the user it acts as now.
    fn actor(&mut self, h: &Header) -> Arc<Process> {
        let key = Key { tgid: h.pid, start: h.leader_start };
        match self.rows.get(&key) {
            Some(entry) if entry.process.image.euid == Some(h.euid) => entry.process.clone(),
            Some(entry) => {
                // setuid without exec: same program, another user.
                let mut image = (*entry.process.image).clone();
                let ancestors = entry.process.ancestors.clone();
                image.euid = Some(h.euid);
                // They follow the user, in ways that only the kernel knows.
                image.caps = None;
                image.user = Some(self.users.name(h.euid, h.time));
                let process = self.process(Arc::new(image), ancestors);
                if let Some(entry) = self.rows.get_mut(&key) {
                    entry.process = process.clone();
                }
                process
            }
            None => {
                self.counters.unknown += 1;
                let (exe, cwd) = procfs::paths(key);
                let argv: Option<Arc<[Box<[u8]>]>> = procfs::argv(key).map(Into::into);
                let image = Image { exe, cwd, cmdline: argv.as_deref().map(kind::join), argv, ..self.identity(h, key) };
                let ancestors = self.ancestors_of(Key { tgid: h.ppid, start: h.parent_start });
                let process = self.process(Arc::new(image), ancestors);
                self.insert(key, process.clone(), h.time);
                process
            }
        }
    }

    fn ancestors_of(&self, parent: Key) -> Box<[Arc<Image>]> {
        match self.rows.get(&parent) {
            Some(e) => {
                std::iter::once(&e.process.image).chain(e.process.ancestors.iter()).take(ANCESTORS).cloned().collect()
            }
            None => Box::default(),
        }
    }

    /// What a header says about its process.
    fn identity(&mut self, h: &Header, key: Key) -> Image {
        let login_uid = (h.login_uid != u32::MAX).then_some(h.login_uid);
        Image {
            key,
            name: Some(h.comm().into()),
            create_time: Some(h.leader_start + self.offset),
            euid: Some(h.euid),
            login_uid,
            user: Some(self.users.name(h.euid, h.time)),
            login: login_uid.map(|uid| self.users.name(uid, h.time)),
            ..Image::default()
        }
    }

    fn process(&mut self, image: Arc<Image>, ancestors: Box<[Arc<Image>]>) -> Arc<Process> {
        self.images += 1;
        let mut identity = [0u8; 28];
        identity[..4].copy_from_slice(&image.key.tgid.to_ne_bytes());
        identity[4..12].copy_from_slice(&image.key.start.to_ne_bytes());
        identity[12..20].copy_from_slice(&self.salt.to_ne_bytes());
        identity[20..].copy_from_slice(&self.images.to_ne_bytes());
        Arc::new(Process { id: xxhash_rust::xxh3::xxh3_64(&identity), image, ancestors })
    }

    fn insert(&mut self, key: Key, process: Arc<Process>, now: u64) {
        if self.rows.len() >= CAPACITY && !self.rows.contains_key(&key) {
            self.make_room(now);
        }
        let exited = self.rows.get(&key).and_then(|e| e.exited);
        self.rows.insert(key, Entry { process, exited });
    }

    fn expire(&mut self, now: u64) {
        while let Some(&(at, key)) = self.exits.front() {
            if now.saturating_sub(at) < LINGER {
                break;
            }
            self.exits.pop_front();
            self.rows.remove(&key);
        }
    }

    /// Drops the longest exited row, else any live one.
    fn make_room(&mut self, now: u64) {
        self.expire(now);
        if self.rows.len() < CAPACITY {
            return;
        }
        if let Some((_, key)) = self.exits.pop_front() {
            self.rows.remove(&key);
        } else if let Some(key) = self.rows.keys().next().copied() {
            self.rows.remove(&key);
            self.counters.evicted += 1;
        }
    }
}

/// Adds what a record says beyond its header.
fn with_facts(image: Image, known: Option<TaskFacts>) -> Image {
    let Some(known) = known else { return image };
    let (caps, session, namespaces) = facts::of(&known);
    Image { caps: Some(caps), session, namespaces: Some(namespaces), ..image }
}

fn bytes_of(record: &Record<'_>, slice: usize) -> Option<Arc<[u8]>> {
    record.slice(slice).present().map(Into::into)
}
