//! The stage that fills in the hashes of executables, between the builder and the detectors.
//!
//! It exists for generations in which a guest asks for them. The builder never waits for it: slabs pass through in order, and
//! while some wait, the builder lets the open slab grow. A slab waits for hashes no longer than `hashes.wait`; a file that is
//! not hashed by then stays without a hash for this process, counted as late, and has one for the next. So every reader of a
//! row sees the same, and a replay of a capture, too.
//!
//! Reading files is left to a second thread: a file system can hold a reader for as long as it likes.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::config::HashesConfig;
use crate::pipeline::{Flight, Outcome};
use crate::process::hash::{self, Hashed, Subject, Unhashed};
use crate::process::{FileId, HashAccount, Process};
use crate::queue::{Queue, WhenFull};
use crate::slab::Slab;

/// Hashes remembered; a host runs a few thousand programs.
const CACHE: usize = 16_384;

/// Files that wait to be read.
const WAITING: usize = 256;

/// The builder's end of the stage.
pub struct HashStage {
    queue: Arc<Queue<Arc<Flight>>>,
    account: Arc<HashAccount>,
    capacity: usize,
}

impl HashStage {
    /// Starts the threads; they end with the value, after what is queued.
    pub fn start(
        config: &HashesConfig,
        capacity: usize,
        account: Arc<HashAccount>,
        outcomes: Sender<Outcome>,
    ) -> std::io::Result<HashStage> {
        let queue = Arc::new(Queue::new(capacity, WhenFull::ShedOldest));
        let stage = HashStage { queue: queue.clone(), account: account.clone(), capacity };
        let mut filler = Filler::start(config, account)?;
        std::thread::Builder::new().name("hashes".to_owned()).spawn(move || {
            while let Some(flight) = queue.pop() {
                filler.fill(&flight.slab);
                flight.passed(&outcomes);
            }
        })?;
        Ok(stage)
    }

    /// Takes a slab; returns the one that has to go on without hashes for it, if any.
    pub fn offer(&self, flight: Arc<Flight>) -> Option<Arc<Flight>> {
        let shed = self.queue.push(flight)?;
        self.account.shed.add(1);
        processes(&shed.slab).for_each(|p| settle(p, None));
        Some(shed)
    }

    /// Whether it would be better to hand over fewer and larger slabs.
    pub fn behind(&self) -> bool {
        self.queue.len() > self.capacity / 2
    }
}

impl Drop for HashStage {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// The processes of a slab whose hash nobody has settled.
fn processes(slab: &Slab) -> impl Iterator<Item = &Arc<Process>> {
    slab.rows.iter().filter_map(|r| r.process.as_ref()).filter(|p| p.image.sha256.get().is_none())
}

fn settle(process: &Process, hash: Option<Arc<[u8]>>) {
    // Two rows of a process: the first one settled it.
    let _ = process.image.sha256.set(hash);
}

type Answer = (FileId, Result<Hashed, Unhashed>);

struct Filler {
    wait: Duration,
    account: Arc<HashAccount>,
    known: FxHashMap<FileId, Arc<[u8]>>,
    subjects: SyncSender<Subject>,
    answers: Receiver<Answer>,
    /// The reader has not answered for a whole wait: nothing waits for it until it does.
    stuck: bool,
}

impl Filler {
    fn start(config: &HashesConfig, account: Arc<HashAccount>) -> std::io::Result<Filler> {
        let (subjects, asked) = std::sync::mpsc::sync_channel::<Subject>(WAITING);
        // One more than can be asked for: the reader never waits here.
        let (reply, answers) = std::sync::mpsc::sync_channel(2 * WAITING);
        let most = config.max_bytes.bytes();
        std::thread::Builder::new().name("hash-reader".to_owned()).spawn(move || {
            for subject in asked {
                if reply.send((subject.file, hash::hash(&subject, most))).is_err() {
                    return;
                }
            }
        })?;
        let wait = config.wait.duration();
        Ok(Filler { wait, account, known: FxHashMap::default(), subjects, answers, stuck: false })
    }

    /// Settles the hash of every process in the slab.
    fn fill(&mut self, slab: &Slab) {
        while let Ok(answer) = self.answers.try_recv() {
            self.learn(&answer);
        }
        let mut open: FxHashMap<FileId, Vec<&Arc<Process>>> = FxHashMap::default();
        for process in processes(slab) {
            let Some(subject) = Subject::of(process) else {
                settle(process, None);
                continue;
            };
            if let Some(text) = self.known.get(&subject.file) {
                self.account.cached.add(1);
                settle(process, Some(text.clone()));
                continue;
            }
            let waiting = open.entry(subject.file).or_default();
            if waiting.is_empty() {
                // Where the reader is so far behind that it cannot even be asked, the file is late.
                let _ = self.subjects.try_send(subject);
            }
            waiting.push(process);
        }
        let until = Instant::now() + if self.stuck { Duration::ZERO } else { self.wait };
        let mut answered = FxHashSet::default();
        while answered.len() < open.len() {
            match self.answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(answer) => {
                    self.learn(&answer);
                    let text = answer.1.ok().map(|h| h.text);
                    // An answer to an earlier slab's question concerns nobody here.
                    for process in open.get(&answer.0).into_iter().flatten() {
                        settle(process, text.clone());
                    }
                    if open.contains_key(&answer.0) {
                        answered.insert(answer.0);
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    self.stuck = answered.is_empty();
                    break;
                }
            }
        }
        for (_, late) in open.iter().filter(|(file, _)| !answered.contains(file)) {
            self.account.late.add(1);
            for process in late {
                settle(process, None);
            }
        }
    }

    fn learn(&mut self, (file, result): &Answer) {
        self.stuck = false;
        self.account.count(result.as_ref().map_err(|why| *why));
        let Ok(Hashed { text, lasting: true }) = result else { return };
        if self.known.len() >= CACHE {
            // Which half goes does not matter much: a hash costs milliseconds.
            let mut keep = false;
            let before = self.known.len();
            self.known.retain(|_, _| {
                keep = !keep;
                keep
            });
            self.account.evicted.add((before - self.known.len()) as u64);
        }
        self.known.insert(*file, text.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::os::linux::fs::MetadataExt as _;
    use std::path::Path;

    use super::*;
    use crate::kind::KindId;
    use crate::process::Image;
    use crate::slab::Row;

    fn process(id: u64, file: Option<FileId>, exe: &Path) -> Arc<Process> {
        use std::os::unix::ffi::OsStrExt as _;
        let image = Image { file, exe: Some(exe.as_os_str().as_bytes().into()), ..Image::default() };
        Arc::new(Process { id, image: Arc::new(image), ancestors: Box::default() })
    }

    fn slab(processes: &[Arc<Process>]) -> Slab {
        let row = |p: &Arc<Process>| Row {
            seq: p.id,
            time: 0,
            kind: KindId(0),
            cells: 0,
            repeat: false,
            partial: false,
            process: Some(p.clone()),
            raw: None,
        };
        Slab { rows: processes.iter().map(row).collect(), ..Slab::default() }
    }

    fn digits(process: &Process) -> Option<&[u8]> {
        process.image.sha256.get().expect("settled").as_deref()
    }

    #[test]
    fn every_process_of_a_slab_is_settled() {
        let account = Arc::new(HashAccount::default());
        let config = HashesConfig { wait: crate::units::Period::secs(10), ..HashesConfig::default() };
        let mut filler = Filler::start(&config, account.clone()).unwrap();
        let path = Path::new("/bin/sh").canonicalize().unwrap();
        let m = path.metadata().unwrap();
        let ctime = (m.st_ctime() * 1_000_000_000 + m.st_ctime_nsec()) as u64;
        let file = FileId { dev: hash::device(m.st_dev()), inode: m.st_ino(), ctime };
        let gone = FileId { inode: u64::MAX, ..file };
        let all = [
            process(1, Some(file), &path),
            process(2, Some(file), &path),
            process(3, Some(gone), &path),
            process(4, None, &path),
        ];
        filler.fill(&slab(&all));
        let text = digits(&all[0]).expect("hashed");
        assert!(text.starts_with(b"SHA256=") && text.len() == 71);
        assert_eq!(digits(&all[1]), Some(text));
        assert_eq!((digits(&all[2]), digits(&all[3])), (None, None));
        assert_eq!((account.hashed.get(), account.gone.get(), account.late.get()), (1, 1, 0));
    }

    #[test]
    fn a_reader_that_hangs_delays_one_slab_and_no_other() {
        let account = Arc::new(HashAccount::default());
        let (subjects, asked) = std::sync::mpsc::sync_channel(1);
        let (reply, answers) = std::sync::mpsc::sync_channel(4);
        let wait = Duration::from_millis(1);
        let mut filler =
            Filler { wait, account: account.clone(), known: FxHashMap::default(), subjects, answers, stuck: false };
        let file = |inode| Some(FileId { dev: 1, inode, ctime: 1 });
        let on = Path::new("/nowhere");
        let late = [process(1, file(1), on), process(2, file(2), on)];
        filler.fill(&slab(&late));
        assert!(filler.stuck);
        // From now on nothing is waited for, even if there were all the time in the world.
        filler.wait = Duration::from_hours(1);
        let next = process(3, file(3), on);
        filler.fill(&slab(std::slice::from_ref(&next)));
        assert_eq!((digits(&late[0]), digits(&late[1]), digits(&next)), (None, None, None));
        assert_eq!(account.late.get(), 3);
        // It answers after all: what it says counts for the next process of that file.
        let subject: Subject = asked.recv().unwrap();
        let text: Arc<[u8]> = b"SHA256=00".as_slice().into();
        reply.send((subject.file, Ok(Hashed { text: text.clone(), lasting: true }))).unwrap();
        let again = process(4, Some(subject.file), on);
        filler.fill(&slab(std::slice::from_ref(&again)));
        assert_eq!(digits(&again), Some(&*text));
        assert!(!filler.stuck);
    }
}
