//! A rule: its attributes, and its detection with the condition resolved.

use crate::condition::Condition;
use crate::correlation;
use crate::deprecated::About;
use crate::detection::{self, Conditions, Detection};
use crate::diagnostic::{Finding, Place, brief, did_you_mean, nearest};
use crate::expand::Placeholders;
use crate::filter::{self, Filter};
use crate::item::Selection;
use crate::yaml::{Data, Meaning, Node};

/// Severity of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Not even suspicious.
    Informational,
    /// Worth a look now and then.
    Low,
    /// The level of rules that name none.
    #[default]
    Medium,
    /// To be looked at soon.
    High,
    /// To be looked at now.
    Critical,
}

pub(crate) const LEVELS: &[(&str, Level)] = &[
    ("informational", Level::Informational),
    ("low", Level::Low),
    ("medium", Level::Medium),
    ("high", Level::High),
    ("critical", Level::Critical),
];

impl Level {
    /// The word of the specification.
    pub fn name(self) -> &'static str {
        LEVELS.iter().find(|(_, l)| *l == self).map_or("", |(n, _)| n)
    }
}

pub(crate) const STATUSES: &[&str] = &["stable", "test", "experimental", "deprecated", "unsupported"];

/// What rules can be to each other.
pub(crate) const RELATIONS: &[&str] = &["derived", "obsolete", "merged", "renamed", "similar"];

/// Attributes of a rule in the specification, and two that SigmaHQ adds.
pub(crate) const ATTRIBUTES: &[&str] = &[
    "title",
    "id",
    "related",
    "name",
    "taxonomy",
    "status",
    "description",
    "license",
    "references",
    "author",
    "date",
    "modified",
    "logsource",
    "detection",
    "fields",
    "falsepositives",
    "level",
    "tags",
    "scope",
    "regression_tests_path",
    "simulation",
];

/// What events a rule looks at. None = the rule does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogSource {
    /// For instance `process_creation`.
    pub category: Option<String>,
    /// For instance `linux`.
    pub product: Option<String>,
    /// For instance `auditd`.
    pub service: Option<String>,
}

/// Another rule that this one has to do with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// Its id.
    pub id: String,
    /// `derived`, `obsolete`, `merged`, `renamed` or `similar`.
    pub kind: String,
}

/// Everything about a rule but its detection.
#[derive(Clone, Debug, Default)]
pub struct RuleMeta {
    /// Unique in a [`crate::RuleSet`]; derived from the file's name where the rule has none.
    pub id: String,
    /// What it detects.
    pub title: String,
    /// Severity.
    pub level: Level,
    /// `stable`, `test`, ...
    pub status: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// Who wrote it; the Detection Rule License asks that alerts name them.
    pub author: Option<String>,
    /// SPDX identifier.
    pub license: Option<String>,
    /// Addresses of further reading.
    pub references: Vec<String>,
    /// `attack.t1059.004` and such.
    pub tags: Vec<String>,
    /// Known harmless causes.
    pub falsepositives: Vec<String>,
    /// Fields worth looking at in an alert.
    pub fields: Vec<String>,
    /// When it was written.
    pub date: Option<String>,
    /// When it was last changed.
    pub modified: Option<String>,
    /// Other rules.
    pub related: Vec<Related>,
    /// Attributes that are not in the specification and have a single value, for instance `runbook`.
    pub custom: Vec<(String, String)>,
    /// What it looks at.
    pub source: LogSource,
    /// Name of its file, as given.
    pub file: String,
    /// Line of its title, from 1.
    pub line: u32,
    /// Index into [`crate::RuleSet::streams`]; of no meaning for a correlation.
    pub stream: u32,
    /// Short and unique, for filters and correlations that refer to this one.
    pub name: Option<String>,
    /// Whether its matches are for people, too. False for a rule that only correlations with `generate: false` refer to.
    pub deliver: bool,
    /// Attributes of its log source that are not in the specification. They have no effect on which events it sees.
    pub source_custom: Vec<(String, String)>,
    /// Ids of the filters that are part of its condition; see [`crate::RuleSet::filters`].
    pub filters: Vec<String>,
}

/// A rule that has been read and found right.
#[derive(Clone)]
pub(crate) struct Rule {
    pub meta: RuleMeta,
    pub id_place: Place,
    pub condition: Condition,
    pub condition_text: String,
    pub condition_place: Place,
    /// Its own, after them those of its filters, and then what pipelines added.
    pub selections: Vec<Selection>,
    /// What [`crate::lint`] has to say something about, with its place.
    pub places: Places,
}

/// Where attributes stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    pub title: Place,
    /// In the order of [`RuleMeta::tags`].
    pub tags: Vec<Place>,
    pub date: Option<Place>,
    pub modified: Option<Place>,
    pub level: Option<Place>,
    pub status: Option<Place>,
}

/// What a document turned out to be.
pub(crate) enum Document {
    Rule(Box<Rule>),
    Filter(Box<Filter>),
    Correlation(Box<correlation::Draft>),
}

/// What is needed while the documents of a file are read.
pub(crate) struct Reading<'a> {
    pub source: &'a str,
    pub file: &'a str,
    pub placeholders: &'a Placeholders,
    /// Bytes that the regexes of all rules may still take up.
    pub regex_bytes: &'a mut usize,
    pub findings: &'a mut Vec<Finding>,
}

/// Reads one document, the `number`th of its file. All its problems go to the findings; None = it is not loaded.
pub(crate) fn read(reading: &mut Reading<'_>, number: usize, node: &Node) -> Option<Document> {
    let Data::Mapping(pairs) = &node.data else {
        if node.meaning() != Meaning::Null {
            let message = format!("a rule is a map of attributes, this is {}", node.kind());
            reading.findings.push(Finding::error(node.place, "not-a-rule", message));
        }
        return None;
    };
    let mut reader = Attributes { pairs, reading, refused: false };
    if reader.pair("correlation").is_some() {
        return correlation::read(reader, number, node).map(|c| Document::Correlation(Box::new(c)));
    }
    if reader.pair("filter").is_some() {
        return filter::read(reader, number, node).map(|f| Document::Filter(Box::new(f)));
    }
    reader.check_names(ATTRIBUTES);
    let (mut meta, id_place) = reader.meta(node, number);
    (meta.source, meta.source_custom) = reader.log_source(node);
    let places = reader.places(node);
    let Detection { selections, condition, text, place } = reader.detection(node)?;
    (!reader.refused).then(|| {
        Document::Rule(Box::new(Rule {
            meta,
            id_place,
            condition,
            condition_text: text,
            condition_place: place,
            selections,
            places,
        }))
    })
}

/// The attributes of a document.
pub(crate) struct Attributes<'a, 'r, 's> {
    pub pairs: &'a [(Node, Node)],
    pub reading: &'r mut Reading<'s>,
    /// A problem was found that the document cannot be loaded with.
    pub refused: bool,
}

impl<'a> Attributes<'a, '_, '_> {
    /// What rules and correlations have in common, and where the id stands.
    pub fn meta(&mut self, node: &Node, number: usize) -> (RuleMeta, Place) {
        let title = self.required_text(node, "title");
        let line = self.pair("title").map_or(node.place.line, |(key, _)| key.place.line);
        let (id, id_place) = self.id(node, number);
        let meta = RuleMeta {
            id,
            title: title.unwrap_or_default(),
            level: self.level(),
            status: self.status(),
            description: self.text("description"),
            author: self.text("author"),
            license: self.text("license"),
            references: self.list("references"),
            tags: self.list("tags"),
            falsepositives: self.list("falsepositives"),
            fields: self.list("fields"),
            date: self.text("date"),
            modified: self.text("modified"),
            related: self.related(),
            custom: self.custom(),
            source: LogSource::default(),
            file: self.reading.file.to_owned(),
            line,
            stream: 0,
            name: self.text("name").filter(|name| !name.is_empty()),
            deliver: true,
            source_custom: Vec::new(),
            filters: Vec::new(),
        };
        (meta, id_place)
    }

    pub fn pair(&self, name: &str) -> Option<(&'a Node, &'a Node)> {
        self.pairs.iter().find(|(k, _)| k.text() == Some(name)).map(|(k, v)| (k, v))
    }

    pub fn error(&mut self, place: Place, code: &'static str, message: impl Into<String>) {
        self.refused = true;
        self.reading.findings.push(Finding::error(place, code, message));
    }

    /// Attributes outside the specification are allowed; those that look like a slip are remarked on.
    pub fn check_names(&mut self, names: &[&str]) {
        for (key, _) in self.pairs {
            let name = key.text().unwrap_or_default();
            if names.contains(&name) {
                continue;
            }
            if let Some(known) = nearest(name, names.iter().copied()) {
                let message = format!("the attribute '{}' is not in the specification", brief(name));
                let finding = Finding::warning(key.place, "unknown-attribute", message);
                self.reading.findings.push(finding.help(format!("did you mean '{known}'?")));
            }
        }
    }

    pub fn text(&mut self, name: &str) -> Option<String> {
        let (_, value) = self.pair(name)?;
        match (value.text(), value.meaning()) {
            (Some(_), Meaning::Null) => None,
            (Some(text), _) => Some(text.trim().to_owned()),
            (None, _) => {
                self.error(value.place, "bad-attribute", format!("'{name}' must be text, this is {}", value.kind()));
                None
            }
        }
    }

    pub fn required_text(&mut self, node: &Node, name: &str) -> Option<String> {
        let found = self.text(name).filter(|t| !t.is_empty());
        if found.is_none() && !self.refused {
            let place = self.pair(name).map_or(node.place, |(key, _)| key.place);
            self.error(place, "missing-attribute", format!("the rule has no {name}"));
        }
        found
    }

    fn list(&mut self, name: &str) -> Vec<String> {
        let Some((_, value)) = self.pair(name) else { return Vec::new() };
        let items: Vec<&Node> = match &value.data {
            Data::Sequence(items) => items.iter().collect(),
            Data::Scalar { .. } if value.meaning() == Meaning::Null => return Vec::new(),
            Data::Scalar { .. } => {
                let message = format!("'{name}' should be a list");
                self.reading.findings.push(Finding::warning(value.place, "not-a-list", message));
                vec![value]
            }
            Data::Mapping(_) => {
                self.error(value.place, "bad-attribute", format!("'{name}' must be a list, this is a map"));
                return Vec::new();
            }
        };
        let mut found = Vec::with_capacity(items.len());
        for item in items {
            if let Some(text) = item.text() {
                found.push(text.trim().to_owned());
            } else {
                let message = format!("'{name}' must be a list of texts, this is {}", item.kind());
                self.error(item.place, "bad-attribute", message);
            }
        }
        found
    }

    pub fn id(&mut self, node: &Node, number: usize) -> (String, Place) {
        let place = self.pair("id").map_or(node.place, |(_, v)| v.place);
        if let Some(id) = self.text("id").filter(|id| !id.is_empty()) {
            if !is_uuid(&id) {
                let message = "the id is not a UUID, which the specification recommends";
                self.reading.findings.push(Finding::hint(place, "id-not-uuid", message));
            }
            return (id, place);
        }
        let message = "the rule has no id; alerts carry the name of its file instead";
        let finding = Finding::warning(place, "missing-id", message);
        self.reading
            .findings
            .push(finding.help("add 'id:' with a new UUID, so that the rule can be moved and renamed"));
        let file = self.reading.file;
        (if number == 0 { file.to_owned() } else { format!("{file}#{number}") }, place)
    }

    fn level(&mut self) -> Level {
        let Some(name) = self.text("level") else { return Level::default() };
        if let Some((_, level)) = LEVELS.iter().find(|(n, _)| *n == name) {
            return *level;
        }
        let place = self.pair("level").map_or(Place::default(), |(_, v)| v.place);
        let message = format!("there is no level '{}'; the rule is loaded as medium", brief(&name));
        let finding = Finding::warning(place, "unknown-level", message);
        self.reading.findings.push(finding.help(did_you_mean(&name, LEVELS.iter().map(|(n, _)| *n))));
        Level::default()
    }

    fn status(&mut self) -> Option<String> {
        let name = self.text("status")?;
        if !STATUSES.contains(&name.as_str()) {
            let place = self.pair("status").map_or(Place::default(), |(_, v)| v.place);
            let message = format!("there is no status '{}'", brief(&name));
            let finding = Finding::warning(place, "unknown-status", message);
            self.reading.findings.push(finding.help(did_you_mean(&name, STATUSES.iter().copied())));
        }
        Some(name)
    }

    fn related(&mut self) -> Vec<Related> {
        let Some((_, value)) = self.pair("related") else { return Vec::new() };
        let Data::Sequence(items) = &value.data else {
            if value.meaning() != Meaning::Null {
                self.error(value.place, "bad-attribute", format!("'related' must be a list, this is {}", value.kind()));
            }
            return Vec::new();
        };
        let mut found = Vec::new();
        for item in items {
            let get = |name: &str| {
                let Data::Mapping(pairs) = &item.data else { return None };
                pairs.iter().find(|(k, _)| k.text() == Some(name)).and_then(|(_, v)| v.text()).map(str::to_owned)
            };
            if let (Some(id), Some(kind)) = (get("id"), get("type")) {
                if !RELATIONS.contains(&kind.as_str()) {
                    let message = format!("there is no relation '{}'", brief(&kind));
                    let finding = Finding::warning(item.place, "bad-related", message);
                    self.reading.findings.push(finding.help(did_you_mean(&kind, RELATIONS.iter().copied())));
                }
                found.push(Related { id, kind });
            } else {
                let message = "an entry of 'related' has an 'id' and a 'type'";
                self.reading.findings.push(Finding::warning(item.place, "bad-related", message));
            }
        }
        found
    }

    fn custom(&self) -> Vec<(String, String)> {
        let custom = self.pairs.iter().filter_map(|(k, v)| Some((k.text()?, v.text()?)));
        custom.filter(|(k, _)| !ATTRIBUTES.contains(k)).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    /// The log source, and its attributes outside the specification.
    pub fn log_source(&mut self, node: &Node) -> (LogSource, Vec<(String, String)>) {
        let (mut source, mut custom) = (LogSource::default(), Vec::new());
        let Some((key, value)) = self.pair("logsource") else {
            self.error(node.place, "missing-attribute", "there is no logsource");
            return (source, custom);
        };
        let Data::Mapping(pairs) = &value.data else {
            self.error(value.place, "bad-attribute", format!("'logsource' must be a map, this is {}", value.kind()));
            return (source, custom);
        };
        for (name, value) in pairs {
            let slot = match name.text().unwrap_or_default() {
                "category" => &mut source.category,
                "product" => &mut source.product,
                "service" => &mut source.service,
                other => {
                    if let Some(known) = nearest(other, ["category", "product", "service", "definition"])
                        && known != other
                    {
                        let message =
                            format!("the log source attribute '{}' is not in the specification", brief(other));
                        let finding = Finding::warning(name.place, "unknown-attribute", message);
                        self.reading.findings.push(finding.help(format!("did you mean '{known}'?")));
                    }
                    if let Some(text) = value.text().filter(|_| other != "definition") {
                        custom.push((other.to_owned(), text.to_owned()));
                    }
                    continue;
                }
            };
            match value.text() {
                Some(text) if !text.trim().is_empty() && value.meaning() != Meaning::Null => {
                    // The specification wants lower case; other spellings mean the same source.
                    *slot = Some(text.trim().to_lowercase());
                }
                Some(_) => {}
                None => {
                    let message = format!("a log source attribute must be text, this is {}", value.kind());
                    self.error(value.place, "bad-attribute", message);
                }
            }
        }
        if source == LogSource::default() && !self.refused {
            self.error(key.place, "bad-logsource", "the logsource has none of category, product and service");
        }
        (source, custom)
    }

    fn places(&self, node: &Node) -> Places {
        let of = |name: &str| self.pair(name).map(|(_, v)| v.place);
        let tags = match self.pair("tags").map(|(_, v)| v) {
            Some(Node { data: Data::Sequence(items), .. }) => items.iter().map(|i| i.place).collect(),
            one => one.map(|n| n.place).into_iter().collect(),
        };
        Places {
            title: of("title").unwrap_or(node.place),
            tags,
            date: of("date"),
            modified: of("modified"),
            level: of("level"),
            status: of("status"),
        }
    }

    fn detection(&mut self, node: &Node) -> Option<Detection> {
        let Some((key, value)) = self.pair("detection") else {
            self.error(node.place, "missing-attribute", "the rule has no detection");
            return None;
        };
        let Data::Mapping(pairs) = &value.data else {
            self.error(value.place, "bad-attribute", format!("'detection' must be a map, this is {}", value.kind()));
            return None;
        };
        let about = self.about();
        detection::read(self.reading, pairs, key.place, &[], Conditions::List, &about)
    }

    /// What a rule that takes the place of this one would say about it.
    pub fn about(&self) -> About<'a> {
        let text = |name: &str| self.pair(name).and_then(|(_, v)| v.text()).filter(|t| !t.is_empty());
        About { title: text("title").unwrap_or_default(), name: text("name"), id: text("id") }
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}
