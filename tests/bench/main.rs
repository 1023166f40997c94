//! `picket-bench`: what an event costs. `cargo xtask bench [dispatch|replay|correlation|hunt|live|sigma [--full] [--alone] [--rules=N]] [--json]`.
//!
//! Times are CPU time of the thread (dispatch) or of the whole process (replay): these machines are shared. A figure means
//! something beside the others of the same run: `native` is the floor of matching without a sandbox.

mod correlation;
mod events;
mod hunt;
mod live;
mod sigma;

use std::collections::HashMap;
use std::hint::black_box;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use picket::guest::{self, Instance, Limits, Runtime, RuntimeOptions, Setup, thread_cpu};
use picket::kind::{Catalogue, Decoder};
use picket::slab::{Origin, Slab};
use picket_sigma::{BatchView, Cells, ColumnView, File, Options, RuleSet, Scratch, Texts, compile};
use picket_tests::{Run, corpus, guests, root, test_guest};
use serde_json::{Value, json};

use events::{Event, generate};

/// Events of the replay; the dispatch rows use a part of them.
const EVENTS: usize = 200_000;
const DISPATCHED: usize = 50_000;
const BATCHES: [usize; 5] = [1, 8, 64, 256, 1024];
/// Each figure is the best of so many passes.
const PASSES: usize = 3;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, name, scratch] = &arguments[..]
        && word == live::LOAD
    {
        return live::load(name, Path::new(scratch));
    }
    let json = arguments.iter().any(|a| a == "--json");
    let given = |flag: &str| arguments.iter().any(|a| a == flag);
    let extent = sigma::Extent {
        full: given("--full"),
        alone: given("--alone"),
        rules: arguments.iter().find_map(|a| a.strip_prefix("--rules=")?.parse().ok()),
    };
    let names: Vec<&str> = arguments.iter().map(String::as_str).filter(|a| !a.starts_with('-')).collect();
    if let Some(unknown) =
        names.iter().find(|n| !["dispatch", "replay", "correlation", "hunt", "live", "sigma"].contains(n))
    {
        eprintln!("no benchmark `{unknown}`; there are: dispatch, replay, correlation, hunt, live, sigma");
        std::process::exit(2);
    }
    let wanted = |name: &str| names.is_empty() || names.contains(&name);
    let (rules, source) = match corpus() {
        Some(corpus) => (corpus.join("process_creation"), "the corpus"),
        None => (root().join("rules"), "our own rules (the corpus is not here)"),
    };
    let print = |row: Value| {
        if json {
            println!("{row}");
        } else {
            let cells: Vec<String> = row
                .as_object()
                .into_iter()
                .flatten()
                .map(|(k, v)| format!("{k} {}", v.to_string().replace('"', "")))
                .collect();
            println!("{}", cells.join("  "));
        }
    };
    print(json!({"bench": "setup", "rules": source, "rung": "replay", "events": EVENTS}));
    if wanted("dispatch") {
        dispatch(&rules, &print);
    }
    if wanted("replay") {
        replay(&rules, &print);
    }
    // A minute: only when it is asked for.
    if names.contains(&"correlation") {
        correlation::run(&print);
    }
    // A minute, and some hundred MiB of disk: only when it is asked for.
    if names.contains(&"hunt") {
        hunt::run(&rules, &print);
    }
    // Minutes, and it wants a compiler of its own: only when it is asked for.
    if names.contains(&"sigma") {
        sigma::run(&rules, &extent, &print);
    }
    // Minutes, and other programs on the machine feel it: only when it is asked for.
    if names.contains(&"live") {
        live::run(&print);
    }
}

fn rule_files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(directory).expect("rules").map(|e| e.expect("a directory entry").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "yml") && !p.to_string_lossy().ends_with(".test.yml"));
    paths.sort();
    paths.iter().map(|p| (p.display().to_string(), std::fs::read(p).expect("a rule"))).collect()
}

/// CPU time of this thread, nanoseconds.
fn cpu_ns() -> u64 {
    thread_cpu().as_nanos() as u64
}

/// Nanoseconds per event of the best pass.
fn best(events: usize, mut pass: impl FnMut()) -> f64 {
    let mut best = u64::MAX;
    for _ in 0..PASSES {
        let before = cpu_ns();
        pass();
        best = best.min(cpu_ns() - before);
    }
    best as f64 / events as f64
}

fn dispatch(rules: &Path, print: &dyn Fn(Value)) {
    let files = rule_files(rules);
    let made: Vec<Event> = (0..DISPATCHED).map(generate).collect();
    let views: Vec<File<'_>> = files.iter().map(|(name, content)| File { name, content }).collect();
    let set = compile(&views, &Options::default());
    let runtime = Runtime::new(&RuntimeOptions { cache_dir: None }).expect("a runtime");
    let mut sigma = instance(&runtime, "sigma", &guests().join("sigma.wasm"), &files);
    let mut idle = instance(&runtime, "idle", &test_guest("idle"), &[]);
    for rows in BATCHES {
        let slabs = slabs(&made, rows);
        let mut matches = 0;
        let whole = best(DISPATCHED, || {
            matches = slabs.iter().map(|s| sigma.on_events(s).detections.len()).sum();
        });
        let projection = best(DISPATCHED, || {
            for s in &slabs {
                black_box(sigma.project(s));
            }
        });
        let handed = best(DISPATCHED, || {
            for s in &slabs {
                black_box(idle.on_events(s).offered);
            }
        });
        let idle_projection = best(DISPATCHED, || {
            for s in &slabs {
                black_box(idle.project(s));
            }
        });
        let (native, native_matches) = native(&set, &made, rows);
        let call = (handed - idle_projection).max(0.0);
        print(json!({
            "bench": "dispatch", "batch": rows, "rules": set.rules.len(), "matches": matches,
            "projection_ns": projection.round(), "dispatch_ns": call.round(),
            "matching_ns": (whole - projection - call).max(0.0).round(), "whole_ns": whole.round(),
            "native_matching_ns": native.round(), "native_matches": native_matches,
            "guest_to_native": ((whole - projection - call) / native * 100.0).round() / 100.0,
            "guest_memory_mib": sigma.memory_bytes() >> 20,
        }));
    }
}

fn instance(runtime: &Runtime, name: &str, path: &Path, files: &[(String, Vec<u8>)]) -> Instance {
    load(runtime, &component(runtime, name, path), name, files)
}

fn component(runtime: &Runtime, name: &str, path: &Path) -> Arc<guest::Component> {
    let bytes =
        std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}; cargo xtask build --test-guests", path.display()));
    runtime.compile(name, path, &bytes).expect("a component")
}

fn load(runtime: &Runtime, component: &Arc<guest::Component>, name: &str, files: &[(String, Vec<u8>)]) -> Instance {
    let files: Vec<guest::File> =
        files.iter().map(|(n, c)| guest::File { name: n.clone(), content: c.as_slice().into() }).collect();
    let setup = Setup {
        name: name.to_owned(),
        config: json!({}),
        files: files.into(),
        seed: (1, 2),
        replicas: 1,
        limits: Limits::default(),
    };
    let loaded = guest::load(runtime, component, setup, &Catalogue::default(), 0).expect("a guest");
    loaded.guest.instances().pop().expect("an instance")
}

fn slabs(events: &[Event], rows: usize) -> Vec<Arc<Slab>> {
    let mut decoder = Decoder::new(Arc::new(Origin::default()));
    let mut number = 0;
    events
        .chunks(rows)
        .map(|chunk| {
            let mut slab = Slab::default();
            for event in chunk {
                number += 1;
                decoder.value(number, event.to_json(number as usize), &mut slab).expect("an event");
            }
            Arc::new(slab)
        })
        .collect()
}

#[derive(Default)]
struct Column {
    arena: Vec<u8>,
    ends: Vec<u32>,
    codes: Vec<u32>,
    presence: Vec<u8>,
}

/// The engine without a sandbox, on the same columns.
fn native(set: &RuleSet, events: &[Event], rows: usize) -> (f64, usize) {
    let stream = set
        .streams
        .iter()
        .position(|s| s.source.category.as_deref() == Some("process_creation"))
        .expect("rules for process_creation");
    let pack = |chunk: &[Event]| -> Vec<Column> {
        let column = |field: &String| {
            let mut column = Column::default();
            let mut known: HashMap<String, u32> = HashMap::new();
            for event in chunk {
                let value = event.field(field);
                column.presence.push(u8::from(value.is_some()));
                let next = known.len() as u32;
                let code = *known.entry(value.unwrap_or_default()).or_insert_with_key(|text| {
                    column.arena.extend_from_slice(text.as_bytes());
                    column.ends.push(column.arena.len() as u32);
                    next
                });
                column.codes.push(code);
            }
            column
        };
        set.streams[stream].fields.iter().map(column).collect()
    };
    let batches: Vec<(usize, Vec<Column>)> = events.chunks(rows).map(|c| (c.len(), pack(c))).collect();
    let mut scratch = Scratch::default();
    let mut matches = 0;
    let each = best(events.len(), || {
        matches = 0;
        for (rows, columns) in &batches {
            let views: Vec<ColumnView<'_>> = columns
                .iter()
                .map(|c| ColumnView {
                    cells: Cells::Text(Texts { arena: &c.arena, ends: &c.ends, codes: &c.codes }),
                    presence: &c.presence,
                })
                .collect();
            let view = BatchView { rows: *rows, columns: &views };
            set.eval(stream, &view, &mut scratch, |row, rule| {
                matches += 1;
                black_box((row, rule));
            });
        }
    });
    (each, matches)
}

fn replay(rules: &Path, print: &dyn Fn(Value)) {
    let run = Run::new();
    let file = run.dir.path().join("events.ndjson");
    {
        let mut out = std::io::BufWriter::new(std::fs::File::create(&file).expect("a file"));
        for i in 0..EVENTS {
            writeln!(out, "{}", generate(i).to_json(i)).expect("a line");
        }
    }
    let bytes = std::fs::metadata(&file).expect("a file").len();
    let args = [
        "replay",
        &file.to_string_lossy(),
        "--format",
        "json",
        "--guests",
        &guests().to_string_lossy(),
        "--rules",
        &rules.to_string_lossy(),
    ]
    .map(str::to_owned);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    // The first run compiles the guests into the cache.
    for pass in ["cold", "warm"] {
        let mut command: Command = run.command(&args);
        let started = Instant::now();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary runs");
        let (mut peak_kib, mut cpu_ticks) = (0, 0);
        let status = loop {
            peak_kib = peak_kib.max(memory_kib(child.id()).unwrap_or_default());
            cpu_ticks = cpu_ticks.max(ticks(child.id()).unwrap_or_default());
            if let Some(status) = child.try_wait().expect("our child") {
                break status;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let wall = started.elapsed().as_secs_f64();
        print(json!({
            "bench": "replay", "pass": pass, "exit": status.code(), "events": EVENTS, "mib": bytes >> 20,
            "events_per_s": (EVENTS as f64 / wall).round(), "wall_s": (wall * 100.0).round() / 100.0,
            "cpu_s": cpu_ticks as f64 / 100.0, "peak_mib": peak_kib >> 10,
        }));
    }
}

fn memory_kib(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|l| l.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}

fn ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}
