//! Reading a pipeline. Whatever is not understood is an error: see the module above.

use super::{Conditions, Fields, Pipeline, Step, Transformation};
use crate::diagnostic::{Finding, Place, brief, did_you_mean};
use crate::expand::Placeholders;
use crate::item::{self, Reader};
use crate::number::Number;
use crate::rule::LogSource;
use crate::ruleset::{File, MAX_FILE_BYTES};
use crate::yaml::{self, Data, Meaning, Node};
use std::collections::HashMap;

const ATTRIBUTES: &[&str] = &["name", "priority", "transformations", "vars", "allowed_backends"];

const TRANSFORMATIONS: &[&str] = &[
    "field_name_mapping",
    "field_name_prefix",
    "field_name_suffix",
    "drop_detection_item",
    "add_condition",
    "change_logsource",
    "value_placeholders",
    "wildcard_placeholders",
];

/// Transformations of pySigma that have no counterpart here.
const REFUSED: &[&str] = &[
    "add_field",
    "case",
    "convert_type",
    "detection_item_failure",
    "field_name_prefix_mapping",
    "field_name_transform",
    "hashes_fields",
    "map_string",
    "nest",
    "query_expression_placeholders",
    "regex",
    "remove_field",
    "replace_string",
    "rule_failure",
    "set_custom_attribute",
    "set_field",
    "set_state",
    "set_value",
    "strict_field_mapping_failure",
];

/// Fields that one field may become.
const MAX_FIELDS: usize = 16;

pub(super) fn pipeline(file: &File<'_>, findings: &mut Vec<Finding>) -> Pipeline {
    let mut reader = Transformations { source: "", findings, vars: Vec::new(), found: Pipeline::default() };
    let text = match std::str::from_utf8(file.content) {
        Ok(text) if text.len() <= MAX_FILE_BYTES => text,
        Ok(_) => return reader.refuse("file-too-large", format!("a pipeline has at most {MAX_FILE_BYTES} bytes")),
        Err(_) => return reader.refuse("not-utf8", "the file is not UTF-8 text".to_owned()),
    };
    reader.source = text;
    let documents = yaml::documents(text, reader.findings);
    let documents: Vec<&Node> = documents.iter().flatten().collect();
    let [document] = documents.as_slice() else {
        if reader.findings.is_empty() {
            let message = format!("a pipeline is one document, this file has {}", documents.len());
            return reader.refuse("not-a-pipeline", message);
        }
        return reader.found;
    };
    reader.document(document);
    reader.found
}

struct Transformations<'a, 'f> {
    source: &'a str,
    findings: &'f mut Vec<Finding>,
    vars: Vec<(String, Vec<String>)>,
    found: Pipeline,
}

type Pairs = [(Node, Node)];

fn get<'n>(pairs: &'n Pairs, name: &str) -> Option<&'n Node> {
    pairs.iter().find(|(k, _)| k.text() == Some(name)).map(|(_, v)| v)
}

impl Transformations<'_, '_> {
    fn refuse(self, code: &'static str, message: String) -> Pipeline {
        self.findings.push(Finding::error(Place::default(), code, message));
        self.found
    }

    fn error<T>(&mut self, place: Place, code: &'static str, message: impl Into<String>) -> Option<T> {
        self.findings.push(Finding::error(place, code, message));
        None
    }

    fn document(&mut self, document: &Node) -> Option<()> {
        let pairs = self.map(document, "a pipeline")?;
        for (key, _) in pairs {
            let name = key.text().unwrap_or_default();
            if matches!(name, "postprocessing" | "finalizers") {
                let message = format!("'{name}' rewrites queries; here rules are matched without any");
                self.error::<()>(key.place, "unsupported-transformation", message);
            } else if !ATTRIBUTES.contains(&name) {
                let finding = Finding::error(
                    key.place,
                    "unknown-attribute",
                    format!("a pipeline has no attribute '{}'", brief(name)),
                );
                self.findings.push(finding.help(did_you_mean(name, ATTRIBUTES.iter().copied())));
            }
        }
        if let Some(priority) = get(pairs, "priority") {
            match priority.meaning() {
                Meaning::Number(Number::Integer(i)) if i64::try_from(i).is_ok() => self.found.priority = i as i64,
                _ => return self.error(priority.place, "bad-attribute", "'priority' is a whole number"),
            }
        }
        if let Some(vars) = get(pairs, "vars") {
            for (name, values) in self.map(vars, "'vars'")? {
                let values = self.texts(values, "a variable")?;
                self.vars.push((name.text().unwrap_or_default().to_owned(), values));
            }
        }
        let Some(steps) = get(pairs, "transformations") else {
            return self.error(document.place, "missing-attribute", "the pipeline has no 'transformations'");
        };
        let Data::Sequence(steps) = &steps.data else {
            return self.error(
                steps.place,
                "bad-attribute",
                format!("'transformations' is a list, this is {}", steps.kind()),
            );
        };
        for step in steps {
            // Every step is read, so that all problems are told at once.
            self.step(step);
        }
        Some(())
    }

    fn map<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n Pairs> {
        match &node.data {
            Data::Mapping(pairs) => Some(pairs),
            _ => self.error(node.place, "bad-attribute", format!("{what} is a map, this is {}", node.kind())),
        }
    }

    /// A text, or a list of texts.
    fn texts(&mut self, node: &Node, what: &str) -> Option<Vec<String>> {
        let items: Vec<&Node> = match &node.data {
            Data::Sequence(items) => items.iter().collect(),
            _ => vec![node],
        };
        let mut found = Vec::with_capacity(items.len());
        for item in items {
            let Some(text) = item.text().filter(|_| item.meaning() != Meaning::Null) else {
                return self.error(
                    item.place,
                    "bad-attribute",
                    format!("{what} is text or a list of it, this is {}", item.kind()),
                );
            };
            found.push(text.to_owned());
        }
        Some(found)
    }

    fn text(&mut self, place: Place, pairs: &Pairs, name: &str) -> Option<String> {
        let Some(node) = get(pairs, name) else {
            return self.error(place, "missing-attribute", format!("the transformation has no '{name}'"));
        };
        let mut texts = self.texts(node, name)?;
        if texts.len() == 1 {
            texts.pop()
        } else {
            self.error(node.place, "bad-attribute", format!("'{name}' is one text"))
        }
    }

    fn truth(&mut self, pairs: &Pairs, name: &str) -> Option<bool> {
        match get(pairs, name).map(|node| (node, node.meaning())) {
            None => Some(false),
            Some((_, Meaning::Boolean(b))) => Some(b),
            Some((node, _)) => self.error(node.place, "bad-attribute", format!("'{name}' is true or false")),
        }
    }

    fn step(&mut self, node: &Node) -> Option<()> {
        let pairs = self.map(node, "a transformation")?;
        let kind = self.text(node.place, pairs, "type")?;
        let place = get(pairs, "type").map_or(node.place, |n| n.place);
        let own: &[&str] = match kind.as_str() {
            "field_name_mapping" => &["mapping"],
            "field_name_prefix" => &["prefix"],
            "field_name_suffix" => &["suffix"],
            "drop_detection_item" => &[],
            "add_condition" => &["conditions", "negated"],
            "change_logsource" => &["category", "product", "service"],
            "value_placeholders" | "wildcard_placeholders" => &["include", "exclude"],
            known if REFUSED.contains(&known) => {
                let message = format!("the transformation '{known}' of pySigma is not supported");
                return self.error(place, "unsupported-transformation", message);
            }
            other => {
                let message = format!("there is no transformation '{}'", brief(other));
                let known = TRANSFORMATIONS.iter().chain(REFUSED).copied();
                let finding = Finding::error(place, "unknown-transformation", message);
                self.findings.push(finding.help(did_you_mean(other, known)));
                return None;
            }
        };
        let on_fields = matches!(kind.as_str(), "drop_detection_item") || kind.starts_with("field_name");
        let mut known = vec!["id", "type", "rule_conditions", "rule_cond_op", "rule_cond_not"];
        known.extend(own);
        if on_fields {
            known.extend(["field_name_conditions", "field_name_cond_op", "field_name_cond_not"]);
        }
        let mut strange = pairs.iter().filter(|(k, _)| k.text().is_none_or(|k| !known.contains(&k))).peekable();
        if strange.peek().is_some() {
            for (key, _) in strange {
                let name = key.text().unwrap_or_default();
                let message = format!("'{}' is not supported for '{kind}'", brief(name));
                let finding = Finding::error(key.place, "unsupported-condition", message);
                self.findings.push(finding.help(did_you_mean(name, known.iter().copied())));
            }
            return None;
        }
        let rules = self.conditions(pairs, "rule_cond", "rule_conditions", Self::log_source)?;
        let fields = self.conditions(pairs, "field_name_cond", "field_name_conditions", Self::fields)?;
        let what = match kind.as_str() {
            "field_name_mapping" => Transformation::Rename(self.mapping(node.place, pairs)?),
            "field_name_prefix" => Transformation::Prefix(self.text(node.place, pairs, "prefix")?),
            "field_name_suffix" => Transformation::Suffix(self.text(node.place, pairs, "suffix")?),
            "drop_detection_item" if fields.of.is_empty() => {
                return self.error(place, "missing-attribute", "without 'field_name_conditions' everything is dropped");
            }
            "drop_detection_item" => Transformation::Drop,
            "change_logsource" => Transformation::Source(self.source(node.place, pairs)?),
            "add_condition" => self.add(node.place, pairs)?,
            _ if !rules.of.is_empty() => {
                let message = "placeholders stand for the same in all rules, so there can be no 'rule_conditions'";
                return self.error(place, "unsupported-condition", message);
            }
            // Nothing is done to rules after they were read.
            kind => return self.placeholders(place, pairs, kind == "wildcard_placeholders"),
        };
        self.found.steps.push(Step { rules, fields, what });
        Some(())
    }

    fn conditions<C>(
        &mut self,
        pairs: &Pairs,
        prefix: &str,
        name: &str,
        read: fn(&mut Self, &Node, &Pairs, &str) -> Option<C>,
    ) -> Option<Conditions<C>> {
        let negated = self.truth(pairs, &format!("{prefix}_not"))?;
        let any = match get(pairs, &format!("{prefix}_op")).map(|n| (n, n.text())) {
            None | Some((_, Some("and"))) => false,
            Some((_, Some("or"))) => true,
            Some((node, _)) => {
                return self.error(node.place, "bad-attribute", format!("'{prefix}_op' is 'and' or 'or'"));
            }
        };
        let mut of = Vec::new();
        match get(pairs, name).map(|node| &node.data) {
            None => {}
            Some(Data::Sequence(items)) => {
                for item in items {
                    let pairs = self.map(item, "a condition")?;
                    let kind = self.text(item.place, pairs, "type")?;
                    of.push(read(self, item, pairs, &kind)?);
                }
            }
            Some(_) => {
                let place = get(pairs, name).map_or(Place::default(), |n| n.place);
                return self.error(place, "bad-attribute", format!("'{name}' is a list"));
            }
        }
        Some(Conditions { any, negated, of })
    }

    fn log_source(&mut self, node: &Node, pairs: &Pairs, kind: &str) -> Option<LogSource> {
        if kind != "logsource" {
            let message = format!("conditions on rules are of the type 'logsource', not '{}'", brief(kind));
            return self.error(node.place, "unsupported-condition", message);
        }
        self.source(node.place, pairs)
    }

    fn source(&mut self, place: Place, pairs: &Pairs) -> Option<LogSource> {
        let mut source = LogSource::default();
        for (name, slot) in
            [("category", &mut source.category), ("product", &mut source.product), ("service", &mut source.service)]
        {
            if get(pairs, name).is_some() {
                *slot = Some(self.text(place, pairs, name)?.to_lowercase());
            }
        }
        if source == LogSource::default() {
            return self.error(place, "bad-logsource", "there is none of category, product and service");
        }
        Some(source)
    }

    fn fields(&mut self, node: &Node, pairs: &Pairs, kind: &str) -> Option<Fields> {
        let included = match kind {
            "include_fields" => true,
            "exclude_fields" => false,
            other => {
                let message = format!("there is no condition on fields '{}'", brief(other));
                let finding = Finding::error(node.place, "unsupported-condition", message);
                self.findings.push(finding.help("there are 'include_fields' and 'exclude_fields'"));
                return None;
            }
        };
        if let Some(mode) = get(pairs, "mode").or(get(pairs, "match_type")).filter(|m| m.text() != Some("plain")) {
            return self.error(mode.place, "unsupported-condition", "fields are named, not matched by a regex");
        }
        let Some(names) = get(pairs, "fields") else {
            return self.error(node.place, "missing-attribute", "the condition has no 'fields'");
        };
        Some(Fields { names: self.texts(names, "'fields'")?, included })
    }

    fn mapping(&mut self, place: Place, pairs: &Pairs) -> Option<HashMap<String, Vec<String>>> {
        let Some(mapping) = get(pairs, "mapping") else {
            return self.error(place, "missing-attribute", "the transformation has no 'mapping'");
        };
        let mut found = HashMap::new();
        for (from, to) in self.map(mapping, "'mapping'")? {
            let mut names = self.texts(to, "the name of a field")?;
            let mut seen = std::collections::HashSet::new();
            names.retain(|n| seen.insert(n.clone()));
            if names.is_empty() || names.len() > MAX_FIELDS || names.iter().any(String::is_empty) {
                let message = format!("a field becomes at least one field and at most {MAX_FIELDS}");
                return self.error(to.place, "bad-attribute", message);
            }
            found.insert(from.text().unwrap_or_default().to_owned(), names);
        }
        Some(found)
    }

    fn add(&mut self, place: Place, pairs: &Pairs) -> Option<Transformation> {
        let negated = self.truth(pairs, "negated")?;
        let Some(conditions) = get(pairs, "conditions") else {
            return self.error(place, "missing-attribute", "the transformation has no 'conditions'");
        };
        self.map(conditions, "'conditions'")?;
        let placeholders = Placeholders::new();
        let mut reader = Reader::new(self.source, &placeholders, item::MAX_REGEX_BYTES);
        let body = reader.body(conditions);
        self.findings.append(&mut reader.findings);
        Some(Transformation::Add { body: body?, negated })
    }

    fn placeholders(&mut self, place: Place, pairs: &Pairs, wildcard: bool) -> Option<()> {
        let mut list = |name: &str| get(pairs, name).map(|node| self.texts(node, name));
        let (include, exclude) = match (list("include"), list("exclude")) {
            (Some(None), _) | (_, Some(None)) => return None,
            (include, exclude) => (include.flatten(), exclude.flatten()),
        };
        if wildcard {
            let Some(include) = include else {
                let message =
                    "'wildcard_placeholders' needs the names in 'include', so that a new one is not overlooked";
                return self.error(place, "missing-attribute", message);
            };
            self.found.placeholders.extend(include.into_iter().map(|name| (name, vec!["*".to_owned()])));
            return Some(());
        }
        if let Some(missing) = include.iter().flatten().find(|n| !self.vars.iter().any(|(v, _)| v == *n)) {
            return self.error(place, "unknown-variable", format!("there is no '{}' in 'vars'", brief(missing)));
        }
        let wanted = |name: &String| {
            include.as_ref().is_none_or(|i| i.contains(name)) && !exclude.iter().flatten().any(|e| e == name)
        };
        let values = self.vars.iter().filter(|(name, _)| wanted(name)).cloned();
        self.found.placeholders.extend(values);
        Some(())
    }
}
