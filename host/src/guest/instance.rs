//! One instance at work: slabs in, detections or columns out, and what happens when it traps.

use std::sync::Arc;

use super::bindings::types;
use super::breaker::{Breaker, Cost};
use super::context::Turn;
use super::enriched::Enriched;
use super::live::{Failed, Live, Reply};
use super::load::Guest;
use super::outcome::{MAX_MESSAGES, accept};
use super::project::Projector;
use crate::detection::Detection;
use crate::kind::Shape;
use crate::slab::Slab;

/// What a detector made of one slab. `offered` = handled + set aside.
#[derive(Debug, Default, PartialEq)]
pub struct Handled {
    pub detections: Vec<Detection>,
    /// Rows that any subscription selected, each once.
    pub offered: u32,
    /// Rows that the guest trapped on, or that came while it rested; with the reason.
    pub set_aside: Vec<(u32, Arc<str>)>,
    /// Why the guest trapped, if it did: the first time in this slab.
    pub trapped: Option<String>,
    /// Detections that cannot be: unknown analytics, rows the guest never saw, more than the limit.
    pub refused: u32,
    /// Rows that the guest itself reports it could not handle.
    pub failures: u32,
    /// The first of both, with the row where it is known.
    pub messages: Vec<(Option<u32>, String)>,
    /// Held by the detections, about: one slab has one bound, however many calls it took.
    pub(super) bytes: usize,
}

/// What an enricher made of one slab.
#[derive(Debug, Default, PartialEq)]
pub struct EnrichHandled {
    /// For the slab, which holds `None` until an enricher has answered. After a trap it is still there: rows set aside are unavailable
    /// in it, rows that were never asked about absent.
    pub columns: Option<Enriched>,
    pub offered: u32,
    pub set_aside: Vec<(u32, Arc<str>)>,
    pub trapped: Option<String>,
    /// Answers of the wrong size or shape.
    pub refused: u32,
    pub messages: Vec<(Option<u32>, String)>,
}

/// One instance of a guest, for one thread.
pub struct Instance {
    guest: Arc<Guest>,
    /// `None`: trapped, and no spare could be had yet.
    live: Option<Live>,
    projector: Projector,
    breaker: Breaker,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("guest", &self.guest.name).finish_non_exhaustive()
    }
}

/// What one slab cost.
#[derive(Default)]
struct Tally {
    offered: u32,
    set_aside: Vec<(u32, Arc<str>)>,
    trapped: Option<String>,
}

/// Takes the answer to one turn, with the slab rows of each batch.
type Take<'t> = &'t mut dyn FnMut(&[Vec<u32>], Reply);

impl Instance {
    pub(super) fn new(guest: Arc<Guest>, live: Live) -> Instance {
        let projector = Projector::new(guest.streams().to_vec());
        Instance { guest, live: Some(live), projector, breaker: Breaker::new() }
    }

    pub fn guest(&self) -> &Arc<Guest> {
        &self.guest
    }

    /// What [`Instance::on_events`] does before its call, and nothing else: how many rows became columns. For measuring.
    pub fn project(&mut self, slab: &Arc<Slab>) -> u32 {
        let rows = self.projector.select(slab);
        if rows > 0 {
            let (turn, _) = self.projector.turn(slab, None);
            self.projector.recycle(turn);
        }
        rows
    }

    /// Linear memory in use, bytes; 0 after a trap.
    pub fn memory_bytes(&self) -> usize {
        self.live.as_ref().map_or(0, |live| live.store.data().memory.used())
    }

    /// Shows a detector the rows of a slab that it subscribed to, in one call; none if no row is selected.
    pub fn on_events(&mut self, slab: &Arc<Slab>) -> Handled {
        let mut handled = Handled::default();
        let guest = self.guest.clone();
        let tally = self.dispatch(slab, &mut |rows, reply| take_outcome(&guest, rows, reply, &mut handled));
        Handled { offered: tally.offered, set_aside: tally.set_aside, trapped: tally.trapped, ..handled }
    }

    /// The first try only: a trap is an error, nothing of the slab counts, and the slab can be given to another instance.
    pub fn on_events_probation(&mut self, slab: &Arc<Slab>) -> Result<Handled, String> {
        let mut handled = Handled { offered: self.projector.select(slab), ..Handled::default() };
        if handled.offered > 0 {
            self.revive()?;
            let (rows, reply) = self.call(slab, None).map_err(|failed| failed.reason)?;
            self.breaker.handled(u64::from(handled.offered));
            take_outcome(&self.guest.clone(), &rows, reply, &mut handled);
        }
        Ok(handled)
    }

    /// Asks an enricher for the columns of a slab.
    pub fn enrich(&mut self, slab: &Arc<Slab>) -> EnrichHandled {
        let shapes: Vec<Shape> = self.guest.plan.outputs.iter().map(|o| o.shape).collect();
        let limit = self.guest.limits().output_bytes;
        let mut columns = Enriched::new(shapes.len());
        let mut refused = 0;
        let mut messages = Vec::new();
        let tally = self.dispatch(slab, &mut |rows, reply| {
            let Reply::Columns(reply) = reply else { return };
            if let Err(reason) = columns.take(rows, &shapes, &reply, limit) {
                refused += 1;
                if messages.len() < MAX_MESSAGES {
                    messages.push((None, format!("refused the columns: {reason}")));
                }
                rows.iter().flatten().for_each(|row| columns.unavailable(*row));
            }
        });
        tally.set_aside.iter().for_each(|(row, _)| columns.unavailable(*row));
        EnrichHandled {
            columns: Some(columns),
            offered: tally.offered,
            set_aside: tally.set_aside,
            trapped: tally.trapped,
            refused,
            messages,
        }
    }

    /// One slab, with recovery.
    fn dispatch(&mut self, slab: &Arc<Slab>, take: Take<'_>) -> Tally {
        let mut tally = Tally { offered: self.projector.select(slab), ..Tally::default() };
        if tally.offered == 0 {
            return tally;
        }
        let now = slab.rows.last().map_or(0, |r| r.time).max(slab.watermark);
        if self.breaker.rests(now, u64::from(tally.offered)) {
            tally.rest(self.projector.distinct(), "the guest rests after repeated traps");
            return tally;
        }
        if let Err(reason) = self.revive() {
            self.breaker.trapped(now, Cost::Deadline);
            tally.rest(self.projector.distinct(), &reason);
            tally.trapped = Some(reason);
            return tally;
        }
        match self.call(slab, None) {
            Ok((rows, reply)) => {
                take(&rows, reply);
                self.breaker.handled(u64::from(tally.offered));
            }
            Err(failed) => {
                let goes_on = self.breaker.trapped(now, failed.cost());
                tally.trapped = Some(failed.reason);
                self.row_by_row(slab, now, goes_on, &mut tally, take);
            }
        }
        tally
    }

    /// The slab once more, one row per call: only rows that trap again are set aside.
    fn row_by_row(&mut self, slab: &Arc<Slab>, now: u64, mut goes_on: bool, tally: &mut Tally, take: Take<'_>) {
        let rows = self.projector.distinct();
        for (i, &row) in rows.iter().enumerate() {
            if !goes_on {
                tally.rest(rows[i..].to_vec(), "the guest rests after repeated traps");
                return;
            }
            if let Err(reason) = self.revive() {
                self.breaker.trapped(now, Cost::Deadline);
                tally.rest(rows[i..].to_vec(), &reason);
                return;
            }
            match self.call(slab, Some(row)) {
                Ok((rows, reply)) => {
                    take(&rows, reply);
                    self.breaker.handled(1);
                }
                Err(failed) => {
                    goes_on = self.breaker.trapped(now, failed.cost());
                    tally.set_aside.push((row, failed.reason.into()));
                }
            }
        }
    }

    /// One call; a trap leaves no instance.
    fn call(&mut self, slab: &Arc<Slab>, only: Option<u32>) -> Result<(Vec<Vec<u32>>, Reply), Failed> {
        let Some(live) = &mut self.live else {
            return Err(Failed { reason: "no instance is left".to_owned(), deadline: false });
        };
        let (turn, rows) = self.projector.turn(slab, only);
        let reply = live.turn(&turn, Turn { slab: slab.clone(), rows: rows.clone(), detected: None });
        self.projector.recycle(turn);
        match reply {
            Ok(reply) => Ok((rows, reply)),
            Err(failed) => {
                self.live = None;
                self.guest.note_trap();
                let (guest, call) = (self.guest.name.as_str(), self.guest.world.call());
                tracing::warn!(guest, call, rows = turn_rows(&rows), "guest trapped: {}", failed.reason);
                Err(failed)
            }
        }
    }

    /// Takes the spare if the last call trapped.
    fn revive(&mut self) -> Result<(), String> {
        if self.live.is_none() {
            self.live = Some(self.guest.take_spare().map_err(|e| e.to_string())?);
        }
        Ok(())
    }
}

impl Tally {
    fn rest(&mut self, rows: Vec<u32>, reason: &str) {
        let reason: Arc<str> = reason.into();
        self.set_aside.extend(rows.into_iter().map(|row| (row, reason.clone())));
    }
}

fn turn_rows(rows: &[Vec<u32>]) -> usize {
    rows.iter().map(Vec::len).sum()
}

fn take_outcome(guest: &Guest, rows: &[Vec<u32>], reply: Reply, handled: &mut Handled) {
    let outcome = match reply {
        Reply::Outcome(outcome) => outcome,
        // The lead never gives an enricher to a detector's queue; what it answered is not a detection.
        Reply::Columns(_) => types::Outcome { detections: Vec::new(), failures: Vec::new() },
    };
    accept(&guest.plan.analytics, guest.limits(), rows, outcome, handled);
}
