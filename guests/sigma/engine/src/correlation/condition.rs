//! The condition of a correlation: limits of a measure, or a sentence about rules.

use super::plan::{Chain, Kind, OPERATORS, Operator, Test, holds};
use super::read::{Draft, MAX_FIELDS, Named, Reader};
use crate::condition::{self, Condition};
use crate::diagnostic::{Finding, brief, did_you_mean};
use crate::number::Number;
use crate::yaml::{Data, Meaning, Node, locate};

/// Rules of one correlation where it is remembered which of them matched, and in which order.
const MAX_TEMPORAL_RULES: usize = 64;
/// Alternatives of an ordered condition with `or`, and the steps in all of them.
const MAX_CHAINS: usize = 32;
const MAX_STEPS: usize = 256;
/// Runs that are remembered of one group where rules may be missing from the order.
const MAX_CELLS: usize = 256;
/// A window never counts further, so that a group's memory has a bound.
const MAX_COUNT: f64 = 100_000.0;

impl<'a> Reader<'a, '_, '_> {
    pub fn condition(&mut self, draft: &mut Draft) {
        let steps = self.steps(draft);
        match self.get("condition") {
            None if draft.kind.temporal() => {
                let wanted = if draft.kind == Kind::Temporal { draft.rules.len() } else { steps.len() };
                draft.test = Test::Limits(vec![(Operator::Gte, wanted as f64)]);
                "all rules".clone_into(&mut draft.condition);
            }
            None => self.error(self.place, "bad-correlation-condition", "the correlation has no condition"),
            Some(node) => match &node.data {
                Data::Mapping(pairs) => self.limits(node, pairs, draft),
                Data::Scalar { .. } if draft.kind.temporal() && node.meaning() == Meaning::Text => {
                    self.extended(node, draft);
                    return;
                }
                Data::Scalar { .. } if node.meaning() == Meaning::Text => {
                    let message = "a condition over the names of rules is for 'temporal' and 'temporal_ordered' only";
                    self.helped(node.place, "bad-correlation-condition", message, "write 'condition: {gte: 5}'");
                }
                _ => {
                    let message = format!("a condition is a map like 'gte: 5', this is {}", node.kind());
                    self.error(node.place, "bad-correlation-condition", message);
                }
            },
        }
        if draft.rules.is_empty() && !self.attributes.refused {
            self.error(self.place, "bad-correlation", "the correlation has no rules");
        }
        if draft.kind == Kind::TemporalOrdered {
            // The longest run is of interest; where only a minimum is asked for, no more may be missing.
            let least = match &draft.test {
                Test::Limits(limits) if draft.test.rising() => limits
                    .iter()
                    .map(|(o, n)| if *o == Operator::Gt { n.floor() + 1.0 } else { n.ceil() })
                    .fold(1.0, f64::max),
                _ => 1.0,
            };
            let gaps = steps.len().saturating_sub(least as usize);
            if steps.len() * (gaps + 1) > MAX_CELLS {
                let message = "so many rules in order, of which so many may be missing, take up too much memory";
                self.error(self.place, "correlation-too-complex", message);
            }
            draft.chains = vec![Chain { steps, gaps, without: 0 }];
        }
        if draft.kind.temporal() && !self.attributes.refused {
            let most = draft.chains.first().map_or(draft.rules.len(), |chain| chain.steps.len());
            if !(0..=most).any(|n| draft.test.limits(n as f64)) {
                let message = format!("the condition never holds: there are {most} rules");
                self.error(self.place, "bad-correlation-condition", message);
            }
        }
    }

    /// Takes repeats out of the rules; the rules in order, with repeats, by position.
    fn steps(&mut self, draft: &mut Draft) -> Vec<usize> {
        let mut rules: Vec<Named> = Vec::with_capacity(draft.rules.len());
        let mut steps = Vec::with_capacity(draft.rules.len());
        for (name, place) in std::mem::take(&mut draft.rules) {
            let known = rules.iter().position(|(n, _)| *n == name);
            if known.is_some() && draft.kind != Kind::TemporalOrdered {
                let message = format!("the rule '{}' is there twice", brief(&name));
                self.attributes.reading.findings.push(Finding::warning(place, "repeated-rule", message));
                continue;
            }
            steps.push(known.unwrap_or(rules.len()));
            if known.is_none() {
                rules.push((name, place));
            }
        }
        if draft.kind.temporal() && (rules.len() > MAX_TEMPORAL_RULES || steps.len() > MAX_TEMPORAL_RULES) {
            let message = format!("{} rules, the limit of this type is {MAX_TEMPORAL_RULES}", steps.len());
            self.error(self.place, "correlation-too-complex", message);
        }
        draft.rules = rules;
        steps
    }

    fn limits(&mut self, node: &Node, pairs: &'a [(Node, Node)], draft: &mut Draft) {
        let mut limits = Vec::new();
        let mut percentile = None;
        for (key, value) in pairs {
            let name = key.text().unwrap_or_default();
            if name == "field" {
                draft.value = self.texts(value, "field", MAX_FIELDS);
                continue;
            }
            let number = match value.meaning() {
                Meaning::Number(n) => Some(float(n)),
                // Quoted numbers are taken for what they look like.
                Meaning::Text => value.text().and_then(|t| Number::parse(t.trim().as_bytes())).map(float),
                _ => None,
            };
            if name == "percentile" {
                percentile = Some((key.place, number.filter(|p| (0.0..=100.0).contains(p))));
                if number.is_none_or(|p| !(0.0..=100.0).contains(&p)) {
                    let message = "a percentile is a number from 0 to 100";
                    self.error(value.place, "bad-correlation-condition", message);
                }
                continue;
            }
            let Some((_, operator)) = OPERATORS.iter().find(|(n, _)| *n == name) else {
                let known = OPERATORS.iter().map(|(n, _)| *n).chain(["field", "percentile"]);
                let message = format!("'{}' is no operator of a correlation condition", brief(name));
                let mut help = did_you_mean(name, known);
                if help.is_empty() {
                    "the operators are gt, gte, lt, lte, eq and neq".clone_into(&mut help);
                }
                self.helped(key.place, "bad-correlation-condition", message, help);
                continue;
            };
            if let Some(number) = number {
                limits.push((*operator, number));
            } else {
                let message = format!("'{name}' takes a number, this is {}", value.kind());
                self.error(value.place, "bad-correlation-condition", message);
            }
        }
        self.value_field(node, draft);
        match (&mut draft.kind, percentile) {
            (Kind::ValuePercentile(p), Some((_, given))) => *p = given.unwrap_or(*p),
            (Kind::ValuePercentile(_), None) => {
                let message = "the condition does not say which percentile; the 50th is taken";
                let finding = Finding::warning(node.place, "missing-percentile", message);
                self.attributes.reading.findings.push(finding.help("add 'percentile: 95' to the condition"));
            }
            (_, Some((place, _))) => {
                let message = "'percentile' is for the type 'value_percentile' only";
                self.error(place, "bad-correlation-condition", message);
            }
            (_, None) => {}
        }
        if limits.is_empty() {
            if !self.attributes.refused {
                let message = "the condition has none of gt, gte, lt, lte, eq and neq";
                self.error(node.place, "bad-correlation-condition", message);
            }
            return;
        }
        draft.condition = limits.iter().map(|(o, n)| format!("{} {n}", o.name())).collect::<Vec<_>>().join(", ");
        draft.test = Test::Limits(limits);
        let counted = matches!(draft.kind, Kind::EventCount | Kind::ValueCount);
        if counted && draft.test.most() > MAX_COUNT {
            let message = format!("a window counts to {MAX_COUNT}, so the condition cannot be decided");
            self.error(node.place, "bad-correlation-condition", message);
        }
        if counted && draft.test.rising() && draft.test.limits(0.0) {
            let message = "the condition holds of a window with nothing in it";
            self.error(node.place, "bad-correlation-condition", message);
        }
    }

    fn value_field(&mut self, node: &Node, draft: &Draft) {
        let kind = draft.kind;
        if draft.value.is_empty() && kind.valued() {
            let message = format!("the condition of a '{}' names a field", kind.name());
            self.helped(node.place, "missing-correlation-field", message, "add 'field: NAME' to the condition");
        }
        let place = draft.value.first().map_or(node.place, |(_, place)| *place);
        if !draft.value.is_empty() && !kind.valued() {
            let message = format!("the condition of a '{}' looks at no field", kind.name());
            self.error(place, "bad-correlation-condition", message);
        }
        if draft.value.len() > 1 && kind.valued() && kind != Kind::ValueCount {
            let message = format!("a '{}' looks at one field, not at {}", kind.name(), draft.value.len());
            self.error(place, "bad-correlation-condition", message);
        }
    }

    /// `rule_a and (rule_b or not rule_c)`.
    fn extended(&mut self, node: &'a Node, draft: &mut Draft) {
        let text = node.text().unwrap_or_default();
        if draft.rules.is_empty() {
            let mut names: Vec<Named> = Vec::new();
            for word in text.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')')) {
                let keyword = matches!(word, "" | "and" | "or" | "not");
                if !keyword && names.len() <= MAX_TEMPORAL_RULES && !names.iter().any(|(n, _)| n == word) {
                    names.push((word.to_owned(), node.place));
                }
            }
            draft.rules = names;
            self.steps(draft);
        }
        let names: Vec<&str> = draft.rules.iter().map(|(n, _)| n.as_str()).collect();
        let parsed = match condition::parse(text, &names) {
            Ok(parsed) => parsed,
            Err(problem) => {
                let place = locate(self.attributes.reading.source, node, problem.range);
                let message = problem.message.replace("selection", "rule in 'rules' called");
                let message = if problem.code == "undefined-selection" { message } else { problem.message };
                self.helped(place, "bad-correlation-condition", message, problem.help);
                return;
            }
        };
        let mut used = 0;
        uses(&parsed, &mut used);
        let unused: Vec<Named> =
            draft.rules.iter().enumerate().filter(|(i, _)| used >> i & 1 == 0).map(|(_, n)| n.clone()).collect();
        for (name, place) in unused {
            let message = format!("the condition does not use the rule '{}'", brief(&name));
            self.error(place, "unused-correlation-rule", message);
        }
        if holds(&parsed, 0) {
            let message = "the condition holds where none of the rules matched: there is nothing to start from";
            self.error(node.place, "bad-correlation-condition", message);
        }
        if draft.kind == Kind::TemporalOrdered {
            if let Some(found) = alternatives(&parsed, false) {
                // A rule that is both wanted and unwanted makes an alternative that cannot be.
                let possible = found.into_iter().filter(|(wanted, unwanted)| wanted & unwanted == 0 && *wanted != 0);
                let steps = |wanted: u64| (0..draft.rules.len()).filter(|i| wanted >> i & 1 == 1).collect();
                draft.chains =
                    possible.map(|(wanted, without)| Chain { steps: steps(wanted), gaps: 0, without }).collect();
            } else {
                let message = format!("more than {MAX_CHAINS} ways to fulfil the condition in order");
                self.error(node.place, "correlation-too-complex", message);
            }
            if draft.chains.iter().map(|c| c.steps.len()).sum::<usize>() > MAX_STEPS {
                let message = format!("more than {MAX_STEPS} steps in all the ways to fulfil the condition in order");
                self.error(node.place, "correlation-too-complex", message);
            }
        }
        draft.condition = text.split_whitespace().collect::<Vec<_>>().join(" ");
        draft.test = Test::Rules(parsed);
    }
}

fn uses(condition: &Condition, used: &mut u64) {
    match condition {
        Condition::All(terms) | Condition::Any(terms) => terms.iter().for_each(|t| uses(t, used)),
        Condition::Not(term) | Condition::Named(_, term) => uses(term, used),
        Condition::Selection(i) => *used |= 1 << i,
        Condition::Of { members, .. } => members.iter().for_each(|i| *used |= 1 << i),
    }
}

/// The ways to fulfil a condition, as (rules wanted, rules unwanted); None = too many.
fn alternatives(condition: &Condition, negated: bool) -> Option<Vec<(u64, u64)>> {
    let members: Vec<Condition>;
    let (all, terms) = match condition {
        Condition::Selection(i) => return Some(vec![if negated { (0, 1 << i) } else { (1 << i, 0) }]),
        Condition::Not(term) => return alternatives(term, !negated),
        Condition::Named(_, term) => return alternatives(term, negated),
        Condition::All(terms) => (true, terms),
        Condition::Any(terms) => (false, terms),
        Condition::Of { all, members: of, .. } => {
            members = of.iter().map(|i| Condition::Selection(*i)).collect();
            (*all, &members)
        }
    };
    let mut total: Vec<(u64, u64)> = Vec::new();
    for (n, term) in terms.iter().enumerate() {
        let part = alternatives(term, negated)?;
        // Of a negated `and`, any of the negated terms is enough.
        if all == negated || n == 0 {
            total.extend(part);
        } else {
            total = total.iter().flat_map(|(a, b)| part.iter().map(move |(c, d)| (a | c, b | d))).collect();
        }
        total.sort_unstable();
        total.dedup();
        if total.len() > MAX_CHAINS {
            return None;
        }
    }
    Some(total)
}

fn float(n: Number) -> f64 {
    match n {
        Number::Integer(i) => i as f64,
        Number::Float(f) => f,
    }
}
