//! What somebody who saved a rule wants to know besides its tests: whether they would notice a change, what it would have found here,
//! and what is live now. For `picket test --watch`, on stderr.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::control::{self, Request};
use crate::export::is_filter;
use crate::hunt::{self, Hits};
use crate::mutate;
use crate::offline::Offline;
use crate::recorder::Recording;
use crate::reload::Inputs;
use crate::ruletest::{is_test, stem};

use super::load;
use super::terminal::escape_str;

/// Says it of the rule files among the changed ones, and of those that the changed tests are about.
pub fn tell(inputs: &Inputs, changed: &BTreeSet<String>) {
    let tests = |name: &str| name.replace(".test.yml", ".yml").replace(".test.yaml", ".yaml");
    let rules: BTreeSet<String> =
        changed.iter().map(|name| if is_test(name) { tests(name) } else { name.clone() }).collect();
    let stems: BTreeSet<&str> = rules.iter().map(|name| stem(name)).collect();
    let mut some = inputs.clone();
    some.rules.retain(|f| stems.contains(stem(&f.name)) || is_filter(&f.content));
    if some.rules.iter().any(|f| rules.contains(&f.name)) {
        scores(&some);
        past(&some, &rules);
    }
    live(inputs);
}

fn scores(inputs: &Inputs) {
    let Ok(report) = mutate::run(inputs, load::cache_dir(&inputs.config).as_ref()) else { return };
    for rule in report.rules.iter().filter(|r| r.why.is_none()) {
        let all = rule.killed + rule.survivors.len() - rule.equivalent.min(rule.survivors.len());
        eprintln!("  {}: its tests notice {} of {all} changes", escape_str(&rule.rule), rule.killed);
    }
}

fn past(inputs: &Inputs, rules: &BTreeSet<String>) {
    let config = &inputs.config;
    // Whether one runs or not: what is on disk is looked at.
    let _ = control::ask(&config.control_socket(), &Request::Flush);
    let Ok(mut recording) = Recording::last(&config.state_dir(), hunt::DAY) else { return };
    // What is wrong with the rules was said.
    let Ok(offline) = Offline::load(inputs, false, load::cache_dir(config)) else { return };
    let found = hunt::run(offline, &mut recording, &mut |_| {});
    if found.from.is_none() {
        return eprintln!("  nothing was recorded in the last 24 hours to try it on");
    }
    for rule in found.rules.iter().filter(|r| rules.contains(&r.file)) {
        eprintln!("  {}: {} in the last 24 hours", escape_str(&rule.title), hits(rule));
    }
}

fn hits(rule: &Hits) -> String {
    let last = rule.last.as_deref().and_then(|t| t.get(..19)).map(|t| t.replace('T', " "));
    match (rule.hits, last) {
        (0, _) => "no hit".to_owned(),
        (hits, Some(last)) => format!("{hits} hits, the last at {last} UTC"),
        (hits, None) => format!("{hits} hits"),
    }
}

/// What a running Picket makes of it, and what it costs.
fn live(inputs: &Inputs) {
    let socket = inputs.config.control_socket();
    let Ok(report) = control::ask(&socket, &Request::Reload { force: false, wait: true }) else {
        return eprintln!("  no picket is running: it counts from the next start");
    };
    let text = |key: &str| report[key].as_str().unwrap_or_default().to_owned();
    let generation = &report["generation"];
    match text("outcome").as_str() {
        "live" | "unchanged" => eprintln!("  generation {generation} is live"),
        _ => eprintln!("  refused: {}; generation {generation} is still live", escape_str(&text("why"))),
    }
    for stale in report["stale"].as_array().into_iter().flatten() {
        let of = |key: &str| stale[key].as_str().map(escape_str);
        let live = if stale["live"].is_null() { "nothing of it" } else { "its last good version" };
        eprintln!("  {} is refused, {live} is live: {}", of("file").unwrap_or_default(), of("why").unwrap_or_default());
    }
    if let Ok(status) = control::ask(&socket, &Request::Status)
        && let Some(cost) = cost(&status)
    {
        eprintln!("  {cost}");
    }
}

/// What the last reload adds, as the status has it.
fn cost(status: &Json) -> Option<String> {
    let cost = status.pointer("/sensor/reload_cost").filter(|c| !c.is_null())?;
    let events = cost["events_per_s"].as_f64()?;
    let how = if cost["predicted"] == true { "will add at most" } else { "adds" };
    let share = cost["core_share"].as_f64().map(|share| format!(", {:.2} % of a core", share * 100.0));
    Some(format!("it {how} {events:.1} events a second{}", share.unwrap_or_default()))
}
