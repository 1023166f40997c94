//! A loaded set at work on given events: replay, test, validate and explain. The same loader, intake and pipeline as live;
//! the only differences are that a full queue waits instead of shedding, and that guests get a fixed seed.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use arc_swap::ArcSwap;

use crate::config::{Config, FileEvent};
use crate::correlate::{Correlation, Finished};
use crate::generation::Generation;
use crate::guest::{GuestError, Runtime, RuntimeOptions};
use crate::intake::Intake;
use crate::kind::{DecodeError, Decoder, KindId};
use crate::lane::Exits;
use crate::ledger::Ledger;
use crate::pipeline::{Bounds, Builder, Outcome, Sequencer};
use crate::queue::{Gate, WhenFull};
use crate::recorder::{Block, Recording};
use crate::reload::{Inputs, Loader, Mode, Refused};
use crate::sensor::Input;
use crate::slab::Origin;

/// The seed of every run over given events: equal inputs, equal outputs.
const SEED: (u64, u64) = (0x7069_636b_6574, 1);

/// Why a set could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    #[error("cannot set up the guests' runtime")]
    Runtime(#[source] GuestError),
    #[error("the set was refused")]
    Refused(#[source] Refused),
}

/// A loaded set, ready for events.
pub struct Offline {
    pub generation: Arc<Generation>,
    pub ledger: Arc<Ledger>,
    bounds: Bounds,
    queue: usize,
    every_open: bool,
    exits: Exits,
    inbox: Receiver<Outcome>,
}

/// Feeds events into a run.
pub struct Feeder {
    intake: Intake,
    builder: Builder,
    ledger: Arc<Ledger>,
}

impl Feeder {
    /// Adds one event and tells its place in host order; a bad one is counted, and said by the error.
    pub fn add(&mut self, input: &Input<'_>) -> Result<u64, DecodeError> {
        let place = self.intake.decoder.next_place();
        self.intake.take(input, &mut self.builder, &self.ledger, |_| true).map(|()| place)
    }

    /// Adds a row of a recording.
    pub fn recorded(&mut self, block: &mut Block, row: usize) {
        self.intake.recorded(block, row, &mut self.builder, &self.ledger);
    }

    /// Adds what a recording has of the kinds that the set asks for; `progress` is told how many of its bytes are behind. Returns
    /// how many events that were.
    pub fn recording(&mut self, recording: &mut Recording, progress: &mut dyn FnMut(u64)) -> u64 {
        let mut events = 0;
        while let Some(mut block) = recording.next(&|kind| self.wants(kind)) {
            for row in 0..block.rows() {
                if recording.covers(block.time(row)) {
                    self.recorded(&mut block, row);
                    events += 1;
                }
            }
            progress(recording.done);
        }
        events
    }

    /// Whether the set asks for rows of this kind.
    pub fn wants(&self, kind: KindId) -> bool {
        self.builder.wants(kind)
    }

    /// The next event is in another slab, whose number is returned.
    pub fn close(&mut self) -> u64 {
        self.builder.close();
        self.builder.number()
    }

    /// What was added so far belongs together and is complete: guests on `@detection` see the end of it, and forget it. Returns the
    /// number of the slab that the next event is in.
    pub fn end(&mut self) -> u64 {
        self.builder.end();
        self.builder.number()
    }
}

impl Offline {
    /// Loads a set. Rules and guests that are bad are named in the generation's `stale` and `diagnostics`.
    pub fn load(inputs: &Inputs, any_json: bool, cache_dir: Option<PathBuf>) -> Result<Offline, OfflineError> {
        let runtime = Runtime::new(&RuntimeOptions { cache_dir }).map_err(OfflineError::Runtime)?;
        let ledger = Arc::new(Ledger::default());
        // Nothing is replaced in such a run, so nothing is ever rolled back.
        let (exits, (inbox, _)) = Exits::new();
        let mode = Mode { when_full: WhenFull::Wait, seed: SEED, any_json };
        let mut loader = Loader::new(Arc::new(runtime), ledger.clone(), exits.clone(), mode);
        let generation = loader.build(inputs, &Generation::empty(), true).map_err(OfflineError::Refused)?;
        let config: &Config = &inputs.config;
        Ok(Offline {
            generation: Arc::new(generation),
            ledger,
            bounds: Bounds::of(config),
            queue: config.dispatch.queue as usize,
            every_open: config.file_event == FileEvent::EveryOpen,
            exits,
            inbox,
        })
    }

    /// Runs `feed` on this thread and hands what was found in every slab, in order, to `done` on another, and after each slab what was
    /// made of it on `@detection`; returns when all is done.
    pub fn run<T>(self, feed: impl FnOnce(&mut Feeder) -> T, done: impl FnMut(Finished) + Send) -> (T, Arc<Ledger>) {
        let Offline { generation, ledger, bounds, queue, every_open, exits, inbox } = self;
        let gate = Arc::new(Gate::new(2 * queue + 64, WhenFull::Wait));
        let audit = generation.audit();
        let live = Arc::new(ArcSwap::new(generation));
        let result = std::thread::scope(|scope| {
            let leave = gate.clone();
            let correlation = Correlation::new(ledger.clone(), WhenFull::Wait, exits.book.clone());
            let sequencer = scope.spawn(move || Sequencer::run(&inbox, &leave, correlation, done));
            let mut builder = Builder::new(live, ledger.clone(), exits.outcomes.clone(), gate, bounds);
            builder.slab.every_open = every_open;
            drop(exits);
            let decoder = Decoder::new(Arc::new(Origin::default()));
            let mut intake = Intake::new(decoder, None);
            intake.audit = audit;
            let mut feeder = Feeder { intake, builder, ledger: ledger.clone() };
            let result = feed(&mut feeder);
            feeder.builder.end();
            // Dropping the generation closes the lanes; the last of them ends the sequencer.
            drop(feeder);
            if let Err(panic) = sequencer.join() {
                std::panic::resume_unwind(panic);
            }
            result
        });
        (result, ledger)
    }
}
