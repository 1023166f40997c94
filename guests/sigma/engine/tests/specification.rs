//! The case table: every clause of the specification, and every decision where it leaves room.

mod common;

use common::{Event, compile_one, matches, rule};
use picket_sigma::{Gravity, Scratch};
use serde_json::Value;

#[test]
fn every_case() {
    let table: Vec<Value> = serde_saphyr::from_str(include_str!("cases.yml")).unwrap();
    let (mut cases, mut wrong) = (0, Vec::new());
    for case in &table {
        let clause = case["clause"].as_str().unwrap();
        let set = compile_one(&rule(case["detection"].as_str().unwrap()));
        if set.diagnostics.iter().any(|d| d.gravity == Gravity::Error) || set.rules.len() != 1 {
            wrong.push(format!("{clause}: not loaded: {:?}", set.diagnostics));
            continue;
        }
        for (list, expected) in [("match", true), ("miss", false)] {
            for event in case[list].as_array().unwrap() {
                cases += 1;
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
    assert!(cases >= 300, "only {cases} cases");
}
