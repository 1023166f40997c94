//! The other engines on the workload of `cargo xtask bench sigma`. Takes a directory with `rules.ndjson` and `events.ndjson`,
//! the number of passes, and the engines to run; prints one JSON object for each engine and leaves its matches in
//! `matches-ENGINE` (pairs of little-endian 32-bit numbers: event, rule).
//!
//! Every pass looks at its own part of the events; times are CPU time of this thread.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;

use nix::time::{ClockId, clock_gettime};
use rsigma_eval::event::EventValue;
use rsigma_eval::{Engine, Event, JsonEvent};
use serde_json::{Value, json};

/// Thread time that one engine may take for all its passes; a slow one looks at fewer events.
const BUDGET_NS: u64 = 12_000_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, passes, engines @ ..] = &arguments[..] else {
        eprintln!("usage: picket-peers DIRECTORY PASSES ENGINE...");
        std::process::exit(2);
    };
    let directory = Path::new(directory);
    let passes: usize = passes.parse().expect("a number of passes");
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).expect("a file of the workload");
    let texts = read("rules.ndjson");
    let rules: Vec<String> = texts.lines().map(|l| serde_json::from_str(l).expect("a rule as a JSON text")).collect();
    let texts = read("events.ndjson");
    let events: Vec<&str> = texts.lines().collect();
    for engine in engines {
        let found = match engine.as_str() {
            "rsigma-slots" => rsigma(&rules, &events, passes, Form::Slots),
            "rsigma-parsed" => rsigma(&rules, &events, passes, Form::Parsed),
            "rsigma-json" => rsigma(&rules, &events, passes, Form::Json),
            "sigma-rust" => sigma_rust(&rules, &events, passes),
            other => {
                eprintln!("no engine `{other}`");
                std::process::exit(2);
            }
        };
        let bytes: Vec<u8> =
            found.matches.iter().flat_map(|(e, r)| [e.to_le_bytes(), r.to_le_bytes()]).flatten().collect();
        std::fs::write(directory.join(format!("matches-{engine}")), bytes).expect("room for the matches");
        println!(
            "{}",
            json!({
                "engine": engine, "refused": found.refused, "ready_ms": found.ready_ns / 1_000_000, "memory_kib": found.memory_kib,
                "looked_at": found.looked_at, "pass_ns": found.pass_ns,
            })
        );
    }
}

struct Found {
    refused: usize,
    ready_ns: u64,
    /// Resident memory that the rules took.
    memory_kib: u64,
    /// Events of each pass that were looked at.
    looked_at: usize,
    /// Nanoseconds per event.
    pass_ns: Vec<f64>,
    matches: Vec<(u32, u32)>,
}

/// Runs the passes. `one` gets the number of an event and calls back for each rule that matches.
fn measure(
    events: usize,
    passes: usize,
    mut one: impl FnMut(usize, &mut dyn FnMut(u32)),
) -> (usize, Vec<f64>, Vec<(u32, u32)>) {
    let per_pass = events / passes;
    let mut matches = Vec::new();
    let sample = per_pass.min(20);
    let before = cpu_ns();
    for event in 0..sample {
        one(event, &mut |rule| {
            black_box(rule);
        });
    }
    let each = ((cpu_ns() - before) / sample as u64).max(1);
    let looked_at = per_pass.min((BUDGET_NS / passes as u64 / each) as usize).max(sample);
    let mut pass_ns = Vec::new();
    for pass in 0..passes {
        let from = pass * per_pass;
        let before = cpu_ns();
        for event in from..from + looked_at {
            one(event, &mut |rule| matches.push((event as u32, rule)));
        }
        pass_ns.push((cpu_ns() - before) as f64 / looked_at as f64);
    }
    matches.sort_unstable();
    matches.dedup();
    (looked_at, pass_ns, matches)
}

enum Form {
    /// The fields already apart, found by name.
    Slots,
    /// JSON already parsed.
    Parsed,
    /// JSON as text.
    Json,
}

fn rsigma(rules: &[String], events: &[&str], passes: usize, form: Form) -> Found {
    let (memory, before) = (resident_kib(), cpu_ns());
    let mut engine = Engine::new();
    let mut numbers = HashMap::new();
    let mut all = Vec::new();
    let mut refused = 0;
    for (number, text) in (0..).zip(rules) {
        match rsigma_parser::parse_sigma_yaml(text) {
            Ok(parsed) if parsed.rules.len() == 1 => {
                numbers.insert(parsed.rules[0].id.clone().unwrap_or_default(), number);
                all.extend(parsed.rules);
            }
            _ => refused += 1,
        }
    }
    refused += engine.add_rules(&all).len();
    drop(all);
    let ready_ns = cpu_ns() - before;
    let memory_kib = resident_kib().saturating_sub(memory);
    let number = |id: Option<&str>| numbers[id.unwrap_or_default()];
    let (looked_at, pass_ns, matches) = match form {
        Form::Json => measure(events.len(), passes, |i, hit| {
            let value: Value = serde_json::from_str(events[i]).expect("JSON");
            engine.evaluate(&JsonEvent::borrow(&value)).iter().for_each(|m| hit(number(m.header.rule_id.as_deref())));
        }),
        Form::Parsed => {
            let values: Vec<Value> = events.iter().map(|e| serde_json::from_str(e).expect("JSON")).collect();
            measure(values.len(), passes, |i, hit| {
                engine
                    .evaluate(&JsonEvent::borrow(&values[i]))
                    .iter()
                    .for_each(|m| hit(number(m.header.rule_id.as_deref())));
            })
        }
        Form::Slots => {
            let slots: Vec<Slots> = events.iter().map(|e| Slots::new(e)).collect();
            measure(slots.len(), passes, |i, hit| {
                engine.evaluate(&slots[i]).iter().for_each(|m| hit(number(m.header.rule_id.as_deref())));
            })
        }
    };
    Found { refused, ready_ns, memory_kib, looked_at, pass_ns, matches }
}

/// An event as a row of texts: what a sensor has before it makes JSON.
struct Slots([Option<String>; FIELDS.len()]);

/// Those that rules ask for come first.
const FIELDS: [&str; 16] = [
    "Image",
    "CommandLine",
    "ParentImage",
    "ParentCommandLine",
    "CurrentDirectory",
    "User",
    "LogonId",
    "UtcTime",
    "ProcessGuid",
    "ProcessId",
    "LogonGuid",
    "TerminalSessionId",
    "Hashes",
    "ParentProcessGuid",
    "ParentProcessId",
    "ParentUser",
];

impl Slots {
    fn new(event: &str) -> Slots {
        let value: Value = serde_json::from_str(event).expect("JSON");
        Slots(FIELDS.map(|field| {
            value.get(field).map(|v| match v {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            })
        }))
    }
}

impl Event for Slots {
    #[inline]
    fn get_field(&self, path: &str) -> Option<EventValue<'_>> {
        let slot = match path {
            "Image" => 0,
            "CommandLine" => 1,
            "ParentImage" => 2,
            "ParentCommandLine" => 3,
            "CurrentDirectory" => 4,
            "User" => 5,
            "LogonId" => 6,
            other => FIELDS.iter().position(|f| *f == other)?,
        };
        self.0[slot].as_deref().map(|text| EventValue::Str(Cow::Borrowed(text)))
    }

    fn any_string_value(&self, wanted: &dyn Fn(&str) -> bool) -> bool {
        self.0.iter().flatten().any(|text| wanted(text))
    }

    fn all_string_values(&self) -> Vec<Cow<'_, str>> {
        self.0.iter().flatten().map(|text| Cow::Borrowed(text.as_str())).collect()
    }

    fn visit_string_values(&self, visit: &mut dyn FnMut(&str)) {
        self.0.iter().flatten().for_each(|text| visit(text));
    }

    fn to_json(&self) -> Value {
        let entries = FIELDS.iter().zip(&self.0);
        entries.filter_map(|(name, text)| Some(((*name).to_owned(), Value::from(text.clone()?)))).collect()
    }
}

fn sigma_rust(rules: &[String], events: &[&str], passes: usize) -> Found {
    let (memory, before) = (resident_kib(), cpu_ns());
    let mut refused = 0;
    let rules: Vec<(u32, sigma_rust::Rule)> = (0..)
        .zip(rules)
        .filter_map(|(number, text)| match sigma_rust::rule_from_yaml(text) {
            Ok(rule) => Some((number, rule)),
            Err(_) => {
                refused += 1;
                None
            }
        })
        .collect();
    let ready_ns = cpu_ns() - before;
    let memory_kib = resident_kib().saturating_sub(memory);
    let events: Vec<sigma_rust::Event> =
        events.iter().map(|e| sigma_rust::event_from_json(e).expect("an event")).collect();
    let (looked_at, pass_ns, matches) = measure(events.len(), passes, |i, hit| {
        rules.iter().filter(|(_, rule)| rule.is_match(&events[i])).for_each(|(number, _)| hit(*number));
    });
    Found { refused, ready_ns, memory_kib, looked_at, pass_ns, matches }
}

fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// CPU time of this thread, nanoseconds.
fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock of this thread");
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}
