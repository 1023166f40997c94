//! A generation: one immutable loaded set, numbered, with a digest.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::collect::KindPaths;
use crate::config::CollectConfig;
use crate::detection::Diagnostic;
use crate::guest::{DetectionField, Guest};
use crate::kind::{Catalogue, KINDS, KindId, Opens};
use crate::lane::Lane;
use crate::tune::Tuning;

/// What is loaded and live together. Never changed after it is published; unchanged guests are shared between generations.
pub struct Generation {
    pub number: u64,
    /// Over guests, their config and their files.
    pub digest: String,
    pub enrichers: Vec<Arc<Lane>>,
    pub detectors: Vec<Arc<Lane>>,
    /// Detectors on `@detection`.
    pub correlators: Vec<Arc<Lane>>,
    pub catalogue: Catalogue,
    /// Per kind, how much of it the guests want.
    pub interest: Vec<Interest>,
    /// A guest asks for hashes of executables.
    pub hashes: bool,
    /// Per kind, which paths they want; nothing here = all.
    pub paths: Vec<KindPaths>,
    /// What the configuration leaves out.
    pub collect: CollectConfig,
    /// Files whose newest version was refused: an older one (or none) is live.
    pub stale: Vec<Stale>,
    /// What loading said about rules and guests.
    pub diagnostics: Vec<Diagnostic>,
    /// What the authors of rules do not want to be told. It is so all the same, and a roster has to know.
    pub silenced: Vec<Diagnostic>,
    /// What becomes of what rules find.
    pub tuning: Arc<Tuning>,
    /// Rules that are live, by file: what the mass-change guard compares.
    pub rules: BTreeMap<String, usize>,
}

/// How much of a kind the guests of a generation want.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interest {
    #[default]
    None,
    /// Only rows of narrower log sources (for opens: those that change a file).
    Narrow,
    All,
}

/// A file that is not live in its newest version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stale {
    pub file: String,
    /// Digest of the version that is live; `None` = no version ever was good.
    pub live: Option<String>,
    pub refused: String,
    pub why: String,
}

impl Generation {
    /// Before anything is loaded.
    pub fn empty() -> Generation {
        Generation {
            number: 0,
            digest: String::new(),
            enrichers: Vec::new(),
            detectors: Vec::new(),
            correlators: Vec::new(),
            catalogue: Catalogue::default(),
            interest: vec![Interest::None; KINDS.len()],
            hashes: false,
            paths: Vec::new(),
            collect: CollectConfig::default(),
            stale: Vec::new(),
            diagnostics: Vec::new(),
            silenced: Vec::new(),
            tuning: Arc::default(),
            rules: BTreeMap::new(),
        }
    }

    /// Those that are given events.
    pub fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.enrichers.iter().chain(&self.detectors)
    }

    pub fn all_lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.lanes().chain(&self.correlators)
    }

    /// Each loaded guest once.
    pub fn guests(&self) -> impl Iterator<Item = &Arc<Guest>> {
        let only = self.correlators.iter().filter(|c| self.detectors.iter().all(|d| d.guest.name != c.guest.name));
        self.lanes().chain(only).map(|l| &l.guest)
    }

    /// Whether rows of this kind go into slabs at all.
    pub fn wants(&self, kind: KindId) -> bool {
        self.interest.get(kind.0 as usize).is_some_and(|i| *i != Interest::None)
    }

    /// The opens that become audit records, where somebody wants such records at all.
    pub fn audit(&self) -> Option<Opens> {
        let wanted = |l: &Arc<Lane>| l.guest.plan.subscriptions.iter().any(|s| s.selection.audit().is_some());
        self.catalogue.audit.filter(|_| self.lanes().any(wanted))
    }

    /// The union of what the subscriptions of these lanes want.
    pub fn interest_of<'l>(lanes: impl Iterator<Item = &'l Arc<Lane>>) -> Vec<Interest> {
        let mut interest = vec![Interest::None; KINDS.len()];
        for selection in lanes.flat_map(|l| l.guest.plan.subscriptions.iter().map(|s| &s.selection)) {
            for kind in selection.wanted() {
                let slot = &mut interest[kind.0 as usize];
                if selection.takes_all(kind) {
                    *slot = Interest::All;
                } else if *slot == Interest::None {
                    *slot = Interest::Narrow;
                }
            }
        }
        interest
    }

    /// Whether one of these lanes asks for hashes of executables.
    pub fn wants_hashes<'l>(mut lanes: impl Iterator<Item = &'l Arc<Lane>>) -> bool {
        lanes.any(|l| {
            let plan = &l.guest.plan;
            let found = plan.detections.iter().flat_map(|s| &s.fields).filter_map(|f| match f {
                DetectionField::Event(bound) => Some(bound),
                _ => None,
            });
            plan.subscriptions.iter().flat_map(|s| &s.fields).chain(found).any(|f| f.access.is_hash())
        })
    }

    /// Number of analytics that are live.
    pub fn analytics(&self) -> usize {
        self.guests().map(|g| g.plan.analytics.len()).sum()
    }
}
