//! Why a rule did or did not fire then: the recorded events that came nearest to a match.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value as Json, json};

use super::{ExplainError, Which, find, holding, node};
use crate::detection::Analytic;
use crate::guest::Node;
use crate::kind;
use crate::offline::Offline;
use crate::recorder::Recording;
use crate::slab::Slab;

/// Recorded events that are explained: each takes an instance of its own.
const EXPLAINED: usize = 400;

/// Of those, the ones that are kept.
const KEPT: usize = 3;

/// A recorded event that a rule was tried on.
#[derive(Debug)]
pub struct Tried {
    /// Unix ns.
    pub time: u64,
    /// In a few words.
    pub what: String,
    /// One line of JSON.
    pub event: String,
    pub nodes: Vec<Node>,
}

/// What a rule made of a time.
#[derive(Debug)]
pub struct Nearest {
    pub analytic: Arc<Analytic>,
    /// Events of the kinds that it looks at.
    pub looked_at: u64,
    /// Ids of the alerts that it makes of them.
    pub hits: Vec<String>,
    /// The nearest to a match first, then the nearest in time.
    pub events: Vec<Tried>,
    /// There were more events than are compared.
    pub cut: bool,
}

/// Runs what a recording has through a loaded set, and asks about one rule. `at` is the moment that is meant, Unix ns.
pub fn nearest(
    offline: Offline,
    which: Which<'_>,
    recording: &mut Recording,
    at: u64,
) -> Result<Nearest, ExplainError> {
    let (guest, analytic) = find(&offline, which)?;
    let gathered: Mutex<(usize, Vec<String>, Vec<Tried>)> = Mutex::default();
    let (looked_at, _) = offline.run(
        |feeder| feeder.recording(recording, &mut |_| {}),
        |finished| {
            let (explained, hits, tried) = &mut *gathered.lock().unwrap_or_else(PoisonError::into_inner);
            let hit = finished.found.iter().filter(|f| f.detection.analytic == analytic);
            hits.extend(hit.map(|f| f.id.to_string()));
            // What was made of detections has no rows of its own.
            let slab = Some(&finished.flight.slab).filter(|_| !finished.correlated);
            for (slab, row) in slab.into_iter().flat_map(|slab| (0..slab.len()).map(move |row| (slab, row))) {
                if *explained > EXPLAINED {
                    return;
                }
                let Ok(nodes) = guest.explain(&analytic.id, slab, row as u32) else { continue };
                *explained += 1;
                let (what, event) = (what(slab, row), kind::render(slab, row));
                tried.push(Tried { time: slab.rows[row].time, what, event, nodes });
                tried.sort_by_key(|t| (std::cmp::Reverse(holding(&t.nodes)), t.time.abs_diff(at)));
                tried.truncate(KEPT);
            }
        },
    );
    let (explained, hits, events) = gathered.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Nearest { analytic, looked_at, hits, events, cut: explained > EXPLAINED })
}

/// What an event is, in a few words.
fn what(slab: &Slab, row: usize) -> String {
    let row = &slab.rows[row];
    let kind = row.kind.spec().map_or("", |k| k.name);
    let image = row.process.as_ref().map(|p| &p.image);
    let command = image.and_then(|i| i.cmdline.as_deref().or(i.exe.as_deref())).unwrap_or_default();
    format!("{kind} {}", String::from_utf8_lossy(command))
}

impl Nearest {
    pub fn to_json(&self) -> Json {
        let events: Vec<Json> = self
            .events
            .iter()
            .map(|t| {
                let event: Json = serde_json::from_str(&t.event).unwrap_or_default();
                json!({
                    "time": kind::time_text(t.time), "event": event,
                    "nodes": t.nodes.iter().map(node).collect::<Vec<_>>(),
                })
            })
            .collect();
        json!({
            "rule": self.analytic.id, "title": self.analytic.title, "looked_at": self.looked_at, "cut": self.cut,
            "hits": self.hits, "nearest": events,
        })
    }
}
