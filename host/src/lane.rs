//! A lane: one loaded guest with its queue, and a thread for each of its instances.
//!
//! A lane outlives the generation that made it for as long as a slab in flight or a later generation holds it; dropping the
//! last handle closes the queue, the threads finish what is in it and end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::correlate::{Book, Correlated};
use crate::detection::{Detected, Diagnostic};
use crate::guest::{Correlator, Guest, Handled, Instance, Kept, Place, World, thread_cpu};
use crate::ledger::GuestAccount;
use crate::pipeline::{Answer, Flight, Outcome};
use crate::queue::Queue;

/// What a lane's thread works on.
pub enum Job {
    Slab(Arc<Flight>),
    /// A slab that the lane's successor trapped on: answer for it.
    Ask(Arc<Flight>, SyncSender<Handled>),
    /// What was found in a slab, for a guest on `@detection`.
    Detected(Arc<Flight>, Arc<Detected>),
    /// The lane's successor, on `@detection`, goes on with what this one remembers.
    HandOver(SyncSender<Option<Kept>>),
}

/// One loaded guest at work.
pub struct Lane {
    pub guest: Arc<Guest>,
    /// The guest's name; of its instance on `@detection`, with that behind it.
    pub label: String,
    /// Digest over everything that decides what the guest does: equal inputs, same lane.
    pub inputs: String,
    /// What loading it said.
    pub diagnostics: Vec<Diagnostic>,
    pub account: Arc<GuestAccount>,
    queue: Arc<Queue<Job>>,
    /// The version before this one, kept until this one has handled a slab.
    predecessor: Arc<Mutex<Option<Arc<Lane>>>>,
    /// Highest slab handled plus one; what `reload --wait` and tests look at.
    handled: Arc<AtomicU64>,
}

/// What a lane starts with.
pub struct Start {
    pub guest: Arc<Guest>,
    pub inputs: String,
    pub diagnostics: Vec<Diagnostic>,
    pub queue: Queue<Job>,
    pub predecessor: Option<Arc<Lane>>,
    /// How often what it remembers is written, if it remembers anything.
    pub snapshot: Duration,
}

/// A new version trapped on rows that the version before handled: it has to go back.
#[derive(Debug)]
pub struct Rejected {
    pub guest: String,
    pub inputs: String,
    pub why: String,
}

/// Where the threads of a lane report.
#[derive(Clone)]
pub struct Exits {
    pub outcomes: Sender<Outcome>,
    pub rejected: Sender<Rejected>,
    /// The numbers of what is found, and where guests keep what they make of it.
    pub book: Arc<Book>,
    /// A thread of a lane panicked: slabs that it had are never answered for.
    pub died: Arc<AtomicBool>,
}

/// What lanes send: outcomes to the sequencer, rejected versions to the reload thread.
pub type Inbox = (Receiver<Outcome>, Receiver<Rejected>);

impl Exits {
    /// The exits of a pipeline and their other ends. Nothing is kept for another run.
    #[expect(
        clippy::disallowed_methods,
        reason = "bounded by the gate: each slab on its way makes one outcome for each lane"
    )]
    pub fn new() -> (Exits, Inbox) {
        let (outcomes, made) = std::sync::mpsc::channel();
        let (rejected, told) = std::sync::mpsc::channel();
        (Exits { outcomes, rejected, book: Arc::default(), died: Arc::default() }, (made, told))
    }
}

impl Lane {
    /// Starts a thread for each instance of the guest.
    pub fn start(start: Start, account: Arc<GuestAccount>, exits: &Exits) -> std::io::Result<Arc<Lane>> {
        let lane = Lane {
            label: label(&start.guest),
            guest: start.guest,
            inputs: start.inputs,
            diagnostics: start.diagnostics,
            queue: Arc::new(start.queue),
            predecessor: Arc::new(Mutex::new(start.predecessor)),
            handled: Arc::default(),
            account,
        };
        let place = exits.book.place(&lane.guest.name).map(|dir| Place { dir, every: start.snapshot });
        let correlator = lane.guest.correlator().map(|mut correlator| {
            correlator.keep(place, lane.account.clone());
            Work::Detections(correlator)
        });
        for (i, work) in correlator.into_iter().chain(lane.guest.instances().into_iter().map(Work::Events)).enumerate()
        {
            let worker = Worker {
                name: lane.label.clone(),
                inputs: lane.inputs.clone(),
                queue: lane.queue.clone(),
                account: lane.account.clone(),
                predecessor: lane.predecessor.clone(),
                handled: lane.handled.clone(),
                exits: exits.clone(),
                cpu: Duration::ZERO,
            };
            let enriches = lane.guest.world == World::Enricher;
            std::thread::Builder::new().name(format!("{}-{i}", lane.guest.name)).spawn(move || match work {
                Work::Detections(correlator) => worker.correlate(correlator),
                Work::Events(instance) if enriches => worker.enrich(instance),
                Work::Events(instance) => worker.detect(instance),
            })?;
        }
        Ok(Arc::new(lane))
    }

    /// Hands a slab over; returns the slab that had to go for it, if any.
    pub fn offer(&self, flight: Arc<Flight>) -> Option<Arc<Flight>> {
        self.account.offered.add(flight.slab.len() as u64);
        match self.queue.push(Job::Slab(flight))? {
            Job::Slab(shed) => {
                self.account.shed.add(shed.slab.len() as u64);
                Some(shed)
            }
            // Its asker sees the channel closed and handles the slab itself.
            Job::Ask(..) | Job::Detected(..) | Job::HandOver(_) => None,
        }
    }

    /// Hands over what was found. What had to go for it is counted: nobody waits for an answer to it.
    pub fn offer_detected(&self, flight: Arc<Flight>, detected: Arc<Detected>) {
        self.account.offered.add(detected.rows.len() as u64);
        self.push_counted(Job::Detected(flight, detected));
    }

    fn push_counted(&self, job: Job) {
        if let Some(Job::Detected(_, shed)) = self.queue.push(job) {
            self.account.shed.add(shed.rows.len() as u64);
        }
    }

    /// What this lane remembers, after everything that is queued.
    fn hand_over(&self) -> Option<Kept> {
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        self.push_counted(Job::HandOver(reply));
        answer.recv_timeout(HAND_OVER).ok().flatten()
    }

    /// Rows that never reached the queue.
    pub fn shed(&self, rows: usize) {
        self.account.offered.add(rows as u64);
        self.account.shed.add(rows as u64);
    }

    /// A consumer waits for work.
    pub fn idle(&self) -> bool {
        self.queue.idle()
    }

    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// The version before this one, while it is kept.
    pub fn predecessor(&self) -> Option<Arc<Lane>> {
        self.predecessor.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn handled(&self) -> u64 {
        self.handled.load(Ordering::Acquire)
    }

    fn ask(&self, flight: &Arc<Flight>) -> Option<Handled> {
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        // A shed slab of the predecessor's queue cannot be: nothing but questions reaches it any more.
        let _ = self.queue.push(Job::Ask(flight.clone(), reply));
        answer.recv().ok()
    }
}

/// How long a lane waits for what the one before it remembers: its queue, and some calls.
const HAND_OVER: Duration = Duration::from_mins(1);

/// What the account of a guest's instances is called.
pub fn label(guest: &Guest) -> String {
    if guest.plan.detections.is_empty() { guest.name.clone() } else { format!("{}@detection", guest.name) }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// A thread's share of a lane. It holds no handle of the lane itself, so that dropping the lane ends it.
struct Worker {
    name: String,
    inputs: String,
    queue: Arc<Queue<Job>>,
    account: Arc<GuestAccount>,
    predecessor: Arc<Mutex<Option<Arc<Lane>>>>,
    handled: Arc<AtomicU64>,
    exits: Exits,
    /// Processor time of this thread that is in the account.
    cpu: Duration,
}

/// What a thread works with.
enum Work {
    Events(Instance),
    Detections(Correlator),
}

impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.exits.died.store(true, Ordering::Release);
        }
    }
}

impl Worker {
    fn detect(mut self, mut instance: Instance) {
        while let Some(job) = self.queue.pop() {
            match job {
                Job::Ask(flight, reply) => {
                    let _ = reply.send(instance.on_events(&flight.slab));
                }
                Job::Detected(..) | Job::HandOver(_) => {}
                Job::Slab(flight) => {
                    let handled = self.handle(&mut instance, &flight);
                    self.settle(flight.slab.len(), handled.set_aside.len(), handled.trapped.as_deref());
                    self.doubt(handled.refused, handled.failures, &handled.messages);
                    self.handled.fetch_max(flight.slab.number + 1, Ordering::AcqRel);
                    // The sequencer only ends after every lane has.
                    let answer = Answer { flight, lane: self.name.clone(), handled: Some(handled) };
                    let _ = self.exits.outcomes.send(Outcome::Slab(answer));
                }
            }
            self.account_cpu();
        }
    }

    /// On probation, a slab that this version traps on is answered by the version before.
    fn handle(&self, instance: &mut Instance, flight: &Arc<Flight>) -> Handled {
        let predecessor = self.predecessor.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(old) = predecessor else { return instance.on_events(&flight.slab) };
        match instance.on_events_probation(&flight.slab) {
            Ok(handled) => {
                if handled.offered > 0 {
                    self.predecessor.lock().unwrap_or_else(PoisonError::into_inner).take();
                }
                handled
            }
            Err(why) => match old.ask(flight) {
                Some(answer) if answer.trapped.is_none() => {
                    let rejected = Rejected { guest: self.name.clone(), inputs: self.inputs.clone(), why };
                    let _ = self.exits.rejected.send(rejected);
                    answer
                }
                // The rows are at fault, not the version.
                _ => instance.on_events(&flight.slab),
            },
        }
    }

    /// Answers for everything, rows or none: a replay waits for it.
    fn correlate(mut self, mut correlator: Correlator) {
        let (mut begun, mut handed) = (false, false);
        while let Some(job) = self.queue.pop() {
            if !begun {
                // By now the version before has had all of its own.
                begun = true;
                let before = self.predecessor.lock().unwrap_or_else(PoisonError::into_inner).take();
                correlator.begin(before.and_then(|lane| lane.hand_over()));
            }
            match job {
                Job::Detected(flight, detected) => {
                    self.answer(&mut correlator, flight, detected);
                    if correlator.is_due() {
                        self.exits.book.write();
                        correlator.pause();
                    }
                }
                Job::HandOver(reply) => {
                    self.exits.book.write();
                    handed = true;
                    let _ = reply.send(correlator.hand_over());
                }
                Job::Slab(_) | Job::Ask(..) => {}
            }
            self.account_cpu();
        }
        if begun && !handed {
            self.exits.book.write();
            correlator.end();
        }
    }

    fn answer(&self, correlator: &mut Correlator, flight: Arc<Flight>, detected: Arc<Detected>) {
        let handled = correlator.on_detections(&detected);
        self.settle(detected.rows.len(), handled.set_aside.len(), handled.trapped.as_deref());
        self.doubt(handled.refused, handled.failures, &handled.messages);
        self.handled.fetch_max(flight.slab.number + 1, Ordering::AcqRel);
        if flight.slab.ends {
            correlator.start_over();
        }
        let answer = Correlated { flight, detected, lane: self.name.clone(), handled };
        // The sequencer only ends after every lane has.
        let _ = self.exits.outcomes.send(Outcome::Detections(answer));
    }

    fn enrich(mut self, mut instance: Instance) {
        while let Some(job) = self.queue.pop() {
            let Job::Slab(flight) = job else { continue };
            let done = instance.enrich(&flight.slab);
            self.settle(flight.slab.len(), done.set_aside.len(), done.trapped.as_deref());
            self.doubt(done.refused, 0, &done.messages);
            self.handled.fetch_max(flight.slab.number + 1, Ordering::AcqRel);
            flight.enriched(&self.name, done.columns, &self.exits.outcomes);
            self.account_cpu();
        }
    }

    /// Adds what was used since the last time: one question to the clock for each slab.
    fn account_cpu(&mut self) {
        let now = thread_cpu();
        self.account.cpu_ns.add(now.saturating_sub(self.cpu).as_nanos() as u64);
        self.cpu = now;
    }

    /// What the guest said that cannot be, and what it says it failed at.
    fn doubt(&self, refused: u32, failures: u32, messages: &[(Option<u32>, String)]) {
        self.account.refused.add(u64::from(refused));
        self.account.failures.add(u64::from(failures));
        for (row, what) in messages {
            tracing::warn!(guest = %self.name, row, %what, "guest is in doubt");
        }
    }

    fn settle(&self, rows: usize, set_aside: usize, trapped: Option<&str>) {
        self.account.calls.add(1);
        self.account.set_aside.add(set_aside as u64);
        self.account.handled.add((rows - set_aside) as u64);
        if let Some(why) = trapped {
            // A row that is set aside is a trap of its own, after the one of the whole call.
            self.account.traps.add(1 + set_aside as u64);
            tracing::warn!(guest = %self.name, %why, set_aside, "guest trapped");
        }
    }
}
