//! Allocates without end on a row whose command line contains `hog-now`.

use picket_guest::{Detector, Diagnostic, Outcome, Plan, Setup, Source, Turn};

struct Hog;

impl Detector for Hog {
    fn init(_setup: Setup) -> Result<(Self, Plan), Vec<Diagnostic>> {
        Ok((Hog, Plan::new().subscribe(Source::category("process_creation"), &["CommandLine"])))
    }

    fn on_events(&mut self, turn: &Turn) -> Outcome {
        let mut held = Vec::new();
        for (batch, row) in turn.rows() {
            let line = turn.batches[batch as usize].columns[0].text(row).unwrap_or_default();
            while line.windows(7).any(|w| w == b"hog-now") {
                held.push(std::hint::black_box(vec![1_u8; 1 << 20]));
            }
        }
        Outcome::default()
    }
}

picket_guest::export_detector!(Hog);
