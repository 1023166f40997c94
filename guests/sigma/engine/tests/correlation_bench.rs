//! How fast and how large. Prints figures and asserts none of them:
//! `cargo test --release -p picket-sigma --test correlation_bench -- --ignored --nocapture`

mod common;
#[path = "common/correlation.rs"]
mod support;

use picket_sigma::{Cells, ColumnView, Correlator, Detections, Limits, Texts};
use serde_json::{Value, json};
use support::{SECOND, SEED, set_of};

/// Kilobytes of the process in memory.
fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("kilobytes")
}

/// Nanoseconds that this thread has run: other work on the machine does not count.
fn cpu_ns() -> u64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("schedstat");
    schedstat.split(' ').next().and_then(|n| n.parse().ok()).expect("nanoseconds")
}

struct Batch {
    rules: Vec<Option<u32>>,
    seqs: Vec<u64>,
    times: Vec<u64>,
    columns: Vec<(Vec<u8>, Vec<u32>)>,
}

/// `rows` matches in batches of 256, a millisecond apart; `values` makes the text of a field of a row.
fn batches(correlator: &Correlator, rows: u64, from: u64, values: impl Fn(&str, u64) -> String) -> Vec<Batch> {
    let rules = [correlator.rule(b"id-a"), correlator.rule(b"id-b")];
    let mut made = Vec::new();
    for start in (from..from + rows).step_by(256) {
        let these = start..(start + 256).min(from + rows);
        let columns = correlator.fields().iter().map(|field| {
            let (mut arena, mut ends) = (Vec::new(), Vec::new());
            for row in these.clone() {
                arena.extend_from_slice(values(field, row).as_bytes());
                ends.push(arena.len() as u32);
            }
            (arena, ends)
        });
        made.push(Batch {
            columns: columns.collect(),
            rules: these.clone().map(|row| rules[(row % 2) as usize].or(rules[0])).collect(),
            seqs: these.clone().collect(),
            times: these.clone().map(|row| row * SECOND / 1000).collect(),
        });
    }
    made
}

fn run(correlator: &mut Correlator, batches: &[Batch]) -> (u64, usize) {
    let mut found = Vec::new();
    let mut fired = 0;
    let before = cpu_ns();
    for batch in batches {
        let columns: Vec<ColumnView<'_>> = batch
            .columns
            .iter()
            .map(|(arena, ends)| ColumnView { cells: Cells::Text(Texts { arena, ends, codes: &[] }), presence: &[] })
            .collect();
        let rows = Detections { rules: &batch.rules, seqs: &batch.seqs, times: &batch.times, columns: &columns };
        correlator.turn(&[rows], batch.times[batch.times.len() - 1], &mut found);
        fired += found.len();
        found.clear();
    }
    (cpu_ns() - before, fired)
}

#[test]
#[ignore = "prints figures"]
fn throughput() {
    let rows = 1_000_000;
    let group = json!(["User", "Host"]);
    println!("| correlation | groups | matches/s | ns per match | fired |");
    println!("| --- | --- | --- | --- | --- |");
    for groups in [100_u64, 100_000] {
        for (kind, condition, policy) in [
            ("event_count", json!({"gte": 100_000}), ""),
            ("event_count", json!({"gte": 5}), "reset"),
            ("event_count", json!({"lt": 2}), ""),
            ("value_count", json!({"gte": 2000, "field": "Value"}), ""),
            ("value_sum", json!({"gte": 1e15, "field": "Value"}), ""),
            ("value_percentile", json!({"gte": 1e15, "field": "Value", "percentile": 95}), ""),
            ("temporal", Value::Null, ""),
            ("temporal_ordered", Value::Null, ""),
        ] {
            let rules = if kind.starts_with("temporal") { json!(["a", "b"]) } else { json!(["a"]) };
            let mut body = json!({"type": kind, "rules": rules, "group-by": group, "timespan": "10m"});
            if !condition.is_null() {
                body["condition"] = condition.clone();
            }
            let mut document = json!({"title": "t", "id": "x", "correlation": body});
            if policy == "reset" {
                document["refire"] = json!("reset");
            }
            let set = set_of(&[document]);
            assert_eq!(set.correlations.len(), 1, "{:?}", set.diagnostics);
            let limits = Limits { bytes: 4 << 30, ..Limits::default() };
            let mut correlator = Correlator::new(&set, SEED, limits);
            let all = batches(&correlator, rows, 0, |field, row| match field {
                "User" => format!("user-{:027}", row * 7919 % groups),
                "Host" => format!("host-{:027}", row * 7919 % groups),
                _ => (row * 104_729 % 1800).to_string(),
            });
            let (ns, fired) = run(&mut correlator, &all);
            println!(
                "| {kind} {condition} {policy} | {groups} | {:.0} | {} | {fired} |",
                rows as f64 * 1e9 / ns as f64,
                ns / rows
            );
        }
    }
}

#[test]
#[ignore = "prints figures"]
fn a_million_groups() {
    let body = json!({"type": "event_count", "rules": ["a"], "group-by": ["User", "Host"], "timespan": "1d",
        "condition": {"gte": 5}});
    let set = set_of(&[json!({"title": "t", "id": "x", "correlation": body})]);
    let limits = Limits { bytes: 4 << 30, ..Limits::default() };
    let mut correlator = Correlator::new(&set, SEED, limits);
    let empty = resident_kb();
    let mut ns = 0;
    for from in (0..1_000_000).step_by(100_000) {
        let some = batches(&correlator, 100_000, from, |field, row| format!("{}-{row:027}", &field[..4]));
        ns += run(&mut correlator, &some).0;
    }
    // The batches are gone, but what they took may be kept by the allocator.
    let resident = resident_kb() - empty;
    let (groups, bytes) = correlator.size();
    println!("{groups} groups with two 32-byte values: {} MB resident, {} MB by account", resident >> 10, bytes >> 20);
    println!("filled at {:.0} matches/s", 1e15 / ns as f64);
    let before = cpu_ns();
    let parts = correlator.parts();
    let sizes: Vec<usize> = (0..parts).map(|p| correlator.snapshot(p).len()).collect();
    println!(
        "{parts} parts of at most {} kB, {} MB in all, {} ms each",
        sizes.iter().max().unwrap_or(&0) >> 10,
        sizes.iter().sum::<usize>() >> 20,
        (cpu_ns() - before) / 1_000_000 / u64::from(parts)
    );
}
