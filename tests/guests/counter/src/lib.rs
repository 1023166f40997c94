//! Finds `step NAME` in command lines, for itself only, and on `@detection` counts these by name: `many` is reported at three within ten
//! seconds of event time, `few` when the ten seconds of a name that had two are over.
//!
//! With `deaf` in its config it does not subscribe to `@detection`; with `long`, a window is an hour. What it has counted is a memory in two parts. On `@detection` it traps at a command line with `poison-row`.

use std::collections::BTreeMap;

use picket_guest::{
    Analytic, Detection, Detector, Diagnostic, Level, Memory, Outcome, Plan, Role, RowRef, Setup, Source, Turn,
};

const SECOND: u64 = 1_000_000_000;
const FIELDS: [&str; 5] = ["CommandLine", "@rule", "@guest", "@level", "@uid"];
const STEP: u32 = 0;
const MANY: u32 = 1;
const FEW: u32 = 2;
const PARTS: usize = 2;

#[derive(Default)]
struct Part {
    /// Rows below are in it.
    seen: u64,
    /// By name, the steps of the open window: (seq, time).
    open: BTreeMap<String, Vec<(u64, u64)>>,
    /// How long a window is, in nanoseconds.
    window: u64,
}

impl Part {
    /// Closes the windows that are over.
    fn close(&mut self, now: u64, outcome: &mut Outcome) {
        self.open.retain(|name, steps| {
            let over = steps.first().is_some_and(|(_, t)| t.saturating_add(self.window) < now);
            if over && steps.len() == 2 {
                let none = Detection { row: None, ..Detection::at(FEW, RowRef { batch: 0, row: 0 }) };
                let related = steps.iter().map(|(seq, _)| *seq).collect();
                outcome.detections.push(Detection { key: name.clone(), related, ..none });
            }
            !over
        });
    }
}

#[derive(Default)]
struct Counter {
    /// Number of the subscription to `@detection`.
    detections: Option<u32>,
    parts: [Part; PARTS],
}

impl Detector for Counter {
    fn init(setup: Setup) -> Result<(Self, Plan), Vec<Diagnostic>> {
        let mut counter = Counter::default();
        let window = if setup.config.contains("long") { 3600 } else { 10 };
        counter.parts.iter_mut().for_each(|p| p.window = window * SECOND);
        let mut plan = Plan::new();
        if setup.role != Role::Single {
            plan = plan.subscribe(Source::category("process_creation"), &["CommandLine"]).replicated();
        }
        if setup.role != Role::Replica && !setup.config.contains("deaf") {
            counter.detections = Some(plan.subscriptions.len() as u32);
            plan = plan.subscribe(Source::kind("@detection"), &FIELDS);
        }
        let step = Analytic { deliver: false, ..Analytic::new("step", "a step", Level::Low) };
        let many = Analytic::new("many", "three steps", Level::High);
        let few = Analytic::new("few", "two steps and no more", Level::Medium);
        Ok((counter, plan.analytic(step).analytic(many).analytic(few)))
    }

    fn on_events(&mut self, turn: &Turn) -> Outcome {
        let mut outcome = Outcome::default();
        for (b, row) in turn.rows() {
            let batch = &turn.batches[b as usize];
            let at = RowRef { batch: b, row };
            let line = batch.columns[0].text(row).unwrap_or_default();
            let line = String::from_utf8_lossy(line).into_owned();
            if Some(batch.subscription) != self.detections {
                if line.contains("step ") {
                    outcome.detections.push(Detection::at(STEP, at));
                }
                continue;
            }
            assert!(!line.contains("poison-row"), "poisoned");
            let column =
                |i: usize| String::from_utf8_lossy(batch.columns[i].text(row).unwrap_or_default()).into_owned();
            if column(1) != "step" {
                continue;
            }
            let (seq, time) = (batch.seqs[row as usize], batch.times[row as usize]);
            let name = line.split_once("step ").map_or("", |(_, name)| name).to_owned();
            let part = &mut self.parts[part_of(&name)];
            if seq < part.seen {
                continue;
            }
            part.seen = seq + 1;
            // Whether the watermark or this row comes first is chance.
            part.close(time, &mut outcome);
            let steps = part.open.entry(name.clone()).or_default();
            steps.push((seq, time));
            if steps.len() == 3 {
                let fields = (0..FIELDS.len()).map(|i| (FIELDS[i].to_owned(), column(i))).collect();
                let related = steps.iter().map(|(seq, _)| *seq).collect();
                outcome.detections.push(Detection { key: name.clone(), fields, related, ..Detection::at(MANY, at) });
                part.open.remove(&name);
            }
        }
        for part in &mut self.parts {
            part.close(turn.watermark, &mut outcome);
        }
        outcome
    }
}

impl Memory for Counter {
    fn parts(&mut self) -> u32 {
        PARTS as u32
    }

    fn snapshot(&mut self, part: u32) -> Vec<u8> {
        let part = &self.parts[part as usize];
        let mut out = format!("{}\n", part.seen);
        for (name, steps) in &part.open {
            for (seq, time) in steps {
                out.push_str(&format!("{seq} {time} {name}\n"));
            }
        }
        out.into_bytes()
    }

    fn restore(&mut self, parts: &[Vec<u8>]) -> Result<(), String> {
        if parts.len() != PARTS {
            return Err(format!("{} parts, not {PARTS}", parts.len()));
        }
        for (part, bytes) in self.parts.iter_mut().zip(parts) {
            let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
            let mut lines = text.lines();
            let seen = lines.next().and_then(|l| l.parse().ok()).ok_or("no number")?;
            *part = Part { seen, open: BTreeMap::new(), window: part.window };
            for line in lines {
                let mut words = line.splitn(3, ' ');
                let mut number = || words.next().and_then(|w| w.parse().ok()).ok_or("no step");
                let step = (number()?, number()?);
                part.open.entry(words.next().unwrap_or_default().to_owned()).or_default().push(step);
            }
        }
        Ok(())
    }
}

fn part_of(name: &str) -> usize {
    usize::from(name.bytes().next().unwrap_or_default()) % PARTS
}

picket_guest::export_remembering_detector!(Counter);
