//! Processing pipelines, in the YAML form of pySigma: rules written for one naming of fields are rewritten for another,
//! after they have been read and before they are compiled.
//!
//! A pipeline is used only if [`crate::Options::pipelines`] names it, and then as a whole: one that asks for something that is not done
//! here is refused, for a rule set that is mapped by half looks alive and finds nothing.

mod read;

use crate::condition::Condition;
use crate::diagnostic::{Diagnostic, Finding, Place, brief, did_you_mean};
use crate::expand::Placeholders;
use crate::item::{Body, Item, Selection};
use crate::rule::{LogSource, Rule};
use crate::ruleset::File;
use crate::test::Test;
use crate::unfilter::{Refusal, Unfiltered};
use std::collections::HashMap;

/// Those that come with the engine. A file of the same name takes the place of one.
const SHIPPED: &[(&str, &str)] = &[
    ("auditd", include_str!("../pipelines/auditd.pipeline.yml")),
    ("ecs", include_str!("../pipelines/ecs.pipeline.yml")),
    ("sysmon-linux", include_str!("../pipelines/sysmon-linux.pipeline.yml")),
    ("velociraptor", include_str!("../pipelines/velociraptor.pipeline.yml")),
];

/// Steps of all pipelines together, each of which goes through every rule.
const MAX_STEPS: usize = 200;
/// Items of one rule after mapping: a field that becomes several, several times, multiplies them.
const MAX_ITEMS: usize = 10_000;

/// The pipelines in use, in the order in which they are applied.
#[derive(Debug, Default)]
pub(crate) struct Pipelines(Vec<Pipeline>);

#[derive(Debug, Default)]
struct Pipeline {
    /// Name of its file.
    file: String,
    priority: i64,
    steps: Vec<Step>,
    /// What placeholders of `expand` stand for.
    placeholders: Vec<(String, Vec<String>)>,
}

/// One transformation and where it applies.
#[derive(Debug)]
struct Step {
    rules: Conditions<LogSource>,
    fields: Conditions<Fields>,
    what: Transformation,
}

/// All of the conditions (or any), or not; without any it always applies.
#[derive(Debug)]
struct Conditions<C> {
    any: bool,
    negated: bool,
    of: Vec<C>,
}

#[derive(Debug)]
struct Fields {
    names: Vec<String>,
    /// These fields, or all others.
    included: bool,
}

#[derive(Debug)]
enum Transformation {
    /// To one field or to several, any of which may hold the value.
    Rename(HashMap<String, Vec<String>>),
    Prefix(String),
    Suffix(String),
    Drop,
    Source(LogSource),
    Add {
        body: Body,
        negated: bool,
    },
}

impl<C> Conditions<C> {
    fn hold(&self, each: impl Fn(&C) -> bool) -> bool {
        if self.of.is_empty() {
            return true;
        }
        let held = if self.any { self.of.iter().any(each) } else { self.of.iter().all(each) };
        held != self.negated
    }
}

/// Whether a file holds a pipeline and no rules: `NAME.pipeline.yml`.
pub(crate) fn name_of(file: &str) -> Option<&str> {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.strip_suffix(".pipeline.yml").or_else(|| base.strip_suffix(".pipeline.yaml"))
}

impl Pipelines {
    /// Reads those pipelines among `files`, or among the shipped ones, that `wanted` names.
    pub fn load(wanted: &[String], files: &[File<'_>], diagnostics: &mut Vec<Diagnostic>) -> Self {
        let mut found = Vec::new();
        let mut steps = 0;
        for (i, name) in wanted.iter().enumerate() {
            if wanted[..i].contains(name) {
                continue;
            }
            let own = files.iter().find(|f| name_of(f.name) == Some(name)).copied();
            let shipped = SHIPPED.iter().find(|(n, _)| n == name);
            let Some(file) = own.or(shipped.map(|(name, text)| File { name, content: text.as_bytes() })) else {
                let there = files.iter().filter_map(|f| name_of(f.name)).chain(SHIPPED.iter().map(|(n, _)| *n));
                let there: Vec<&str> = there.collect();
                let finding = Finding::error(
                    Place::default(),
                    "unknown-pipeline",
                    format!("there is no pipeline '{}'; the rules are loaded without it", brief(name)),
                );
                let mut help = did_you_mean(name, there.iter().copied());
                if help.is_empty() {
                    help = format!("it would be in a file '{}.pipeline.yml' beside the rules", brief(name));
                }
                diagnostics.push(finding.help(help).in_file(""));
                continue;
            };
            let mut findings = Vec::new();
            let pipeline = read::pipeline(&file, &mut findings);
            steps += pipeline.steps.len();
            if steps > MAX_STEPS {
                let message = format!("the pipelines in use have more than {MAX_STEPS} transformations");
                findings.push(Finding::error(Place::default(), "pipeline-too-large", message));
            }
            let refused = findings.iter().any(|f| f.gravity == crate::Gravity::Error);
            if refused {
                let message = format!("the pipeline '{}' is not used: all of it is, or nothing", brief(name));
                findings.push(Finding::error(Place::default(), "pipeline-refused", message));
            } else {
                found.push(Pipeline { file: file.name.to_owned(), ..pipeline });
            }
            diagnostics.extend(findings.into_iter().map(|f| f.in_file(file.name)));
        }
        // Stable: those with the same priority are applied in the order in which they were named.
        found.sort_by_key(|p| p.priority);
        Self(found)
    }

    /// Their files, by the numbers that [`Selection::pipeline`] has.
    pub fn files(&self) -> Vec<String> {
        self.0.iter().map(|p| p.file.clone()).collect()
    }

    /// What placeholders stand for: `own` first, then what the pipelines say.
    pub fn placeholders(&self, own: &Placeholders) -> Placeholders {
        let mut all = own.clone();
        for (name, values) in self.0.iter().flat_map(|p| &p.placeholders) {
            all.entry(name.clone()).or_insert_with(|| values.clone());
        }
        all
    }

    /// Rewrites a rule, without its filters if it cannot be loaded with them. An error says why it cannot be without, either.
    pub fn apply(&self, rule: &mut Rule, unfiltered: &mut Unfiltered) -> Result<(), Finding> {
        // Where a step fails, those before it have been taken, so it begins again from what was written.
        let written = (!self.0.is_empty() && !rule.meta.filters.is_empty()).then(|| rule.clone());
        let Err(refusal) = self.rewrite(rule) else { return Ok(()) };
        let Some(mut bare) = written else { return Err(refusal.finding) };
        let gone = bare.unfilter();
        self.rewrite(&mut bare).map_err(|refusal| refusal.finding)?;
        *rule = bare;
        unfiltered.add(rule, &gone, &refusal);
        Ok(())
    }

    fn rewrite(&self, rule: &mut Rule) -> Result<(), Refusal> {
        for (number, pipeline) in (0..).zip(&self.0) {
            for step in &pipeline.steps {
                if step.rules.hold(|source| includes(source, &rule.meta.source)) {
                    step.apply(rule, number)?;
                }
            }
        }
        Ok(())
    }
}

/// Every attribute that `wanted` names is the same.
fn includes(wanted: &LogSource, source: &LogSource) -> bool {
    [(&wanted.category, &source.category), (&wanted.product, &source.product), (&wanted.service, &source.service)]
        .iter()
        .all(|(wanted, there)| wanted.is_none() || wanted == there)
}

impl Step {
    /// Takes the step, which is one of the pipeline of this number.
    fn apply(&self, rule: &mut Rule, pipeline: u32) -> Result<(), Refusal> {
        match &self.what {
            Transformation::Source(source) => rule.meta.source = source.clone(),
            Transformation::Add { body, negated } => {
                let added = Condition::Selection(rule.selections.len());
                let added = if *negated { Condition::Not(Box::new(added)) } else { added };
                let place = rule.condition_place;
                let name = "added by pipeline".to_owned();
                let (body, pipeline) = (body.clone(), Some(pipeline));
                rule.selections.push(Selection { name, place, body, filter: None, pipeline });
                let before = std::mem::replace(&mut rule.condition, Condition::All(Vec::new()));
                rule.condition = Condition::All(vec![added, before]);
            }
            _ => {
                let mut left = MAX_ITEMS;
                for selection in &mut rule.selections {
                    let body = std::mem::replace(&mut selection.body, Body::All(Vec::new()));
                    let before = items(&body);
                    let Some(body) = self.body(body, &mut left) else {
                        let message =
                            format!("a pipeline drops every item of the selection '{}'", brief(&selection.name));
                        let finding = Finding::error(selection.place, "pipeline-drops-selection", message)
                            .help("it would match every event, so the rule is not loaded");
                        return Err(Refusal { finding, filter: selection.filter });
                    };
                    // What is left of a filter would hide more than was written, and nobody would know.
                    if selection.filter.is_some() && items(&body) < before {
                        let message = format!("a pipeline drops an item of the selection '{}'", brief(&selection.name));
                        let finding = Finding::error(selection.place, "pipeline-drops-filter-item", message);
                        return Err(Refusal { finding, filter: selection.filter });
                    }
                    selection.body = body;
                }
                if left == 0 {
                    let message = format!("a pipeline makes more than {MAX_ITEMS} items of the rule");
                    return Err(Finding::error(rule.condition_place, "rule-too-complex", message).into());
                }
                let fields = std::mem::take(&mut rule.meta.fields);
                rule.meta.fields = fields.into_iter().flat_map(|f| self.renamed(&f).unwrap_or(vec![f])).collect();
            }
        }
        Ok(())
    }

    /// None = nothing is left of it.
    fn body(&self, body: Body, left: &mut usize) -> Option<Body> {
        if *left == 0 {
            return Some(body);
        }
        let mut parts = |parts: Vec<Body>| {
            let kept: Vec<Body> = parts.into_iter().filter_map(|p| self.body(p, left)).collect();
            (!kept.is_empty()).then_some(kept)
        };
        match body {
            Body::All(all) => Some(Body::All(parts(all)?)),
            // Of alternatives none may go: what was one of them would be asked for no more, or always hold.
            Body::Any(any) => {
                let before = any.len();
                let kept = parts(any)?;
                (kept.len() == before).then_some(Body::Any(kept))
            }
            Body::Item(item) => self.item(item, left),
        }
    }

    fn item(&self, mut item: Item, left: &mut usize) -> Option<Body> {
        *left = left.saturating_sub(1);
        if matches!(self.what, Transformation::Drop) {
            let dropped = item.field.as_ref().is_some_and(|f| self.applies_to(f));
            return (!dropped).then_some(Body::Item(item));
        }
        // The other field of a reference is renamed like any other.
        let values = std::mem::take(&mut item.values);
        for mut value in values {
            let others = value.other.as_ref().and_then(|other| self.renamed(other));
            for other in others.iter().flatten() {
                value.other = Some(other.clone());
                item.values.push(value.clone());
            }
            if others.is_none() {
                item.values.push(value);
            }
        }
        let Some(names) = item.field.as_ref().and_then(|field| self.renamed(field)) else {
            return Some(Body::Item(item));
        };
        *left = left.saturating_sub(names.len() * item.values.len());
        Some(on_fields(&item, &names))
    }

    fn applies_to(&self, field: &str) -> bool {
        self.fields.hold(|fields| fields.names.iter().any(|n| n == field) == fields.included)
    }

    /// What a field becomes; None = it stays.
    fn renamed(&self, field: &str) -> Option<Vec<String>> {
        if !self.applies_to(field) {
            return None;
        }
        match &self.what {
            Transformation::Rename(names) => names.get(field).cloned(),
            Transformation::Prefix(prefix) => Some(vec![format!("{prefix}{field}")]),
            Transformation::Suffix(suffix) => Some(vec![format!("{field}{suffix}")]),
            Transformation::Drop | Transformation::Source(_) | Transformation::Add { .. } => None,
        }
    }
}

fn items(body: &Body) -> usize {
    match body {
        Body::All(parts) | Body::Any(parts) => parts.iter().map(items).sum(),
        Body::Item(_) => 1,
    }
}

/// The item on several fields, any of which may hold the value: it is there if it is in one of them, and absent if it is
/// in none.
fn on_fields(item: &Item, names: &[String]) -> Body {
    let on = |values: &dyn Fn(&Test) -> bool| {
        let values: Vec<_> = item.values.iter().filter(|w| w.tests.iter().all(values)).cloned().collect();
        let items = names
            .iter()
            .map(|name| Body::Item(Item { field: Some(name.clone()), values: values.clone(), ..item.clone() }));
        (!values.is_empty()).then(|| items.collect::<Vec<_>>())
    };
    let absent = |t: &Test| matches!(t, Test::Null | Test::Missing);
    if let [name] = names {
        return Body::Item(Item { field: Some(name.clone()), ..item.clone() });
    }
    let group = |items: Vec<Body>, any: bool| if any { Body::Any(items) } else { Body::All(items) };
    let by_value = on(&|t| !absent(t)).map(|items| group(items, !item.negated));
    let by_absence = on(&absent).map(|items| group(items, item.negated));
    match (by_value, by_absence) {
        (Some(value), Some(absence)) => group(vec![value, absence], item.all == item.negated),
        (one, other) => one.or(other).unwrap_or_else(|| Body::Item(item.clone())),
    }
}
