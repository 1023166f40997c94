//! Reads cases from stdin, one JSON object a line: `{"rule": YAML, "events": [..]}`. Answers each with one line for the
//! peer named by the only argument: `{"verdicts": [true, ..]}` or `{"refused": why}`.

use rsigma_eval::{Engine, JsonEvent};
use serde_json::{Value, json};
use std::io::{BufRead as _, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

fn main() {
    let peer = std::env::args().nth(1).unwrap_or_default();
    let ask: fn(&str, &[Value]) -> Result<Vec<bool>, String> = match peer.as_str() {
        "rsigma" => rsigma,
        "sigma-rust" => sigma_rust,
        other => {
            eprintln!("there is no peer '{other}'");
            std::process::exit(2);
        }
    };
    // A panic is an answer, too, and needs no trace.
    std::panic::set_hook(Box::new(|_| {}));
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let case: Value = serde_json::from_str(&line.expect("stdin")).expect("a case as JSON");
        let (rule, events) = (case["rule"].as_str().expect("a rule"), case["events"].as_array().expect("events"));
        let answer =
            catch_unwind(AssertUnwindSafe(|| ask(rule, events))).unwrap_or_else(|_| Err("it panics".to_owned()));
        let answer = match answer {
            Ok(verdicts) => json!({"verdicts": verdicts}),
            Err(why) => json!({"refused": why}),
        };
        writeln!(out, "{answer}").expect("stdout");
    }
}

fn rsigma(rule: &str, events: &[Value]) -> Result<Vec<bool>, String> {
    let parsed = rsigma_parser::parse_sigma_yaml(rule).map_err(|e| e.to_string())?;
    if parsed.rules.is_empty() {
        return Err(format!("no rule: {parsed:?}"));
    }
    let mut engine = Engine::new();
    let errors = engine.add_rules(&parsed.rules);
    if !errors.is_empty() {
        return Err(format!("{errors:?}"));
    }
    Ok(events.iter().map(|event| !engine.evaluate(&JsonEvent::borrow(event)).is_empty()).collect())
}

fn sigma_rust(rule: &str, events: &[Value]) -> Result<Vec<bool>, String> {
    let rule = sigma_rust::rule_from_yaml(rule).map_err(|e| e.to_string())?;
    events
        .iter()
        .map(|event| {
            let event = sigma_rust::event_from_json(&event.to_string()).map_err(|e| e.to_string())?;
            Ok(rule.is_match(&event))
        })
        .collect()
}
