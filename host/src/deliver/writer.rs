//! The one thread that writes the spool: group commit, recovery from a failed write.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::endpoint::Inbox;
use super::spool::{Book, Change, Spool, SpoolError};

/// How long ends of deliveries wait for company before a commit of their own. An append never waits.
const LINGER: Duration = Duration::from_millis(20);
/// Pause before ends that could not be written are tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Most changes in one transaction.
const GROUP: usize = 4096;

type Answer = mpsc::SyncSender<Result<(), Arc<SpoolError>>>;

/// An order to the writer.
pub(super) enum Command {
    Write(Change, Option<Answer>),
    Stop,
}

/// What the writer shows to the rest.
#[derive(Debug)]
pub(super) struct Shared {
    pub spool: Arc<Spool>,
    pub book: Mutex<Book>,
    pub inboxes: Mutex<BTreeMap<String, Arc<Inbox>>>,
    pub trouble: Mutex<Trouble>,
}

/// What went wrong with the spool since start.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble {
    pub write_errors: u64,
    pub last_error: Option<String>,
    pub moved_aside: Option<PathBuf>,
}

/// A lock whose holder cannot leave it half-changed: values are replaced whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct Writer {
    pub shared: Arc<Shared>,
    pub commands: mpsc::Receiver<Command>,
}

impl Writer {
    /// Until `Stop`, or until every sender is gone.
    pub fn run(self) {
        let mut kept: Vec<Change> = Vec::new();
        loop {
            let first = if kept.is_empty() {
                self.commands.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                self.commands.recv_timeout(RETRY)
            };
            let (mut changes, mut answers) = (std::mem::take(&mut kept), Vec::new());
            let mut stop = false;
            let mut take = |command| match command {
                Command::Write(change, answer) => {
                    changes.push(change);
                    let urgent = answer.is_some();
                    answers.extend(answer);
                    !urgent
                }
                Command::Stop => {
                    stop = true;
                    false
                }
            };
            match first {
                Ok(command) => {
                    let deadline = Instant::now() + LINGER;
                    let mut idle = take(command);
                    let mut taken = 1;
                    while taken < GROUP {
                        let next = if idle {
                            let left = deadline.saturating_duration_since(Instant::now());
                            self.commands.recv_timeout(left).ok()
                        } else {
                            self.commands.try_recv().ok()
                        };
                        let Some(command) = next else { break };
                        idle &= take(command);
                        taken += 1;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => stop = true,
            }
            match self.write(&changes) {
                Ok(()) => {
                    for answer in answers {
                        let _ = answer.send(Ok(()));
                    }
                }
                Err(e) => {
                    let e = Arc::new(e);
                    for answer in answers {
                        let _ = answer.send(Err(e.clone()));
                    }
                    // The caller of an append tries again; ends of deliveries have nobody else.
                    changes.retain(|change| matches!(change, Change::Settle(_)));
                    kept = changes;
                }
            }
            if stop {
                return;
            }
        }
    }

    fn write(&self, changes: &[Change]) -> Result<(), SpoolError> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut book = lock(&self.shared.book).clone();
        let spool = &self.shared.spool;
        let result = catch_unwind(AssertUnwindSafe(|| spool.commit(changes, &mut book)))
            .unwrap_or_else(|_| Err(SpoolError::Panicked { path: spool.path().to_owned() }));
        if let Err(e) = &result {
            tracing::error!(error = %crate::text::chain(e), "spool write failed");
            let mut trouble = lock(&self.shared.trouble);
            trouble.write_errors += 1;
            trouble.last_error = Some(crate::text::chain(e));
            match spool.reopen(&mut book, e.is_damage()) {
                Ok(None) => {}
                Ok(Some(aside)) => {
                    tracing::error!(moved_to = %aside.display(), "spool was damaged: moved aside, a new one begun");
                    trouble.moved_aside = Some(aside);
                }
                Err(e) => tracing::error!(error = %crate::text::chain(&e), "spool cannot be opened again yet"),
            }
        }
        *lock(&self.shared.book) = book;
        if result.is_ok() && changes.iter().any(|change| !matches!(change, Change::Settle(_))) {
            for inbox in lock(&self.shared.inboxes).values() {
                inbox.wake.notify_one();
            }
        }
        result
    }
}
