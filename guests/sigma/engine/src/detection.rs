//! Selections and their condition: the `detection` of a rule, and what a filter has instead.

use crate::condition::{self, Condition};
use crate::deprecated::{self, About};
use crate::diagnostic::{Finding, Place, brief};
use crate::item::{Reader, Selection};
use crate::rule::Reading;
use crate::yaml::{Data, Meaning, Node, locate};

/// Selections, and how they go together.
#[derive(Clone, Debug)]
pub(crate) struct Detection {
    pub selections: Vec<Selection>,
    pub condition: Condition,
    pub text: String,
    pub place: Place,
}

/// A condition is all of the rule's, a filter has one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conditions {
    One,
    List,
}

/// Reads the pairs under `detection` or `filter`; those in `skip` are no selections. `at` is where to say that something is
/// missing. None = it is refused, for reasons that are among the findings.
pub(crate) fn read(
    reading: &mut Reading<'_>,
    pairs: &[(Node, Node)],
    at: Place,
    skip: &[&str],
    conditions: Conditions,
    about: &About<'_>,
) -> Option<Detection> {
    let mut reader = Reader::new(reading.source, reading.placeholders, *reading.regex_bytes);
    let mut selections = Vec::new();
    let mut names = Vec::new();
    let mut condition = None;
    let mut timeframe = None;
    for (key, value) in pairs {
        match key.text().unwrap_or_default() {
            "condition" => condition = Some(value),
            "timeframe" => timeframe = Some((key, value)),
            name if skip.contains(&name) => {}
            name => {
                names.push(name);
                if let Some(body) = reader.body(value) {
                    selections.push(Selection {
                        name: name.to_owned(),
                        place: key.place,
                        body,
                        filter: None,
                        pipeline: None,
                    });
                }
            }
        }
    }
    let mut refused = reader.findings.iter().any(|f| f.gravity == crate::Gravity::Error);
    reading.findings.append(&mut reader.findings);
    if !refused {
        *reading.regex_bytes = reader.regex_bytes;
    }
    let span = timeframe.and_then(|(_, value)| value.text());
    let mut aggregates = false;
    let parsed = condition.and_then(|node| {
        parse(reading, node, &names, conditions, &mut |text, problem| {
            aggregates |= matches!(problem.code, "unsupported-aggregation" | "unsupported-near");
            if problem.code == "unsupported-aggregation" {
                problem.help = deprecated::instead(text, &problem.range, &names, span, about);
            } else if problem.code == "unsupported-near" {
                problem.help = deprecated::instead_of_near(&names, span, about);
            }
        })
    });
    if let Some((key, _)) = timeframe
        && !aggregates
    {
        // Where the condition aggregates, that was told with the rule to write, in which the time has its place.
        let finding = Finding::error(key.place, "unsupported-timeframe", "'timeframe' is deprecated in Sigma");
        reading.findings.push(finding.help(deprecated::instead_of_timeframe(span, about)));
        refused = true;
    }
    let Some(node) = condition else {
        reading.findings.push(Finding::error(at, "missing-condition", "there is no condition"));
        return None;
    };
    let (condition, text) = parsed?;
    if refused {
        return None;
    }
    unused(reading, &condition, &selections);
    Some(Detection { selections, condition, text, place: node.place })
}

/// A condition, or a list of them: any of the list.
fn parse(
    reading: &mut Reading<'_>,
    node: &Node,
    names: &[&str],
    conditions: Conditions,
    explain: &mut dyn FnMut(&str, &mut condition::Problem),
) -> Option<(Condition, String)> {
    let items: Vec<&Node> = match &node.data {
        Data::Sequence(items) if conditions == Conditions::List => items.iter().collect(),
        _ => vec![node],
    };
    let mut terms = Vec::new();
    let mut texts = Vec::new();
    for item in &items {
        let Some(text) = item.text().filter(|_| item.meaning() == Meaning::Text) else {
            let message = format!("a condition is text, this is {}", item.kind());
            reading.findings.push(Finding::error(item.place, "bad-condition", message));
            continue;
        };
        match condition::parse(text, names) {
            Ok(term) => terms.push(term),
            Err(mut problem) => {
                explain(text, &mut problem);
                let place = locate(reading.source, item, problem.range);
                reading.findings.push(Finding::error(place, problem.code, problem.message).help(problem.help));
            }
        }
        texts.push(text.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    if items.is_empty() {
        reading.findings.push(Finding::error(node.place, "bad-condition", "the list of conditions is empty"));
    }
    if terms.is_empty() || terms.len() < items.len() {
        return None;
    }
    let term = if terms.len() == 1 { terms.remove(0) } else { Condition::Any(terms) };
    Some((term, texts.join(" or ")))
}

fn unused(reading: &mut Reading<'_>, condition: &Condition, selections: &[Selection]) {
    let mut used = vec![false; selections.len()];
    condition.mark(&mut used);
    for (selection, used) in selections.iter().zip(used) {
        if !used {
            let message = format!("the condition does not use the selection '{}'", brief(&selection.name));
            reading.findings.push(Finding::warning(selection.place, "unused-selection", message));
        }
    }
}
