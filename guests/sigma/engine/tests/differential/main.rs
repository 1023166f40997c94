//! Our verdicts held against those of other engines, case by case. A disagreement must be explained in
//! tests/oracle/disagreements.yml, and an explanation must explain one.

#[path = "../common/mod.rs"]
mod common;
mod peers;

use common::{Event, compile_one, corpus, matches, read, rule, synthesis};
use peers::Answer;
use picket_sigma::Scratch;
use serde_json::Value;
use std::collections::BTreeMap;

struct Case {
    name: String,
    rule: String,
    events: Vec<Value>,
    /// What we say of each.
    ours: Vec<bool>,
}

/// Explains disagreements of one peer.
struct Explanation {
    peer: String,
    /// refuses, misses, matches, or several of them.
    says: String,
    /// Names of cases, or texts of which the rule has one.
    cases: Vec<String>,
    texts: Vec<String>,
    why: String,
}

impl Explanation {
    fn explains(&self, case: &Case, says: &str) -> bool {
        let said = self.says.split(", ").any(|s| s == says);
        said && (self.cases.contains(&case.name) || self.texts.iter().any(|t| case.rule.contains(t.as_str())))
    }
}

fn table() -> Vec<Explanation> {
    let table: Vec<Value> =
        serde_saphyr::from_str(include_str!("../../../../../tests/oracle/disagreements.yml")).unwrap();
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let list = |entry: &Value, key: &str| {
        entry[key].as_array().into_iter().flatten().map(|v| v.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let entry = |e: &Value| Explanation {
        peer: text(e, "peer"),
        says: text(e, "says"),
        cases: list(e, "cases"),
        texts: list(e, "rules-with"),
        why: text(e, "why"),
    };
    table.iter().map(entry).collect()
}

/// Events that JSON cannot say are left out.
fn can_be_said(event: &Value) -> bool {
    event.as_object().unwrap().values().all(|v| v.get("unavailable").is_none() && v.get("bytes").is_none())
}

/// The case table.
fn specified() -> Vec<Case> {
    let table: Vec<Value> = serde_saphyr::from_str(include_str!("../cases.yml")).unwrap();
    let with_detection = table.iter().filter(|case| case["detection"].is_string() && case["match"].is_array());
    let case = |case: &Value| {
        let verdicts = [("match", true), ("miss", false)];
        let (events, ours): (Vec<Value>, Vec<bool>) = verdicts
            .iter()
            .flat_map(|(list, ours)| case[*list].as_array().unwrap().iter().map(|e| (e.clone(), *ours)))
            .filter(|(event, _)| can_be_said(event))
            .unzip();
        let name = case["clause"].as_str().unwrap().to_owned();
        Case { name, rule: rule(case["detection"].as_str().unwrap()), events, ours }
    };
    with_detection.map(case).filter(|c| !c.events.is_empty()).collect()
}

/// SigmaHQ's rules with what they describe and what is near it.
fn synthesised() -> Vec<Case> {
    let Some(corpus) = corpus() else { return Vec::new() };
    let mut cases = Vec::new();
    for (path, text) in corpus {
        let set = compile_one(&text);
        let (alternatives, _) = synthesis::alternatives(&read::rule(&text).unwrap());
        let events: Vec<Event> = alternatives.into_iter().flat_map(|a| a.near.into_iter().chain([a.event])).collect();
        let hit =
            |event: &Event| !matches(&set, 0, std::slice::from_ref(event), true, &mut Scratch::default())[0].is_empty();
        let ours = events.iter().map(hit).collect();
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        cases.push(Case { name, rule: text, events: events.into_iter().map(Value::Object).collect(), ours });
    }
    cases
}

/// How a peer differs; empty = it does not.
fn difference(case: &Case, answer: &Answer) -> Vec<&'static str> {
    let Ok(verdicts) = answer else { return vec!["refuses"] };
    let pairs = || verdicts.iter().zip(&case.ours);
    let mut found = Vec::new();
    if pairs().any(|(theirs, ours)| *ours && !theirs) {
        found.push("misses");
    }
    if pairs().any(|(theirs, ours)| *theirs && !ours) {
        found.push("matches");
    }
    found
}

#[test]
fn every_disagreement_is_explained() {
    let mut cases = specified();
    cases.extend(synthesised());
    let asked: Vec<(String, Vec<Value>)> = cases.iter().map(|c| (c.rule.clone(), c.events.clone())).collect();
    let table = table();
    for entry in &table {
        assert!(
            !entry.why.is_empty() && entry.cases.is_empty() != entry.texts.is_empty(),
            "{} {:?}",
            entry.peer,
            entry.cases
        );
    }
    let mut wrong = Vec::new();
    for peer in peers::all() {
        let answers = match peer.ask(&asked) {
            Ok(answers) => answers,
            Err(why) => {
                println!("skipped: {}: {why}", peer.name);
                continue;
            }
        };
        let explanations: Vec<&Explanation> = table.iter().filter(|e| e.peer == peer.name).collect();
        let mut used: BTreeMap<(usize, &str), usize> = BTreeMap::new();
        let mut count = 0;
        for (case, answer) in cases.iter().zip(&answers) {
            for says in difference(case, answer) {
                count += 1;
                let fitting = (0..explanations.len()).filter(|i| explanations[*i].explains(case, says));
                let fitting: Vec<usize> = fitting.collect();
                for i in &fitting {
                    let text = explanations[*i].texts.iter().find(|t| case.rule.contains(t.as_str()));
                    *used.entry((*i, text.unwrap_or(&case.name))).or_default() += 1;
                }
                if fitting.is_empty() {
                    let detail = match answer {
                        Err(why) => why.clone(),
                        Ok(theirs) => {
                            let differ = case.events.iter().zip(theirs.iter().zip(&case.ours));
                            let differ = differ.filter(|(_, (a, b))| a != b).map(|(e, _)| e.to_string());
                            differ.collect::<Vec<_>>().join(" ")
                        }
                    };
                    wrong.push(format!("{}: {says}: {}: {detail}", peer.name, case.name));
                }
            }
        }
        for (i, entry) in explanations.iter().enumerate() {
            for key in entry.cases.iter().chain(&entry.texts) {
                if !used.contains_key(&(i, key.as_str())) {
                    wrong.push(format!("{}: nothing is explained by {key:?} ({})", peer.name, entry.why));
                }
            }
        }
        let same = cases.len() - cases.iter().zip(&answers).filter(|(c, a)| !difference(c, a).is_empty()).count();
        println!("{}: of {} rules {same} agree; {count} disagreements", peer.name, cases.len());
    }
    assert!(wrong.is_empty(), "{} not explained:\n{}", wrong.len(), wrong.join("\n"));
}
