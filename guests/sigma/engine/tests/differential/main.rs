//! Our verdicts held against those of other engines, case by case. A disagreement must be explained in
//! tests/oracle/disagreements.yml, and an explanation must explain one.

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code)]
#[path = "../naive/generate.rs"]
mod generate;
mod peers;

use common::{Event, Random, compile_one, corpus, matches, read, rule, synthesis};
use peers::Answer;
use picket_sigma::Scratch;
use serde_json::Value;
use std::collections::BTreeSet;

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
    /// Names of cases; sections of the table, which are names up to the second colon; texts of which the rule has one.
    keys: [Vec<String>; 3],
    why: String,
}

impl Explanation {
    /// The key by which it explains that.
    fn explains(&self, case: &Case, says: &str) -> Option<&String> {
        let [cases, sections, texts] = &self.keys;
        let case_key = cases.iter().find(|name| **name == case.name);
        let section =
            || sections.iter().find(|s| case.name.strip_prefix(s.as_str()).is_some_and(|r| r.starts_with(':')));
        let text = || texts.iter().find(|text| case.rule.contains(text.as_str()));
        self.says.split(", ").any(|s| s == says).then(|| case_key.or_else(section).or_else(text)).flatten()
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
        keys: ["cases", "sections", "rules-with"].map(|key| list(e, key)),
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
    let verdicts = match answer {
        Answer::Verdicts(verdicts) => verdicts,
        Answer::Refuses(_) => return vec!["refuses"],
        Answer::Silent => return Vec::new(),
    };
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
            !entry.why.is_empty() && entry.keys.iter().any(|keys| !keys.is_empty()),
            "{}: {}",
            entry.peer,
            entry.why
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
        let mut used: BTreeSet<(usize, &str)> = BTreeSet::new();
        let mut count = 0;
        for (case, answer) in cases.iter().zip(&answers) {
            for says in difference(case, answer) {
                count += 1;
                let explained = explanations.iter().enumerate().filter_map(|(i, e)| Some((i, e.explains(case, says)?)));
                let fitting: Vec<(usize, &String)> = explained.collect();
                used.extend(fitting.iter().map(|(i, key)| (*i, key.as_str())));
                if fitting.is_empty() {
                    let detail = match answer {
                        Answer::Silent => String::new(),
                        Answer::Refuses(why) => why.clone(),
                        Answer::Verdicts(theirs) => {
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
            for key in entry.keys.iter().flatten() {
                if !used.contains(&(i, key.as_str())) {
                    wrong.push(format!("{}: nothing is explained by {key:?} ({})", peer.name, entry.why));
                }
            }
        }
        let silent = answers.iter().filter(|a| matches!(a, Answer::Silent)).count();
        let differ = cases.iter().zip(&answers).filter(|(c, a)| !difference(c, a).is_empty()).count();
        let same = cases.len() - silent - differ;
        println!("{}: {same} rules agree, {differ} differ in {count} ways, {silent} it has no opinion on", peer.name);
    }
    assert!(wrong.is_empty(), "{} not explained:\n{}", wrong.len(), wrong.join("\n"));
}

/// The rules of the property test, on events that JSON can say and pySigma's users have.
fn random() -> Vec<Case> {
    let mut r = Random(0x1234_5678_9abc_def1);
    let case = |number: usize| {
        let text = generate::yaml(&generate::rule(&mut r), number);
        let set = compile_one(&text);
        let said = |field: &String, value: &mut Value| field != "ExecutedImage" && !value.is_object();
        let mut events: Vec<Event> = (0..14).map(|_| generate::event(&mut r)).collect();
        for event in &mut events {
            event.retain(said);
        }
        let hit = |e: &Event| !matches(&set, 0, std::slice::from_ref(e), true, &mut Scratch::default())[0].is_empty();
        let ours = events.iter().map(hit).collect();
        Case { name: text.clone(), rule: text, events: events.into_iter().map(Value::Object).collect(), ours }
    };
    (0..600).map(case).collect()
}

#[test]
fn random_rules_mean_the_same_to_pysigma() {
    let cases = random();
    let asked: Vec<(String, Vec<Value>)> = cases.iter().map(|c| (c.rule.clone(), c.events.clone())).collect();
    let peer = peers::pysigma();
    let answers = match peer.ask(&asked) {
        Ok(answers) => answers,
        Err(why) => {
            println!("skipped: {}: {why}", peer.name);
            return;
        }
    };
    let mut agreed = 0;
    for (case, answer) in cases.iter().zip(&answers) {
        match answer {
            Answer::Verdicts(verdicts) => assert_eq!(*verdicts, case.ours, "{} on {:?}", case.rule, case.events),
            // Of numbers and of fields: explained in the table.
            Answer::Refuses(why) => assert!(why.contains("SigmaCaseSensitiveModifier"), "{}: {why}", case.rule),
            Answer::Silent => panic!("no opinion on {}", case.rule),
        }
        agreed += usize::from(matches!(answer, Answer::Verdicts(_)));
    }
    assert!(agreed > 500, "only {agreed} rules could be compared");
}
