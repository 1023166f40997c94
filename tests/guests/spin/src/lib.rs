//! Loops without end: in `on-events` on a row whose command line contains `spin-now`, or in `init` or `bind` when the config says so.

use picket_guest::{Binding, Detector, Diagnostic, Outcome, Plan, Setup, Source, Turn};

struct Spin {
    in_bind: bool,
}

fn spin() -> ! {
    loop {
        std::hint::black_box(());
    }
}

impl Detector for Spin {
    fn init(setup: Setup) -> Result<(Self, Plan), Vec<Diagnostic>> {
        if setup.config.contains("init") {
            spin();
        }
        let plan = Plan::new().subscribe(Source::category("process_creation"), &["CommandLine"]);
        Ok((Spin { in_bind: setup.config.contains("bind") }, plan))
    }

    fn bind(&mut self, _bindings: &[Binding]) -> Vec<Diagnostic> {
        if self.in_bind {
            spin();
        }
        Vec::new()
    }

    fn on_events(&mut self, turn: &Turn) -> Outcome {
        for (batch, row) in turn.rows() {
            let line = turn.batches[batch as usize].columns[0].text(row).unwrap_or_default();
            if line.windows(8).any(|w| w == b"spin-now") {
                spin();
            }
        }
        Outcome::default()
    }
}

picket_guest::export_detector!(Spin);
