//! Reports unknown analytics, rows that it never saw, giant strings; and, last of each turn, one honest detection.

use picket_guest::{
    Analytic, Detection, Detector, Diagnostic, Failure, Level, Outcome, Plan, RowRef, Setup, Source, Turn,
};

struct Liar;

impl Detector for Liar {
    fn init(_setup: Setup) -> Result<(Self, Plan), Vec<Diagnostic>> {
        let plan = Plan::new()
            .subscribe(Source::category("process_creation"), &["CommandLine"])
            .analytic(Analytic::new("honest", "an honest detection", Level::Low));
        Ok((Liar, plan))
    }

    fn on_events(&mut self, turn: &Turn) -> Outcome {
        let first = RowRef { batch: 0, row: 0 };
        let rows = turn.batches[0].rows;
        let giant = "g".repeat(1 << 20);
        let mut outcome = Outcome::default();
        outcome.detections.push(Detection::at(1, first));
        outcome.detections.push(Detection::at(u32::MAX, first));
        outcome.detections.push(Detection::at(0, RowRef { batch: 0, row: rows }));
        outcome.detections.push(Detection::at(0, RowRef { batch: 1, row: 0 }));
        outcome.detections.push(Detection::at(0, RowRef { batch: u32::MAX, row: u32::MAX }));
        let mut long = Detection::at(0, first).because(&giant, &giant, giant.as_bytes());
        long.key.clone_from(&giant);
        long.fields = vec![(giant.clone(), giant); 3];
        outcome.detections.push(long);
        outcome.failures.push(Failure { row: RowRef { batch: 9, row: 9 }, message: "no such row".to_owned() });
        outcome.detections.push(Detection::at(0, RowRef { batch: 0, row: rows - 1 }));
        outcome
    }
}

picket_guest::export_detector!(Liar);
