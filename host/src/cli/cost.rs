//! `picket status --cost`: what each kind costs in the kernel and each guest in this process, measured now.
//!
//! The kernel measures BPF programs only while somebody asks it to, because measuring costs time on every run. That takes
//! CAP_SYS_ADMIN, which the running Picket has given up: so this command asks, and the daemon only reads.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Map, Value as Json, json};

use crate::control::{self, Request};
use crate::sensor::ebpf::enable_run_time;
use crate::units::Period;

use super::args::{ExitCode, Format};
use super::print;
use super::terminal::escape_str;

const DEFAULT: Duration = Duration::from_secs(2);
/// How often to look whether the daemon has read the kernel's numbers again.
const LOOK: Duration = Duration::from_millis(100);
/// The daemon reads them twice a second; if it does not, something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn run(socket: &Path, period: Option<Period>, format: Format) -> anyhow::Result<ExitCode> {
    let start = control::ask(socket, &Request::Status)?;
    let _measuring =
        enable_run_time().context("cannot make the kernel measure BPF programs; it takes CAP_SYS_ADMIN")?;
    // What was read before the kernel measured says nothing.
    let before = after(socket, read_at(&start))?;
    let period = period.map_or(DEFAULT, Period::duration);
    std::thread::sleep(period);
    let end = after(socket, read_at(&before) + period.as_nanos() as u64)?;
    let cost = cost(&before, &end);
    match format {
        Format::Json => print(format!("{cost}\n").as_bytes()),
        Format::Human => print(human(&cost).as_bytes()),
    }
}

/// When the daemon last read the kernel's numbers.
fn read_at(status: &Json) -> u64 {
    status["sensor"]["at_ns"].as_u64().unwrap_or_default()
}

/// The first status whose numbers are later than `at`.
fn after(socket: &Path, at: u64) -> anyhow::Result<Json> {
    let asked = Instant::now();
    loop {
        let status = control::ask(socket, &Request::Status)?;
        if read_at(&status) > at {
            return Ok(status);
        }
        anyhow::ensure!(asked.elapsed() < PATIENCE, "the running picket does not read the kernel's counters");
        std::thread::sleep(LOOK);
    }
}

/// What happened between two statuses.
fn cost(before: &Json, end: &Json) -> Json {
    let since = |key: &dyn Fn(&Json) -> Option<u64>| {
        key(end).unwrap_or_default().saturating_sub(key(before).unwrap_or_default())
    };
    let kernel_ns = since(&|s| s["sensor"]["at_ns"].as_u64());
    let host_ns = since(&|s| s["now_ns"].as_u64());
    let program = |s: &Json, name: &Json, key: &str| {
        let of_name = s["sensor"]["probes"].as_array()?.iter().find(|p| p["program"] == *name)?;
        of_name[key].as_u64()
    };
    // By kind; programs that serve several are their own line.
    let mut kinds: Map<String, Json> = Map::new();
    let mut programs = Vec::new();
    for probe in end["sensor"]["probes"].as_array().into_iter().flatten() {
        let name = &probe["program"];
        let runs = since(&|s| program(s, name, "runs"));
        let run_ns = since(&|s| program(s, name, "run_ns"));
        if runs == 0 {
            continue;
        }
        programs.push(json!({
            "program": name, "runs": runs, "ns_per_run": ratio(run_ns, runs), "core_share": ratio(run_ns, kernel_ns),
        }));
        let line = probe["kind"].as_str().or(name.as_str()).unwrap_or_default().to_owned();
        let sum = kinds.entry(line).or_insert_with(|| json!({"runs": 0, "run_ns": 0}));
        sum["runs"] = (sum["runs"].as_u64().unwrap_or_default() + runs).into();
        sum["run_ns"] = (sum["run_ns"].as_u64().unwrap_or_default() + run_ns).into();
    }
    let submitted = |s: &Json, kind: &str| {
        s["sensor"]["kinds"].as_array()?.iter().find(|k| k["kind"] == kind)?["submitted"].as_u64()
    };
    let kinds: Vec<Json> = kinds
        .into_iter()
        .map(|(kind, sum)| {
            let (runs, run_ns) = (sum["runs"].as_u64().unwrap_or_default(), sum["run_ns"].as_u64().unwrap_or_default());
            let events = since(&|s| submitted(s, &kind));
            json!({
                "kind": kind, "runs": runs, "events": events, "ns_per_run": ratio(run_ns, runs),
                "ns_per_event": ratio(run_ns, events), "core_share": ratio(run_ns, kernel_ns),
            })
        })
        .collect();
    let guests: Vec<Json> = end["ledger"]["guests"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| {
            let of = |key: &'static str| since(&|s| s["ledger"]["guests"][name.as_str()][key].as_u64());
            let (rows, cpu_ns) = (of("handled"), of("cpu_ns"));
            json!({
                "guest": name, "rows": rows, "ns_per_row": ratio(cpu_ns, rows), "core_share": ratio(cpu_ns, host_ns),
            })
        })
        .collect();
    json!({ "seconds": kernel_ns as f64 / 1e9, "kinds": kinds, "programs": programs, "guests": guests })
}

/// None of nothing.
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn human(cost: &Json) -> String {
    let mut out = String::new();
    let number = |v: &Json, scale: f64, digits: usize| {
        v.as_f64().map_or_else(|| "-".to_owned(), |v| format!("{:.digits$}", v * scale))
    };
    let text = |v: &Json| escape_str(v.as_str().unwrap_or("-"));
    // Writing to a String cannot fail.
    let _ = writeln!(out, "measured for {} s; a share of 100 % is one core", number(&cost["seconds"], 1.0, 1));
    let _ = writeln!(
        out,
        "{:<32} {:>10} {:>10} {:>10} {:>10} {:>8}",
        "kind", "runs", "events", "ns/run", "ns/event", "share %"
    );
    for k in cost["kinds"].as_array().into_iter().flatten() {
        let _ = writeln!(
            out,
            "{:<32} {:>10} {:>10} {:>10} {:>10} {:>8}",
            text(&k["kind"]),
            number(&k["runs"], 1.0, 0),
            number(&k["events"], 1.0, 0),
            number(&k["ns_per_run"], 1.0, 0),
            number(&k["ns_per_event"], 1.0, 0),
            number(&k["core_share"], 100.0, 3)
        );
    }
    let _ = writeln!(out, "{:<32} {:>21} {:>21} {:>8}", "guest", "rows", "ns/row", "share %");
    for g in cost["guests"].as_array().into_iter().flatten() {
        let _ = writeln!(
            out,
            "{:<32} {:>21} {:>21} {:>8}",
            text(&g["guest"]),
            number(&g["rows"], 1.0, 0),
            number(&g["ns_per_row"], 1.0, 0),
            number(&g["core_share"], 100.0, 3)
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(at: u64, runs: u64, submitted: u64, cpu: u64) -> Json {
        json!({
            "now_ns": at,
            "sensor": {
                "at_ns": at,
                "kinds": [{"kind": "k", "submitted": submitted}],
                "probes": [
                    {"program": "k__a", "kind": "k", "runs": runs, "run_ns": 100 * runs},
                    {"program": "k__b", "kind": "k", "runs": 0, "run_ns": 0},
                    {"program": "shared__c", "kind": null, "runs": 10 * runs, "run_ns": 10 * runs},
                ],
            },
            "ledger": {"guests": {"g": {"handled": submitted, "cpu_ns": cpu}}},
        })
    }

    #[test]
    fn costs_are_differences_by_kind_and_guest() {
        let cost = cost(&status(1_000_000, 10, 5, 100), &status(2_000_000, 110, 30, 50_100));
        assert_eq!(
            cost["kinds"],
            json!([
                {"kind": "k", "runs": 100, "events": 25, "ns_per_run": 100.0, "ns_per_event": 400.0, "core_share": 0.01},
                {"kind": "shared__c", "runs": 1000, "events": 0, "ns_per_run": 1.0, "ns_per_event": null, "core_share": 0.001},
            ])
        );
        assert_eq!(cost["guests"], json!([{"guest": "g", "rows": 25, "ns_per_row": 2000.0, "core_share": 0.05}]));
        assert_eq!(cost["programs"].as_array().map(Vec::len), Some(2));
        assert!(human(&cost).contains("shared__c"));
    }

    #[test]
    fn nothing_happened_is_no_division() {
        let same = status(5, 1, 1, 1);
        assert_eq!(cost(&same, &same)["guests"][0]["ns_per_row"], Json::Null);
    }
}
