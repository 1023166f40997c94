//! Why a rule does or does not match an event: for `picket explain` and the console. The set is loaded, and the event run, as
//! everywhere else; then the very component that matched is asked.

mod past;

pub use past::{Nearest, nearest};

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value as Json, json};

use crate::detection::{Analytic, Diagnostic};
use crate::guest::{Guest, GuestError, Node, OwnedValue};
use crate::kind::DecodeError;
use crate::offline::Offline;
use crate::roster;
use crate::sensor::Input;
use crate::slab::{Slab, Value};

/// Which rule.
#[derive(Clone, Copy, Debug)]
pub struct Which<'a> {
    pub id: &'a str,
    /// The first rule of the file of this name will do.
    pub file: Option<&'a Path>,
}

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    #[error("no loaded rule has the id or file `{rule}`")]
    NoRule { rule: String },
    #[error("the event cannot be read")]
    Event(#[from] DecodeError),
    #[error("the event was lost")]
    Lost,
    #[error("the rule cannot be explained")]
    Guest(#[from] GuestError),
}

/// What the component says.
#[derive(Debug)]
pub struct Explanation {
    pub analytic: Analytic,
    pub matched: bool,
    /// Why it does not even look at the event.
    pub why: Option<String>,
    /// A tree: a parent comes before its children.
    pub nodes: Vec<Node>,
}

/// A loaded rule and its guest.
fn find(offline: &Offline, which: Which<'_>) -> Result<(Arc<Guest>, Arc<Analytic>), ExplainError> {
    let in_file = |f: &str| which.file.is_some_and(|file| Path::new(f).file_name() == file.file_name());
    let found = offline.generation.guests().find_map(|guest| {
        let analytic = guest.plan.analytics.iter().find(|a| a.id == which.id || in_file(&a.file))?;
        Some((guest.clone(), analytic.clone()))
    });
    found.ok_or_else(|| ExplainError::NoRule { rule: which.id.to_owned() })
}

fn holding(nodes: &[Node]) -> usize {
    nodes.iter().filter(|n| n.holds).count()
}

/// Runs an event, one line of JSON, through a loaded set and asks about one rule.
pub fn explain(offline: Offline, which: Which<'_>, event: &str) -> Result<Explanation, ExplainError> {
    let (guest, analytic) = find(&offline, which)?;
    let diagnostics = offline.generation.diagnostics.clone();
    // Only the slab is kept: a flight would hold its generation, whose lanes end the run.
    let last: Mutex<Option<Arc<Slab>>> = Mutex::new(None);
    let matched: Mutex<bool> = Mutex::new(false);
    let (added, _) = offline.run(
        |feeder| feeder.add(&Input::Line { number: 1, text: event }),
        |finished| {
            let hit = finished.found.iter().any(|f| f.detection.analytic == analytic);
            *matched.lock().unwrap_or_else(PoisonError::into_inner) |= hit;
            let slab = &finished.flight.slab;
            if !slab.is_empty() {
                *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(slab.clone());
            }
        },
    );
    added?;
    let slab = last.into_inner().unwrap_or_else(PoisonError::into_inner).ok_or(ExplainError::Lost)?;
    let matched = matched.into_inner().unwrap_or_else(PoisonError::into_inner);
    // The event, or what is made from it: the row that comes nearest to a match.
    let rows = slab.len() as u32;
    let mut nodes = guest.explain(&analytic.id, &slab, 0);
    for said in (1..rows).filter_map(|row| guest.explain(&analytic.id, &slab, row).ok()) {
        if nodes.as_ref().is_ok_and(|best| holding(best) >= holding(&said)) {
            continue;
        }
        nodes = Ok(said);
    }
    let (nodes, why) = match nodes {
        Ok(nodes) => (nodes, None),
        Err(GuestError::NotSelected { .. }) => (Vec::new(), Some(of_another_source(&analytic, &diagnostics))),
        Err(e) => return Err(e.into()),
    };
    Ok(Explanation { analytic: Analytic::clone(&analytic), matched, why, nodes })
}

impl Explanation {
    pub fn to_json(&self) -> Json {
        json!({
            "rule": self.analytic.id, "title": self.analytic.title, "matched": self.matched, "why": self.why,
            "nodes": self.nodes.iter().map(node).collect::<Vec<_>>(),
        })
    }
}

/// Why a rule does not even look at an event.
fn of_another_source(analytic: &Analytic, diagnostics: &[Diagnostic]) -> String {
    let source = roster::log_source(analytic).unwrap_or_default();
    let unfed = diagnostics.iter().find(|d| d.file == analytic.file && d.code == roster::NOT_FED);
    match unfed {
        Some(d) => format!("never produced on this host: the rule is about {source}; {}", d.help),
        None => format!("the event is not of the rule's log source, {source}"),
    }
}

fn node(n: &Node) -> Json {
    json!({ "parent": n.parent, "label": n.label, "field": n.field, "pattern": n.pattern,
        "actual": shown(&n.actual), "holds": n.holds, "reason": n.reason, "line": n.line })
}

/// A value as text; `(absent)` and the like in parentheses.
pub fn shown(value: &OwnedValue) -> String {
    match value.as_value() {
        Value::Absent => "(absent)".to_owned(),
        Value::Null => "(null)".to_owned(),
        Value::Unavailable => "(unavailable)".to_owned(),
        Value::Unsigned(v) => v.to_string(),
        Value::Signed(v) => v.to_string(),
        Value::Float(v) => v.to_string(),
        Value::Bool(v) => v.to_string(),
        Value::Time(t) => crate::kind::time_text(t),
        Value::Text(t) => String::from_utf8_lossy(t).into_owned(),
        Value::List(list) => {
            let mut items = Vec::new();
            list.each(&mut |i| items.push(String::from_utf8_lossy(i).into_owned()));
            format!("{items:?}")
        }
    }
}
