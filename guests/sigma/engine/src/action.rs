//! Collections: `action: global`, `reset` and `repeat` in files with several documents. An old form, with pySigma's meaning:
//! what a global document says is part of every document after it, and where both say something it is the global one that
//! counts; `repeat` is the rule before it with changes.

use crate::diagnostic::{Finding, brief, did_you_mean};
use crate::yaml::{Data, Node, weight};

/// Nodes that one file may grow to by merging.
const MAX_NODES: usize = 400_000;

type Pairs = Vec<(Node, Node)>;

/// The documents of a file with its actions carried out, each with its number in the file. A document that could not be
/// read is None: whatever it was, nothing is built on the one before it instead.
pub(crate) fn resolve(documents: Vec<Option<Node>>, findings: &mut Vec<Finding>) -> Vec<(usize, Node)> {
    let mut found = Vec::with_capacity(documents.len());
    let mut global: Option<Pairs> = None;
    let mut previous: Option<Node> = None;
    let mut lost = false;
    let mut nodes = 0;
    let mut documents = documents.into_iter().enumerate().peekable();
    while let Some((number, document)) = documents.next() {
        let Some(mut node) = document else {
            previous = None;
            lost = global.is_some();
            continue;
        };
        let at = node.place;
        let Data::Mapping(pairs) = &mut node.data else {
            found.push((number, node));
            continue;
        };
        let action = pairs.iter().position(|(key, _)| key.text() == Some("action")).map(|i| pairs.remove(i));
        let (key, what) = match &action {
            None => (at, None),
            Some((key, value)) => (key.place, Some(value)),
        };
        let refuse = |message: &str| Finding::error(key, "bad-action", message);
        match what.map(|value| value.text().unwrap_or_default()) {
            Some("global") => {
                global = Some(std::mem::take(pairs));
                previous = None;
                lost = false;
                continue;
            }
            Some("reset") => {
                (global, lost) = (None, false);
                continue;
            }
            Some("repeat") => {
                let Some(before) = previous.as_ref().filter(|_| !lost) else {
                    findings.push(refuse("'action: repeat' has no rule before it to repeat"));
                    continue;
                };
                let changes = std::mem::take(pairs);
                node = before.clone();
                node.place = at;
                if let Data::Mapping(pairs) = &mut node.data {
                    merge(pairs, &changes, None);
                }
            }
            Some(other) => {
                let place = what.map_or(at, |value| value.place);
                let message = format!("there is no action '{}'", brief(other));
                let finding = Finding::error(place, "bad-action", message);
                findings.push(finding.help(did_you_mean(other, ["global", "reset", "repeat"])));
                continue;
            }
            None if lost => {
                let message = "the document before could not be read, so it is not known what is global here";
                findings.push(Finding::error(at, "bad-action", message));
                continue;
            }
            None => {
                if let Some(global) = &global {
                    merge(pairs, global, Some(findings));
                }
            }
        }
        if global.is_some() || action.is_some() {
            nodes += weight(&node);
        }
        if nodes > MAX_NODES {
            let message = format!("'action' makes the file larger than {MAX_NODES} nodes");
            findings.push(Finding::error(at, "yaml-too-large", message));
            break;
        }
        // The last one, usually the only one, is repeated by nobody.
        previous = documents.peek().is_some().then(|| node.clone());
        found.push((number, node));
    }
    found
}

/// Puts `from` over `into`. With `findings`, what is lost by that is remarked on.
fn merge(into: &mut Pairs, from: &Pairs, mut findings: Option<&mut Vec<Finding>>) {
    for (key, value) in from {
        let Some((own, known)) = into.iter_mut().find(|(k, _)| k.text() == key.text()) else {
            into.push((key.clone(), value.clone()));
            continue;
        };
        if let (Data::Mapping(known), Data::Mapping(value)) = (&mut known.data, &value.data) {
            merge(known, value, findings.as_deref_mut());
            continue;
        }
        if let Some(findings) = findings.as_deref_mut() {
            let message = format!(
                "the global document says '{}' too, and has the last word",
                brief(own.text().unwrap_or_default())
            );
            findings
                .push(Finding::warning(own.place, "global-overrides", message).help("leave it out in one of the two"));
        }
        *known = value.clone();
    }
}
