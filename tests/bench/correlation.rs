//! `correlation`: what a base match costs the one instance that correlates, and what its groups take, in the sandbox.
//!
//! A call has 256 rows of `@detection`, projection included, epochs on. Events are a millisecond apart, and their two group
//! fields hold 32 bytes together.

use std::sync::Arc;
use std::time::Duration;

use picket::detection::{Detected, DetectedRow, Level};
use picket::guest::{self, Correlator, Guest, Limits, Runtime, RuntimeOptions, Setup};
use picket::kind::{Catalogue, Decoder};
use picket::slab::{Origin, Slab};
use picket_tests::guests;
use serde_json::{Value, json};

use super::component;
use super::events::{Event, generate};

const ROWS: usize = 200_000;
/// Of the row about memory: each has a group of its own.
const MANY_GROUPS: usize = 1_000_000;
const BATCH: usize = 256;
const MEMORY_BYTES: usize = 512 << 20;

/// Type of the correlation, its condition, and whether a second rule takes part.
const KINDS: [(&str, &str, bool); 5] = [
    ("event_count", "{gte: 100000}", false),
    ("value_count", "{field: CommandLine, gte: 100000}", false),
    ("value_sum", "{field: LogonId, gte: 1000000000000}", false),
    ("value_percentile", "{field: LogonId, percentile: 95, gte: 1000000000000}", false),
    ("temporal", "", true),
];

pub fn run(print: &dyn Fn(Value)) {
    let runtime = Runtime::new(&RuntimeOptions { cache_dir: None }).expect("a runtime");
    for (kind, condition, two) in KINDS {
        for groups in [100, 100_000] {
            row(&runtime, (kind, condition, two), ROWS, groups, print);
        }
    }
    row(&runtime, KINDS[0], MANY_GROUPS, MANY_GROUPS, print);
}

fn row(runtime: &Runtime, kind: (&str, &str, bool), rows: usize, groups: usize, print: &dyn Fn(Value)) {
    let (mut correlator, guest) = load(runtime, kind);
    let empty = correlator.memory_bytes();
    let mut cpu = 0;
    let mut fired = 0;
    let mut decoder = Decoder::new(Arc::new(Origin::default()));
    for start in (0..rows).step_by(BATCH) {
        let detected = detected(&guest, &mut decoder, start..(start + BATCH).min(rows), groups, kind.2);
        let before = super::cpu_ns();
        let handled = correlator.on_detections(&detected);
        cpu += super::cpu_ns() - before;
        assert!(handled.trapped.is_none() && handled.set_aside.is_empty(), "{:?}", handled.trapped);
        fired += handled.detections.len();
    }
    let each = cpu as f64 / rows as f64;
    let memory = correlator.memory_bytes();
    print(json!({
        "bench": "correlation", "type": kind.0, "matches": rows, "groups": groups, "each_ns": each.round(),
        "matches_per_s": (1e9 / each).round(), "memory_mib": memory >> 20,
        "bytes_per_group": (memory - empty) / groups, "fired": fired,
    }));
}

/// The instance that correlates, and the guest whose rules find what it is shown.
fn load(runtime: &Runtime, (kind, condition, two): (&str, &str, bool)) -> (Correlator, Arc<Guest>) {
    let base = |name: &str| {
        format!(
            "title: {name}\nname: {name}\nid: {name}\nlogsource: {{product: linux, category: process_creation}}\n\
             detection: {{s: {{CommandLine|contains: {name}}}, condition: s}}\n"
        )
    };
    let names = if two { "[base_a, base_b]" } else { "[base_a]" };
    let condition = if condition.is_empty() { String::new() } else { format!("  condition: {condition}\n") };
    let correlation = format!(
        "title: c\nid: c\ncorrelation:\n  type: {kind}\n  rules: {names}\n  group-by: [Image, CurrentDirectory]\n  \
         timespan: 1h\n{condition}"
    );
    let file =
        |name: &str, content: String| guest::File { name: name.to_owned(), content: content.into_bytes().into() };
    let files = vec![file("a.yml", base("base_a")), file("b.yml", base("base_b")), file("c.yml", correlation)];
    let setup = Setup {
        name: "sigma".to_owned(),
        config: json!({"correlation": {"groups": 2 * MANY_GROUPS, "bytes": MEMORY_BYTES}}),
        files: files.into(),
        seed: (1, 2),
        replicas: 1,
        limits: Limits { memory_bytes: MEMORY_BYTES, call_cpu: Duration::from_secs(10), ..Limits::default() },
    };
    let component = component(runtime, "sigma", &guests().join("sigma.wasm"));
    let loaded = guest::load(runtime, &component, setup, &Catalogue::default(), 0).expect("a guest");
    assert!(loaded.guest.plan.analytics.len() == 3, "{:?}", loaded.diagnostics);
    let correlator = loaded.correlator.and_then(|c| c.correlator()).expect("an instance that correlates");
    (correlator, loaded.guest)
}

fn detected(
    guest: &Arc<Guest>,
    decoder: &mut Decoder,
    rows: std::ops::Range<usize>,
    groups: usize,
    two: bool,
) -> Arc<Detected> {
    let mut slab = Slab::default();
    for i in rows.clone() {
        let group = i % groups;
        let event = Event {
            image: format!("/usr/bin/{:07}", group % 1_000),
            directory: format!("/srv/{group:011}"),
            command: format!("base_a {i}"),
            ..generate(i)
        };
        decoder.value(i as u64, event.to_json(i), &mut slab).expect("an event");
    }
    let detected = rows.enumerate().map(|(at, i)| DetectedRow {
        seq: i as u64,
        time: 1_000_000_000 + i as u64 * 1_000_000,
        row: Some(at as u32),
        id: Arc::from(format!("id{i}")),
        guest: guest.clone(),
        // In turns by group, so that no group sees both.
        analytic: guest.plan.analytics[usize::from(two && i % groups % 2 == 1)].clone(),
        level: Level::Low,
    });
    let rows: Vec<DetectedRow> = detected.collect();
    let watermark = rows.last().map_or(0, |row| row.time);
    Arc::new(Detected { rows, watermark, slab: Arc::new(slab) })
}
