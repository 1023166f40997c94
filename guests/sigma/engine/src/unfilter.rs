//! Rules that can be loaded only without their filters. Whoever writes filters must not be able to switch a rule off by them:
//! the rule runs without, and the errors are in the files of its filters.

use crate::condition::Condition;
use crate::diagnostic::{Diagnostic, Finding, Place, brief};
use crate::filter::FilterMeta;
use crate::rule::Rule;
use std::collections::{BTreeMap, BTreeSet};

/// Why a rule cannot be loaded as it is.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub finding: Finding,
    /// The finding is about this filter, and its place is in the filter's file.
    pub filter: Option<u32>,
}

impl From<Finding> for Refusal {
    fn from(finding: Finding) -> Self {
        Self { finding, filter: None }
    }
}

/// The filters that rules run without, each told once for a code, however many rules it is for.
#[derive(Debug, Default)]
pub(crate) struct Unfiltered(BTreeMap<(u32, &'static str), Told>);

#[derive(Debug)]
struct Told {
    /// None = that of the filter's title.
    place: Option<Place>,
    /// Title of the first of the rules.
    title: String,
    rules: usize,
    why: String,
}

impl Unfiltered {
    /// Takes note that `rule` is loaded without `filters`, and why it was not with them.
    pub fn add(&mut self, rule: &Rule, filters: &BTreeSet<u32>, refusal: &Refusal) {
        let Finding { code, place, message, .. } = &refusal.finding;
        let code = if *code == "rule-too-complex" { "filters-too-large" } else { *code };
        for filter in filters {
            let told = self.0.entry((*filter, code)).or_insert_with(|| Told {
                place: None,
                title: rule.meta.title.clone(),
                rules: 0,
                why: message.clone(),
            });
            told.rules += 1;
            if refusal.filter == Some(*filter) {
                told.place.get_or_insert(*place);
            }
        }
    }

    pub fn diagnostics(self, filters: &[FilterMeta]) -> Vec<Diagnostic> {
        let told = self.0.into_iter().filter_map(|((number, code), told)| {
            let filter = filters.get(number as usize)?;
            let place = told.place.unwrap_or(Place { line: filter.line, column: 1, length: 1 });
            let (title, why) = (brief(&told.title), told.why);
            let message = match told.rules {
                0 | 1 => format!("'{title}' runs without its filters: with them {why}"),
                2 => format!("'{title}' and another rule run without their filters: with them {why}"),
                n => format!("'{title}' and {} other rules run without their filters: with them {why}", n - 1),
            };
            let finding = Finding::error(place, code, message).help("a filter is applied as it stands or not at all");
            Some(finding.in_file(&filter.file))
        });
        told.collect()
    }
}

impl Rule {
    /// Takes away what its filters added, and returns their numbers; empty = there was nothing.
    pub fn unfilter(&mut self) -> BTreeSet<u32> {
        let gone: BTreeSet<u32> = self.selections.iter().filter_map(|s| s.filter).collect();
        if gone.is_empty() {
            return gone;
        }
        // What pipelines added stands behind the selections of the filters, and stays.
        let mut next = 0..;
        let numbers: Vec<Option<usize>> =
            self.selections.iter().map(|s| if s.filter.is_none() { next.next() } else { None }).collect();
        // Something of its own is always left; if it were not, a rule that matches nothing is better than one that matches all.
        let nothing = || Condition::Any(Vec::new());
        self.condition = std::mem::replace(&mut self.condition, nothing()).keep(&numbers).unwrap_or_else(nothing);
        self.selections.retain(|s| s.filter.is_none());
        self.meta.filters.clear();
        gone
    }
}
