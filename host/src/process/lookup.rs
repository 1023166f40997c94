//! What takes a file or a socket to find out about a process: asked for on a thread of its own, so that the builder never waits.
//!
//! The builder asks once for each control group and each mount namespace, and goes on; answers are taken between two reads of
//! the ring. When the queue is full the question is not asked, counted, and asked again by the next event.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};

use super::cache::{Cache, Known};
use super::container::{Engines, StateDirs, of_leaf, of_process};
use super::users::Seen;
use super::{Container, Key, procfs};
use crate::config::ContainersConfig;

/// Questions that wait for the thread, and answers that wait for the builder.
const QUEUE: usize = 1024;

/// Control groups and mount namespaces remembered.
const GROUPS: usize = 4096;
const NAMESPACES: usize = 256;

/// A container whose runtime did not answer is asked for again after this, nanoseconds of event time.
const RETRY: u64 = 30_000_000_000;

/// The users of a container may change: asked for again after this.
const USERS_LAST: u64 = 60_000_000_000;

/// A container that is being made shows the host's files, or none, for a moment.
const MAKING: u64 = 2_000_000_000;

/// What was looked up; all counts since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LookupCounters {
    /// Control groups and mount namespaces asked about.
    pub asked: u64,
    /// Containers whose runtime told about them.
    pub described: u64,
    /// Containers that no runtime could tell about: only the id is known.
    pub undescribed: u64,
    /// Questions that were put off because too many waited.
    pub put_off: u64,
    /// Answers held now.
    pub remembered: u64,
    /// Answers forgotten because there were too many.
    pub evicted: u64,
}

/// Where a process is, as its record says.
pub(super) struct Place<'p> {
    pub key: Key,
    pub mnt_ns: u32,
    /// Leaf name of the control group, and its id in the unified hierarchy where that is the process's own.
    pub leaf: Option<&'p [u8]>,
    pub cgroup_id: Option<u64>,
}

enum Question {
    Container { group: u64, key: Key, leaf: Box<[u8]> },
    Users { mnt_ns: u32, pid: u32 },
}

enum Answer {
    Container { group: u64, container: Option<Container>, described: bool },
    Users { mnt_ns: u32, seen: Seen },
}

/// A value, and whether a better one is on its way.
pub(super) struct Found<T> {
    pub value: T,
    pub soon: bool,
}

/// The builder's end.
pub struct Lookups {
    questions: SyncSender<Question>,
    answers: Receiver<Answer>,
    groups: Cache<Option<Arc<Container>>>,
    users: Cache<Seen>,
    /// Mount namespace of the host.
    host: u32,
    counters: LookupCounters,
}

/// Why nothing is looked up.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error("container engines cannot be asked")]
    Engine(#[source] std::io::Error),
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

impl Lookups {
    /// Starts the thread; it ends with the value. `passwd` is the host's file of users.
    pub fn start(config: &ContainersConfig, passwd: PathBuf) -> Result<Lookups, LookupError> {
        let (questions, asked) = std::sync::mpsc::sync_channel(QUEUE);
        let (reply, answers) = std::sync::mpsc::sync_channel(QUEUE);
        let engines = Engines::new(config.sockets.clone()).map_err(LookupError::Engine)?;
        let dirs = StateDirs { containerd: config.containerd.clone(), storage: config.storage.clone() };
        let worker = Worker { engines, dirs, passwd, failed: None };
        let run = move || worker.run(&asked, &reply);
        std::thread::Builder::new().name("lookup".to_owned()).spawn(run).map_err(LookupError::Thread)?;
        Ok(Lookups {
            questions,
            answers,
            groups: Cache::new(GROUPS),
            users: Cache::new(NAMESPACES),
            host: procfs::host_mount_namespace().unwrap_or_default(),
            counters: LookupCounters::default(),
        })
    }

    pub fn counters(&self) -> LookupCounters {
        let remembered = (self.groups.len() + self.users.len()) as u64;
        LookupCounters { remembered, evicted: self.groups.evicted + self.users.evicted, ..self.counters }
    }

    /// Takes the answers that are there.
    pub fn tick(&mut self) {
        while let Ok(answer) = self.answers.try_recv() {
            match answer {
                Answer::Container { group, container, described } => {
                    if container.is_some() {
                        let counter =
                            if described { &mut self.counters.described } else { &mut self.counters.undescribed };
                        *counter += 1;
                    }
                    self.groups.answered(group, container.map(Arc::new));
                }
                Answer::Users { mnt_ns, seen } => self.users.answered(u64::from(mnt_ns), seen),
            }
        }
    }

    /// The container of a process.
    pub(super) fn container(&mut self, place: &Place<'_>, now: u64) -> Found<Option<Arc<Container>>> {
        let nothing = Found { value: None, soon: false };
        let Some(leaf) = place.leaf.filter(|l| !l.is_empty() && *l != b"/") else { return nothing };
        let named = of_leaf(leaf);
        // An id is unique; any other name only together with the group's own id.
        let seed = match (&named, place.cgroup_id) {
            (Some(_), _) => 0,
            (None, Some(id)) => id,
            (None, None) => return nothing,
        };
        let group = xxhash_rust::xxh3::xxh3_64_with_seed(leaf, seed);
        let id_only = || {
            named.map(|n| {
                let runtime = n.runtime.map(Into::into);
                Arc::new(Container { id: n.id.into(), runtime, ..Container::default() })
            })
        };
        let question = || Question::Container { group, key: place.key, leaf: leaf.into() };
        match self.groups.get(group, now) {
            Known::Yes(value) => {
                let poor = value.as_ref().is_some_and(|c| c.name.is_none() && c.image.is_none());
                if poor && self.groups.age(group, now) > RETRY && self.ask(question()) {
                    self.groups.asked(group, now);
                }
                Found { value, soon: false }
            }
            Known::Soon => Found { value: id_only(), soon: true },
            Known::No => {
                if self.ask(question()) {
                    self.groups.asked(group, now);
                }
                Found { value: id_only(), soon: true }
            }
        }
    }

    /// Whose users a process sees; `None` = not known yet.
    pub(super) fn users(&mut self, place: &Place<'_>, now: u64) -> Found<Option<Seen>> {
        if place.mnt_ns == 0 || place.mnt_ns == self.host {
            return Found { value: Some(Seen::Host), soon: false };
        }
        let at = u64::from(place.mnt_ns);
        let known = self.users.get(at, now);
        let again = match &known {
            Known::Yes(Seen::Own(_)) => self.users.age(at, now) > USERS_LAST,
            Known::Yes(Seen::Host | Seen::Unknown) => self.users.age(at, now) > MAKING,
            Known::Soon => false,
            Known::No => true,
        };
        if again && self.ask(Question::Users { mnt_ns: place.mnt_ns, pid: place.key.tgid }) {
            self.users.asked(at, now);
        }
        match known {
            Known::Yes(seen) => Found { value: Some(seen), soon: false },
            Known::Soon | Known::No => Found { value: None, soon: true },
        }
    }

    fn ask(&mut self, question: Question) -> bool {
        match self.questions.try_send(question) {
            Ok(()) => {
                self.counters.asked += 1;
                true
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counters.put_off += 1;
                false
            }
        }
    }
}

/// The thread's belongings.
struct Worker {
    engines: Engines,
    dirs: StateDirs,
    passwd: PathBuf,
    /// What was last said about an engine that fails, so that it is said once.
    failed: Option<String>,
}

impl Worker {
    fn run(mut self, asked: &Receiver<Question>, reply: &SyncSender<Answer>) {
        for question in asked {
            let answer = match question {
                Question::Container { group, key, leaf } => {
                    let (container, described) = self.container(key, &leaf);
                    Answer::Container { group, container, described }
                }
                Question::Users { mnt_ns, pid } => Answer::Users { mnt_ns, seen: self.users(mnt_ns, pid) },
            };
            if reply.send(answer).is_err() {
                return;
            }
        }
    }

    /// The container, and whether a runtime knew it.
    fn container(&mut self, key: Key, leaf: &[u8]) -> (Option<Container>, bool) {
        let cgroups = procfs::cgroups(key).unwrap_or_default();
        let Some(named) = of_process(&cgroups, leaf).or_else(|| of_leaf(leaf)) else { return (None, false) };
        let on_disk = || self.dirs.describe(named.id);
        // Who has a state directory need not be asked over a socket; who has both tells more over the socket.
        let described = if matches!(named.runtime, Some("containerd" | "cri-o")) {
            on_disk()
        } else {
            match self.engines.describe(named.id) {
                Ok(found) => {
                    self.failed = None;
                    found.or_else(on_disk)
                }
                Err(e) => {
                    let found = on_disk();
                    let why = crate::text::chain(&e);
                    if self.failed.as_ref() != Some(&why) {
                        tracing::warn!(error = %why, "a container engine does not tell about its containers");
                        self.failed = Some(why);
                    }
                    found
                }
            }
        };
        let known = described.is_some();
        let mut container = described.unwrap_or_else(|| Container { id: named.id.into(), ..Container::default() });
        // The group's name is the kernel's word for who runs it.
        if let Some(runtime) = named.runtime {
            container.runtime = Some(runtime.into());
        }
        (Some(container), known)
    }

    fn users(&self, mnt_ns: u32, pid: u32) -> Seen {
        let seen = Seen::read(pid, &self.passwd);
        // Read first, then look: the process may have ended and its number been used again.
        if procfs::mount_namespace(pid) == Some(mnt_ns) { seen } else { Seen::Unknown }
    }
}

#[cfg(test)]
mod tests {
    use super::super::container::tests::{engine, inspected, reply};
    use super::*;

    const ID: &str = "cc1e2d3c4f1e2d3c4f1e2d3c4f1e2d3c4f1e2d3c4f1e2d3c4f1e2d3c4f1e2d3c";

    fn config(sockets: Vec<PathBuf>) -> ContainersConfig {
        ContainersConfig {
            sockets,
            containerd: "/nonexistent".into(),
            storage: Vec::new(),
            ..ContainersConfig::default()
        }
    }

    fn settle<T>(lookups: &mut Lookups, mut ask: impl FnMut(&mut Lookups) -> Found<T>) -> T {
        loop {
            let found = ask(lookups);
            if !found.soon {
                return found.value;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
            lookups.tick();
        }
    }

    #[test]
    fn the_id_is_there_at_once_and_the_rest_follows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker.sock");
        let served = engine(&path, 1, |_| reply("200 OK", "Docker/27", &inspected(ID)));
        let mut lookups = Lookups::start(&config(vec![path]), "/etc/passwd".into()).unwrap();
        let leaf = format!("docker-{ID}.scope");
        let place = || Place { key: Key::default(), mnt_ns: 0, leaf: Some(leaf.as_bytes()), cgroup_id: None };
        let first = lookups.container(&place(), 1);
        assert!(first.soon);
        assert_eq!(first.value.as_ref().map(|c| (&*c.id, c.runtime.as_deref())), Some((ID, Some("docker"))));
        let then = settle(&mut lookups, |l| l.container(&place(), 2)).unwrap();
        assert_eq!(then.name.as_deref(), Some("shop-web"));
        served.join().unwrap();
        // Asked once: there is nobody left to answer, and the answer stays.
        assert_eq!(lookups.container(&place(), RETRY * 100).value.as_ref(), Some(&then));
        assert_eq!(
            lookups.counters(),
            LookupCounters { asked: 1, described: 1, remembered: 1, ..LookupCounters::default() }
        );
    }

    #[test]
    fn without_a_runtime_the_id_is_all_and_it_is_tried_again_later() {
        let mut lookups = Lookups::start(&config(Vec::new()), "/etc/passwd".into()).unwrap();
        let place = || Place { key: Key::default(), mnt_ns: 0, leaf: Some(ID.as_bytes()), cgroup_id: None };
        let found = settle(&mut lookups, |l| l.container(&place(), 1)).unwrap();
        assert_eq!((&*found.id, found.runtime.as_deref(), found.name.as_deref()), (ID, None, None));
        lookups.container(&place(), 2);
        assert_eq!(lookups.counters().asked, 1);
        lookups.container(&place(), 2 + RETRY);
        assert_eq!(lookups.counters().asked, 2);
    }

    #[test]
    fn a_unit_is_asked_about_once_and_is_no_container() {
        let mut lookups = Lookups::start(&config(Vec::new()), "/etc/passwd".into()).unwrap();
        let place = |id| Place { key: Key::default(), mnt_ns: 0, leaf: Some(b"nginx.service"), cgroup_id: id };
        assert!(settle(&mut lookups, |l| l.container(&place(Some(7)), 1)).is_none());
        lookups.container(&place(Some(7)), RETRY * 9);
        lookups.container(&place(None), 3);
        assert_eq!(lookups.counters().asked, 1);
    }

    #[test]
    fn users_of_this_namespace_are_the_hosts() {
        let mut lookups = Lookups::start(&config(Vec::new()), "/etc/passwd".into()).unwrap();
        let me = std::process::id();
        let place = |mnt_ns, tgid| Place { key: Key { tgid, start: 0 }, mnt_ns, leaf: None, cgroup_id: None };
        let own = procfs::mount_namespace(me).unwrap();
        lookups.host = 0;
        assert_eq!(settle(&mut lookups, |l| l.users(&place(own, me), 1)), Some(Seen::Host));
        // A process that is not in the namespace tells nothing about it.
        assert_eq!(settle(&mut lookups, |l| l.users(&place(own + 1, me), 1)), Some(Seen::Unknown));
    }
}
