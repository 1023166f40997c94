//! `sigma`: this engine beside others, on the same events and rules, in one run.
//!
//! What is compared must be equal first: the matches of all engines are compared event by event, and a difference ends the
//! run. Times are CPU time of the thread that does the work. No pass sees an event that an earlier one saw, and slabs are
//! made anew from records for each, so nothing that an engine remembers can help it.
//!
//! What the columns say (nanoseconds per event, the best pass):
//! - `decode`: kernel records become a slab, with the process table; the builder's work, on another thread than the guests'.
//! - `guest`: a slab goes through projection into the sandbox, and detections with their evidence come out, as in a live run.
//! - `projection`: the part of it before the call.
//! - `native`: the engine alone on ready columns, without a sandbox and without evidence.
//! - `slots`, `parsed`, `json`: rsigma-eval, fed fields that are already apart, parsed JSON, and JSON as text.

mod peers;
mod records;
mod rules;
mod workload;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use picket::guest::{Instance, Runtime, RuntimeOptions};
use picket_sigma::{BatchView, Cells, ColumnView, File, Options, RuleSet, Scratch, Texts, compile};
use picket_tests::guests;
use serde_json::{Value, json};

use super::cpu_ns;
use peers::{Peer, Peers};
use records::Records;
use rules::{Random, Rule};
use workload::{Event, FIELDS, Twist};

const PASSES: usize = 3;
/// Events of one pass.
const EVENTS: usize = 30_000;
const SIZES: [usize; 5] = [122, LIVE_RULES, 1_000, 3_000, 10_000];
/// One event in so many matches a rule.
const ONE_IN: [usize; 3] = [10_000, 100, 1];
const BATCHES: [usize; 5] = [1, 8, 64, 256, 1024];
/// What the targets are stated for.
const USUAL_BATCH: [usize; 1] = [256];
/// What a host has loaded, and what comes together on one with thousands of events a second.
const LIVE_RULES: usize = 500;
const LIVE_BATCHES: [usize; 2] = [8, 32];

/// A pair of event and rule.
type Matches = Vec<(u32, u32)>;

struct Load {
    one_in: usize,
    twist: Twist,
    batches: &'static [usize],
}

/// Default: each dimension by itself. `full`: all of them with each other.
fn loads(rules: usize, extent: &Extent) -> Vec<Load> {
    let load = |one_in, twist, batches| Load { one_in, twist, batches };
    if extent.full {
        let mut loads: Vec<Load> = ONE_IN.iter().map(|n| load(*n, Twist::None, &BATCHES)).collect();
        loads.extend([Twist::Distinct, Twist::Foreign].map(|t| load(100, t, &BATCHES)));
        return loads;
    }
    if rules == LIVE_RULES {
        return vec![load(10_000, Twist::None, &LIVE_BATCHES)];
    }
    if rules > SIZES[0] || extent.alone {
        return vec![load(100, Twist::None, &USUAL_BATCH)];
    }
    vec![
        load(100, Twist::None, &BATCHES),
        load(10_000, Twist::None, &USUAL_BATCH),
        load(1, Twist::None, &USUAL_BATCH),
        load(100, Twist::Distinct, &USUAL_BATCH),
        load(100, Twist::Foreign, &USUAL_BATCH),
    ]
}

/// What to run.
pub struct Extent {
    /// Every load with every other.
    pub full: bool,
    /// Only what the targets are stated for, without the other engines: for whoever works on ours.
    pub alone: bool,
    /// Only this number of rules.
    pub rules: Option<usize>,
}

pub fn run(directory: &Path, extent: &Extent, print: &dyn Fn(Value)) {
    let peers = if extent.alone { None } else { Peers::find() };
    let runtime = Runtime::new(&RuntimeOptions { cache_dir: None }).expect("a runtime");
    for size in SIZES.into_iter().filter(|s| extent.rules.is_none_or(|o| o == *s)) {
        let rules = rules::rules(directory, size);
        let mut ours = Ours::new(&runtime, &rules, print);
        let pool = ours.matching(&rules);
        for load in loads(size, extent) {
            let events = ours.events(&load, &pool);
            let theirs = peers.as_ref().map(|p| p.run(&rules, &events, PASSES)).unwrap_or_default();
            for batch in load.batches {
                let row = ours.row(&load, &events, *batch, &theirs);
                print(row);
            }
        }
    }
}

/// Our engine, with and without sandbox.
struct Ours {
    set: RuleSet,
    stream: usize,
    guest: Instance,
    rules: usize,
    /// Number of a rule by its id.
    numbers: HashMap<String, u32>,
}

impl Ours {
    fn new(runtime: &Runtime, rules: &[Rule], print: &dyn Fn(Value)) -> Ours {
        let before = cpu_ns();
        let views: Vec<File<'_>> = rules.iter().map(|r| File { name: &r.name, content: r.text.as_bytes() }).collect();
        let set = compile(&views, &Options::default());
        let native_ready = cpu_ns() - before;
        assert_eq!(set.rules.len(), rules.len(), "{:?}", set.diagnostics.first());
        assert_eq!(set.streams.len(), 1, "the rules of process_creation are one stream");
        let files: Vec<(String, Vec<u8>)> =
            rules.iter().map(|r| (r.name.clone(), r.text.clone().into_bytes())).collect();
        let path = guests().join("sigma.wasm");
        let (cpu, wall) = (cpu_ns(), Instant::now());
        let component = super::component(runtime, "sigma", &path);
        let (compiled, compiled_wall) = (cpu_ns() - cpu, wall.elapsed());
        let (cpu, wall) = (cpu_ns(), Instant::now());
        let guest = super::load(runtime, &component, "sigma", &files);
        let (loaded, loaded_wall) = (cpu_ns() - cpu, wall.elapsed());
        print(json!({
            "bench": "sigma-ready", "rules": rules.len(), "native_ms": native_ready / 1_000_000,
            "guest_compiled_ms": compiled / 1_000_000, "guest_compiled_wall_ms": compiled_wall.as_millis() as u64,
            // A reload starts an instance and a spare, both from the beginning.
            "reload_ms": loaded / 1_000_000, "reload_wall_ms": loaded_wall.as_millis() as u64,
            "guest_ready_ms": loaded / 2_000_000, "guest_memory_mib": guest.memory_bytes() >> 20,
        }));
        let numbers = set.rules.iter().enumerate().map(|(i, r)| (r.id.clone(), i as u32)).collect();
        Ours { set, stream: 0, guest, rules: rules.len(), numbers }
    }

    /// An event for each rule that one could be made for: it matches this rule, at least.
    fn matching(&self, rules: &[Rule]) -> Vec<Event> {
        let mut random = Random::new(11);
        let mut scratch = Scratch::default();
        let mut pool = Vec::new();
        for (number, rule) in (0..).zip(rules) {
            let events = workload::synthesised(rule, &mut random);
            pool.extend(events.into_iter().find(|e| self.rules_of(e, &mut scratch).contains(&number)));
        }
        eprintln!("{} of {} rules have an event made from them", pool.len(), rules.len());
        pool
    }

    fn rules_of(&self, event: &Event, scratch: &mut Scratch) -> Vec<u32> {
        let columns = Columns::new(&self.set.streams[self.stream].fields, std::slice::from_ref(event));
        let mut found = Vec::new();
        columns.eval(&self.set, self.stream, scratch, |_, rule| found.push(rule));
        found
    }

    /// Events of all passes: every `one_in`th matches, the others do not.
    fn events(&self, load: &Load, pool: &[Event]) -> Vec<Event> {
        let mut random = Random::new(23 + load.one_in as u64);
        let mut scratch = Scratch::default();
        let mut turn = 0;
        (0..PASSES * EVENTS)
            .map(|i| {
                let wanted = i % load.one_in == load.one_in / 2;
                loop {
                    let plain = if wanted { pool[turn % pool.len()].clone() } else { workload::ordinary(&mut random) };
                    turn += usize::from(wanted);
                    let event = plain.clone().twisted(load.twist, i);
                    if self.rules_of(&event, &mut scratch).is_empty() != wanted {
                        return event;
                    }
                }
            })
            .collect()
    }

    fn row(&mut self, load: &Load, events: &[Event], batch: usize, theirs: &[Peer]) -> Value {
        let (native, expected) = self.native(events, batch);
        let Guest { decode, projection, whole, matches } = self.in_sandbox(events, batch);
        compare("the guest", &matches, &expected, events, events.len());
        for peer in theirs {
            for pass in 0..PASSES {
                let range = pass * EVENTS..pass * EVENTS + peer.looked_at;
                let within = |m: &Matches| -> Matches {
                    m.iter().filter(|(e, _)| range.contains(&(*e as usize))).copied().collect()
                };
                compare(&peer.name, &within(&peer.matches), &within(&expected), events, range.len());
            }
        }
        let matching = {
            let mut rows: Vec<u32> = expected.iter().map(|(e, _)| *e).collect();
            rows.dedup();
            rows.len()
        };
        let mut row = json!({
            "bench": "sigma", "rules": self.rules, "matching_events": matching, "matches": expected.len(),
            "events": events.len(), "values": format!("{:?}", load.twist).to_lowercase(), "batch": batch,
            "decode_ns": decode.round(), "projection_ns": projection.round(), "guest_ns": whole.round(),
            "native_ns": native.round(), "guest_m_per_s": (100_000.0 / whole).round() / 100.0,
            "native_m_per_s": (100_000.0 / native).round() / 100.0, "guest_memory_mib": self.guest.memory_bytes() >> 20,
        });
        for peer in theirs {
            let ratio = |ours: f64| (peer.ns / ours * 100.0).round() / 100.0;
            row[format!("{}_ns", peer.name)] = peer.ns.round().into();
            row[format!("guest_to_{}", peer.name)] = ratio(whole).into();
            row[format!("native_to_{}", peer.name)] = ratio(native).into();
            row[format!("{}_ready_ms", peer.name)] = peer.ready_ms.into();
            row[format!("{}_memory_mib", peer.name)] = (peer.memory_kib >> 10).into();
            if peer.looked_at < EVENTS {
                row[format!("{}_looked_at", peer.name)] = (peer.looked_at * PASSES).into();
            }
        }
        row
    }

    fn native(&self, events: &[Event], batch: usize) -> (f64, Matches) {
        let fields = &self.set.streams[self.stream].fields;
        let mut scratch = Scratch::default();
        let mut matches = Vec::new();
        let mut best = f64::INFINITY;
        for (pass, part) in events.chunks(EVENTS).enumerate() {
            let batches: Vec<Columns> = part.chunks(batch).map(|c| Columns::new(fields, c)).collect();
            let mut at = (pass * EVENTS) as u32;
            let before = cpu_ns();
            for columns in &batches {
                columns.eval(&self.set, self.stream, &mut scratch, |row, rule| matches.push((at + row, rule)));
                at += columns.rows as u32;
            }
            best = best.min((cpu_ns() - before) as f64 / part.len() as f64);
        }
        (best, matches)
    }

    fn in_sandbox(&mut self, events: &[Event], batch: usize) -> Guest {
        let passwd = tempfile::NamedTempFile::new().expect("a file");
        let mut result =
            Guest { decode: f64::INFINITY, projection: f64::INFINITY, whole: f64::INFINITY, matches: Vec::new() };
        for (pass, part) in events.chunks(EVENTS).enumerate() {
            std::fs::write(passwd.path(), users(part)).expect("room for the users");
            let records = Records::new(part);
            let mut reader = records.reader(passwd.path());
            let (mut decode, mut whole, mut projection) = (0, 0, 0);
            let mut at = pass * EVENTS;
            for records in records.batches(batch) {
                let start = cpu_ns();
                let slab = reader.slab(records);
                let decoded = cpu_ns();
                let handled = self.guest.on_events(&slab);
                let done = cpu_ns();
                decode += decoded - start;
                whole += done - decoded;
                assert!(handled.set_aside.is_empty() && handled.refused == 0, "{:?}", handled.messages.first());
                let found = handled.detections.iter();
                result.matches.extend(found.map(|d| (at as u32 + d.row.expect("a row"), self.numbers[&d.analytic.id])));
                at += records.len();
            }
            let mut reader = records.reader(passwd.path());
            for records in records.batches(batch) {
                let slab = reader.slab(records);
                let start = cpu_ns();
                black_box(self.guest.project(&slab));
                projection += cpu_ns() - start;
            }
            let each = |ns: u64| ns as f64 / part.len() as f64;
            result.decode = result.decode.min(each(decode));
            result.whole = result.whole.min(each(whole));
            result.projection = result.projection.min(each(projection));
        }
        result
    }
}

struct Guest {
    decode: f64,
    projection: f64,
    whole: f64,
    matches: Matches,
}

/// A passwd file that names the users of these events.
fn users(events: &[Event]) -> String {
    let named: HashMap<u32, &str> = events.iter().map(|e| (e.uid, e.user.as_str())).collect();
    named.iter().fold(String::new(), |mut text, (uid, name)| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name}:x:{uid}:{uid}::/:/bin/sh");
        text
    })
}

fn compare(who: &str, theirs: &Matches, expected: &Matches, events: &[Event], looked_at: usize) {
    let difference = |a: &Matches, b: &Matches| a.iter().find(|m| b.binary_search(m).is_err()).copied();
    let sorted = |m: &Matches| {
        let mut m = m.clone();
        m.sort_unstable();
        m
    };
    let (theirs, expected) = (sorted(theirs), sorted(expected));
    let told = |what: &str, (event, rule): (u32, u32)| {
        panic!("{who} {what}: rule {rule} and event {event} of {looked_at}: {:?}", events[event as usize]);
    };
    if let Some(missed) = difference(&expected, &theirs) {
        told("misses a match that the native engine finds", missed);
    }
    if let Some(more) = difference(&theirs, &expected) {
        told("finds a match that the native engine does not", more);
    }
}

/// A batch as the host hands it over: dictionaries, without codes where every value differs.
struct Columns {
    rows: usize,
    columns: Vec<Option<Column>>,
}

#[derive(Default)]
struct Column {
    arena: Vec<u8>,
    ends: Vec<u32>,
    codes: Vec<u32>,
}

impl Columns {
    fn new(fields: &[String], events: &[Event]) -> Columns {
        let values: Vec<[String; 7]> = events.iter().map(Event::values).collect();
        let column = |field: &String| {
            // As executed is as resolved here, as on most of a real machine.
            let name = match field.as_str() {
                "ExecutedImage" => "Image",
                "ParentExecutedImage" => "ParentImage",
                other => other,
            };
            let index = FIELDS.iter().position(|f| *f == name)?;
            let mut column = Column::default();
            let mut known: HashMap<&str, u32> = HashMap::new();
            for row in &values {
                let next = known.len() as u32;
                let code = *known.entry(&row[index]).or_insert_with_key(|text| {
                    column.arena.extend_from_slice(text.as_bytes());
                    column.ends.push(column.arena.len() as u32);
                    next
                });
                column.codes.push(code);
            }
            if known.len() == values.len() {
                column.codes.clear();
            }
            Some(column)
        };
        Columns { rows: events.len(), columns: fields.iter().map(column).collect() }
    }

    fn eval(&self, set: &RuleSet, stream: usize, scratch: &mut Scratch, hit: impl FnMut(u32, u32)) {
        // Absent in every row.
        let nothing = ColumnView { cells: Cells::Boolean(&[]), presence: &[] };
        let mut views = [nothing; 16];
        for (slot, column) in views.iter_mut().zip(&self.columns) {
            if let Some(c) = column {
                slot.cells = Cells::Text(Texts { arena: &c.arena, ends: &c.ends, codes: &c.codes });
            }
        }
        let batch = BatchView { rows: self.rows, columns: &views[..self.columns.len()] };
        set.eval(stream, &batch, scratch, hit);
    }
}
