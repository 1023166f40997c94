//! Whether the tests of a rule would notice if the rule were another: each literal, modifier and term of it is changed,
//! one at a time, and a test has to fail.
//!
//! A mutant is a rule file like any other: written as YAML, compiled by the guest and run through the pipeline. Many are
//! loaded together, so that the events of the tests run once for all of them.

mod change;
mod condition;
mod regex;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::offline::{Offline, OfflineError};
use crate::reload::{Inputs, SourceFile};
use crate::ruletest::{self, Case, Silence, Tests};
use crate::text::hex;
use crate::yaml::{self, Data, Node};

/// Bytes of a rule file that is mutated.
const MAX_BYTES: usize = 64 << 10;
/// Mutants of one rule file.
const MAX_MUTANTS: usize = 1_000;
/// Mutants that are loaded together.
const TOGETHER: usize = 500;
/// Events that they see at once.
const ROWS: u32 = 16;

/// A changed rule.
struct Mutant {
    /// Position of its rule in the report.
    rule: usize,
    what: String,
    line: u32,
    column: u32,
    content: String,
}

/// A change that no test noticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Survivor {
    pub line: u32,
    pub column: u32,
    /// What was changed, in the words that a test file silences it by.
    pub mutant: String,
}

/// How one rule file did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RuleScore {
    pub rule: String,
    pub killed: usize,
    pub survivors: Vec<Survivor>,
    /// Survivors that the test file says change nothing.
    pub equivalent: usize,
    /// Changes that make no rule.
    pub invalid: usize,
    /// Changes beyond the bound that were not tried.
    pub not_tried: usize,
    /// Silences that name no survivor.
    pub idle_silences: Vec<String>,
    /// Percent of the mutants that were killed; none where there was none.
    pub score: Option<f64>,
    /// Why it was not mutated.
    pub why: Option<String>,
}

/// How all rules with tests did.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub rules: Vec<RuleScore>,
    pub killed: usize,
    pub survived: usize,
    pub score: Option<f64>,
    /// Test files that could not be read, with the reason.
    pub broken: Vec<(String, String)>,
}

impl Report {
    /// Rules below `least` percent, and those that could not be mutated.
    pub fn below(&self, least: f64) -> usize {
        self.rules.iter().filter(|r| r.why.is_some() || r.score.is_some_and(|s| s < least)).count()
    }
}

fn percent(killed: usize, survived: usize) -> Option<f64> {
    let all = killed + survived;
    (all > 0).then(|| 100.0 * killed as f64 / all as f64)
}

/// Mutates every rule of `inputs` that has tests.
pub fn run(inputs: &Inputs, cache_dir: Option<&PathBuf>) -> Result<Report, OfflineError> {
    let Tests { mut cases, silences, broken } = ruletest::read(&inputs.rules);
    // A known gap notices nothing.
    cases.retain(|case| !case.todo);
    let mut rules = baseline(inputs, cache_dir, &cases)?;
    let mut mutants = Vec::new();
    for (number, rule) in rules.iter_mut().enumerate().filter(|(_, r)| r.why.is_none()) {
        let file = inputs.rules.iter().find(|f| f.name == rule.rule);
        match file.ok_or_else(|| "the file is not there".to_owned()).and_then(|f| mutants_of(f, number)) {
            Ok(mut found) => {
                rule.not_tried = found.len().saturating_sub(MAX_MUTANTS);
                found.truncate(MAX_MUTANTS);
                mutants.extend(found);
            }
            Err(why) => rule.why = Some(why),
        }
    }
    // Tests that have to be alone are dear, so the mutants of their rules see no tests of others.
    let alone: BTreeSet<&str> = cases.iter().filter(|c| c.alone).map(|c| c.rule.as_str()).collect();
    let is_alone = |m: &Mutant| alone.contains(rules[m.rule].rule.as_str());
    let (alone, others): (Vec<Mutant>, Vec<Mutant>) = mutants.into_iter().partition(is_alone);
    let by_rule = alone.chunk_by(|a, b| a.rule == b.rule).flat_map(|of_rule| of_rule.chunks(TOGETHER));
    for together in others.chunks(TOGETHER).chain(by_rule) {
        try_all(inputs, cache_dir, together, &cases, &mut rules)?;
    }
    for rule in &mut rules {
        silence(rule, &silences);
        rule.score = percent(rule.killed, rule.survivors.len());
    }
    let (killed, survived) = rules.iter().fold((0, 0), |(k, s), rule| (k + rule.killed, s + rule.survivors.len()));
    Ok(Report { killed, survived, score: percent(killed, survived), rules, broken })
}

/// The rules with tests; those whose tests fail as they are say so.
fn baseline(inputs: &Inputs, cache_dir: Option<&PathBuf>, cases: &[Case]) -> Result<Vec<RuleScore>, OfflineError> {
    let offline = Offline::load(inputs, false, cache_dir.cloned())?;
    let (seen, _) = ruletest::watch(offline, cases);
    let mut failing: BTreeMap<&str, Option<String>> = BTreeMap::new();
    for (case, seen) in cases.iter().zip(&seen) {
        let why = case.fails(seen, &case.rule).map(|why| format!("its test '{}' fails: {why}", case.name));
        let first = failing.entry(&case.rule).or_default();
        *first = first.take().or(why);
    }
    let score = |(rule, why): (&str, Option<String>)| RuleScore { rule: rule.to_owned(), why, ..RuleScore::default() };
    Ok(failing.into_iter().map(score).collect())
}

/// Every mutant of a file, with the rule's id and name changed so that all can be loaded together.
fn mutants_of(file: &SourceFile, rule: usize) -> Result<Vec<Mutant>, String> {
    if file.content.len() > MAX_BYTES {
        return Err(format!("it is larger than {MAX_BYTES} bytes"));
    }
    let text = std::str::from_utf8(&file.content).map_err(|e| e.to_string())?;
    let documents = yaml::read(text)?;
    let mut found = Vec::new();
    for (i, document) in documents.iter().enumerate() {
        for change in change::of_rule(document) {
            let mut changed = documents.clone();
            changed[i] = change.node;
            let what = if documents.len() > 1 { format!("document {}: {}", i + 1, change.what) } else { change.what };
            let number = format!("m{rule}-{}", found.len());
            rename(&mut changed, &number);
            let content = yaml::write(&changed);
            found.push(Mutant { rule, what, line: change.line, column: change.column, content });
            if found.len() > 2 * MAX_MUTANTS {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// Gives the rules of a file ids and names of their own, and lets correlations refer to these.
fn rename(documents: &mut [Node], suffix: &str) {
    let mut names: HashMap<String, String> = HashMap::new();
    for document in documents.iter_mut() {
        let Data::Map(pairs) = &mut document.data else { continue };
        for (key, value) in pairs.iter_mut() {
            if let (Some("id" | "name"), Some(old)) = (key.text(), value.text()) {
                let new = format!("{old}-{suffix}");
                names.insert(old.to_owned(), new.clone());
                *value = value.with_text(new);
            }
        }
    }
    for document in documents.iter_mut() {
        let Data::Map(pairs) = &mut document.data else { continue };
        for (_, value) in pairs.iter_mut().filter(|(k, _)| matches!(k.text(), Some("correlation" | "filter"))) {
            refer(value, &names);
        }
    }
}

/// Renames what refers to one of `names`: list entries, keys, and the words of a condition.
fn refer(node: &mut Node, names: &HashMap<String, String>) {
    match &mut node.data {
        Data::Scalar { text, .. } => {
            let words: Vec<&str> = text.split(' ').collect();
            if words.iter().any(|w| names.contains_key(w.trim_matches(['(', ')']))) {
                let new = |word: &str| {
                    let bare = word.trim_matches(['(', ')']);
                    names.get(bare).map_or_else(|| word.to_owned(), |n| word.replacen(bare, n, 1))
                };
                *text = words.into_iter().map(new).collect::<Vec<_>>().join(" ");
            }
        }
        Data::List(items) => items.iter_mut().for_each(|i| refer(i, names)),
        Data::Map(pairs) => {
            for (key, value) in pairs {
                refer(key, names);
                refer(value, names);
            }
        }
    }
}

/// Loads these mutants, runs the tests of their rules, and writes down who was noticed.
fn try_all(
    inputs: &Inputs,
    cache_dir: Option<&PathBuf>,
    mutants: &[Mutant],
    cases: &[Case],
    rules: &mut [RuleScore],
) -> Result<(), OfflineError> {
    let Some(template) = inputs.rules.first() else { return Ok(()) };
    let name = |number: usize| format!("mutant-{number}.yml");
    let files = mutants.iter().enumerate().map(|(number, mutant)| {
        let mut file = template.clone();
        file.name = name(number);
        file.digest = hex(&Sha256::digest(mutant.content.as_bytes()));
        file.content = mutant.content.as_bytes().into();
        file
    });
    let mut config = (*inputs.config).clone();
    // Some changes make no rule: the others are loaded without them.
    config.strict = false;
    // Each of them may match each event: a guest's answer about one slab is bounded.
    config.dispatch.rows = ROWS;
    let set = Inputs {
        config: Arc::new(config),
        rules: files.collect(),
        tuning: Vec::new(),
        unread: Vec::new(),
        ..inputs.clone()
    };
    let offline = Offline::load(&set, false, cache_dir.cloned())?;
    let live: BTreeSet<String> = offline.generation.rules.keys().cloned().collect();
    let concerned: BTreeSet<&str> = mutants.iter().map(|m| rules[m.rule].rule.as_str()).collect();
    let cases: Vec<Case> = cases.iter().filter(|c| concerned.contains(c.rule.as_str())).cloned().collect();
    let (seen, refused) = ruletest::watch(offline, &cases);
    if refused > 0 {
        // Who was not seen to match may have matched.
        let why = format!("{refused} answers about its mutants were refused");
        for mutant in mutants {
            rules[mutant.rule].why = Some(why.clone());
        }
        return Ok(());
    }
    for (number, mutant) in mutants.iter().enumerate() {
        let name = name(number);
        let rule = &mut rules[mutant.rule];
        let mut own = cases.iter().zip(&seen).filter(|(case, _)| case.rule == rule.rule);
        if !live.contains(&name) {
            rule.invalid += 1;
        } else if own.any(|(case, seen)| case.fails(seen, &name).is_some()) {
            rule.killed += 1;
        } else {
            let (line, column) = (mutant.line, mutant.column);
            rule.survivors.push(Survivor { line, column, mutant: mutant.what.clone() });
        }
    }
    Ok(())
}

/// Takes out the survivors that the test file knows.
fn silence(rule: &mut RuleScore, silences: &[Silence]) {
    for silence in silences.iter().filter(|s| s.rule == rule.rule) {
        let before = rule.survivors.len();
        rule.survivors.retain(|s| s.mutant != silence.mutant || silence.reason.trim().is_empty());
        let taken = before - rule.survivors.len();
        rule.equivalent += taken;
        if taken == 0 {
            rule.idle_silences.push(silence.mutant.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlations_follow_their_rules() {
        let source = "title: a\nid: one\nname: first\n---\ntitle: c\nid: two\ncorrelation:\n  rules: [first, other]\n  aliases: {x: {first: A}}\n  condition: (first and other)\n";
        let mut documents = yaml::read(source).unwrap();
        rename(&mut documents, "m1");
        let value: Vec<serde_json::Value> =
            documents.iter().map(|d| serde_saphyr::from_str(&yaml::write(std::slice::from_ref(d))).unwrap()).collect();
        assert_eq!((&value[0]["id"], &value[0]["name"]), (&"one-m1".into(), &"first-m1".into()));
        assert_eq!(value[1]["correlation"]["rules"], serde_json::json!(["first-m1", "other"]));
        assert_eq!(value[1]["correlation"]["aliases"]["x"]["first-m1"], "A");
        assert_eq!(value[1]["correlation"]["condition"], "(first-m1 and other)");
    }

    #[test]
    fn a_silence_needs_a_reason_and_a_survivor() {
        let survivor = |what: &str| Survivor { line: 1, column: 1, mutant: what.to_owned() };
        let silence_of = |mutant: &str, reason: &str| Silence {
            file: "a.test.yml".into(),
            rule: "a.yml".into(),
            mutant: mutant.into(),
            reason: reason.into(),
        };
        let mut rule = RuleScore {
            rule: "a.yml".into(),
            survivors: vec![survivor("x"), survivor("y"), survivor("z")],
            ..RuleScore::default()
        };
        let silences = [silence_of("x", "same"), silence_of("y", " "), silence_of("w", "same")];
        silence(&mut rule, &silences);
        assert_eq!((rule.survivors.len(), rule.equivalent), (2, 1));
        assert_eq!(rule.idle_silences, ["y", "w"]);
    }

    #[test]
    fn rules_that_could_not_be_mutated_are_below_any_bar() {
        let rule = |score, why: Option<&str>| RuleScore { score, why: why.map(str::to_owned), ..RuleScore::default() };
        let rules = vec![rule(Some(90.0), None), rule(Some(89.9), None), rule(None, Some("fails")), rule(None, None)];
        let report = Report { rules, ..Report::default() };
        assert_eq!(report.below(90.0), 2);
    }
}
