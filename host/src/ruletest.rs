//! Tests beside rules: `foo.yml` is tested by `foo.test.yml`.
//!
//! Every event of every test runs through the same loader, guests and pipeline as live events, one test after the other; a test looks
//! at what the rules of its own file said about its own events, one by one or together.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::kind;
use crate::offline::{Feeder, Offline};
use crate::reload::SourceFile;
use crate::sensor::Input;

/// A `.test.yml` file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TestFile {
    /// File name of the rule under test; the file of the same stem unless given.
    rule: Option<String>,
    tests: Vec<TestCase>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TestCase {
    name: String,
    expect: Expect,
    /// Differs from a matching test in one field.
    #[serde(default)]
    near_miss: bool,
    event: Option<Map<String, Json>>,
    #[serde(default)]
    events: Vec<Map<String, Json>>,
    /// Whole events, one a line.
    ndjson: Option<String>,
}

/// What a test expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    Match,
    NoMatch,
}

/// How one test went.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The test file.
    pub file: String,
    /// The rule file.
    pub rule: String,
    pub test: String,
    pub expect: Expect,
    pub passed: bool,
    /// Why it failed.
    pub why: Option<String>,
}

/// Everything that was run.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub verdicts: Vec<Verdict>,
    /// Test files that could not be read, with the reason.
    pub broken: Vec<(String, String)>,
    /// Rule files without a test file.
    pub untested: Vec<String>,
}

impl Report {
    pub fn passed(&self) -> usize {
        self.verdicts.iter().filter(|v| v.passed).count()
    }

    pub fn failed(&self) -> usize {
        self.verdicts.len() - self.passed() + self.broken.len()
    }
}

/// The rule file a test file is about.
fn rule_of(test_file: &str, named: Option<&str>) -> String {
    let stem = test_file.trim_end_matches(".test.yml").trim_end_matches(".test.yaml");
    match named {
        Some(name) => match test_file.rsplit_once('/') {
            Some((dir, _)) => format!("{dir}/{name}"),
            None => name.to_owned(),
        },
        None => format!("{stem}.yml"),
    }
}

pub fn is_test(name: &str) -> bool {
    name.ends_with(".test.yml") || name.ends_with(".test.yaml")
}

/// Runs the tests in `files` (rules and tests together) through a loaded set.
pub fn run(offline: Offline, files: &[SourceFile]) -> Report {
    let mut report = Report::default();
    let mut cases: Vec<(String, String, TestCase)> = Vec::new();
    for file in files.iter().filter(|f| is_test(&f.name)) {
        let parsed = std::str::from_utf8(&file.content)
            .map_err(|e| e.to_string())
            .and_then(|text| serde_saphyr::from_str::<TestFile>(text).map_err(|e| e.to_string()));
        match parsed {
            Ok(tests) => {
                let rule = rule_of(&file.name, tests.rule.as_deref());
                cases.extend(tests.tests.into_iter().map(|t| (file.name.clone(), rule.clone(), t)));
            }
            Err(why) => report.broken.push((file.name.clone(), why)),
        }
    }
    let tested: BTreeSet<&str> = cases.iter().map(|(_, rule, _)| rule.as_str()).collect();
    report.untested = files
        .iter()
        .filter(|f| !is_test(&f.name) && !tested.contains(f.name.as_str()))
        .map(|f| f.name.clone())
        .collect();
    let live: BTreeMap<String, usize> = offline.generation.rules.clone();
    // Which rule files matched in which slab. Each test has slabs of its own: what is made of several events belongs to one test, too.
    let hits: Mutex<BTreeMap<u64, BTreeSet<String>>> = Mutex::default();
    let (owners, _) = offline.run(
        |feeder| feed(feeder, &cases),
        |finished| {
            let mut hits = hits.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let files = finished.found.iter().map(|f| f.detection.analytic.file.clone());
            hits.entry(finished.flight.slab.number).or_default().extend(files);
        },
    );
    let hits = hits.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    for ((file, rule, case), fed) in cases.iter().zip(owners) {
        let matched = hits.range(fed.slabs.clone()).any(|(_, files)| files.contains(rule));
        let why = if let Some(error) = fed.error {
            Some(error)
        } else if !live.contains_key(rule) {
            Some(format!("no rule of {rule} is loaded"))
        } else if fed.events == 0 {
            Some("it has no event: give `event`, `events` or `ndjson`".to_owned())
        } else if matched != (case.expect == Expect::Match) {
            Some(if matched { "the rule matched".to_owned() } else { "the rule did not match".to_owned() })
        } else if case.near_miss && case.expect == Expect::Match {
            Some("a near miss does not match".to_owned())
        } else {
            None
        };
        report.verdicts.push(Verdict {
            file: file.clone(),
            rule: rule.clone(),
            test: case.name.clone(),
            expect: case.expect,
            passed: why.is_none(),
            why,
        });
    }
    report
}

/// The events of one test as they were fed.
struct Fed {
    events: usize,
    slabs: Range<u64>,
    error: Option<String>,
}

fn feed(feeder: &mut Feeder, cases: &[(String, String, TestCase)]) -> Vec<Fed> {
    let mut line = 1;
    let mut slab = 0;
    cases
        .iter()
        .map(|(_, _, case)| {
            let mut fed = Fed { events: 0, slabs: slab..slab, error: None };
            let built: Result<Vec<String>, String> = case
                .event
                .iter()
                .chain(&case.events)
                .map(|fields| kind::build(fields).map(|e| e.to_string()).map_err(|e| e.to_string()))
                .chain(
                    case.ndjson
                        .iter()
                        .flat_map(|t| t.lines())
                        .filter(|l| !l.trim().is_empty())
                        .map(|l| Ok(l.to_owned())),
                )
                .collect();
            match built {
                Ok(events) => {
                    for text in events {
                        match feeder.add(&Input::Line { number: line, text: &text }) {
                            Ok(_) => {
                                fed.events += 1;
                                line += 1;
                            }
                            Err(e) => fed.error = Some(crate::text::chain(&e)),
                        }
                    }
                }
                Err(e) => fed.error = Some(e),
            }
            slab = feeder.end();
            fed.slabs.end = slab;
            fed
        })
        .collect()
}
