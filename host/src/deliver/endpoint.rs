//! The worker of one endpoint: takes its backlog in order, keeps some requests under way, reports each end to the writer.
//!
//! It holds a window of the backlog, never all of it, and loads a body only for the attempt that sends it. It never waits
//! for the writer: an end that is not on disk when the host dies is one more delivery of the same id.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinError, JoinSet};

use super::config::Target;
use super::http::Client;
use super::schedule::{Jitter, Reply, Saved, Schedule, Ticket, Verdict};
use super::spool::{Change, End, Queued, Settlement, Spool};
use super::writer::Command;
use crate::units::Period;

/// Messages read ahead.
const WINDOW: usize = 512;
/// Longest time without looking.
const LOOK: Duration = Duration::from_secs(30);
/// Pause after the spool could not be read.
const READ_PAUSE: u64 = 1_000;

/// What others leave for a worker.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// There is something new to look at.
    pub wake: Notify,
    /// Dead letters put back into the queue: older than what the worker has read already.
    pub returned: Mutex<Vec<Queued>>,
    /// 410 is to be forgotten.
    pub enable: std::sync::atomic::AtomicBool,
    /// Requests under way now.
    pub under_way: AtomicUsize,
}

struct Entry {
    queued: Queued,
    running: bool,
}

type Done = (Reply, Option<String>);

pub(super) struct Worker {
    name: Arc<str>,
    number: u16,
    spool: Arc<Spool>,
    commands: mpsc::Sender<Command>,
    inbox: Arc<Inbox>,
    targets: watch::Receiver<Arc<Target>>,
    stop: watch::Receiver<bool>,
    target: Arc<Target>,
    client: Client,
    schedule: Schedule,
    window: BTreeMap<u64, Entry>,
    /// Last message read from the backlog.
    read: Option<u64>,
    /// There may be more after it.
    more: bool,
    /// The spool could not be read; not before this time again.
    pause: u64,
    running: JoinSet<Done>,
    tickets: HashMap<Id, (u64, Ticket)>,
}

/// What a worker is made of.
pub(super) struct Parts {
    pub name: Arc<str>,
    pub number: u16,
    pub saved: Saved,
    pub spool: Arc<Spool>,
    pub commands: mpsc::Sender<Command>,
    pub inbox: Arc<Inbox>,
    pub targets: watch::Receiver<Arc<Target>>,
    pub stop: watch::Receiver<bool>,
}

impl Worker {
    pub fn new(mut parts: Parts) -> Worker {
        let target = parts.targets.borrow_and_update().clone();
        let schedule = Schedule::restore(&parts.saved, parts.spool.now(), Jitter::random());
        Worker {
            client: target.client.clone(),
            target,
            schedule,
            name: parts.name,
            number: parts.number,
            spool: parts.spool,
            commands: parts.commands,
            inbox: parts.inbox,
            targets: parts.targets,
            stop: parts.stop,
            window: BTreeMap::new(),
            read: None,
            more: true,
            pause: 0,
            running: JoinSet::new(),
            tickets: HashMap::new(),
        }
    }

    /// Until the endpoint is removed, or until nothing can be sent at once after `stop`. Requests still under way when
    /// this future is dropped are abandoned; their messages stay queued.
    pub async fn run(mut self) {
        loop {
            self.take_orders();
            self.fill();
            let now = self.spool.now();
            self.expire(now);
            self.start(now);
            self.inbox.under_way.store(self.running.len(), Ordering::Relaxed);
            if *self.stop.borrow() && self.running.is_empty() {
                return;
            }
            let wait = self.wait(now);
            tokio::select! {
                Some(done) = self.running.join_next_with_id() => {
                    self.finish(done);
                    while let Some(done) = self.running.try_join_next_with_id() {
                        self.finish(done);
                    }
                }
                () = self.inbox.wake.notified() => self.more = true,
                changed = self.targets.changed() => if changed.is_err() { return },
                changed = self.stop.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn take_orders(&mut self) {
        let target = self.targets.borrow_and_update().clone();
        if !Arc::ptr_eq(&target, &self.target) {
            if !target.same_receiver(&self.target) {
                // It was changed, perhaps to mend it: look at once. 410 stands unless the URL is another one.
                self.schedule.changed(self.spool.now(), target.fingerprint != self.target.fingerprint);
                self.client = target.client.clone();
            }
            self.target = target;
        }
        if self.inbox.enable.swap(false, Ordering::AcqRel) {
            self.schedule.changed(self.spool.now(), true);
        }
        let returned = std::mem::take(&mut *self.inbox.returned.lock().unwrap_or_else(PoisonError::into_inner));
        for queued in returned {
            // Not yet read from the backlog: it will come with the rest.
            if self.read.is_some_and(|read| queued.seq <= read) {
                self.window.entry(queued.seq).or_insert(Entry { queued, running: false });
            }
        }
    }

    /// Reads ahead. Messages that wait by themselves do not count: they must not block the rest.
    fn fill(&mut self) {
        let now = self.spool.now();
        let ready = self.window.values().filter(|e| e.queued.attempts.not_before <= now).count();
        if !self.more || ready >= WINDOW / 2 || self.pause > now {
            return;
        }
        match self.spool.queued(self.number, self.read, WINDOW) {
            Ok(found) => {
                self.more = found.len() == WINDOW;
                for queued in found {
                    self.read = Some(queued.seq);
                    self.window.insert(queued.seq, Entry { queued, running: false });
                }
            }
            Err(e) => {
                tracing::error!(endpoint = %self.name, error = %e, "backlog cannot be read");
                self.pause = now + READ_PAUSE;
            }
        }
    }

    fn expire(&mut self, now: u64) {
        let limit = self.target.max_age.as_millis() as u64;
        while let Some((&seq, entry)) = self.window.first_key_value() {
            if entry.running || now.saturating_sub(entry.queued.accepted) < limit {
                return;
            }
            let queued = entry.queued;
            let reason = format!("expired after {}", Period(self.target.max_age));
            self.report(queued, End::Dead(reason.clone()), 0, Some(reason));
            self.window.remove(&seq);
        }
    }

    fn start(&mut self, now: u64) {
        while self.pause <= now && self.running.len() < self.schedule.room(now, self.target.in_flight) {
            let Some(seq) = self.choose(now) else { return };
            let Some(entry) = self.window.get_mut(&seq) else { return };
            match self.spool.message(entry.queued.level, seq) {
                Ok(Some((id, body))) => {
                    entry.running = true;
                    let ticket = self.schedule.start();
                    let (client, target) = (self.client.clone(), self.target.clone());
                    let task = self.running.spawn(async move { client.post(&target, &id, body).await });
                    self.tickets.insert(task.id(), (seq, ticket));
                }
                // Evicted meanwhile, and counted by the writer.
                Ok(None) => drop(self.window.remove(&seq)),
                Err(e) => {
                    tracing::error!(endpoint = %self.name, error = %e, "message cannot be read");
                    self.pause = now + READ_PAUSE;
                }
            }
        }
        // The whole window may have been evicted.
        if self.window.is_empty() && self.more && self.pause <= now {
            self.inbox.wake.notify_one();
        }
    }

    /// The oldest message that is due; as a probe, the oldest of those that are suspected least.
    fn choose(&self, now: u64) -> Option<u64> {
        let due = |e: &Entry| !e.running && e.queued.attempts.not_before <= now;
        let mut ready = self.window.iter().filter(|(_, e)| due(e));
        let chosen = if self.schedule.is_probing() {
            ready.min_by_key(|(_, e)| e.queued.attempts.suspicion(self.target.in_flight))
        } else {
            ready.next()
        };
        chosen.map(|(seq, _)| *seq)
    }

    fn finish(&mut self, done: Result<(Id, Done), JoinError>) {
        let (task, (reply, detail)) = match done {
            Ok(done) => done,
            Err(e) => (e.id(), (Reply::Lost, Some(format!("request task failed: {e}")))),
        };
        let Some((seq, ticket)) = self.tickets.remove(&task) else { return };
        let Some(entry) = self.window.get_mut(&seq) else { return };
        entry.running = false;
        let now = self.spool.now();
        let was_gone = self.schedule.is_gone();
        let verdict = self.schedule.settle(now, self.target.in_flight, ticket, reply, &mut entry.queued.attempts);
        let queued = entry.queued;
        let told = detail.as_deref().unwrap_or_default();
        let end = match verdict {
            Verdict::Delivered => End::Delivered,
            Verdict::Retry => End::Retry,
            Verdict::Dead => {
                tracing::warn!(endpoint = %self.name, detail = told, "alert refused, kept as a dead letter");
                End::Dead(match reply {
                    Reply::Refused { .. } => format!("refused with {told}"),
                    _ => format!("failed {} times while others passed: {told}", queued.attempts.alone),
                })
            }
        };
        if !was_gone && self.schedule.is_gone() {
            tracing::error!(
                endpoint = %self.name,
                origin = %self.target.origin,
                "endpoint answered 410 gone and is disabled; alerts stay queued until its url changes or it is enabled"
            );
        } else if end == End::Retry && queued.attempts.made == 1 {
            tracing::warn!(endpoint = %self.name, origin = %self.target.origin, detail = told, "delivery failed, will retry");
        }
        if end != End::Retry {
            self.window.remove(&seq);
        }
        self.report(queued, end, 1, detail);
    }

    fn report(&self, queued: Queued, end: End, requests: u64, error: Option<String>) {
        let settlement = Settlement {
            endpoint: self.name.clone(),
            level: queued.level,
            seq: queued.seq,
            end,
            attempts: queued.attempts,
            requests,
            schedule: self.schedule.save(&self.target.fingerprint),
            error,
        };
        // Fails only when the writer has stopped, and then the message stays queued.
        let _ = self.commands.send(Command::Write(Change::Settle(settlement), None));
    }

    /// How long nothing can happen by itself.
    fn wait(&self, now: u64) -> Duration {
        let mut until = now + LOOK.as_millis() as u64;
        if let Some(shut) = self.schedule.shut_until().filter(|shut| *shut > now) {
            until = until.min(shut);
        } else if let Some(due) = self.window.values().map(|e| e.queued.attempts.not_before).filter(|t| *t > now).min()
        {
            until = until.min(due);
        }
        if self.pause > now {
            until = until.min(self.pause);
        }
        Duration::from_millis(until - now)
    }
}
