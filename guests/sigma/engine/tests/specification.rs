//! The case table: every clause of the specification, and every decision where it leaves room.

mod common;

use common::{Event, compile_one, matches, rule};
use picket_sigma::{Gravity, Scratch};
use serde_json::Value;

#[test]
fn every_case() {
    let table: Vec<Value> = serde_saphyr::from_str(include_str!("cases.yml")).unwrap();
    let (mut events, mut wrong) = (0, Vec::new());
    let mut seen = std::collections::HashSet::new();
    for case in &table {
        let clause = case["clause"].as_str().unwrap();
        assert!(clause.starts_with("S:"), "{clause}: a case names its clause");
        assert!(seen.insert(case.to_string()), "{clause}: the same case twice");
        let set = compile_one(&rule(case["detection"].as_str().unwrap()));
        if set.diagnostics.iter().any(|d| d.gravity == Gravity::Error) || set.rules.len() != 1 {
            wrong.push(format!("{clause}: not loaded: {:?}", set.diagnostics));
            continue;
        }
        for (list, expected) in [("match", true), ("miss", false)] {
            for event in case[list].as_array().unwrap() {
                events += 1;
                let event: Event = event.as_object().unwrap().clone();
                for dictionary in [false, true] {
                    let hits = matches(&set, 0, std::slice::from_ref(&event), dictionary, &mut Scratch::default());
                    if hits[0].is_empty() == expected {
                        wrong.push(format!("{clause}: {event:?} should {}", if expected { "match" } else { "miss" }));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(table.len() >= 600 && events >= 2000, "only {} cases with {events} events", table.len());
}

#[test]
fn every_refusal() {
    let table: Vec<Value> = serde_saphyr::from_str(include_str!("refusals.yml")).unwrap();
    let mut wrong = Vec::new();
    for case in &table {
        let (clause, code) = (case["clause"].as_str().unwrap(), case["code"].as_str().unwrap());
        let set = compile_one(&rule(case["detection"].as_str().unwrap()));
        let errors: Vec<_> = set.diagnostics.iter().filter(|d| d.gravity == Gravity::Error).map(|d| d.code).collect();
        if errors != [code] || !set.rules.is_empty() {
            wrong.push(format!("{clause}: wanted {code}, got {errors:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(table.len() >= 120, "only {} cases", table.len());
}
