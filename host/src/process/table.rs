//! The process table: who is behind an event.
//!
//! Invariants
//! - The key is (host pid, start of the leader in ns since boot): a reused pid is another process.
//! - Records are applied in ring order and win over the seed; a pid whose exit was read is never brought back by a seed.
//! - Ancestors follow the creator at fork and are images, not table rows: a parent's end changes nothing for its children.
//! - Exited rows stay [`LINGER`] so that late events of a process still find it. Rows and the bytes they hold are capped; exited
//!   rows go first, and every row that had to go is counted.
//! - What is found out later (a container's name, a user's name inside it) makes a new image with a new id: nothing that an
//!   event already carries changes.

use std::collections::VecDeque;
use std::sync::Arc;

use picket_ebpf::kind::sched_process_exec::Exec;
use picket_ebpf::kind::sched_process_fork::Fork;
use picket_ebpf::kind::seed::Seed;
use picket_ebpf::{Header, Record, TaskFacts};
use rustc_hash::FxHashMap;

use super::lookup::{Found, LookupCounters, Place};
use super::texts::Texts;
use super::users::{Seen, number};
use super::{ANCESTORS, FileId, Image, Key, Lookups, Process, UserSource, Users, facts, procfs};
use crate::kind;

/// How long an exited process stays findable, nanoseconds of event time.
const LINGER: u64 = 60_000_000_000;

/// Rows at most; a host's pid_max is 32,768 to 4 million, most run a few hundred processes.
const CAPACITY: usize = 65_536;

/// Bytes of text at most. Command lines of 28 KiB in every row would be gigabytes.
const BYTES: usize = 128 << 20;

/// What the table had to do; all counts since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct TableCounters {
    pub live: u64,
    pub lingering: u64,
    /// Bytes of text that the rows hold.
    pub bytes: u64,
    /// Live rows that were dropped because the table was full.
    pub evicted: u64,
    /// Exited rows that were dropped before their time because the table was full.
    pub forgotten: u64,
    /// Events of a process that no record had described.
    pub unknown: u64,
    /// Lifecycle kinds lost, and the table seeded anew because of it.
    pub reseeded: u64,
    pub lookups: LookupCounters,
}

struct Entry {
    process: Arc<Process>,
    /// Event time of the exit, boot clock ns.
    exited: Option<u64>,
    /// Text that this row brought into the table.
    bytes: usize,
    /// As the last exec said; an exiting process has none any more.
    mnt_ns: u32,
    /// Something about it is being looked up.
    waits: bool,
}

/// The table.
pub struct Table {
    rows: FxHashMap<Key, Entry>,
    exits: VecDeque<(u64, Key)>,
    users: Users,
    texts: Texts,
    lookups: Option<Lookups>,
    /// realtime - boot clock, nanoseconds.
    offset: u64,
    salt: u64,
    images: u64,
    bytes: usize,
    counters: TableCounters,
}

impl Table {
    /// `boot` makes process ids unique between boots.
    pub fn new(boot: &str, users: Users) -> Table {
        Table {
            rows: FxHashMap::default(),
            exits: VecDeque::new(),
            users,
            texts: Texts::new(),
            lookups: None,
            offset: 0,
            salt: xxhash_rust::xxh3::xxh3_64(boot.as_bytes()),
            images: 0,
            bytes: 0,
            counters: TableCounters::default(),
        }
    }

    /// Containers and their users are looked up from now on.
    #[must_use]
    pub fn with_lookups(mut self, lookups: Lookups) -> Table {
        self.lookups = Some(lookups);
        self
    }

    /// The realtime clock minus the boot clock, nanoseconds.
    pub fn set_offset(&mut self, offset: u64) {
        self.offset = offset;
    }

    pub fn counters(&self) -> TableCounters {
        let lingering = self.exits.len() as u64;
        TableCounters {
            live: (self.rows.len() as u64).saturating_sub(lingering),
            lingering,
            bytes: self.bytes as u64,
            lookups: self.lookups.as_ref().map(Lookups::counters).unwrap_or_default(),
            ..self.counters
        }
    }

    /// Takes what was looked up meanwhile; between two reads of the ring.
    pub fn tick(&mut self) {
        if let Some(lookups) = &mut self.lookups {
            lookups.tick();
        }
    }

    /// The row of a process, if it is there.
    pub fn get(&self, key: Key) -> Option<&Arc<Process>> {
        self.rows.get(&key).map(|e| &e.process)
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
            let (identity, waits) = self.identity(h, key, record.slice(Seed::CGROUP).present());
            let image = Image {
                exe: bytes_of(&record, Seed::PATHNAME),
                cwd: bytes_of(&record, Seed::CWD),
                tty: bytes_of(&record, Seed::TTY),
                // What was executed is not kept by the kernel; the first argument is what most programs are called by.
                executed: None,
                cmdline: argv.as_deref().map(kind::join),
                argv,
                file: record.body::<Seed>().and_then(|b| file(b.dev, b.inode, b.ctime)),
                ..identity
            };
            let image = with_facts(image, record.body::<Seed>().map(|b| b.facts));
            fresh.push((key, image, h.mnt_ns, waits));
        }
        for (key, image, mnt_ns, waits) in fresh {
            let bytes = weight(&image);
            let process = self.process(Arc::new(image), Box::default());
            self.insert(key, Entry { process, exited: None, bytes, mnt_ns, waits }, 0);
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
        let (identity, waits) = self.identity(h, key, record.slice(Exec::CGROUP).present());
        let image = Image {
            exe: self.shared(record, Exec::PATHNAME),
            executed: self.shared(record, Exec::CMDPATH),
            cwd: self.shared(record, Exec::CWD),
            tty: bytes_of(record, Exec::TTY),
            env: kind::env(record).map(|items| items.map(Into::into).collect()),
            cmdline: argv.as_deref().map(kind::join),
            argv,
            file: record.body::<Exec>().and_then(|b| file(b.dev, b.inode, b.ctime)),
            ..identity
        };
        let image = with_facts(image, record.body::<Exec>().map(|b| b.facts));
        let bytes = weight(&image);
        let process = self.process(Arc::new(image), ancestors);
        self.insert(key, Entry { process: process.clone(), exited: None, bytes, mnt_ns: h.mnt_ns, waits }, h.time);
        process
    }

    fn fork(&mut self, record: &Record<'_>) -> Arc<Process> {
        let h = record.header();
        let creator = self.actor(h);
        let Some(body) = record.body::<Fork>() else { return creator };
        let (mnt_ns, mut waits) =
            self.rows.get(&key_of(h)).map_or((h.mnt_ns, false), |entry| (entry.mnt_ns, entry.waits));
        let key = Key { tgid: body.child_pid, start: body.child_start };
        let mut image = (*creator.image).clone();
        image.key = key;
        image.create_time = Some(body.child_start + self.offset);
        let mut image = with_facts(image, Some(body.child));
        let cgroup = record.slice(Fork::CGROUP).present();
        if let Some(cgroup) = cgroup.filter(|c| image.cgroup.as_deref() != Some(*c)) {
            // Created into another control group, whose id only an event of the child itself will tell.
            image.cgroup = Some(cgroup.into());
            if let Some(lookups) = &mut self.lookups {
                let place = Place { key, mnt_ns, leaf: Some(cgroup), cgroup_id: None };
                let found = lookups.container(&place, h.time);
                image.container = found.value;
                waits |= found.soon;
            }
        }
        let ancestors =
            std::iter::once(&creator.image).chain(creator.ancestors.iter()).take(ANCESTORS).cloned().collect();
        let process = self.process(Arc::new(image), ancestors);
        // Its texts are the creator's.
        self.insert(key, Entry { process, exited: None, bytes: ROW, mnt_ns, waits }, h.time);
        creator
    }

    fn exit(&mut self, record: &Record<'_>) -> Arc<Process> {
        let h = record.header();
        let process = self.actor(h);
        let key = key_of(h);
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
        let key = key_of(h);
        match self.rows.get(&key) {
            Some(entry) if entry.process.image.euid == Some(h.euid) && !entry.waits => entry.process.clone(),
            Some(_) => self.refresh(key, h),
            None => {
                self.counters.unknown += 1;
                let (exe, cwd) = procfs::paths(key);
                let argv: Option<Arc<[Box<[u8]>]>> = procfs::argv(key).map(Into::into);
                let (identity, waits) = self.identity(h, key, None);
                let image = Image { exe, cwd, cmdline: argv.as_deref().map(kind::join), argv, ..identity };
                let ancestors = self.ancestors_of(Key { tgid: h.ppid, start: h.parent_start });
                let bytes = weight(&image);
                let process = self.process(Arc::new(image), ancestors);
                let entry = Entry { process: process.clone(), exited: None, bytes, mnt_ns: h.mnt_ns, waits };
                self.insert(key, entry, h.time);
                process
            }
        }
    }

    /// Same program, another user (setuid without exec), or something about it has been found out.
    fn refresh(&mut self, key: Key, h: &Header) -> Arc<Process> {
        let Some(entry) = self.rows.get(&key) else { return Arc::default() };
        let (before, mnt_ns) = (entry.process.clone(), if entry.mnt_ns == 0 { h.mnt_ns } else { entry.mnt_ns });
        let place = Place { key, mnt_ns, leaf: before.image.cgroup.as_deref(), cgroup_id: Some(h.cgroup_id) };
        let mut image = (*before.image).clone();
        if image.euid != Some(h.euid) {
            // They follow the user, in ways that only the kernel knows.
            image.caps = None;
        }
        let waits = self.surroundings(&mut image, h.euid, &place, h.time);
        let process =
            if image == *before.image { before } else { self.process(Arc::new(image), before.ancestors.clone()) };
        if let Some(entry) = self.rows.get_mut(&key) {
            entry.process = process.clone();
            entry.waits = waits;
        }
        process
    }

    /// Fills in container and user; returns whether more is to come.
    fn surroundings(&mut self, image: &mut Image, euid: u32, place: &Place<'_>, now: u64) -> bool {
        let mut seen = Found { value: Some(Seen::Host), soon: false };
        let mut soon = false;
        if let Some(lookups) = &mut self.lookups {
            let container = lookups.container(place, now);
            image.container = container.value;
            seen = lookups.users(place, now);
            soon = container.soon || seen.soon;
        }
        let name = match &seen.value {
            Some(Seen::Own(names)) => names.get(&euid).cloned().zip(Some(UserSource::Container)),
            // In a container the host's name would be wrong more often than right; services in a mount namespace of their
            // own see the host's file.
            None | Some(Seen::Unknown) if image.container.is_some() => None,
            _ => self.users.name(euid, now).zip(Some(UserSource::Host)),
        };
        image.euid = Some(euid);
        image.user_source = name.as_ref().map(|(_, source)| *source);
        let user = name.map_or_else(|| number(euid), |(name, _)| name);
        if image.user.as_ref() != Some(&user) {
            image.user = Some(user);
        }
        soon
    }

    fn ancestors_of(&self, parent: Key) -> Box<[Arc<Image>]> {
        match self.rows.get(&parent) {
            Some(e) => {
                std::iter::once(&e.process.image).chain(e.process.ancestors.iter()).take(ANCESTORS).cloned().collect()
            }
            None => Box::default(),
        }
    }

    /// What a header and the name of the control group say about a process; and whether more is to come.
    fn identity(&mut self, h: &Header, key: Key, cgroup: Option<&[u8]>) -> (Image, bool) {
        let login_uid = (h.login_uid != u32::MAX).then_some(h.login_uid);
        let mut image = Image {
            key,
            name: Some(h.comm().into()),
            create_time: Some(h.leader_start + self.offset),
            login_uid,
            login: login_uid.map(|uid| self.users.name(uid, h.time).unwrap_or_else(|| number(uid))),
            cgroup: cgroup.map(Into::into),
            ..Image::default()
        };
        let place = Place { key, mnt_ns: h.mnt_ns, leaf: cgroup, cgroup_id: Some(h.cgroup_id) };
        let waits = self.surroundings(&mut image, h.euid, &place, h.time);
        (image, waits)
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

    fn insert(&mut self, key: Key, mut entry: Entry, now: u64) {
        match self.rows.get(&key) {
            Some(before) => {
                entry.exited = before.exited;
                self.bytes -= before.bytes;
            }
            None if self.rows.len() >= CAPACITY => self.make_room(now),
            None => {}
        }
        self.bytes += entry.bytes;
        self.rows.insert(key, entry);
        while self.bytes > BYTES && self.rows.len() > 1 {
            self.drop_one(key);
        }
    }

    fn remove(&mut self, key: Key) {
        if let Some(entry) = self.rows.remove(&key) {
            self.bytes -= entry.bytes;
        }
    }

    fn expire(&mut self, now: u64) {
        while let Some(&(at, key)) = self.exits.front() {
            if now.saturating_sub(at) < LINGER {
                break;
            }
            self.exits.pop_front();
            self.remove(key);
        }
    }

    fn shared(&mut self, record: &Record<'_>, slice: usize) -> Option<Arc<[u8]>> {
        record.slice(slice).present().map(|text| self.texts.share(text))
    }

    fn make_room(&mut self, now: u64) {
        self.expire(now);
        if self.rows.len() >= CAPACITY {
            self.drop_one(Key::default());
        }
    }

    /// Drops the longest exited row, else any live one but `keep`.
    fn drop_one(&mut self, keep: Key) {
        if let Some((_, key)) = self.exits.pop_front() {
            self.remove(key);
            self.counters.forgotten += 1;
        } else if let Some(key) = self.rows.keys().find(|k| **k != keep).copied() {
            self.remove(key);
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

fn key_of(h: &Header) -> Key {
    Key { tgid: h.pid, start: h.leader_start }
}

fn file(dev: u32, inode: u64, ctime: u64) -> Option<FileId> {
    (inode != 0).then_some(FileId { dev, inode, ctime })
}

/// What a row takes besides its texts, about.
const ROW: usize = 512;

/// What a row takes with texts of its own, about. That it may share them is not taken into account: the bound is on the
/// safe side.
fn weight(image: &Image) -> usize {
    let texts = [&image.name, &image.exe, &image.executed, &image.cmdline, &image.cwd, &image.cgroup];
    let texts: usize = texts.iter().filter_map(|t| t.as_deref()).map(<[u8]>::len).sum();
    ROW + texts + image.argv.as_deref().map_or(0, |argv| argv.iter().map(|a| 16 + a.len()).sum())
}

fn bytes_of(record: &Record<'_>, slice: usize) -> Option<Arc<[u8]>> {
    record.slice(slice).present().map(Into::into)
}
