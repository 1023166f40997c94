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
use crate::units::Period;

/// A `.test.yml` file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TestFile {
    /// File name of the rule under test; the file of the same stem unless given.
    rule: Option<String>,
    tests: Vec<TestCase>,
    /// Changes of the rule that change nothing, so that no test can see them.
    #[serde(default)]
    equivalent: Vec<Equivalent>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Equivalent {
    mutant: String,
    reason: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TestCase {
    name: String,
    expect: Expect,
    /// Differs from a matching test in one field.
    #[serde(default)]
    near_miss: bool,
    event: Option<Map<String, Json>>,
    /// With `event`: a test for each value of each of these fields, which takes the place of the event's own.
    each: Option<Map<String, Json>>,
    #[serde(default)]
    events: Vec<Map<String, Json>>,
    /// Whole events, one a line.
    ndjson: Option<String>,
}

/// One test with its events.
#[derive(Clone, Debug)]
pub struct Case {
    /// The test file.
    pub file: String,
    /// The rule file.
    pub rule: String,
    pub name: String,
    pub expect: Expect,
    near_miss: bool,
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

/// Reads the tests among `files`.
pub fn read(files: &[SourceFile]) -> Tests {
    let mut found = Tests::default();
    for file in files.iter().filter(|f| is_test(&f.name)) {
        let parsed = std::str::from_utf8(&file.content)
            .map_err(|e| e.to_string())
            .and_then(|text| serde_saphyr::from_str::<TestFile>(text).map_err(|e| e.to_string()))
            .and_then(|tests| {
                let cases = tests.tests.iter().map(expand).collect::<Result<Vec<_>, _>>()?;
                Ok((tests, cases))
            });
        let (tests, cases) = match parsed {
            Ok(parsed) => parsed,
            Err(why) => {
                found.broken.push((file.name.clone(), why));
                continue;
            }
        };
        let rule = rule_of(&file.name, tests.rule.as_deref());
        let alone = files.iter().find(|f| f.name == rule).is_some_and(is_about_several);
        found.cases.extend(cases.into_iter().flatten().map(|test| Case {
            file: file.name.clone(),
            rule: rule.clone(),
            events: events(&test),
            name: test.name,
            expect: test.expect,
            near_miss: test.near_miss,
            alone,
        }));
        found.silences.extend(tests.equivalent.into_iter().map(|e| Silence {
            file: file.name.clone(),
            rule: rule.clone(),
            mutant: e.mutant,
            reason: e.reason,
        }));
    }
    found
}

/// Whether there is a correlation in the file. One that is written in another way is tested among the events of other tests.
fn is_about_several(file: &SourceFile) -> bool {
    file.content.split(|b| *b == b'\n').any(|line| line.starts_with(b"correlation:"))
}

/// A test for each value of `each`, or the test itself.
fn expand(test: &TestCase) -> Result<Vec<TestCase>, String> {
    let Some(each) = &test.each else { return Ok(vec![test.clone()]) };
    let Some(event) = &test.event else { return Err(format!("{}: `each` needs an `event`", test.name)) };
    let mut found = Vec::new();
    for (field, values) in each {
        let Some(values) = values.as_array().filter(|v| !v.is_empty()) else {
            return Err(format!("{}: `each` gives a list of values for a field, `{field}` has none", test.name));
        };
        for value in values {
            let mut event = event.clone();
            event.insert(field.clone(), value.clone());
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let name = format!("{} ({field}: {shown})", test.name);
            found.push(TestCase { name, event: Some(event), each: None, ..test.clone() });
        }
    }
    Ok(found)
}

fn events(test: &TestCase) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for fields in test.event.iter().chain(&test.events) {
        build(fields, &mut all)?;
    }
    let whole = test.ndjson.iter().flat_map(|t| t.lines()).filter(|l| !l.trim().is_empty());
    all.extend(whole.map(str::to_owned));
    Ok(all)
}

/// Events of one test.
const MAX_EVENTS: usize = 10_000;

/// When the events of a test begin, Unix ns: 2026-01-01.
const START: u64 = 1_767_225_600_000_000_000;

/// One event, or many: `at` is its time since the start of the test, `repeat` makes it happen so often, `every` that far apart,
/// with `{n}` in a text being the number of the repetition.
fn build(fields: &Map<String, Json>, all: &mut Vec<String>) -> Result<(), String> {
    let mut fields = fields.clone();
    let mut period = |name: &str| match fields.remove(name) {
        None => Ok(0),
        Some(Json::String(text)) => {
            let period: Period = text.parse().map_err(|e| format!("`{name}`: {e}"))?;
            Ok(period.duration().as_nanos() as u64)
        }
        Some(other) => Err(format!("`{name}` is a time like 5s, not {other}")),
    };
    let (at, every) = (period("at")?, period("every")?);
    let times = fields.remove("repeat").map_or(Some(1), |r| r.as_u64()).ok_or("`repeat` is a number")?;
    if all.len() as u64 + times > MAX_EVENTS as u64 {
        return Err(format!("it has more than {MAX_EVENTS} events"));
    }
    for n in 0..times {
        let mut one = fields.clone();
        if times > 1 {
            one.values_mut().for_each(|value| number(value, n + 1));
        }
        let mut event = kind::build(&one).map_err(|e| e.to_string())?;
        let since = every.checked_mul(n).and_then(|t| t.checked_add(at)).filter(|t| *t < START);
        let time = kind::time_text(START + since.ok_or("the test takes too long")?);
        if at > 0 || every > 0 {
            event["System"]["Timestamp"] = time.clone().into();
            event["Timestamp"] = time.into();
        }
        all.push(event.to_string());
    }
    Ok(())
}

/// Puts a number in the place of `{n}`.
fn number(value: &mut Json, n: u64) {
    match value {
        Json::String(text) => *text = text.replace("{n}", &n.to_string()),
        Json::Array(items) => items.iter_mut().for_each(|item| number(item, n)),
        _ => {}
    }
}

impl Case {
    /// Why the test fails for the rules of `rule`; None = it passes.
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
        } else {
            None
        }
    }
}

/// Runs the tests in `files` (rules and tests together) through a loaded set.
pub fn run(offline: Offline, files: &[SourceFile]) -> Report {
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
    let (seen, _) = watch(offline, &cases);
    for (case, seen) in cases.into_iter().zip(&seen) {
        let not_loaded = || (!live.contains_key(&case.rule)).then(|| format!("no rule of {} is loaded", case.rule));
        let why = seen.error.clone().or_else(not_loaded).or_else(|| case.fails(seen, &case.rule));
        report.verdicts.push(Verdict {
            passed: why.is_none(),
            file: case.file,
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
///
/// Each test has slabs of its own: events of two tests may be the same to the last bit, and in one slab they would be one. For a
/// test that has to be alone, guests on `@detection` forget what came before; that is dear, because they start anew.
pub fn watch(offline: Offline, cases: &[Case]) -> (Vec<Seen>, u64) {
    // Which rule files matched in which slab.
    let hits: Mutex<BTreeMap<u64, BTreeSet<String>>> = Mutex::default();
    let (fed, ledger) = offline.run(
        |feeder| feed(feeder, cases),
        |finished| {
            let mut hits = hits.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            // What is only for correlations is no match of the file.
            let delivered = finished.found.iter().filter(|f| f.detection.analytic.deliver);
            let files = delivered.map(|f| f.detection.analytic.file.clone());
            hits.entry(finished.flight.slab.number).or_default().extend(files);
        },
    );
    let hits = hits.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let seen = |fed: Fed| {
        let matched = hits.range(fed.slabs).flat_map(|(_, files)| files).cloned().collect();
        Seen { matched, fed: fed.events, error: fed.error }
    };
    let refused = ledger.guests().iter().map(|(_, account)| account.refused.get()).sum();
    (fed.into_iter().map(seen).collect(), refused)
}

/// The events of one test as they were fed.
struct Fed {
    events: usize,
    slabs: Range<u64>,
    error: Option<String>,
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cases(text: &str) -> Result<Vec<TestCase>, String> {
        let file: TestFile = serde_saphyr::from_str(text).unwrap();
        Ok(file.tests.iter().map(expand).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    #[test]
    fn an_event_happens_at_a_time_and_again() {
        let kind = kind::KINDS[0].name;
        let fields = json!({"kind": kind, "at": "1s", "repeat": 3, "every": "500ms", "CommandLine": "x {n}"});
        let mut all = Vec::new();
        build(fields.as_object().unwrap(), &mut all).unwrap();
        let told: Vec<(String, String)> = all
            .iter()
            .map(|text| {
                let event: Json = serde_json::from_str(text).unwrap();
                let line = event["EventData"]["ProcInfo"]["CommandLine"].as_str().unwrap().to_owned();
                assert_eq!(event["Timestamp"], event["System"]["Timestamp"]);
                (event["Timestamp"].as_str().unwrap().to_owned(), line)
            })
            .collect();
        let times = ["00:00:01Z", "00:00:01.5Z", "00:00:02Z"];
        for (i, ((time, line), wanted)) in told.iter().zip(times).enumerate() {
            let plain = |t: &str| t.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.').to_owned();
            assert_eq!((plain(time), line), (plain(&format!("2026-01-01T{wanted}")), &format!("x {}", i + 1)));
        }
        for bad in [json!({"at": 5}), json!({"at": "later"}), json!({"repeat": "x"}), json!({"repeat": 10_001})] {
            let mut fields = bad.as_object().unwrap().clone();
            fields.insert("kind".to_owned(), kind.into());
            assert!(build(&fields, &mut Vec::new()).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_value_is_a_test_of_its_own() {
        let text = "tests:\n- {name: n, expect: match, event: {kind: k, A: 1, B: 2}, each: {A: [x, z], B: [null]}}\n";
        let found = cases(text).unwrap();
        let told: Vec<(&str, &Json, &Json)> = found
            .iter()
            .map(|c| {
                let event = c.event.as_ref().unwrap();
                (c.name.as_str(), &event["A"], &event["B"])
            })
            .collect();
        let (x, z, one, two) = (Json::from("x"), Json::from("z"), Json::from(1), Json::from(2));
        assert_eq!(told, [("n (A: x)", &x, &two), ("n (A: z)", &z, &two), ("n (B: null)", &one, &Json::Null)]);
        for bad in ["each: {A: x}, event: {kind: k}", "each: {A: []}, event: {kind: k}", "each: {A: [x]}"] {
            assert!(cases(&format!("tests:\n- {{name: n, expect: match, {bad}}}\n")).is_err(), "{bad}");
        }
    }
}
