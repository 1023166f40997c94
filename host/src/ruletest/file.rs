//! The `.test.yml` file as it is written, and its events as they are meant.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::Expect;
use crate::kind;
use crate::units::Period;

/// A `.test.yml` file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TestFile {
    /// File name of the rule under test; the file of the same stem unless given.
    pub rule: Option<String>,
    /// What happens, and whether the rule has to see it.
    pub tests: Vec<TestCase>,
    /// Changes of the rule that change nothing, so that no test can see them.
    #[serde(default)]
    pub equivalent: Vec<Equivalent>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Equivalent {
    /// The change, in the words of `picket test --mutate`.
    pub mutant: String,
    /// Why it changes nothing.
    pub reason: String,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TestCase {
    /// One sentence.
    pub name: String,
    /// Whether a rule of the file has to match.
    pub expect: Expect,
    /// Differs from a matching test in one field.
    #[serde(default)]
    pub near_miss: bool,
    /// Known to fail: what the rule cannot do yet. It fails no run, and once it passes, that is told.
    #[serde(default)]
    pub todo: bool,
    /// What one of the alerts has to say: values by dotted path, like `severity: high` or `matched.0.field: CommandLine`.
    pub alert: Option<Map<String, Json>>,
    /// Fields of the event, by Sigma name or dotted path; the rest is filled in.
    #[serde(default)]
    #[schemars(schema_with = "event_schema")]
    pub event: Option<Map<String, Json>>,
    /// With `event`: a test for each value of each of these fields, which takes the place of the event's own.
    pub each: Option<Map<String, Json>>,
    /// Several events, one after the other.
    #[serde(default)]
    #[schemars(schema_with = "events_schema")]
    pub events: Vec<Map<String, Json>>,
    /// Whole events, one a line.
    pub ndjson: Option<String>,
}

fn event_schema(_: &mut SchemaGenerator) -> Schema {
    let kinds: Vec<&str> = kind::KINDS.iter().map(|k| k.name).collect();
    json_schema!({
        "type": ["object", "null"],
        "required": ["kind"],
        "properties": {
            "kind": { "enum": kinds, "description": "the event's kind; `picket fields` lists them with their fields" },
            "at": { "type": "string", "description": "time since the start of the test, like 30s" },
            "repeat": { "type": "integer", "minimum": 1, "maximum": MAX_EVENTS, "description": "how often it happens; `{n}` in a text is the number of the repetition" },
            "every": { "type": "string", "description": "how far apart the repetitions are, like 500ms" }
        }
    })
}

fn events_schema(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": event_schema(generator) })
}

/// JSON Schema of test files.
pub fn schema() -> Json {
    schemars::schema_for!(TestFile).to_value()
}

/// A test for each value of `each`, or the test itself.
pub(super) fn expand(test: &TestCase) -> Result<Vec<TestCase>, String> {
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

pub(super) fn events(test: &TestCase) -> Result<Vec<String>, String> {
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
