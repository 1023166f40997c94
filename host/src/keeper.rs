//! The keeper: a thread that turns notices into alerts and keeps the record of the watch (`gap.rs`).
//!
//! The record of the run before is replaced only when the gap it tells of is durable as an alert. A crash before that makes the next
//! gap longer, and loses none.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::daemon::{Made, Shared};
use crate::gap::{self, Stopped, Watch};
use crate::notice::{Message, Notice, now};
use crate::slab::Origin;

/// How far the record may lag behind: a gap after a crash begins at most this much too early.
const BEAT: Duration = Duration::from_secs(10);
/// How often to look whether the first gap is durable.
const TURN: Duration = Duration::from_millis(100);

/// How long the end waits for it.
const LAST: Duration = Duration::from_secs(5);

/// The running keeper.
pub struct Keeper {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

struct Work {
    inbox: Receiver<Message>,
    alerts: SyncSender<Made>,
    shared: Arc<Shared>,
    origin: Origin,
    path: PathBuf,
    watch: Watch,
    /// Answers when the gap is durable.
    unsaid: Option<Receiver<()>>,
    failing: bool,
}

impl Keeper {
    /// Says what was not watched until now, and keeps watch over the watch.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start(
        path: PathBuf,
        origin: Origin,
        shared: Arc<Shared>,
        alerts: SyncSender<Made>,
    ) -> std::io::Result<Keeper> {
        let watch = Watch::new(&origin.boot, now());
        // There is one keeper for each run; a second one would have nothing to read.
        let inbox = shared.outbox.take().ok_or(std::io::ErrorKind::AlreadyExists)?;
        let work = Work { inbox, alerts, shared: shared.clone(), origin, path, watch, unsaid: None, failing: false };
        let thread = std::thread::Builder::new().name("keeper".to_owned()).spawn(move || work.run())?;
        Ok(Keeper { shared, thread })
    }

    /// Whether it has ended by itself.
    pub fn ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// After the last event: records the end.
    pub fn finish(self, at: u64, failed: bool) {
        // It fails only when the keeper is gone already.
        let _ = self.shared.outbox.sender.send(Message::Stop { at, failed });
        if self.thread.join().is_err() {
            tracing::error!("the keeper thread panicked; see above");
        }
    }
}

impl Work {
    fn run(mut self) {
        if let Some(before) = gap::last(&self.path) {
            let notice = before.gap(&self.watch);
            tracing::warn!(what = %notice.what, "{}", notice.rule.title);
            let (durable, said) = std::sync::mpsc::sync_channel(1);
            self.say(&notice, Some(durable));
            self.unsaid = Some(said);
        }
        let mut next = Instant::now();
        loop {
            if Instant::now() >= next {
                next = Instant::now() + if self.beat(None) { BEAT } else { TURN };
            }
            match self.inbox.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Message::Notice(notice)) => self.say(&notice, None),
                Ok(Message::Stop { at, failed }) => {
                    // Alerts are still made durable: the gap, too, unless the disk is full.
                    if self.unsaid.take().is_none_or(|said| said.recv_timeout(LAST).is_ok()) {
                        self.beat(Some(Stopped { at, failed }));
                    }
                    self.shared.hits.write();
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn say(&self, notice: &Notice, durable: Option<SyncSender<()>>) {
        let alert = notice.alert(&self.origin, self.shared.live.load().number);
        match alert.ready() {
            Ok(ready) => {
                self.shared.ledger.notices.alerts.add(1);
                // The alerts thread ends after the keeper.
                let _ = self.alerts.send(Made { alerts: vec![(alert, ready)], durable });
            }
            // Every part of it is text and numbers.
            Err(e) => tracing::error!(id = %alert.id, error = %e, "an alert could not be written as JSON"),
        }
    }

    /// Records that the watch goes on; `false` while the record of the run before is still needed.
    fn beat(&mut self, stopped: Option<Stopped>) -> bool {
        match self.unsaid.as_ref().map(Receiver::try_recv) {
            Some(Err(TryRecvError::Empty)) => return false,
            // Durable; or nobody is left to make it so, which ends the run.
            Some(Ok(()) | Err(TryRecvError::Disconnected)) => self.unsaid = None,
            None => {}
        }
        self.watch.beat = now();
        self.watch.stopped = stopped;
        let written = self.watch.write(&self.path);
        if let Err(e) = &written
            && !self.failing
        {
            let path = self.path.display();
            tracing::error!(%path, error = %e, "the record of the watch cannot be written: the next gap will seem longer");
        }
        self.failing = written.is_err();
        self.shared.hits.write();
        true
    }
}
