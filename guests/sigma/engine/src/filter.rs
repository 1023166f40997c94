//! Filters: conditions of a site that are added to rules somebody else wrote.
//!
//! A filter is applied as it stands, or not at all. Where something about it is wrong its rules run without it, which may
//! make more alerts but never fewer, and an error says so.

use crate::condition::Condition;
use crate::correlation::Draft;
use crate::detection::{self, Conditions, Detection};
use crate::diagnostic::{Diagnostic, Finding, Place, brief, did_you_mean};
use crate::item::Body;
use crate::rule::{Attributes, LogSource, Rule};
use crate::yaml::{Data, Meaning, Node};
use std::collections::{BTreeMap, HashSet};

pub(crate) const ATTRIBUTES: &[&str] = &[
    "title",
    "id",
    "name",
    "related",
    "taxonomy",
    "status",
    "description",
    "license",
    "references",
    "author",
    "date",
    "modified",
    "logsource",
    "filter",
    "falsepositives",
    "level",
    "tags",
    "scope",
];

/// Comparisons that filters add to all rules together. A filter for any rule is copied into each of them, and a guest has
/// 128 MB in all.
const MAX_COMPARISONS: usize = 400_000;

/// Problems told about the rules that one filter names.
const MAX_TOLD: usize = 20;
/// Suggestions for misspelt names in all: each looks at every name there is.
const MAX_SUGGESTIONS: usize = 50;

/// What is known about a filter that is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterMeta {
    /// Unique among rules and filters; derived from the file's name where the filter has none.
    pub id: String,
    /// What it leaves out.
    pub title: String,
    /// Name of its file, as given.
    pub file: String,
    /// Line of its title, from 1.
    pub line: u32,
    /// The rules that have it, as indices into [`crate::RuleSet::rules`], ascending.
    pub rules: Vec<u32>,
    /// Its file says with a reason that it may hide what a test of a rule expects: `# picket: allow filter-hides-test: ...`.
    pub may_hide_tests: bool,
}

/// A filter that has been read and found right.
pub(crate) struct Filter {
    pub meta: FilterMeta,
    id_place: Place,
    place: Place,
    source: LogSource,
    source_custom: Vec<(String, String)>,
    rules: Rules,
    detection: Detection,
}

/// Which rules a filter is for, its log source aside.
enum Rules {
    Any,
    /// Ids or names.
    These(Vec<(String, Place)>),
}

/// Reads the document of a filter.
pub(crate) fn read(mut reader: Attributes<'_, '_, '_>, number: usize, node: &Node) -> Option<Filter> {
    let (key, value) = reader.pair("filter")?;
    if reader.pair("detection").is_some() {
        let message = "a document is a rule with 'detection' or a filter with 'filter', not both";
        reader.reading.findings.push(
            Finding::error(key.place, "bad-filter", message)
                .help("a selection named 'filter' belongs under 'detection'; check the indentation"),
        );
        return None;
    }
    reader.check_names(ATTRIBUTES);
    let title = reader.required_text(node, "title").unwrap_or_default();
    let line = reader.pair("title").map_or(node.place.line, |(key, _)| key.place.line);
    let (id, id_place) = reader.id(node, number);
    let (source, source_custom) = reader.log_source(node);
    let Data::Mapping(pairs) = &value.data else {
        reader.error(value.place, "bad-filter", format!("'filter' must be a map, this is {}", value.kind()));
        return None;
    };
    let rules = rules(&mut reader, key.place, pairs);
    let about = reader.about();
    let detection = detection::read(reader.reading, pairs, key.place, &["rules"], Conditions::One, &about);
    let file = reader.reading.file.to_owned();
    let (rules, detection) = (rules?, detection?);
    let meta = FilterMeta { id, title, file, line, rules: Vec::new(), may_hide_tests: false };
    let place = key.place;
    (!reader.refused).then_some(Filter { meta, id_place, place, source, source_custom, rules, detection })
}

fn rules(reader: &mut Attributes<'_, '_, '_>, at: Place, pairs: &[(Node, Node)]) -> Option<Rules> {
    let Some((_, node)) = pairs.iter().find(|(k, _)| k.text() == Some("rules")) else {
        reader.reading.findings.push(
            Finding::error(at, "bad-filter", "the filter does not say for which rules it is")
                .help("'rules' is a list of ids or names, or 'any' for all rules of its log source"),
        );
        return None;
    };
    let items: Vec<&Node> = match &node.data {
        Data::Sequence(items) => items.iter().collect(),
        _ if matches!(node.text(), Some("any" | "all")) => return Some(Rules::Any),
        _ => vec![node],
    };
    if items.is_empty() {
        reader.reading.findings.push(
            Finding::error(node.place, "bad-filter", "the list of rules is empty")
                .help("write 'any' if the filter is for all rules of its log source"),
        );
        return None;
    }
    let mut found = Vec::with_capacity(items.len());
    for item in items {
        if let Some(text) = item.text().filter(|t| !t.trim().is_empty() && item.meaning() != Meaning::Null) {
            found.push((text.trim().to_owned(), item.place));
        } else {
            let message = format!("a rule is named by its id or name, this is {}", item.kind());
            reader.error(item.place, "bad-filter", message);
        }
    }
    (!reader.refused).then_some(Rules::These(found))
}

/// What a filter can name.
#[derive(Default)]
struct Known {
    /// Rules by id and by name.
    rules: BTreeMap<String, Vec<usize>>,
    /// Ids and names of correlations.
    correlations: HashSet<String>,
    suggestions: usize,
}

/// Adds each filter to the rules it is for. What is left of `filters` was applied, or at least is right.
pub(crate) fn apply(
    filters: Vec<Filter>,
    rules: &mut [Box<Rule>],
    correlations: &[Draft],
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<FilterMeta> {
    let mut known = Known { suggestions: MAX_SUGGESTIONS, ..Known::default() };
    let mut ids: HashSet<String> = HashSet::new();
    for (number, rule) in rules.iter().enumerate() {
        ids.insert(rule.meta.id.clone());
        known.rules.entry(rule.meta.id.clone()).or_default().push(number);
        if let Some(name) = rule.meta.name.as_ref().filter(|n| **n != rule.meta.id) {
            known.rules.entry(name.clone()).or_default().push(number);
        }
    }
    for Draft { meta, .. } in correlations {
        ids.insert(meta.id.clone());
        known.correlations.extend(meta.name.iter().chain([&meta.id]).cloned());
    }
    let mut budget = MAX_COMPARISONS;
    let mut kept: Vec<FilterMeta> = Vec::with_capacity(filters.len());
    for filter in filters {
        let mut say = |finding: Finding| diagnostics.push(finding.in_file(&filter.meta.file));
        if !ids.insert(filter.meta.id.clone()) {
            let message = format!("another rule or filter has the id '{}' already", brief(&filter.meta.id));
            let finding = Finding::error(filter.id_place, "duplicate-id", message);
            say(finding.help("its rules run without this filter; give it an id of its own"));
            continue;
        }
        let targets = filter.targets(rules, &mut known, &mut say);
        let cost = targets.len().saturating_mul(filter.comparisons());
        if cost > budget {
            let message = format!("filters would add more than {MAX_COMPARISONS} comparisons to the rules");
            let finding = Finding::error(filter.place, "filters-too-large", message);
            say(finding.help("its rules run without this filter; let it look at fewer values, or be for fewer rules"));
            continue;
        }
        budget -= cost;
        for target in targets {
            filter.add_to(&mut rules[target], kept.len() as u32);
        }
        kept.push(filter.meta);
    }
    kept
}

impl Filter {
    /// The rules it is for; what it names in vain is told.
    fn targets(&self, rules: &[Box<Rule>], known: &mut Known, say: &mut impl FnMut(Finding)) -> Vec<usize> {
        let Rules::These(names) = &self.rules else {
            let targets: Vec<usize> = (0..rules.len()).filter(|i| self.strange_to(&rules[*i]).is_none()).collect();
            if targets.is_empty() {
                let message = "the filter applies to no rule: none that is loaded has its log source";
                say(Finding::warning(self.place, "filter-without-rule", message));
            }
            return targets;
        };
        let mut targets = Vec::new();
        let mut problems = 0_usize;
        for (name, place) in names {
            match self.target(name, *place, rules, known) {
                Ok(target) => targets.push(target),
                Err(problem) => {
                    problems += 1;
                    if problems <= MAX_TOLD {
                        say(problem);
                    }
                }
            }
        }
        if problems > MAX_TOLD {
            let message =
                format!("{} further rules that the filter names are none that it can be for", problems - MAX_TOLD);
            say(Finding::warning(self.place, "filter-unknown-rule", message));
        }
        targets.sort_unstable();
        targets.dedup();
        targets
    }

    /// The rule that `name` means.
    fn target(&self, name: &str, place: Place, rules: &[Box<Rule>], known: &mut Known) -> Result<usize, Finding> {
        let Some(numbers) = known.rules.get(name) else {
            if known.correlations.contains(name) {
                let message = format!("'{}' is a correlation, and filters are for rules", brief(name));
                let finding = Finding::warning(place, "filter-unknown-rule", message);
                return Err(finding.help("name the rules that it refers to"));
            }
            let message = format!("no rule that is loaded has the id or name '{}'", brief(name));
            let mut help = String::new();
            if known.suggestions > 0 {
                known.suggestions -= 1;
                help = did_you_mean(name, known.rules.keys().map(String::as_str));
            }
            return Err(Finding::warning(place, "filter-unknown-rule", message).help(help));
        };
        let [number] = numbers[..] else {
            let message =
                format!("{} rules have the name '{}', so the filter is for none of them", numbers.len(), brief(name));
            let finding = Finding::warning(place, "filter-unknown-rule", message);
            return Err(finding.help("refer to the rule by its id"));
        };
        let Some(why) = self.strange_to(&rules[number]) else { return Ok(number) };
        let message = format!("the filter does not apply to '{}': {why}", brief(&rules[number].meta.title));
        let finding = Finding::warning(place, "filter-log-source", message);
        Err(finding.help("a filter applies where all that its logsource says is said by the rule's"))
    }

    /// What of the filter's log source the rule's does not say; None = the filter applies.
    fn strange_to(&self, rule: &Rule) -> Option<String> {
        let (own, its) = (&self.source, &rule.meta.source);
        let all = [
            ("category", &own.category, &its.category),
            ("product", &own.product, &its.product),
            ("service", &own.service, &its.service),
        ];
        let differs = |name: &str, own: &str, its: Option<&str>| match its {
            Some(its) if its == own => None,
            Some(its) => Some(format!("its {name} is '{}', the filter's is '{}'", brief(its), brief(own))),
            None => Some(format!("it has no {name}, the filter's is '{}'", brief(own))),
        };
        let known = all.into_iter().find_map(|(name, own, its)| differs(name, own.as_deref()?, its.as_deref()));
        // An attribute that only sites know narrows a filter like any other: left out, it would hide more than was meant.
        known.or_else(|| {
            self.source_custom.iter().find_map(|(name, own)| {
                let its = rule.meta.source_custom.iter().find(|(n, _)| n == name);
                differs(name, own, its.map(|(_, v)| v.as_str()))
            })
        })
    }

    /// How much larger it makes a rule.
    fn comparisons(&self) -> usize {
        fn of(body: &Body) -> usize {
            match body {
                Body::All(parts) | Body::Any(parts) => 1 + parts.iter().map(of).sum::<usize>(),
                Body::Item(item) => 1 + item.values.iter().map(|v| v.tests.len().max(1)).sum::<usize>(),
            }
        }
        self.detection.selections.iter().map(|s| of(&s.body)).sum()
    }

    fn add_to(&self, rule: &mut Rule, number: u32) {
        let FilterMeta { id, title, file, line, .. } = &self.meta;
        let mut condition = self.detection.condition.clone();
        condition.shift(rule.selections.len());
        for selection in &self.detection.selections {
            let mut selection = selection.clone();
            selection.name = format!("{id}.{}", selection.name);
            selection.filter = Some(number);
            rule.selections.push(selection);
        }
        let label = format!("filter '{title}' ({id}, {file}:{line}): {}", self.detection.text);
        let condition = Condition::Named(label, Box::new(condition));
        match &mut rule.condition {
            Condition::All(terms) if !rule.meta.filters.is_empty() => terms.push(condition),
            own => {
                let own = std::mem::replace(own, Condition::All(Vec::new()));
                let own = Condition::Named(rule.condition_text.clone(), Box::new(own));
                rule.condition = Condition::All(vec![own, condition]);
            }
        }
        rule.meta.filters.push(id.clone());
    }
}
