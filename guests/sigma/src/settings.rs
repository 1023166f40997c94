//! What comes in and goes out as JSON: the guest's configuration and the metadata of rules; and which files are rules.

use picket_sigma::{FilterMeta, Limits, Options, RuleMeta};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The guest's configuration. Every key may be left out.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Try each rule on every event, whatever its log source.
    pub all_log_sources: bool,
    /// Per field the fields that a positive item looks at as well. Replaces the default, Image and `ParentImage` with the
    /// paths as executed; `{}` = no alternates.
    pub alternates: Option<std::collections::BTreeMap<String, Fields>>,
    /// Tell the host what events have to look like for any rule to match, so that it need not send or even collect the
    /// others. `false` is for finding out whether that loses something. Default: true.
    pub filters: Option<bool>,
    /// Processing pipelines to apply to the rules: names of `NAME.pipeline.yml` files in the rules directories, or shipped
    /// ones: `auditd`, `ecs`, `sysmon-linux`, `velociraptor`.
    pub pipelines: Vec<String>,
    /// Per placeholder of the modifier `expand` the values it stands for: `{"Administrators": ["root", "adm_*"]}`. A rule
    /// with a placeholder that is not here is not loaded.
    pub placeholders: std::collections::BTreeMap<String, Values>,
    /// What correlations may take up.
    pub correlation: CorrelationSettings,
}

/// Bounds of the state of correlations. What falls to one of them is counted.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct CorrelationSettings {
    /// Groups of one correlation. Default: a million.
    pub groups: Option<usize>,
    /// Bytes of all groups of all correlations, about. Default: 64 MiB, half of what a guest may have.
    pub bytes: Option<usize>,
    /// Matches, or distinct values, that one group remembers; more if its condition counts further. Default: 1000.
    pub entries: Option<usize>,
    /// Matches that wait for their turn in the order of event times. Default: 65536.
    pub pending: Option<usize>,
    /// Milliseconds that a match may be older than what the host says is the oldest to come. Default: 0.
    pub tolerance_ms: Option<u64>,
    /// Groups in one part of a snapshot, about. Default: 32768.
    pub part: Option<usize>,
}

impl CorrelationSettings {
    /// The engine's limits.
    pub fn limits(&self) -> Limits {
        let default = Limits::default();
        Limits {
            groups: self.groups.unwrap_or(default.groups),
            bytes: self.bytes.unwrap_or(default.bytes),
            entries: self.entries.unwrap_or(default.entries),
            pending: self.pending.unwrap_or(default.pending),
            tolerance: self.tolerance_ms.map_or(default.tolerance, |ms| ms.saturating_mul(1_000_000)),
            part: self.part.unwrap_or(default.part),
        }
    }
}

/// One value or several.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum Values {
    /// `"root"`, `22`
    One(Scalar),
    /// `["root", "adm_*"]`
    Several(Vec<Scalar>),
}

/// A value of a placeholder.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum Scalar {
    /// `"adm_*"`
    Text(String),
    /// `22`
    Number(serde_json::Number),
    /// `true`
    Boolean(bool),
}

impl From<Scalar> for String {
    fn from(value: Scalar) -> Self {
        match value {
            Scalar::Text(text) => text,
            Scalar::Number(number) => number.to_string(),
            Scalar::Boolean(boolean) => boolean.to_string(),
        }
    }
}

/// One field or several.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum Fields {
    /// `"ExecutedImage"`
    One(String),
    /// `["ExecutedImage", "Script"]`
    Several(Vec<String>),
}

impl Settings {
    /// The engine's options, and what correlations may take up.
    pub fn into_parts(mut self) -> (Options, CorrelationSettings) {
        let correlation = std::mem::take(&mut self.correlation);
        (self.into_options(), correlation)
    }

    /// Reads the configuration; an empty text stands for `{}`. The error says what is wrong, in one sentence.
    pub fn parse(config: &str) -> Result<Self, String> {
        if config.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(config).map_err(|e| format!("the configuration of the Sigma guest is refused: {e}"))
    }

    /// The engine's options.
    pub fn into_options(self) -> Options {
        let placeholders = self.placeholders.into_iter().map(|(name, values)| {
            let values = match values {
                Values::One(value) => vec![value],
                Values::Several(values) => values,
            };
            (name, values.into_iter().map(String::from).collect())
        });
        let mut options = Options {
            all_log_sources: self.all_log_sources,
            placeholders: placeholders.collect(),
            hygiene: true,
            ..Options::default()
        };
        options.clauses = self.filters.unwrap_or(options.clauses);
        options.pipelines = self.pipelines;
        if let Some(alternates) = self.alternates {
            let pairs = alternates.into_iter().flat_map(|(field, others)| {
                let others = match others {
                    Fields::One(other) => vec![other],
                    Fields::Several(others) => others,
                };
                others.into_iter().map(move |other| (field.clone(), other))
            });
            options.alternates = pairs.collect();
        }
        options
    }
}

/// Whether a file holds rules; `.test.yml` beside a rule holds its tests.
pub fn is_rule_file(name: &str) -> bool {
    let stem = name.strip_suffix(".yml").or_else(|| name.strip_suffix(".yaml"));
    stem.is_some_and(|stem| stem.strip_suffix(".test").is_none())
}

/// The metadata of an analytic: the attributes that the rule has, under the names of the specification, and where those of
/// `filters` are that are part of it.
pub fn metadata(rule: &RuleMeta, filters: &[FilterMeta]) -> String {
    let mut all = Map::new();
    let mut text = |name: &str, value: &Option<String>| {
        if let Some(value) = value {
            all.insert(name.to_owned(), Value::String(value.clone()));
        }
    };
    text("name", &rule.name);
    text("name", &rule.name);
    text("status", &rule.status);
    text("author", &rule.author);
    text("license", &rule.license);
    text("date", &rule.date);
    text("modified", &rule.modified);
    text("description", &rule.description);
    for (name, list) in [
        ("references", &rule.references),
        ("tags", &rule.tags),
        ("falsepositives", &rule.falsepositives),
        ("fields", &rule.fields),
    ] {
        if !list.is_empty() {
            all.insert(name.to_owned(), json!(list));
        }
    }
    if !rule.filters.is_empty() {
        all.insert("filters".to_owned(), json!(rule.filters));
        let own = filters.iter().filter(|f| rule.filters.contains(&f.id));
        let places: Vec<Value> = own
            .map(|f| json!({"id": f.id, "title": f.title, "file": f.file, "line": f.line, "may_hide_tests": f.may_hide_tests}))
            .collect();
        all.insert("filter_places".to_owned(), Value::Array(places));
    }
    if !rule.related.is_empty() {
        let related: Vec<Value> = rule.related.iter().map(|r| json!({"id": r.id, "type": r.kind})).collect();
        all.insert("related".to_owned(), Value::Array(related));
    }
    let source =
        [("category", &rule.source.category), ("product", &rule.source.product), ("service", &rule.source.service)];
    let source = source.into_iter().filter_map(|(k, v)| Some((k.to_owned(), Value::String(v.clone()?)))).collect();
    all.insert("logsource".to_owned(), Value::Object(source));
    // Which of the guest's subscriptions it gets its events from; a correlation has none of its own.
    if rule.source != picket_sigma::LogSource::default() {
        all.insert("subscription".to_owned(), rule.stream.into());
    }
    if !rule.custom.is_empty() {
        let custom = rule.custom.iter().map(|(k, v)| (k.clone(), Value::String(v.clone()))).collect();
        all.insert("custom".to_owned(), Value::Object(custom));
    }
    Value::Object(all).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations() {
        assert_eq!(Settings::parse("").unwrap(), Settings::default());
        let options = Settings::parse(r#"{"all_log_sources": true, "alternates": {"A": "B", "C": ["D", "E"]}}"#);
        let options = options.unwrap().into_options();
        assert!(options.all_log_sources);
        let pairs: Vec<(&str, &str)> = options.alternates.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(pairs, [("A", "B"), ("C", "D"), ("C", "E")]);
        assert!(Settings::parse(r#"{"alternates": {}}"#).unwrap().into_options().alternates.is_empty());
        assert!(
            Settings::parse("{}")
                .unwrap()
                .into_options()
                .alternates
                .contains(&("Image".into(), "ExecutedImage".into()))
        );
        assert!(Settings::parse(r#"{"all_logsources": true}"#).unwrap_err().contains("all_logsources"));
        let config = r#"{"placeholders": {"Administrators": ["root", "adm_*"], "ports": [22, "80"], "one": "x"}}"#;
        let lists = Settings::parse(config).unwrap().into_options().placeholders;
        assert_eq!(lists["Administrators"], ["root", "adm_*"]);
        assert_eq!(
            (lists["ports"].as_slice(), lists["one"].as_slice()),
            (&["22".into(), "80".into()][..], &["x".into()][..])
        );
        assert!(Settings::parse(r#"{"placeholders": {"x": [[]]}}"#).is_err());
        assert!(Settings::default().into_options().clauses);
        assert_eq!(Settings::parse(r#"{"pipelines": ["ecs"]}"#).unwrap().into_options().pipelines, ["ecs"]);
        let limits =
            Settings::parse(r#"{"correlation": {"groups": 5, "tolerance_ms": 2}}"#).unwrap().into_parts().1.limits();
        assert_eq!((limits.groups, limits.tolerance, limits.bytes), (5, 2_000_000, 64 << 20));
        assert!(Settings::parse(r#"{"correlation": {"grops": 5}}"#).unwrap_err().contains("grops"));
        assert!(!Settings::parse(r#"{"filters": false}"#).unwrap().into_options().clauses);
    }

    #[test]
    fn rule_files() {
        assert!(is_rule_file("x/a.yml") && is_rule_file("a.yaml"));
        assert!(!is_rule_file("a.test.yml") && !is_rule_file("a.test.yaml") && !is_rule_file("a.md"));
    }

    #[test]
    fn metadata_has_what_the_rule_has() {
        let rule =
            RuleMeta { author: Some("A \"B\"".into()), tags: vec!["attack.t1059".into()], ..RuleMeta::default() };
        let value: Value = serde_json::from_str(&metadata(&rule, &[])).unwrap();
        assert_eq!(value, json!({"author": "A \"B\"", "tags": ["attack.t1059"], "logsource": {}}));
    }
}
