//! Traps on every batch.

use picket_guest::{Analytic, Detector, Diagnostic, Level, Outcome, Plan, Setup, Source, Turn};

struct Trap;

impl Detector for Trap {
    fn init(_setup: Setup) -> Result<(Self, Plan), Vec<Diagnostic>> {
        let plan = Plan::new()
            .subscribe(Source::category("process_creation"), &["CommandLine"])
            .analytic(Analytic::new("never", "never reported", Level::Low));
        Ok((Trap, plan))
    }

    fn on_events(&mut self, turn: &Turn) -> Outcome {
        panic!("told to trap on {} batches", turn.batches.len());
    }
}

picket_guest::export_detector!(Trap);
