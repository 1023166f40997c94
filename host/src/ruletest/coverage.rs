//! What no test of a rule ever made true, from what the guest itself says about the events of the tests.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;

use crate::guest::{Explainer, Guest, Node};
use crate::slab::Slab;

/// How much of the rules is tested.
#[derive(Debug, Default, Serialize)]
pub struct Coverage {
    pub rules: Vec<RuleCoverage>,
    /// Rule files without a test.
    pub untested: Vec<String>,
    /// Values of all rules.
    pub values: usize,
    /// Those that some test made true.
    pub seen: usize,
    /// Of the values, in percent; none where there are none.
    pub percent: Option<f64>,
}

/// How much of one rule is tested.
#[derive(Debug, Serialize)]
pub struct RuleCoverage {
    pub rule: String,
    pub file: String,
    pub values: usize,
    pub seen: usize,
    pub percent: Option<f64>,
    /// What was never true in any test: the outermost of what lies in one another.
    pub never: Vec<Never>,
}

/// A part of a rule that was never true.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Never {
    pub line: u32,
    /// The name of a selection, or an item with its value.
    pub what: String,
}

/// What is known of one rule so far. The nodes of a rule are the same for every event, only their answers differ.
struct Tally {
    title: String,
    file: String,
    nodes: Vec<Node>,
    ever: Vec<bool>,
}

/// Looks at each row of these slabs with the rules of the file whose tests it is of.
pub fn of<'a>(
    guests: &[Arc<Guest>],
    slabs: impl Iterator<Item = (&'a str, &'a Arc<Slab>)>,
    untested: &[String],
) -> Coverage {
    let mut by_file: HashMap<&str, Vec<(usize, &str, &str)>> = HashMap::new();
    for (number, guest) in guests.iter().enumerate().filter(|(_, g)| g.explains()) {
        // A correlation has no subscription, and nothing to say about a single event.
        let rules = guest.plan.analytics.iter().filter(|a| a.metadata.get("subscription").is_some());
        for rule in rules {
            by_file.entry(&rule.file).or_default().push((number, &rule.id, &rule.title));
        }
    }
    let mut explainers: Vec<Explainer> = guests.iter().map(Guest::explainer).collect();
    let mut tallies: BTreeMap<(&str, &str), Tally> = BTreeMap::new();
    for (file, slab) in slabs {
        for (guest, id, title) in by_file.get(file).into_iter().flatten() {
            for row in 0..slab.len() as u32 {
                // An event of another log source says nothing.
                let Ok(nodes) = explainers[*guest].explain(id, slab, row) else { continue };
                let tally = tallies.entry((file, id)).or_insert_with(|| Tally {
                    title: (*title).to_owned(),
                    file: file.to_owned(),
                    ever: vec![false; nodes.len()],
                    nodes: nodes.clone(),
                });
                tally.ever.iter_mut().zip(&nodes).for_each(|(ever, node)| *ever |= node.holds);
            }
        }
    }
    let rules: Vec<RuleCoverage> = tallies.into_values().map(Tally::result).collect();
    let (values, seen) = rules.iter().fold((0, 0), |(v, s), r| (v + r.values, s + r.seen));
    Coverage { rules, untested: untested.to_vec(), values, seen, percent: percent(seen, values) }
}

fn percent(seen: usize, values: usize) -> Option<f64> {
    (values > 0).then(|| 100.0 * seen as f64 / values as f64)
}

impl Tally {
    fn result(self) -> RuleCoverage {
        // The value of an item may be looked for in two columns, `Image` and the path as executed: one is enough.
        let mut values: BTreeMap<(u32, &str, &str), bool> = BTreeMap::new();
        let value_of = |node: &Node| !node.field.is_empty();
        for (node, ever) in self.nodes.iter().zip(&self.ever).filter(|(node, _)| value_of(node)) {
            *values.entry((node.line, &node.label, &node.pattern)).or_default() |= ever;
        }
        let mut never = Vec::new();
        let mut told = vec![false; self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            let parent = node.parent as usize;
            told[i] = parent < i && told[parent];
            if told[i] || self.ever[i] {
                continue;
            }
            let what = if value_of(node) {
                if values.get(&(node.line, node.label.as_str(), node.pattern.as_str())) == Some(&true) {
                    continue;
                }
                format!("{} = {}", node.label, node.pattern)
            } else if i == 0 {
                "the rule itself".to_owned()
            } else if self.is_no_part(i) {
                continue;
            } else {
                node.label.clone()
            };
            told[i] = true;
            never.push(Never { line: node.line, what });
        }
        never.sort();
        never.dedup();
        let (all, seen) = (values.len(), values.values().filter(|v| **v).count());
        RuleCoverage { rule: self.title, file: self.file, values: all, seen, percent: percent(seen, all), never }
    }

    /// Whether what is inside says it better: what only joins others, the forms of one value, and one of the columns that an
    /// item is looked for in.
    fn is_no_part(&self, i: usize) -> bool {
        let node = &self.nodes[i];
        let label = node.label.as_str();
        let same = node.parent as usize != i && self.nodes[node.parent as usize].label == label;
        let value = self.nodes[i..].iter().find(|n| !n.field.is_empty());
        ["and", "or", "not", "all of", "one of"].contains(&label) || same || value.is_some_and(|v| v.field == label)
    }
}
