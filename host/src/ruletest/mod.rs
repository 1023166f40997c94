//! Tests beside rules: `foo.yml` is tested by `foo.test.yml`.
//!
//! Every event of every test runs through the same loader, guests and pipeline as live events, one test after the other; a test looks
//! at what the rules of its own file said about its own events, one by one or together.

mod assert;
mod baseline;
mod coverage;
mod file;
mod filters;
mod junit;
mod sarif;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::alert;
use crate::correlate::Finished;
use crate::offline::{Feeder, Offline};
use crate::reload::SourceFile;
use crate::sensor::Input;
use crate::slab::Slab;
use crate::yaml;
use file::TestFile;

pub use baseline::{Baseline, BaselineError, baseline};
pub use coverage::{Coverage, RuleCoverage};
pub use file::schema;
pub use filters::hidden_by_filters;
pub use junit::junit;
pub use sarif::sarif;

/// One test with its events.
#[derive(Clone, Debug)]
pub struct Case {
    /// The test file.
    pub file: String,
    /// Where the test begins in it.
    pub line: u32,
    /// The rule file.
    pub rule: String,
    pub name: String,
    pub expect: Expect,
    near_miss: bool,
    /// A known gap.
    pub todo: bool,
    /// What an alert has to say, by dotted path.
    alert: Option<Map<String, Json>>,
    /// The rule is about several events together: no other test's may be among them.
    pub alone: bool,
    /// As JSON, or why they cannot be built.
    events: Result<Vec<String>, String>,
}

/// A change that its author says no test can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    pub file: String,
    pub rule: String,
    pub mutant: String,
    pub reason: String,
}

/// What the test files hold.
#[derive(Debug, Default)]
pub struct Tests {
    pub cases: Vec<Case>,
    pub silences: Vec<Silence>,
    /// Test files that could not be read, with the reason.
    pub broken: Vec<(String, String)>,
}

/// What became of the events of one test.
#[derive(Debug, Default)]
pub struct Seen {
    /// Rule files of which a rule matched.
    pub matched: BTreeSet<String>,
    fed: usize,
    error: Option<String>,
}

/// What a test expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// A rule of the file matches.
    Match,
    /// None does.
    NoMatch,
}

/// What a test came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Passed,
    Failed,
    /// It is `todo` and fails.
    KnownGap,
    /// It is `todo` and passes: the mark can go.
    Fixed,
}

/// How one test went.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The test file.
    pub file: String,
    /// Where the test begins in it.
    pub line: u32,
    /// The rule file.
    pub rule: String,
    pub test: String,
    pub expect: Expect,
    /// What it expects is so.
    pub passed: bool,
    pub outcome: Outcome,
    /// Why what it expects is not so.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
}

impl Report {
    pub fn count(&self, outcome: Outcome) -> usize {
        self.verdicts.iter().filter(|v| v.outcome == outcome).count()
    }

    pub fn failed(&self) -> usize {
        self.count(Outcome::Failed) + self.broken.len()
    }

    /// Whether anything is not as its author wants it: a test, a test file, or a hit in the baseline.
    pub fn has_failed(&self) -> bool {
        self.failed() > 0 || self.baseline.as_ref().is_some_and(|b| b.count > 0)
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

/// What a rule file and its test file have in common: the name without endings.
pub fn stem(name: &str) -> &str {
    let name = name.trim_end_matches(".yml").trim_end_matches(".yaml");
    name.trim_end_matches(".test")
}

pub fn is_test(name: &str) -> bool {
    name.ends_with(".test.yml") || name.ends_with(".test.yaml")
}

/// Reads the tests among `files`.
pub fn read(files: &[SourceFile]) -> Tests {
    let mut found = Tests::default();
    for file in files.iter().filter(|f| is_test(&f.name)) {
        let parsed = std::str::from_utf8(&file.content).map_err(|e| e.to_string()).and_then(|text| {
            let tests = serde_saphyr::from_str::<TestFile>(text).map_err(|e| e.to_string())?;
            let cases = tests.tests.iter().map(file::expand).collect::<Result<Vec<_>, _>>()?;
            Ok((tests, cases, lines(text)))
        });
        let (tests, cases, lines) = match parsed {
            Ok(parsed) => parsed,
            Err(why) => {
                found.broken.push((file.name.clone(), why));
                continue;
            }
        };
        let rule = rule_of(&file.name, tests.rule.as_deref());
        let alone = files.iter().find(|f| f.name == rule).is_some_and(is_about_several);
        for (number, tests) in cases.into_iter().enumerate() {
            found.cases.extend(tests.into_iter().map(|test| Case {
                file: file.name.clone(),
                line: lines.get(number).copied().unwrap_or(1),
                rule: rule.clone(),
                events: file::events(&test),
                name: test.name,
                expect: test.expect,
                near_miss: test.near_miss,
                todo: test.todo,
                alert: test.alert,
                alone,
            }));
        }
        found.silences.extend(tests.equivalent.into_iter().map(|e| Silence {
            file: file.name.clone(),
            rule: rule.clone(),
            mutant: e.mutant,
            reason: e.reason,
        }));
    }
    found
}

/// Where each of the tests of a file begins.
fn lines(text: &str) -> Vec<u32> {
    let documents = yaml::read(text).unwrap_or_default();
    let tests = documents.first().and_then(|d| d.get("tests"));
    tests.and_then(yaml::Node::items).unwrap_or_default().iter().map(|test| test.line).collect()
}

/// Whether there is a correlation in the file. One that is written in another way is tested among the events of other tests.
fn is_about_several(file: &SourceFile) -> bool {
    file.content.split(|b| *b == b'\n').any(|line| line.starts_with(b"correlation:"))
}

impl Case {
    /// Why the test fails for the rules of `rule`, whatever it says about alerts; None = it passes.
    pub fn fails(&self, seen: &Seen, rule: &str) -> Option<String> {
        let matched = seen.matched.contains(rule);
        if let Some(error) = &seen.error {
            Some(error.clone())
        } else if seen.fed == 0 {
            Some("it has no event: give `event`, `events` or `ndjson`".to_owned())
        } else if matched != (self.expect == Expect::Match) {
            Some(if matched { "the rule matched".to_owned() } else { "the rule did not match".to_owned() })
        } else if self.near_miss && self.expect == Expect::Match {
            Some("a near miss does not match".to_owned())
        } else if self.alert.is_some() && self.expect == Expect::NoMatch {
            Some("`alert` is about a test that expects a match".to_owned())
        } else {
            None
        }
    }
}

/// Runs the tests in `files` (rules and tests together) through a loaded set. `cover`: find out, too, what no test of a rule makes true.
pub fn run(offline: Offline, files: &[SourceFile], cover: bool) -> Report {
    let Tests { cases, broken, .. } = read(files);
    let mut report = Report { broken, ..Report::default() };
    let tested: BTreeSet<&str> = cases.iter().map(|case| case.rule.as_str()).collect();
    // The test of an exception is beside it, and about a rule elsewhere.
    let beside: BTreeSet<String> = files.iter().filter(|f| is_test(&f.name)).map(|f| rule_of(&f.name, None)).collect();
    report.untested = files
        .iter()
        .filter(|f| !is_test(&f.name) && !tested.contains(f.name.as_str()) && !beside.contains(&f.name))
        .map(|f| f.name.clone())
        .collect();
    let live: BTreeMap<String, usize> = offline.generation.rules.clone();
    // Guests outlive the run, a generation that is held would keep it from ending.
    let guests: Vec<_> = offline.generation.guests().cloned().collect();
    // Of the slabs: what they hold, and the alerts of the rule files that assert something.
    let slabs: Mutex<BTreeMap<u64, Arc<Slab>>> = Mutex::default();
    let alerts: Mutex<BTreeMap<u64, Vec<(String, Json)>>> = Mutex::default();
    let asserting: BTreeSet<&str> = cases.iter().filter(|c| c.alert.is_some()).map(|c| c.rule.as_str()).collect();
    let (fed, hits, _) = run_cases(offline, &cases, |finished| {
        let slab = &finished.flight.slab;
        if cover && !finished.correlated && !slab.is_empty() {
            lock(&slabs).insert(slab.number, slab.clone());
        }
        for found in finished.found.iter().filter(|f| f.detection.analytic.deliver) {
            let file = &found.detection.analytic.file;
            if asserting.contains(file.as_str())
                && let verdict = alert::verdict(&finished.flight, found)
                && let Ok(alert) = serde_json::to_string(&alert::make(&finished.flight, found, &verdict))
                && let Ok(alert) = serde_json::from_str(&alert)
            {
                lock(&alerts).entry(slab.number).or_default().push((file.clone(), alert));
            }
        }
    });
    let (slabs, alerts) = (into_inner(slabs), into_inner(alerts));
    if cover {
        let rows = cases
            .iter()
            .zip(&fed)
            .flat_map(|(case, fed)| slabs.range(fed.slabs.clone()).map(|(_, slab)| (case.rule.as_str(), slab)));
        report.coverage = Some(coverage::of(&guests, rows, &report.untested));
    }
    for (case, fed) in cases.into_iter().zip(fed) {
        let own = alerts.range(fed.slabs.clone()).flat_map(|(_, alerts)| alerts);
        let own: Vec<&Json> = own.filter(|(file, _)| *file == case.rule).map(|(_, alert)| alert).collect();
        let seen = Seen::of(fed, &hits);
        let not_loaded = || (!live.contains_key(&case.rule)).then(|| format!("no rule of {} is loaded", case.rule));
        let asserted = || case.alert.as_ref().and_then(|wanted| assert::mismatch(wanted, &own));
        let why = seen.error.clone().or_else(not_loaded).or_else(|| case.fails(&seen, &case.rule)).or_else(asserted);
        let outcome = match (case.todo, why.is_none()) {
            (false, true) => Outcome::Passed,
            (false, false) => Outcome::Failed,
            (true, true) => Outcome::Fixed,
            (true, false) => Outcome::KnownGap,
        };
        report.verdicts.push(Verdict {
            passed: why.is_none(),
            outcome,
            file: case.file,
            line: case.line,
            rule: case.rule,
            test: case.name,
            expect: case.expect,
            why,
        });
    }
    report
}

/// Runs the events of all tests through a loaded set, one test after the other, and says which rules matched which, and how many
/// answers of guests were refused.
pub fn watch(offline: Offline, cases: &[Case]) -> (Vec<Seen>, u64) {
    let (fed, hits, refused) = run_cases(offline, cases, |_| ());
    (fed.into_iter().map(|fed| Seen::of(fed, &hits)).collect(), refused)
}

/// Which rule files matched in which slab.
type Hits = BTreeMap<u64, BTreeSet<String>>;

/// Each test has slabs of its own: events of two tests may be the same to the last bit, and in one slab they would be one. For a
/// test that has to be alone, guests on `@detection` forget what came before; that is dear, because they start anew.
fn run_cases(offline: Offline, cases: &[Case], mut each: impl FnMut(&Finished) + Send) -> (Vec<Fed>, Hits, u64) {
    let hits: Mutex<Hits> = Mutex::default();
    let (fed, ledger) = offline.run(
        |feeder| feed(feeder, cases),
        |finished| {
            // What is only for correlations is no match of the file.
            let delivered = finished.found.iter().filter(|f| f.detection.analytic.deliver);
            let files = delivered.map(|f| f.detection.analytic.file.clone());
            lock(&hits).entry(finished.flight.slab.number).or_default().extend(files);
            each(&finished);
        },
    );
    let refused = ledger.guests().iter().map(|(_, account)| account.refused.get()).sum();
    (fed, into_inner(hits), refused)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The events of one test as they were fed.
struct Fed {
    events: usize,
    slabs: Range<u64>,
    error: Option<String>,
}

impl Seen {
    fn of(fed: Fed, hits: &Hits) -> Seen {
        let matched = hits.range(fed.slabs).flat_map(|(_, files)| files).cloned().collect();
        Seen { matched, fed: fed.events, error: fed.error }
    }
}

fn feed(feeder: &mut Feeder, cases: &[Case]) -> Vec<Fed> {
    let mut line = 1;
    let mut slab = 0;
    // Nothing is remembered of earlier tests.
    let mut fresh = true;
    let mut all = Vec::with_capacity(cases.len());
    for case in cases {
        if case.alone && !fresh {
            slab = feeder.end();
        }
        let mut fed = Fed { events: 0, slabs: slab..slab, error: case.events.as_ref().err().cloned() };
        for text in case.events.iter().flatten() {
            match feeder.add(&Input::Line { number: line, text }) {
                Ok(_) => {
                    fed.events += 1;
                    line += 1;
                }
                Err(e) => fed.error = Some(crate::text::chain(&e)),
            }
        }
        slab = if case.alone { feeder.end() } else { feeder.close() };
        fresh = case.alone;
        fed.slabs.end = slab;
        all.push(fed);
    }
    all
}
