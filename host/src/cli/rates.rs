//! What happens in a running Picket by the second: its answers, asked for twice, and the difference.

use std::path::Path;

use serde::Serialize;
use serde_json::Value as Json;

use crate::control::{self, ControlError, Request};

/// The answers of one moment.
pub struct Sample {
    status: Json,
    rules: Json,
}

/// What happened between two moments. Sorted: what is busiest comes first.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    pub generation: u64,
    pub state: String,
    pub uptime_s: u64,
    pub seconds: f64,
    pub events_per_s: f64,
    pub alerts_per_s: f64,
    pub kinds: Vec<KindRate>,
    pub guests: Vec<GuestRate>,
    pub rules: Vec<RuleRate>,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct KindRate {
    pub kind: String,
    /// Records from the kernel side.
    pub per_s: f64,
    /// Left out on purpose.
    pub filtered_per_s: f64,
    pub dropped_per_s: f64,
    pub total: u64,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct GuestRate {
    pub guest: String,
    pub rows_per_s: f64,
    /// Of one core, 0 to 1 for each thread.
    pub core: f64,
    pub ns_per_row: Option<f64>,
    pub shed_per_s: f64,
    pub queued_slabs: u64,
    pub traps: u64,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct RuleRate {
    pub title: String,
    pub file: String,
    pub level: String,
    pub state: String,
    pub per_s: f64,
    pub hits: u64,
    pub last_hit: Option<String>,
}

impl Sample {
    pub fn ask(socket: &Path) -> Result<Sample, ControlError> {
        Ok(Sample { status: control::ask(socket, &Request::Status)?, rules: control::ask(socket, &Request::Rules)? })
    }
}

fn number(json: &Json) -> u64 {
    json.as_u64().unwrap_or_default()
}

fn text(json: &Json) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

fn sum(json: &Json) -> u64 {
    json.as_object().into_iter().flatten().map(|(_, count)| number(count)).sum()
}

fn items(json: &Json) -> impl Iterator<Item = &Json> {
    json.as_array().into_iter().flatten()
}

/// How often a second, over this time; nothing after no time.
fn rate(before: u64, now: u64, ns: u64) -> f64 {
    if ns == 0 { 0.0 } else { now.saturating_sub(before) as f64 * 1e9 / ns as f64 }
}

/// What happened between two samples of one Picket; all of it since its start when it is another one.
pub fn between(before: &Sample, now: &Sample) -> Rates {
    let (old, new) = (&before.status, &now.status);
    let ns = number(&new["now_ns"]).saturating_sub(number(&old["now_ns"]));
    // The kernel's counters are read twice a second, and have their own time.
    let kernel_ns = number(&new["sensor"]["at_ns"]).saturating_sub(number(&old["sensor"]["at_ns"]));
    let mut kinds: Vec<KindRate> = items(&new["sensor"]["kinds"])
        .map(|kind| {
            let was = items(&old["sensor"]["kinds"]).find(|k| k["kind"] == kind["kind"]).unwrap_or(&Json::Null);
            let by = |count: fn(&Json) -> u64| rate(count(was), count(kind), kernel_ns);
            KindRate {
                kind: text(&kind["kind"]),
                per_s: by(|k| number(&k["submitted"])),
                filtered_per_s: by(|k| sum(&k["filtered"])),
                dropped_per_s: by(|k| sum(&k["dropped"])),
                total: number(&kind["submitted"]),
            }
        })
        .collect();
    let mut guests: Vec<GuestRate> = new["ledger"]["guests"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, guest)| {
            let was = &old["ledger"]["guests"][name.as_str()];
            let grown = |key: &str| number(&guest[key]).saturating_sub(number(&was[key]));
            let (rows, cpu) = (grown("handled"), grown("cpu_ns"));
            let lanes = items(&new["generation"]["guests"]);
            GuestRate {
                guest: name.clone(),
                rows_per_s: rate(0, rows, ns),
                core: if ns == 0 { 0.0 } else { cpu as f64 / ns as f64 },
                ns_per_row: (rows > 0).then(|| cpu as f64 / rows as f64),
                shed_per_s: rate(0, grown("shed"), ns),
                queued_slabs: lanes.filter(|l| l["name"] == name.as_str()).map(|l| number(&l["queued_slabs"])).sum(),
                traps: number(&guest["traps"]),
            }
        })
        .collect();
    let mut rules: Vec<RuleRate> = items(&now.rules["rules"])
        .map(|rule| {
            let same = |r: &&Json| r["id"] == rule["id"] && r["file"] == rule["file"];
            let was = items(&before.rules["rules"]).find(same).map_or(0, |r| number(&r["hits"]));
            RuleRate {
                title: if rule["title"].is_string() { text(&rule["title"]) } else { text(&rule["file"]) },
                file: text(&rule["file"]),
                level: text(&rule["level"]),
                state: if rule["stale"].is_string() { "stale".to_owned() } else { text(&rule["state"]) },
                per_s: rate(was, number(&rule["hits"]), ns),
                hits: number(&rule["hits"]),
                last_hit: rule["last_hit"].as_str().map(str::to_owned),
            }
        })
        .collect();
    kinds.sort_by(|a, b| b.per_s.total_cmp(&a.per_s).then(b.total.cmp(&a.total)).then(a.kind.cmp(&b.kind)));
    guests.sort_by(|a, b| b.core.total_cmp(&a.core).then(a.guest.cmp(&b.guest)));
    rules.sort_by(|a, b| b.per_s.total_cmp(&a.per_s).then(b.hits.cmp(&a.hits)).then(a.title.cmp(&b.title)));
    let count = |s: &Json, part: &str, key: &str| number(&s["ledger"][part][key]);
    Rates {
        generation: number(&new["generation"]["number"]),
        state: text(&new["state"]),
        uptime_s: number(&new["uptime_s"]),
        seconds: ns as f64 / 1e9,
        events_per_s: rate(count(old, "events", "slabbed"), count(new, "events", "slabbed"), ns),
        alerts_per_s: rate(count(old, "detections", "alerts"), count(new, "detections", "alerts"), ns),
        kinds,
        guests,
        rules,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample(seconds: u64, count: u64) -> Sample {
        let ns = seconds * 1_000_000_000;
        Sample {
            status: json!({ "now_ns": ns, "state": "ok", "uptime_s": seconds,
                "sensor": { "at_ns": ns, "kinds": [
                    { "kind": "quiet", "submitted": 7, "filtered": {}, "dropped": {} },
                    { "kind": "busy", "submitted": 10 * count, "filtered": { "path": count, "cgroup": count }, "dropped": {} },
                ] },
                "generation": { "number": 4, "guests": [{ "name": "sigma", "queued_slabs": 2 }] },
                "ledger": { "events": { "slabbed": 10 * count }, "detections": { "alerts": count },
                    "guests": { "sigma": { "handled": 10 * count, "cpu_ns": 5000 * count, "shed": 0, "traps": 1 } } } }),
            rules: json!({ "rules": [
                { "id": "a", "file": "a.yml", "title": "A", "level": "low", "state": "live", "hits": 1 },
                { "id": "b", "file": "b.yml", "title": "B", "level": "high", "state": "live", "hits": count },
                { "id": null, "file": "c.yml", "title": null, "level": null, "state": "refused", "hits": null },
            ] }),
        }
    }

    #[test]
    fn rates_are_differences_and_the_busiest_is_first() {
        let rates = between(&sample(10, 100), &sample(12, 300));
        assert_eq!((rates.generation, rates.seconds, rates.events_per_s, rates.alerts_per_s), (4, 2.0, 1000.0, 100.0));
        let busy = &rates.kinds[0];
        assert_eq!((busy.kind.as_str(), busy.per_s, busy.filtered_per_s, busy.total), ("busy", 1000.0, 200.0, 3000));
        let guest = &rates.guests[0];
        assert_eq!((guest.rows_per_s, guest.ns_per_row, guest.queued_slabs, guest.traps), (1000.0, Some(500.0), 2, 1));
        assert!((guest.core - 0.0005).abs() < 1e-9);
        assert_eq!(rates.rules.iter().map(|r| r.title.as_str()).collect::<Vec<_>>(), ["B", "A", "c.yml"]);
        assert_eq!((rates.rules[0].hits, rates.rules[0].per_s.to_string()), (300, "100".to_owned()));
    }

    #[test]
    fn a_picket_that_was_started_anew_has_no_negative_rates() {
        let rates = between(&sample(100, 300), &sample(1, 3));
        assert_eq!((rates.events_per_s, rates.kinds[0].per_s, rates.guests[0].core), (0.0, 0.0, 0.0));
    }
}
