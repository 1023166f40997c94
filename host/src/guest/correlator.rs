//! The one instance of a guest on `@detection`: what others found, in host order, and nothing else.

use std::sync::Arc;

use super::bindings::types;
use super::breaker::Breaker;
use super::context::Turn;
use super::instance::Handled;
use super::interner::Interner;
use super::live::{Failed, Live, Reply};
use super::load::Guest;
use super::memory::{Kept, Memory, Place};
use super::outcome::accept;
use super::plan::{DetectionField, DetectionStream};
use super::project::{CellSource, empty_column, fill};
use crate::detection::Detected;
use crate::kind::Shape;
use crate::ledger::GuestAccount;
use crate::slab::Value;

/// One instance on `@detection`, for one thread.
pub struct Correlator {
    guest: Arc<Guest>,
    /// `None`: trapped, and no spare could be had yet.
    live: Option<Live>,
    buffers: Vec<(Option<types::Batch>, Vec<u8>)>,
    interner: Interner,
    breaker: Breaker,
    /// What the last call said of event time.
    watermark: u64,
    memory: Option<Memory>,
    account: Arc<GuestAccount>,
}

impl Correlator {
    pub(super) fn new(guest: Arc<Guest>, live: Live, memory: Option<Memory>) -> Correlator {
        let buffers = guest.plan.detections.iter().map(|s| (None, vec![0; s.fields.len()])).collect();
        Correlator {
            guest,
            live: Some(live),
            buffers,
            interner: Interner::new(),
            breaker: Breaker::new(),
            watermark: 0,
            memory,
            account: Arc::default(),
        }
    }

    /// Keeps what it remembers at a place, and in an account.
    pub fn keep(&mut self, place: Option<Place>, account: Arc<GuestAccount>) {
        self.account = account.clone();
        if let Some(memory) = &mut self.memory {
            memory.keep(place, account);
        }
    }

    /// Takes over from the version before, or from the run before.
    pub fn begin(&mut self, kept: Option<Kept>) {
        let (Some(memory), Some(live)) = (&mut self.memory, &mut self.live) else { return };
        let begun = match kept {
            Some(kept) => memory.take_over(live, kept),
            None => memory.load(live),
        };
        if let Err(failed) = begun {
            tracing::warn!(guest = %self.guest.name, "its memory was not restored: {}", failed.reason);
            self.account.memory.lost.add(1);
            self.live = None;
        }
    }

    /// Everything it remembers, for the next version; this one has had its last call.
    pub fn hand_over(&mut self) -> Option<Kept> {
        // It may have trapped.
        self.revive().ok()?;
        let (memory, live) = (self.memory.as_mut()?, self.live.as_mut()?);
        match memory.hand_over(live) {
            Ok(kept) => Some(kept),
            Err(failed) => {
                tracing::warn!(guest = %self.guest.name, "its memory was not taken: {}", failed.reason);
                self.live = None;
                None
            }
        }
    }

    /// Whether parts of its memory are to be taken.
    pub fn is_due(&self) -> bool {
        self.memory.as_ref().is_some_and(Memory::is_due)
    }

    /// Between two calls: takes the parts that are due.
    pub fn pause(&mut self) {
        self.take(Memory::pause);
    }

    /// It has had its last call.
    pub fn end(&mut self) {
        self.take(Memory::end);
    }

    fn take(&mut self, take: fn(&mut Memory, &mut Live) -> Result<(), Failed>) {
        // A guest that has just trapped is where it was only after the next call; the parts of before are still there.
        let (Some(memory), Some(live)) = (&mut self.memory, &mut self.live) else { return };
        if let Err(failed) = take(memory, live) {
            tracing::warn!(guest = %self.guest.name, "its memory was not taken: {}", failed.reason);
            self.live = None;
        }
    }

    /// Forgets everything: the next call is the first of a fresh instance.
    pub fn start_over(&mut self) {
        self.live = None;
        self.watermark = 0;
        if let Some(memory) = &mut self.memory {
            memory.clear();
        }
    }

    /// Linear memory in use, bytes; 0 after a trap.
    pub fn memory_bytes(&self) -> usize {
        self.live.as_ref().map_or(0, |live| live.store.data().memory.used())
    }

    /// Shows the rows, and how far event time has come. In `Handled`, rows are positions in `detected`.
    pub fn on_detections(&mut self, detected: &Arc<Detected>) -> Handled {
        let all: Vec<u32> = (0..detected.rows.len() as u32).collect();
        let mut handled = Handled { offered: all.len() as u32, ..Handled::default() };
        let now = detected.rows.last().map_or(0, |r| r.time).max(detected.slab.watermark);
        if self.breaker.rests(now, all.len() as u64) {
            set_aside(&mut handled, &all, "the guest rests after repeated traps");
            return handled;
        }
        match self.call(detected, &all, detected.watermark, &mut handled) {
            Ok(()) => self.breaker.handled(all.len() as u64),
            Err(failed) => {
                let goes_on = self.breaker.trapped(now, failed.cost());
                handled.trapped = Some(failed.reason);
                self.row_by_row(detected, now, goes_on, &mut handled);
            }
        }
        handled
    }

    /// The rows once more, one per call: only those that trap again are set aside. Event time moves on after the last.
    fn row_by_row(&mut self, detected: &Arc<Detected>, now: u64, mut goes_on: bool, handled: &mut Handled) {
        let all: Vec<u32> = (0..detected.rows.len() as u32).collect();
        for (i, row) in all.iter().enumerate() {
            if !goes_on {
                return set_aside(handled, &all[i..], "the guest rests after repeated traps");
            }
            match self.call(detected, &[*row], self.watermark, handled) {
                Ok(()) => self.breaker.handled(1),
                Err(failed) => {
                    goes_on = self.breaker.trapped(now, failed.cost());
                    set_aside(handled, &[*row], &failed.reason);
                }
            }
        }
        if goes_on && let Err(failed) = self.call(detected, &[], detected.watermark, handled) {
            self.breaker.trapped(now, failed.cost());
        }
    }

    /// One call; a trap leaves no instance.
    fn call(
        &mut self,
        detected: &Arc<Detected>,
        rows: &[u32],
        watermark: u64,
        handled: &mut Handled,
    ) -> Result<(), Failed> {
        self.revive()?;
        let Some(live) = &mut self.live else {
            return Err(Failed { reason: "no instance is left".to_owned(), deadline: false });
        };
        let plan = &self.guest.plan;
        let mut turn = types::Turn { batches: Vec::new(), watermark };
        if !rows.is_empty() {
            for (stream, (buffer, plain)) in plan.detections.iter().zip(&mut self.buffers) {
                turn.batches.push(batch(stream, detected, rows, buffer.take(), &mut self.interner, plain));
            }
        }
        let taken = vec![rows.to_vec(); turn.batches.len()];
        let reach = Turn { slab: detected.slab.clone(), rows: taken.clone(), detected: Some(detected.clone()) };
        let reply = live.turn(&turn, reach);
        match &mut self.memory {
            Some(memory) if reply.is_ok() => {
                memory.note(turn, rows.last().map(|r| detected.rows[*r as usize].seq + 1));
            }
            _ => turn.batches.into_iter().zip(&mut self.buffers).for_each(|(b, (buffer, _))| *buffer = Some(b)),
        }
        match reply {
            Ok(Reply::Outcome(outcome)) => {
                self.watermark = watermark;
                accept(&plan.analytics, self.guest.limits(), &taken, outcome, handled);
                Ok(())
            }
            // Only detectors are on @detection.
            Ok(Reply::Columns(_)) => Ok(()),
            Err(failed) => {
                self.live = None;
                self.guest.note_trap();
                let guest = self.guest.name.as_str();
                tracing::warn!(guest, rows = rows.len(), "guest trapped on @detection: {}", failed.reason);
                Err(failed)
            }
        }
    }

    /// Takes the spare if the last call trapped, and brings it to where that one was.
    fn revive(&mut self) -> Result<(), Failed> {
        if self.live.is_some() {
            return Ok(());
        }
        let spare = || self.guest.take_spare().map_err(|e| Failed { reason: e.to_string(), deadline: true });
        let mut live = spare()?;
        match &mut self.memory {
            None if self.watermark > 0 => self.account.memory.lost.add(1),
            None => {}
            Some(memory) => {
                if let Err(failed) = memory.recover(&mut live) {
                    tracing::warn!(guest = %self.guest.name, "its memory is lost: {}", failed.reason);
                    self.account.memory.lost.add(1);
                    memory.clear();
                    live = spare()?;
                }
            }
        }
        self.live = Some(live);
        Ok(())
    }
}

fn set_aside(handled: &mut Handled, rows: &[u32], reason: &str) {
    let reason: Arc<str> = reason.into();
    handled.set_aside.extend(rows.iter().map(|row| (*row, reason.clone())));
}

/// These rows as the guest has subscribed to them.
fn batch(
    stream: &DetectionStream,
    detected: &Detected,
    rows: &[u32],
    buffer: Option<types::Batch>,
    interner: &mut Interner,
    plain: &mut [u8],
) -> types::Batch {
    let mut batch = buffer.unwrap_or_else(|| types::Batch {
        subscription: stream.number,
        rows: 0,
        seqs: Vec::new(),
        times: Vec::new(),
        columns: stream.fields.iter().map(|_| empty_column()).collect(),
    });
    let of = |row: &u32| &detected.rows[*row as usize];
    batch.rows = rows.len() as u32;
    batch.seqs.clear();
    batch.seqs.extend(rows.iter().map(|r| of(r).seq));
    batch.times.clear();
    batch.times.extend(rows.iter().map(|r| of(r).time));
    for ((column, field), plain) in batch.columns.iter_mut().zip(&stream.fields).zip(plain) {
        let shape = match field {
            DetectionField::Event(bound) => bound.shape,
            _ => Shape::Text,
        };
        fill(&FoundCells { detected, rows, field }, shape, column, interner, plain);
    }
    batch
}

/// A field of rows of `@detection`.
struct FoundCells<'s> {
    detected: &'s Detected,
    rows: &'s [u32],
    field: &'s DetectionField,
}

impl<'s> CellSource<'s> for FoundCells<'s> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn value(&self, row: usize) -> Value<'s> {
        let found = &self.detected.rows[self.rows[row] as usize];
        match self.field {
            DetectionField::Rule => Value::Text(found.analytic.id.as_bytes()),
            DetectionField::Guest => Value::Text(found.guest.name.as_bytes()),
            DetectionField::Level => Value::Text(found.level.name().as_bytes()),
            DetectionField::Uid => Value::Text(found.id.as_bytes()),
            DetectionField::Event(bound) => {
                found.row.map_or(Value::Absent, |r| self.detected.slab.value(r as usize, &bound.access))
            }
        }
    }

    fn key(&self, row: usize) -> Option<u64> {
        let found = &self.detected.rows[self.rows[row] as usize];
        match (self.field, found.row) {
            (DetectionField::Event(bound), Some(r)) => self.detected.slab.dictionary_key(r as usize, &bound.access),
            _ => None,
        }
    }
}
