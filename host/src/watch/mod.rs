//! Watches sets of files: notices a change, waits until the files are quiet, reads one consistent [`Snapshot`].
//!
//! inotify is only a hint. It is deaf on some file systems, overflows, and says nothing about links that lead elsewhere; so
//! what is loaded is decided by digests of what was read, and a slow poll compares them even if nothing was heard.

mod manifest;
mod snapshot;
mod walk;

#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

pub use manifest::NAME as MANIFEST;
pub use snapshot::{File, FileError, MAX_BYTES, MAX_FILES, Problem, Snapshot, WatchError};

use walk::{Interest, list};

/// Which files belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSet {
    /// Directories, searched with everything below them, or single files.
    pub roots: Vec<PathBuf>,
    /// Endings of wanted names below directories, with their dot.
    pub extensions: &'static [&'static str],
    /// Endings of names that are not wanted although they have such an extension.
    pub except: &'static [&'static str],
    /// Bytes of one file, at most; larger ones are errors of the snapshot.
    pub max_file: u64,
}

impl FileSet {
    /// Sigma rules, without the tests beside them.
    pub fn rules(roots: Vec<PathBuf>) -> FileSet {
        FileSet { roots, extensions: &[".yml", ".yaml"], except: &[".test.yml", ".test.yaml"], max_file: 16 << 20 }
    }

    /// Sigma rules and the tests beside them.
    pub fn rules_and_tests(roots: Vec<PathBuf>) -> FileSet {
        FileSet { except: &[], ..FileSet::rules(roots) }
    }

    /// Guests. Those of interpreted languages carry their interpreter: 20 MB and more.
    pub fn guests(roots: Vec<PathBuf>) -> FileSet {
        FileSet { roots, extensions: &[".wasm"], except: &[], max_file: 256 << 20 }
    }

    /// Modes and exceptions of rules, with tests.
    pub fn tuning(roots: Vec<PathBuf>) -> FileSet {
        FileSet { roots, extensions: &[".toml", ".yml", ".yaml"], except: &[], max_file: 4 << 20 }
    }

    /// Lists of values.
    pub fn lists(roots: Vec<PathBuf>) -> FileSet {
        FileSet { roots, extensions: &[".txt"], except: &[], max_file: 4 << 20 }
    }

    /// Single files, like the config.
    pub fn files(roots: Vec<PathBuf>) -> FileSet {
        FileSet { roots, extensions: &[], except: &[], max_file: 16 << 20 }
    }

    /// Whether a file below a directory belongs to the set.
    fn wants(&self, name: &OsStr) -> bool {
        let name = name.as_encoded_bytes();
        let ends = |ending: &&str| name.ends_with(ending.as_bytes());
        self.extensions.iter().any(ends) && !self.except.iter().any(ends)
    }
}

/// How to watch.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// Notice changes; without it only [`Watcher::kick`] reads.
    pub watch: bool,
    /// How long the files must be quiet.
    pub settle: Duration,
    /// How often digests are compared although nothing was noticed.
    pub poll: Duration,
    /// Digests of the snapshots that are loaded already, one for each set: they are not reported again.
    pub known: Vec<String>,
}

impl Default for WatchOptions {
    fn default() -> WatchOptions {
        WatchOptions {
            watch: true,
            settle: Duration::from_millis(300),
            poll: Duration::from_secs(30),
            known: Vec::new(),
        }
    }
}

/// What a watcher reports. Each `Settling` is followed by `Settled` or `Unchanged`, once the files are quiet and complete.
#[derive(Clone, Debug)]
pub enum Event {
    /// Files change, or are not a whole set; what is loaded stays. Repeated only when the reason is another.
    Settling {
        since: Instant,
        /// Why it is not enough that the files are quiet.
        reason: Option<WatchError>,
    },
    /// The files are quiet and differ from what was last reported: one snapshot for each set, in their order.
    Settled(Vec<Snapshot>),
    /// The files are quiet and as they were. Also the answer to [`Watcher::kick`] when nothing changed.
    Unchanged,
}

/// How changes are noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By inotify, and a slow poll.
    Notified,
    /// By polling alone, and why.
    Polled { reason: String },
    /// Not at all: only when asked.
    Asked,
}

/// Where inotify does not work, polls are at most so far apart.
const FAST_POLL: Duration = Duration::from_secs(2);
/// Reports that wait for the receiver; then the watcher waits, and changes meanwhile become one.
const QUEUE: usize = 8;

/// Watches on its own thread until dropped.
#[derive(Debug)]
pub struct Watcher {
    bell: Arc<Bell>,
    mode: Arc<Mutex<Mode>>,
}

impl Watcher {
    /// Starts to watch. The first report is what is there now, unless it is [`WatchOptions::known`].
    pub fn start(sets: Vec<FileSet>, options: WatchOptions) -> std::io::Result<(Watcher, Receiver<Event>)> {
        let (events, receiver) = sync_channel(QUEUE);
        let bell = Arc::new(Bell::default());
        let mode = Arc::new(Mutex::new(Mode::Asked));
        let watch = Watch {
            sets: sets.into(),
            last: Vec::new(),
            reported: options.known.clone(),
            unsettled: None,
            interest: Interest::default(),
            inotify: None,
            mode: Arc::clone(&mode),
            bell: Arc::clone(&bell),
            events,
            options,
        };
        std::thread::Builder::new().name("watch".to_owned()).spawn(move || watch.run())?;
        Ok((Watcher { bell, mode }, receiver))
    }

    /// Reads now, without waiting for quiet, and reports even if nothing changed.
    pub fn kick(&self) {
        self.bell.ring(|s| s.kick = true);
    }

    /// How changes are noticed.
    pub fn mode(&self) -> Mode {
        lock(&self.mode).clone()
    }
}

impl Drop for Watcher {
    /// The thread ends by itself: it may be reading, or waiting for a receiver that is going away too.
    fn drop(&mut self) {
        self.bell.ring(|s| s.stop = true);
    }
}

/// Wakes the thread.
#[derive(Debug, Default)]
struct Bell {
    signals: Mutex<Signals>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct Signals {
    hint: bool,
    kick: bool,
    stop: bool,
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    /// Something changed.
    Hint,
    /// Somebody asked.
    Kick,
    /// Time passed.
    Timeout,
}

/// The receiver is gone, or the watcher was dropped.
struct Stopped;

impl Bell {
    fn ring(&self, what: impl FnOnce(&mut Signals)) {
        what(&mut lock(&self.signals));
        self.rung.notify_one();
    }

    /// Until a signal, or for `timeout`; without one, as long as it takes.
    fn wait(&self, timeout: Option<Duration>) -> Result<Woken, Stopped> {
        let quiet = |s: &mut Signals| !s.hint && !s.kick && !s.stop;
        let signals = lock(&self.signals);
        let mut signals = match timeout {
            Some(timeout) => {
                let waited = self.rung.wait_timeout_while(signals, timeout, quiet);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.rung.wait_while(signals, quiet).unwrap_or_else(PoisonError::into_inner),
        };
        let (hint, kick) = (std::mem::take(&mut signals.hint), std::mem::take(&mut signals.kick));
        match (signals.stop, kick, hint) {
            (true, ..) => Err(Stopped),
            (_, true, _) => Ok(Woken::Kick),
            (_, _, true) => Ok(Woken::Hint),
            _ => Ok(Woken::Timeout),
        }
    }

    /// Whether something changed since the last wait; forgets it.
    fn take_hint(&self) -> bool {
        std::mem::take(&mut lock(&self.signals).hint)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's own.
struct Watch {
    sets: Arc<[FileSet]>,
    options: WatchOptions,
    /// What was read last, so that unchanged files are not read again.
    last: Vec<Snapshot>,
    /// Digests of what was reported last.
    reported: Vec<String>,
    /// `Settling` was reported, and not yet how it ended.
    unsettled: Option<Told>,
    interest: Interest,
    inotify: Option<RecommendedWatcher>,
    mode: Arc<Mutex<Mode>>,
    bell: Arc<Bell>,
    events: SyncSender<Event>,
}

/// The last `Settling` that was reported.
struct Told {
    reason: Option<WatchError>,
}

impl Watch {
    fn run(mut self) {
        if self.options.watch && self.episode(Woken::Timeout).is_err() {
            return;
        }
        while let Ok(()) = self.idle() {}
    }

    /// Waits for a hint, a kick or the next poll, and handles it.
    fn idle(&mut self) -> Result<(), Stopped> {
        let mode = lock(&self.mode).clone();
        let woken = self.bell.wait(match mode {
            Mode::Notified => Some(self.options.poll),
            Mode::Polled { .. } => Some(self.options.poll.min(FAST_POLL)),
            Mode::Asked => None,
        })?;
        self.episode(woken)
    }

    /// From a sign of change until the files are quiet, or known to lack something.
    fn episode(&mut self, woken: Woken) -> Result<(), Stopped> {
        let since = Instant::now();
        let mut kicked = woken == Woken::Kick;
        if woken == Woken::Hint {
            self.settling(since, None, false)?;
            kicked |= self.quiet()?;
        }
        let mut before = Vec::new();
        loop {
            let unheard = self.rewatch();
            let reason = match self.read() {
                Ok(snapshots) => {
                    let digests: Vec<String> = snapshots.iter().map(|s| s.digest.clone()).collect();
                    // A change that began while this was read may be the first of more. Where nothing gives notice, only a
                    // second look tells.
                    let changing = self.bell.take_hint();
                    let sure = self.is_notified() || digests == self.reported || digests == before;
                    // What was copied into a directory before it was watched made no sound: quiet proves nothing there.
                    if kicked || !changing && !unheard && sure {
                        return self.settled(snapshots, digests, kicked);
                    }
                    before = digests;
                    None
                }
                Err(reason @ WatchError::Changing { .. }) => Some(reason),
                // What completes the set will be a change too: no need to look again before.
                Err(reason) => return self.settling(since, Some(reason), kicked),
            };
            self.settling(since, reason, kicked)?;
            kicked |= self.quiet()?;
        }
    }

    /// Waits until nothing has changed for the settle time; `true` if asked not to.
    fn quiet(&mut self) -> Result<bool, Stopped> {
        loop {
            match self.bell.wait(Some(self.options.settle))? {
                Woken::Hint => {}
                Woken::Kick => return Ok(true),
                Woken::Timeout => return Ok(false),
            }
        }
    }

    fn settling(&mut self, since: Instant, reason: Option<WatchError>, answer: bool) -> Result<(), Stopped> {
        let news = match &self.unsettled {
            None => true,
            Some(told) => reason.is_some() && told.reason != reason,
        };
        if news || answer {
            self.unsettled = Some(Told { reason: reason.clone() });
            return self.tell(Event::Settling { since, reason });
        }
        Ok(())
    }

    fn settled(&mut self, snapshots: Vec<Snapshot>, digests: Vec<String>, answer: bool) -> Result<(), Stopped> {
        let open = self.unsettled.take().is_some();
        if digests != self.reported {
            self.reported = digests;
            return self.tell(Event::Settled(snapshots));
        }
        if open || answer { self.tell(Event::Unchanged) } else { Ok(()) }
    }

    fn tell(&self, event: Event) -> Result<(), Stopped> {
        self.events.send(event).map_err(|_| Stopped)
    }

    fn read(&mut self) -> Result<Vec<Snapshot>, WatchError> {
        let mut snapshots = Vec::new();
        for (i, set) in self.sets.iter().enumerate() {
            snapshots.push(Snapshot::read_after(set, list(set), self.last.get(i))?);
        }
        self.last.clone_from(&snapshots);
        Ok(snapshots)
    }

    fn is_notified(&self) -> bool {
        matches!(*lock(&self.mode), Mode::Notified)
    }

    /// Watches what there is to watch now. Repeated until that does not change any more: what changed before a watch was in
    /// place is not heard.
    ///
    /// `true` if directories are watched that were not before.
    fn rewatch(&mut self) -> bool {
        let listened = self.inotify.is_some();
        let mut found = false;
        // A tree that is busy is looked at again anyway.
        for _ in 0..3 {
            if !self.options.watch {
                return false;
            }
            let mut interest = Interest::default();
            self.sets.iter().for_each(|set| interest.extend(list(set).interest));
            if interest == self.interest && self.inotify.is_some() {
                return found;
            }
            found = listened;
            let mode = match watch_dirs(&interest, &self.sets, &self.bell) {
                Ok((inotify, None)) => {
                    self.inotify = Some(inotify);
                    Mode::Notified
                }
                Ok((inotify, Some(error))) => {
                    self.inotify = Some(inotify);
                    Mode::Polled { reason: error.to_string() }
                }
                Err(error) => {
                    self.inotify = None;
                    Mode::Polled { reason: error.to_string() }
                }
            };
            let failed = self.inotify.is_none();
            *lock(&self.mode) = mode;
            self.interest = interest;
            if failed {
                return found;
            }
        }
        found
    }
}

/// A new inotify instance for all directories; with the first error of one that cannot be watched.
///
/// Not the old one with some watches more: a watch on a directory that was replaced is dead, and its removal can hit the
/// watch of the same directory reached another way.
fn watch_dirs(
    interest: &Interest,
    sets: &Arc<[FileSet]>,
    bell: &Arc<Bell>,
) -> notify::Result<(RecommendedWatcher, Option<notify::Error>)> {
    let (concerns, sets, bell) = (interest.clone(), Arc::clone(sets), Arc::clone(bell));
    let heard = move |event: notify::Result<notify::Event>| {
        let concerned = match &event {
            // Lost events, or none that can be told: look.
            Err(_) => true,
            Ok(event) if event.need_rescan() => true,
            // Reading is no change, least of all our own.
            Ok(event) if is_read(event.kind) => false,
            Ok(event) => event.paths.iter().any(|path| concerns.concerns(path, &sets)),
        };
        if concerned {
            bell.ring(|s| s.hint = true);
        }
    };
    let mut watcher = RecommendedWatcher::new(heard, notify::Config::default())?;
    let mut failed = None;
    for dir in interest.dirs() {
        if let Err(error) = watcher.watch(dir, RecursiveMode::NonRecursive) {
            // One that has gone meanwhile is found out by the next look.
            if !matches!(error.kind, notify::ErrorKind::PathNotFound) {
                failed.get_or_insert(error);
            }
        }
    }
    Ok((watcher, failed))
}

fn is_read(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}
