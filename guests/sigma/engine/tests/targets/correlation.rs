//! Correlations of any text over any matches: what is found does not depend on how they come, nor on restarts.

use crate::support::{Row, SECOND, all_shown, correlator, turn};
use picket_sigma::{File, Limits, Options, RuleSet, compile};
use serde_json::json;

/// Matches are at most so much out of order.
const LAG: u64 = 16 * SECOND;

const RULES: [&str; 4] = ["a", "b", "c", "d"];

/// `TURN LIMITS YAML NUL MATCHES`, a match being three bytes.
pub fn correlation(data: &[u8]) {
    let [size, limits, rest @ ..] = data else { return };
    let Some(end) = rest.iter().position(|b| *b == 0) else { return };
    let (yaml, matches) = (&rest[..end], &rest[end + 1..]);
    let set = set(yaml);
    if set.correlations.is_empty() || set.correlations.len() > 8 {
        return;
    }
    let rows = rows(&matches[..matches.len().min(300)]);
    let mut bounds = Limits::default();
    if limits & 1 != 0 {
        bounds.groups = 2;
    }
    let whole = run(&set, &rows, bounds, rows.len().max(1), false);
    let size = 1 + usize::from(*size % 8);
    assert_eq!(run(&set, &rows, bounds, size, false), whole, "in turns of {size}");
    assert_eq!(run(&set, &rows, bounds, size, true), whole, "with restarts, in turns of {size}");
    // A snapshot of any bytes is taken or refused.
    let mut other = correlator(&set, bounds);
    let _ = other.restore(&[matches]);
    run_on(&set, other, &rows, bounds, size, false);
}

fn set(yaml: &[u8]) -> RuleSet {
    let rule = |name: &&str| {
        json!({"title": name, "id": format!("id-{name}"), "name": name, "logsource": {"product": "test"},
            "detection": {"s": {"Rule": name}, "condition": "s"}})
    };
    let rules = RULES.iter().map(|name| format!("---\n{}\n", rule(name))).collect::<Vec<_>>().concat();
    let files = [File { name: "c.yml", content: yaml }, File { name: "r.yml", content: rules.as_bytes() }];
    compile(&files, &Options::default())
}

fn rows(bytes: &[u8]) -> Vec<Row> {
    let mut now = 100 * SECOND;
    let row = |(seq, bytes): (usize, &[u8])| {
        let [who, when, what] = *bytes else { return None };
        now += u64::from(when & 15) * SECOND / 2;
        let mut event = crate::common::Event::new();
        if who & 4 == 0 {
            event.insert("User".to_owned(), json!(["root", "bin", "mail", ""][usize::from(who >> 3) & 3]));
        }
        if who & 128 == 0 {
            event.insert("Port".to_owned(), json!(what & 31));
        }
        let time = now - u64::from(when >> 4) * SECOND;
        Some(Row { rule: format!("id-{}", RULES[usize::from(who) & 3]), seq: seq as u64, time, event })
    };
    bytes.chunks_exact(3).enumerate().filter_map(row).collect()
}

fn run(set: &RuleSet, rows: &[Row], limits: Limits, size: usize, restart: bool) -> Vec<String> {
    run_on(set, correlator(set, limits), rows, limits, size, restart)
}

fn run_on(
    set: &RuleSet,
    mut current: picket_sigma::Correlator,
    rows: &[Row],
    limits: Limits,
    size: usize,
    restart: bool,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut watermark = 0;
    for rows in rows.chunks(size) {
        let latest = rows.iter().map(|r| r.time).max().unwrap_or(0);
        watermark = watermark.max(latest.saturating_sub(LAG));
        found.extend(all_shown(set, &turn(&mut current, rows, 2, watermark)));
        if restart {
            let parts: Vec<Vec<u8>> = (0..current.parts()).map(|p| current.snapshot(p)).collect();
            current = correlator(set, limits);
            current.restore(&parts).expect("its own snapshot");
        }
    }
    found.extend(all_shown(set, &turn(&mut current, &[], 2, u64::MAX)));
    found
}
