//! Finds `needle` in command lines, and traps on a row whose command line contains `poison-row`.

use picket_guest::{Analytic, Detection, Detector, Diagnostic, Level, Outcome, Plan, RowRef, Setup, Source, Turn};

struct Poison;

impl Detector for Poison {
    fn init(_setup: Setup) -> Result<(Self, Plan), Vec<Diagnostic>> {
        let plan = Plan::new()
            .subscribe(Source::category("process_creation"), &["CommandLine"])
            .replicated()
            .analytic(Analytic::new("needle", "needle in a command line", Level::High));
        Ok((Poison, plan))
    }

    fn on_events(&mut self, turn: &Turn) -> Outcome {
        let mut outcome = Outcome::default();
        for (batch, row) in turn.rows() {
            let line = turn.batches[batch as usize].columns[0].text(row).unwrap_or_default();
            assert!(!line.windows(10).any(|w| w == b"poison-row"), "poisoned");
            if line.windows(6).any(|w| w == b"needle") {
                let found = Detection::at(0, RowRef { batch, row }).because("CommandLine", "*needle*", line);
                outcome.detections.push(found);
            }
        }
        outcome
    }
}

picket_guest::export_detector!(Poison);
