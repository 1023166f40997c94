//! Filters that hide what a test of their rule expects to be found: somebody's exception has switched a detection off.
//!
//! The tests that fail are run again without any filter, and those that then pass with one filter after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Deserialize;

use super::{Case, Expect, read, watch};
use crate::detection::{Diagnostic, Gravity};
use crate::generation::Generation;
use crate::offline::{Offline, OfflineError};
use crate::reload::{Inputs, SourceFile};
use crate::yaml;

/// What is told of such a filter. The guest takes note of silences for it, like for codes of its own.
const CODE: &str = "filter-hides-test";

/// Filters that are tried one by one; beyond, all that apply to a rule are named.
const MAX_TRIED: usize = 64;

/// Where a filter is, as the guest says it of each rule that the filter is part of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Place {
    file: String,
    line: u32,
    title: String,
    /// Its author knows, and says why.
    #[serde(default)]
    may_hide_tests: bool,
}

/// The filters of `loaded`, which `inputs` became, that hide tests.
pub fn hidden_by_filters(
    inputs: &Inputs,
    loaded: &Generation,
    cache_dir: Option<&PathBuf>,
) -> Result<Vec<Diagnostic>, OfflineError> {
    let mut filters: BTreeMap<&str, BTreeSet<Place>> = BTreeMap::new();
    for analytic in loaded.guests().flat_map(|g| &g.plan.analytics) {
        let places = analytic.metadata.get("filter_places").cloned().unwrap_or_default();
        let places: Vec<Place> = serde_json::from_value(places).unwrap_or_default();
        if !places.is_empty() {
            filters.entry(&analytic.file).or_default().extend(places);
        }
    }
    let mut cases = read(&inputs.rules).cases;
    cases.retain(|c| c.expect == Expect::Match && !c.todo && filters.contains_key(c.rule.as_str()));
    if cases.is_empty() {
        return Ok(Vec::new());
    }
    let passing = |only: Option<&Place>, cases: &[Case]| -> Result<Vec<bool>, OfflineError> {
        let inputs = Inputs { rules: with_filter(&inputs.rules, only), ..inputs.clone() };
        let (seen, _) = watch(Offline::load(&inputs, false, cache_dir.cloned())?, cases);
        Ok(cases.iter().zip(&seen).map(|(case, seen)| case.fails(seen, &case.rule).is_none()).collect())
    };
    let (seen, _) = watch(Offline::load(inputs, false, cache_dir.cloned())?, &cases);
    let mut seen = seen.iter();
    cases.retain(|case| seen.next().is_some_and(|seen| case.fails(seen, &case.rule).is_some()));
    let mut bare = passing(None, &cases)?.into_iter();
    cases.retain(|_| bare.next().unwrap_or(false));
    let concerned: BTreeSet<&Place> = cases.iter().filter_map(|c| filters.get(c.rule.as_str())).flatten().collect();
    // Per filter, the tests that it hides alone.
    let mut guilty: BTreeMap<&Place, Vec<&Case>> = BTreeMap::new();
    let mut explained = vec![false; cases.len()];
    for place in concerned.into_iter().take(MAX_TRIED) {
        for (i, passes) in passing(Some(place), &cases)?.into_iter().enumerate() {
            if !passes {
                explained[i] = true;
                guilty.entry(place).or_default().push(&cases[i]);
            }
        }
    }
    // Some are hidden only by several filters together.
    for (case, _) in cases.iter().zip(explained).filter(|(_, explained)| !explained) {
        for place in filters.get(case.rule.as_str()).into_iter().flatten() {
            guilty.entry(place).or_default().push(case);
        }
    }
    Ok(guilty
        .into_iter()
        .filter(|(place, _)| !place.may_hide_tests)
        .map(|(place, cases)| told(place, &cases))
        .collect())
}

fn told(place: &Place, cases: &[&Case]) -> Diagnostic {
    let (rule, test) = cases.first().map_or(("", ""), |c| (c.rule.as_str(), c.name.as_str()));
    let more = match cases.len() {
        0 | 1 => String::new(),
        2 => ", and another test".to_owned(),
        n => format!(", and {} other tests", n - 1),
    };
    Diagnostic {
        gravity: Gravity::Warning,
        code: CODE.to_owned(),
        message: format!("the filter '{}' hides what the test '{test}' of {rule} expects to match{more}", place.title),
        help: format!("make the filter narrower, or write '# picket: allow {CODE}: why' above it"),
        file: place.file.clone(),
        line: place.line,
        column: 1,
        length: 1,
    }
}

/// The same files without their filters, but for `only`.
fn with_filter(files: &[SourceFile], only: Option<&Place>) -> Vec<SourceFile> {
    let mut left = Vec::with_capacity(files.len());
    for file in files {
        let Some(text) = std::str::from_utf8(&file.content).ok().filter(|t| t.contains("filter")) else {
            left.push(file.clone());
            continue;
        };
        let documents = yaml::read(text).unwrap_or_default();
        let is_other_filter = |document: &yaml::Node| {
            let line = document.key_line("title").unwrap_or(document.line);
            let is_it = only.is_some_and(|only| only.file == file.name && only.line == line);
            document.get("filter").is_some() && !is_it
        };
        if super::is_test(&file.name) || !documents.iter().any(is_other_filter) {
            left.push(file.clone());
            continue;
        }
        let kept: Vec<yaml::Node> = documents.into_iter().filter(|d| !is_other_filter(d)).collect();
        if !kept.is_empty() {
            let mut bare = file.clone();
            bare.content = yaml::write(&kept).into_bytes().into();
            left.push(bare);
        }
    }
    left
}
