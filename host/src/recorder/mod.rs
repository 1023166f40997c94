//! The recorder: what happened on this host in the last day, for hunts, explanations and exports.
//!
//! Finished slabs are handed to a thread of its own, which turns them into columns, compresses them and appends them to files in the
//! state directory. Nothing waits for it: a slab that finds the queue full is not recorded, and counted. The format is described in
//! `docs/recorder.md`; an existing one (Arrow, Parquet) lost because its libraries are many times the size of this room, and because
//! a row here is decoded straight into the slab that every guest reads, processes and all.

mod block;
mod bytes;
mod processes;
mod section;
mod store;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use block::Block;
pub use store::Recording;

use crate::config::RecorderConfig;
use crate::ledger::Ledger;
use crate::pipeline::Flight;
use crate::slab::{Origin, Slab};
use store::Store;

/// Directory within `state_dir`.
const DIR: &str = "record";

/// Slabs that wait for the thread; one more is not recorded.
const QUEUE: usize = 32;

/// A block is closed at so many rows,
const BLOCK_ROWS: u32 = 16_384;
/// so many bytes,
const BLOCK_BYTES: usize = 16 << 20;
/// or this age: what a crash may cost.
const BLOCK_AGE: Duration = Duration::from_secs(5);

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    #[error("cannot use {path}")]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    #[error("a recording cannot be read")]
    Read(#[source] std::io::Error),
    #[error("a recording is damaged; what stands before is used")]
    Damaged,
    #[error("it has format {found}, of Picket {by}, which this version does not read")]
    Version { found: u32, by: String },
}

enum Message {
    Slab(Arc<Slab>, Arc<[String]>),
    /// What was passed before is on disk when the answer comes.
    Flush(SyncSender<()>),
    /// Nothing more comes.
    End,
}

/// The way in. The sequencer has it.
pub struct Recorder {
    messages: SyncSender<Message>,
    ledger: Arc<Ledger>,
    generation: u64,
    collected: Arc<[String]>,
}

/// The thread, and how it is asked to write what it has.
pub struct Running {
    messages: SyncSender<Message>,
    thread: JoinHandle<()>,
}

/// Asks for what was passed so far to be written.
#[derive(Clone)]
pub struct Flusher(SyncSender<Message>);

impl Flusher {
    /// Returns when it is on disk, or after a moment.
    pub fn flush(&self) {
        let (done, wait) = std::sync::mpsc::sync_channel(1);
        if self.0.send(Message::Flush(done)).is_ok() {
            // A disk that hangs is no reason to hang as well.
            let _ = wait.recv_timeout(Duration::from_secs(5));
        }
    }
}

/// Starts to record below `state_dir`.
pub fn start(
    state_dir: &Path,
    config: &RecorderConfig,
    origin: &Origin,
    ledger: Arc<Ledger>,
) -> Result<(Recorder, Running), RecorderError> {
    let store = Store::open(&state_dir.join(DIR), config, origin.clone())?;
    let (messages, inbox) = std::sync::mpsc::sync_channel(QUEUE);
    let work =
        Work { store, open: block::Open::default(), opened: Instant::now(), collected: None, ledger: ledger.clone() };
    let thread = std::thread::Builder::new().name("recorder".to_owned());
    let thread = thread.spawn(move || work.run(&inbox)).map_err(RecorderError::Thread)?;
    let recorder = Recorder { messages: messages.clone(), ledger, generation: 0, collected: Arc::new([]) };
    Ok((recorder, Running { messages, thread }))
}

impl Recorder {
    /// For the sequencer: hands a finished slab on, or counts it.
    pub fn pass(&mut self, flight: &Flight) {
        let slab = &flight.slab;
        let events = slab.len() - slab.derived.len();
        if events == 0 {
            return;
        }
        if flight.generation.number != self.generation {
            self.generation = flight.generation.number;
            self.collected = block::collected(&flight.generation).into();
        }
        let account = &self.ledger.recorder;
        account.offered.add(events as u64);
        match self.messages.try_send(Message::Slab(slab.clone(), self.collected.clone())) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => account.shed.add(events as u64),
            // The thread ends after the sequencer, or by a panic.
            Err(TrySendError::Disconnected(_)) => account.failed.add(events as u64),
        }
    }
}

impl Running {
    pub fn flusher(&self) -> Flusher {
        Flusher(self.messages.clone())
    }

    /// After the sequencer has ended: what is left is written.
    pub fn finish(self) {
        // It may have ended by itself, by a panic.
        let _ = self.messages.send(Message::End);
        if self.thread.join().is_err() {
            tracing::error!("the recorder panicked");
        }
    }
}

struct Work {
    store: Store,
    open: block::Open,
    opened: Instant,
    /// What was collected when the rows of the open block were made.
    collected: Option<Arc<[String]>>,
    ledger: Arc<Ledger>,
}

impl Work {
    fn run(mut self, inbox: &Receiver<Message>) {
        loop {
            let left = BLOCK_AGE.saturating_sub(self.opened.elapsed());
            let wait = if self.open.rows() == 0 { Duration::from_mins(1) } else { left };
            match inbox.recv_timeout(wait) {
                Ok(Message::Slab(slab, collected)) => self.add(&slab, collected),
                Ok(Message::Flush(done)) => {
                    self.close();
                    // Whoever asked may have gone.
                    let _ = done.try_send(());
                }
                Err(RecvTimeoutError::Timeout) => self.close(),
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.close();
    }

    fn add(&mut self, slab: &Slab, collected: Arc<[String]>) {
        if self.collected.as_ref().is_some_and(|before| *before != collected) {
            self.close();
        }
        if self.open.rows() == 0 {
            self.opened = Instant::now();
        }
        self.collected = Some(collected);
        self.open.add(slab);
        let full = self.open.rows() >= BLOCK_ROWS || self.open.size() >= BLOCK_BYTES;
        if full || self.opened.elapsed() >= BLOCK_AGE {
            self.close();
        }
    }

    fn close(&mut self) {
        let open = std::mem::take(&mut self.open);
        let account = &self.ledger.recorder;
        if open.rows() > 0 {
            let rows = u64::from(open.rows());
            match self.store.append(&open, self.collected.as_deref().unwrap_or_default(), account) {
                Ok(()) => account.recorded.add(rows),
                Err(e) => {
                    // Said once: the count says how often.
                    if account.failed.get() == 0 {
                        tracing::error!(error = %crate::text::chain(&e), "events cannot be recorded");
                    }
                    account.failed.add(rows);
                }
            }
        }
        self.store.tidy(account);
    }
}
