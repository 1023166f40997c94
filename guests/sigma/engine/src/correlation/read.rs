//! A `correlation` document, before the rules it names are looked for.

use super::plan::{Chain, KINDS, Kind, Refire, SECOND, Test};
use crate::diagnostic::{Finding, Place, brief, did_you_mean};
use crate::rule::{ATTRIBUTES, Attributes, RuleMeta};
use crate::yaml::{Data, Meaning, Node};

/// Rules of one correlation.
const MAX_RULES: usize = 1000;
/// Fields of a key, and of a value.
pub(super) const MAX_FIELDS: usize = 16;
const MAX_TIMESPAN: u64 = 100 * 31_556_952;

pub(crate) const KEYS: &[&str] =
    &["type", "rules", "group-by", "timespan", "aliases", "condition", "generate", "field"];
/// Attributes of our own.
pub(crate) const POLICY: &[&str] = &["correlation", "suppress", "refire", "evaluate"];

/// A name with its place.
pub(crate) type Named = (String, Place);

/// An alias: per rule, the field that it stands for.
#[derive(Debug)]
pub(crate) struct Alias {
    pub name: Named,
    pub fields: Vec<(Named, String)>,
}

#[derive(Debug)]
pub(crate) struct Draft {
    pub meta: RuleMeta,
    pub id_place: Place,
    pub place: Place,
    pub kind: Kind,
    /// Without repeats.
    pub rules: Vec<Named>,
    pub group_by: Vec<Named>,
    pub value: Vec<Named>,
    pub aliases: Vec<Alias>,
    pub timespan: u64,
    pub generate: bool,
    pub test: Test,
    pub chains: Vec<Chain>,
    pub at_close: bool,
    pub suppress: Option<u64>,
    pub refire: Refire,
    pub condition: String,
}

/// Reads one document. All its problems go to `findings`; None = it is not loaded.
pub(crate) fn read(mut attributes: Attributes<'_, '_, '_>, number: usize, node: &Node) -> Option<Draft> {
    attributes.check_names(&[ATTRIBUTES, POLICY].concat());
    let (meta, id_place) = attributes.meta(node, number);
    for name in ["detection", "filter"] {
        if let Some((key, _)) = attributes.pair(name) {
            attributes.error(key.place, "bad-correlation", format!("a correlation has no '{name}'"));
        }
    }
    let (key, value) = attributes.pair("correlation")?;
    let Data::Mapping(body) = &value.data else {
        let message = format!("'correlation' must be a map, this is {}", value.kind());
        attributes.error(value.place, "bad-correlation", message);
        return None;
    };
    let mut reader = Reader { attributes, body, place: key.place };
    let draft = reader.draft(meta, id_place);
    draft.filter(|_| !reader.attributes.refused)
}

pub(super) struct Reader<'a, 'r, 's> {
    pub attributes: Attributes<'a, 'r, 's>,
    body: &'a [(Node, Node)],
    /// Of the key `correlation`.
    pub place: Place,
}

impl<'a> Reader<'a, '_, '_> {
    pub fn get(&self, name: &str) -> Option<&'a Node> {
        let found = self.body.iter().find(|(k, _)| k.text() == Some(name)).map(|(_, v)| v);
        found.filter(|v| v.meaning() != Meaning::Null)
    }

    pub fn error(&mut self, place: Place, code: &'static str, message: impl Into<String>) {
        self.attributes.error(place, code, message);
    }

    pub fn helped(&mut self, place: Place, code: &'static str, message: impl Into<String>, help: impl Into<String>) {
        self.attributes.refused = true;
        self.attributes.reading.findings.push(Finding::error(place, code, message).help(help));
    }

    fn draft(&mut self, meta: RuleMeta, id_place: Place) -> Option<Draft> {
        self.check_keys();
        let kind = self.kind();
        let mut group_by: Vec<Named> = Vec::new();
        for (name, place) in self.names("group-by", MAX_FIELDS) {
            if group_by.iter().any(|(n, _)| *n == name) {
                let finding = Finding::warning(place, "repeated-field", "the field is there twice");
                self.attributes.reading.findings.push(finding);
            } else {
                group_by.push((name, place));
            }
        }
        let timespan = self.timespan();
        let generate = self.generate();
        let aliases = self.aliases();
        let kind = kind?;
        let listed = self.names("rules", MAX_RULES);
        let mut draft = Draft {
            meta,
            id_place,
            place: self.place,
            kind,
            rules: listed,
            group_by,
            value: Vec::new(),
            aliases,
            timespan: timespan.unwrap_or(SECOND),
            generate,
            test: Test::Limits(Vec::new()),
            chains: Vec::new(),
            at_close: false,
            suppress: None,
            refire: Refire::Quiet,
            condition: String::new(),
        };
        self.condition(&mut draft);
        self.policy(&mut draft);
        self.fields(&draft);
        let span = self.get("timespan").and_then(Node::text).unwrap_or_default();
        draft.condition = format!("{} in {span}", draft.condition);
        Some(draft)
    }

    /// A key with another name would be ignored, and the correlation mean something else.
    fn check_keys(&mut self) {
        for (key, _) in self.body {
            let name = key.text().unwrap_or_default();
            let help = match name {
                "timeframe" => "did you mean 'timespan'?".to_owned(),
                "window" | "gap" => "windows slide; other kinds of windows are not in the specification".to_owned(),
                "field" => "'field' belongs under 'condition'".to_owned(),
                _ if KEYS.contains(&name) => continue,
                _ => did_you_mean(name, KEYS.iter().copied()),
            };
            let message = format!("'{}' is no attribute of a correlation", brief(name));
            self.helped(key.place, "unknown-correlation-attribute", message, help);
        }
    }

    fn kind(&mut self) -> Option<Kind> {
        let Some(node) = self.get("type") else {
            self.error(self.place, "bad-correlation", "the correlation has no type");
            return None;
        };
        let name = node.text().unwrap_or_default();
        let found = KINDS.iter().find(|(n, _)| *n == name).map(|(_, kind)| *kind);
        if found.is_none() {
            let known = || KINDS.iter().map(|(n, _)| *n);
            let mut help = did_you_mean(name, known());
            if help.is_empty() {
                help = format!("the types are {}", known().collect::<Vec<_>>().join(", "));
            }
            let message = format!("there is no correlation type '{}'", brief(name));
            self.helped(node.place, "unknown-correlation-type", message, help);
        }
        found
    }

    /// A text, or a list of texts.
    fn names(&mut self, name: &str, most: usize) -> Vec<Named> {
        let Some(node) = self.get(name) else { return Vec::new() };
        self.texts(node, name, most)
    }

    pub fn texts(&mut self, node: &Node, name: &str, most: usize) -> Vec<Named> {
        let items = match &node.data {
            Data::Sequence(items) => items.as_slice(),
            Data::Scalar { .. } => std::slice::from_ref(node),
            Data::Mapping(_) => {
                let message = format!("'{name}' must be a text or a list of texts, this is a map");
                self.error(node.place, "bad-correlation", message);
                return Vec::new();
            }
        };
        if items.len() > most {
            let message = format!("'{name}' has {} entries, the limit is {most}", items.len());
            self.error(node.place, "correlation-too-complex", message);
            return Vec::new();
        }
        let mut found = Vec::with_capacity(items.len());
        for item in items {
            match item.text().map(str::trim) {
                Some(text) if !text.is_empty() && item.meaning() != Meaning::Null => {
                    found.push((text.to_owned(), item.place));
                }
                _ => {
                    let message = format!("'{name}' must be a list of texts, this is {}", item.kind());
                    self.error(item.place, "bad-correlation", message);
                }
            }
        }
        found
    }

    fn timespan(&mut self) -> Option<u64> {
        let Some(node) = self.get("timespan") else {
            if !self.body.iter().any(|(k, _)| k.text() == Some("timeframe")) {
                self.error(self.place, "bad-correlation", "the correlation has no timespan");
            }
            return None;
        };
        self.span(node, "timespan")
    }

    fn span(&mut self, node: &Node, name: &str) -> Option<u64> {
        let text = node.text().unwrap_or_default().trim();
        match timespan(text) {
            Ok(span) => Some(span),
            Err(why) => {
                let message = format!("'{name}: {}' {why}", brief(text));
                self.helped(node.place, "bad-timespan", message, "a number and a unit: 30s, 5m, 1h, 2d, 1w, 1M, 1y");
                None
            }
        }
    }

    fn generate(&mut self) -> bool {
        let Some(node) = self.get("generate") else { return false };
        if let Meaning::Boolean(generate) = node.meaning() {
            return generate;
        }
        let message = format!("'generate' is true or false, this is {}", node.kind());
        self.error(node.place, "bad-correlation", message);
        false
    }

    fn aliases(&mut self) -> Vec<Alias> {
        let Some(node) = self.get("aliases") else { return Vec::new() };
        let Data::Mapping(pairs) = &node.data else {
            let message = format!("'aliases' must be a map, this is {}", node.kind());
            self.error(node.place, "bad-correlation", message);
            return Vec::new();
        };
        let mut found = Vec::new();
        for (key, value) in pairs {
            let name = key.text().unwrap_or_default().to_owned();
            let Data::Mapping(fields) = &value.data else {
                let message = "an alias is a map from the name of a rule to a field";
                self.error(value.place, "bad-correlation", message);
                continue;
            };
            let mut alias = Alias { name: (name, key.place), fields: Vec::new() };
            for (rule, field) in fields {
                match field.text().map(str::trim) {
                    Some(text) if !text.is_empty() && field.meaning() != Meaning::Null => {
                        let rule = (rule.text().unwrap_or_default().to_owned(), rule.place);
                        alias.fields.push((rule, text.to_owned()));
                    }
                    _ => {
                        let message = format!("an alias stands for a field, this is {}", field.kind());
                        self.error(field.place, "bad-correlation", message);
                    }
                }
            }
            found.push(alias);
        }
        found
    }

    fn policy(&mut self, draft: &mut Draft) {
        draft.at_close = !draft.test.rising();
        let get = |reader: &Self, name| reader.attributes.pair(name).map(|(_, v)| v);
        if let Some(node) = get(self, "suppress") {
            draft.suppress = self.span(node, "suppress");
        }
        if let Some(node) = get(self, "refire")
            && self.word(node, "refire", ["quiet", "reset"]) == Some(1)
        {
            draft.refire = Refire::Reset;
        }
        if let Some(node) = get(self, "evaluate") {
            match self.word(node, "evaluate", ["match", "close"]) {
                Some(0) if draft.at_close && matches!(draft.test, Test::Rules(_)) => {
                    let message = "a condition with 'not' can only be decided when the window closes";
                    self.error(node.place, "bad-correlation-condition", message);
                }
                Some(0) => draft.at_close = false,
                Some(_) => draft.at_close = true,
                None => {}
            }
        }
    }

    fn word(&mut self, node: &Node, name: &str, words: [&str; 2]) -> Option<usize> {
        let text = node.text().unwrap_or_default();
        let found = words.iter().position(|w| *w == text);
        if found.is_none() {
            let message = format!("'{name}' is '{}' or '{}'", words[0], words[1]);
            self.error(node.place, "bad-correlation", message);
        }
        found
    }

    /// Aliases that nothing uses are mostly misspelt.
    fn fields(&mut self, draft: &Draft) {
        for alias in &draft.aliases {
            let used = draft.group_by.iter().chain(&draft.value).any(|(n, _)| *n == alias.name.0);
            if !used {
                let message = format!("nothing uses the alias '{}'", brief(&alias.name.0));
                self.attributes.reading.findings.push(Finding::warning(alias.name.1, "unused-alias", message));
            }
        }
    }
}

/// Nanoseconds, or what is wrong. Months and years have the lengths of pySigma.
fn timespan(text: &str) -> Result<u64, &'static str> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (count, unit) = text.split_at(digits);
    if count.is_empty() {
        return Err("does not begin with a number");
    }
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        "M" => 2_629_746,
        "y" => 31_556_952,
        "" => return Err("has no unit"),
        _ => return Err("has no unit that is known"),
    };
    let count: u64 = count.parse().map_err(|_| "is too long")?;
    match count.checked_mul(seconds) {
        Some(0) => Err("is no time at all"),
        Some(span) if span <= MAX_TIMESPAN => Ok(span * SECOND),
        _ => Err("is too long"),
    }
}
