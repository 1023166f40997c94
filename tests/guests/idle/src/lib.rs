//! Subscribes to what the Sigma rules on processes read and looks at nothing: the floor of what handing rows to a guest costs.

use picket_guest::{Detector, Diagnostic, Outcome, Plan, Setup, Source, Turn};

struct Idle;

const FIELDS: &[&str] = &[
    "Image",
    "ExecutedImage",
    "CommandLine",
    "ParentImage",
    "ParentExecutedImage",
    "ParentCommandLine",
    "User",
    "LogonId",
    "CurrentDirectory",
];

impl Detector for Idle {
    fn init(_setup: Setup) -> Result<(Self, Plan), Vec<Diagnostic>> {
        Ok((Idle, Plan::new().subscribe(Source::category("process_creation"), FIELDS)))
    }

    fn on_events(&mut self, _turn: &Turn) -> Outcome {
        Outcome::default()
    }
}

picket_guest::export_detector!(Idle);
