//! Allocates without end on a row whose command line contains `hog-now`; calls itself without end on `deep-now`.

use picket_guest::{Detector, Diagnostic, Outcome, Plan, Setup, Source, Turn};

struct Hog;

#[expect(unconditional_recursion, reason = "the point of this guest")]
fn deep(n: u64) -> u64 {
    std::hint::black_box(deep(n + 1)) + n
}

impl Detector for Hog {
    fn init(_setup: Setup) -> Result<(Self, Plan), Vec<Diagnostic>> {
        Ok((Hog, Plan::new().subscribe(Source::category("process_creation"), &["CommandLine"])))
    }

    fn on_events(&mut self, turn: &Turn) -> Outcome {
        let mut held = Vec::new();
        for (batch, row) in turn.rows() {
            let line = turn.batches[batch as usize].columns[0].text(row).unwrap_or_default();
            if line.windows(8).any(|w| w == b"deep-now") {
                std::hint::black_box(deep(0));
            }
            while line.windows(7).any(|w| w == b"hog-now") {
                held.push(std::hint::black_box(vec![1_u8; 1 << 20]));
            }
        }
        Outcome::default()
    }
}

picket_guest::export_detector!(Hog);
