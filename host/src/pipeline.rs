//! THE HEART: the way of an event, top to bottom.
//!
//! ```text
//! sensor -> Builder -> fan-out: enrichers (one layer) -> detectors -> Sequencer -> alerts
//!             |                        each lane: own queue, own threads  |  ^
//!             one slab at a time, in host order                           v  | slab order restored, nothing waits for a later stage
//!                                                     guests on @detection (correlate.rs)
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::config::Config;
use crate::correlate::{Correlated, Correlation, Finished};
use crate::generation::Generation;
use crate::guest::{Enriched, Handled};
use crate::hashes::HashStage;
use crate::kind::KindId;
use crate::lane::Lane;
use crate::ledger::Ledger;
use crate::notice;
use crate::queue::Gate;
use crate::slab::Slab;

/// Bounds of an open slab.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub rows: usize,
    pub bytes: usize,
    pub interval: Duration,
}

impl Bounds {
    pub fn of(config: &Config) -> Bounds {
        let d = &config.dispatch;
        Bounds { rows: d.rows as usize, bytes: d.bytes.bytes() as usize, interval: d.interval.duration() }
    }
}

/// A closed slab on its way, with the generation it belongs to.
pub struct Flight {
    pub slab: Arc<Slab>,
    pub generation: Arc<Generation>,
    /// Enrichers, and the stage of hashes, that have not answered yet.
    waiting: AtomicUsize,
}

/// What comes back to the sequencer.
pub enum Outcome {
    Slab(Answer),
    Detections(Correlated),
}

/// What one detector says about one slab; `None` = shed, or no detector at all.
pub struct Answer {
    pub flight: Arc<Flight>,
    pub lane: String,
    pub handled: Option<Handled>,
}

/// Closes slabs and sends them on their way. Runs on the builder thread; only it reads the live generation.
pub struct Builder {
    pub slab: Slab,
    /// Live: fills in the hashes of executables when a guest asks for them.
    pub hashes: Option<HashStage>,
    live: Arc<ArcSwap<Generation>>,
    ledger: Arc<Ledger>,
    outcomes: Sender<Outcome>,
    /// Bounds the slabs on their way; the sequencer opens it again.
    gate: Arc<Gate>,
    bounds: Bounds,
    opened: Instant,
    /// When a slab was closed last.
    closed: Instant,
    number: u64,
}

/// How long guests on `@detection` wait to be told how far event time has come while nothing happens.
const QUIET: Duration = Duration::from_secs(1);

impl Builder {
    pub fn new(
        live: Arc<ArcSwap<Generation>>,
        ledger: Arc<Ledger>,
        outcomes: Sender<Outcome>,
        gate: Arc<Gate>,
        bounds: Bounds,
    ) -> Builder {
        Builder {
            slab: Slab::default(),
            hashes: None,
            live,
            ledger,
            outcomes,
            gate,
            bounds,
            opened: Instant::now(),
            closed: Instant::now(),
            number: 0,
        }
    }

    /// After each event, with the rows it became: closes the slab at its bounds.
    pub fn added(&mut self, rows: usize) {
        self.ledger.events.slabbed.add(1);
        if self.slab.len() == rows {
            self.opened = Instant::now();
        }
        if self.slab.len() >= self.bounds.rows || self.slab.bytes() >= self.bounds.bytes {
            self.close();
        }
    }

    /// When nothing more is to be read for now: closes a slab that a consumer waits for, or that is old enough.
    pub fn tick(&mut self) {
        let someone_waits = || self.live.load().lanes().any(|l| l.idle());
        // Idle lanes get nothing sooner while the stage before them is behind: the slab may as well grow.
        let behind = self.hashes.as_ref().is_some_and(HashStage::behind);
        if !self.slab.is_empty() && !behind && (someone_waits() || self.opened.elapsed() >= self.bounds.interval) {
            self.close();
        }
        if self.slab.is_empty() && self.closed.elapsed() >= QUIET && !self.live.load().correlators.is_empty() {
            // What the ring holds by now is younger than this.
            let time = notice::now().saturating_sub(QUIET.as_nanos() as u64);
            self.slab.watermark = self.slab.watermark.max(time);
            self.send();
        }
    }

    /// Stamps the open slab with the live generation and fans it out.
    pub fn close(&mut self) {
        if !self.slab.is_empty() {
            self.send();
        }
    }

    /// After the last event, or the last of those that belong together: every window closes, and what follows begins anew.
    pub fn end(&mut self) {
        self.close();
        if !self.live.load().correlators.is_empty() {
            self.slab.ends = true;
            self.send();
        }
        self.slab.watermark = 0;
    }

    /// Whether the live generation has a use for rows of this kind.
    pub fn wants(&self, kind: KindId) -> bool {
        self.live.load().wants(kind)
    }

    /// Of the open slab, in the order of slabs.
    pub fn number(&self) -> u64 {
        self.number
    }

    fn send(&mut self) {
        self.closed = Instant::now();
        let generation = self.live.load_full();
        let mut slab = std::mem::take(&mut self.slab);
        self.slab.follow(&slab);
        self.ledger.events.slabs.add(1);
        if !self.gate.enter() {
            // Everything behind stands still (a full disk, say): every guest loses this slab, and the account says so.
            return generation.lanes().for_each(|l| l.shed(slab.len()));
        }
        slab.number = self.number;
        slab.enriched = generation.enrichers.iter().map(|_| std::sync::OnceLock::new()).collect();
        self.number += 1;
        let hashes = self.hashes.as_ref().filter(|_| generation.hashes);
        let stages = generation.enrichers.len() + usize::from(hashes.is_some());
        let flight = Arc::new(Flight { slab: Arc::new(slab), generation, waiting: AtomicUsize::new(stages) });
        if stages == 0 {
            return flight.fan_out(&self.outcomes);
        }
        if let Some(shed) = hashes.and_then(|h| h.offer(flight.clone())) {
            shed.passed(&self.outcomes);
        }
        for enricher in &flight.generation.enrichers {
            if let Some(shed) = enricher.offer(flight.clone()) {
                shed.enriched(&enricher.guest.name, None, &self.outcomes);
            }
        }
    }
}

impl Flight {
    /// A slab that is on its way to nobody.
    #[cfg(test)]
    pub fn of(slab: Slab) -> Flight {
        Flight { slab: Arc::new(slab), generation: Arc::new(Generation::empty()), waiting: AtomicUsize::new(0) }
    }

    /// An enricher is done with this slab, or had to give it up.
    pub fn enriched(self: &Arc<Flight>, name: &str, columns: Option<Enriched>, outcomes: &Sender<Outcome>) {
        if let Some(slot) = self.generation.enrichers.iter().position(|l| l.guest.name == name) {
            // Filled once: each enricher answers once for each slab.
            let _ = self.slab.enriched[slot].set(columns);
        }
        self.passed(outcomes);
    }

    /// A stage before the detectors is done; the last one sends the slab on.
    /// Slabs keep their order: each stage takes them in order, so the last to finish one finishes before the next.
    pub fn passed(self: &Arc<Flight>, outcomes: &Sender<Outcome>) {
        if self.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.fan_out(outcomes);
        }
    }

    fn fan_out(self: &Arc<Flight>, outcomes: &Sender<Outcome>) {
        let nothing = |flight: Arc<Flight>, lane: &str| {
            // The sequencer ends last, so somebody listens.
            let _ = outcomes.send(Outcome::Slab(Answer { flight, lane: lane.to_owned(), handled: None }));
        };
        if self.generation.detectors.is_empty() {
            return nothing(self.clone(), "");
        }
        for detector in &self.generation.detectors {
            if let Some(shed) = detector.offer(self.clone()) {
                nothing(shed, &detector.guest.name);
            }
        }
    }

    /// The detector lane of this name in the slab's generation.
    pub fn detector(&self, name: &str) -> Option<&Arc<Lane>> {
        self.generation.detectors.iter().find(|l| l.guest.name == name)
    }
}

/// What every detector said about a slab, by lane, in the order of the generation.
pub type Said = Vec<(String, Handled)>;

/// Restores slab order and hands each slab on once, with what every detector found, in the order of the generation.
pub struct Sequencer {
    next: u64,
    open: BTreeMap<u64, Vec<Answer>>,
}

impl Sequencer {
    /// Runs until every lane and the builder are gone.
    pub fn run(
        outcomes: &Receiver<Outcome>,
        gate: &Gate,
        mut correlation: Correlation,
        mut done: impl FnMut(Finished),
    ) {
        let mut sequencer = Sequencer { next: 0, open: BTreeMap::new() };
        for outcome in outcomes {
            match outcome {
                Outcome::Slab(answer) => sequencer.open.entry(answer.flight.slab.number).or_default().push(answer),
                Outcome::Detections(answer) => correlation.answered(answer).into_iter().for_each(&mut done),
            }
            while !correlation.waits()
                && let Some((flight, said)) = sequencer.complete()
            {
                done(correlation.slab(flight, said));
                gate.leave();
            }
        }
    }

    fn complete(&mut self) -> Option<(Arc<Flight>, Said)> {
        let answers = self.open.get(&self.next)?;
        let flight = answers.first()?.flight.clone();
        if answers.len() < flight.generation.detectors.len().max(1) {
            return None;
        }
        let mut answers = self.open.remove(&self.next)?;
        self.next += 1;
        let place = |lane: &str| flight.generation.detectors.iter().position(|l| l.guest.name == lane);
        answers.sort_by_key(|o| place(&o.lane));
        let said = answers.into_iter().filter_map(|o| Some((o.lane, o.handled?))).collect();
        Some((flight, said))
    }
}
