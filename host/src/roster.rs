//! Every rule that was given, loaded or not, and whether it can fire here: no rule is silently dead.
//!
//! A rule that is loaded and quiet looks like protection. What the guests and the host found out while loading (a source
//! that nothing feeds, a field that nothing fills) is put together here, rule by rule.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use serde_json::Value as Json;

use crate::detection::{Analytic, Diagnostic, Gravity, Level};
use crate::generation::Generation;
use crate::guest::{Guest, Subscription};
use crate::hits::Hits;
use crate::kind::{KindId, time_text};
use crate::sensor::ebpf::KindStatus;
use crate::tune::{Mode, Tuning};

/// Whether a rule can fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It can.
    Live,
    /// Nothing here makes events of its log source.
    NotFed,
    /// Every event kind of its log source failed to attach.
    NotCollected,
    /// It cannot match without a field that nothing here fills.
    NeedsField,
    /// It cannot match without a value that a field never has here: an event kind that nothing makes.
    NeedsValue,
    /// It asks for what only another system has.
    NotOfLinux,
    /// It is not loaded.
    Refused,
}

impl State {
    pub const ALL: [State; 7] = [
        State::Live,
        State::NotFed,
        State::NotCollected,
        State::NeedsField,
        State::NeedsValue,
        State::NotOfLinux,
        State::Refused,
    ];

    pub fn name(self) -> &'static str {
        match self {
            State::Live => "live",
            State::NotFed => "not-fed",
            State::NotCollected => "not-collected",
            State::NeedsField => "needs-field",
            State::NeedsValue => "needs-value",
            State::NotOfLinux => "not-of-linux",
            State::Refused => "refused",
        }
    }
}

/// Why a rule is in its state; with a live rule, what limits it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    pub code: String,
    pub message: String,
    /// What to do; may be empty.
    pub help: String,
    pub line: u32,
}

/// One rule. Of a refused file only the file is known.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub id: Option<String>,
    pub title: Option<String>,
    pub level: Option<Level>,
    /// `category/product/service`, `*` = any.
    pub log_source: Option<String>,
    pub guest: Option<String>,
    pub file: String,
    pub line: u32,
    pub state: State,
    pub reasons: Vec<Reason>,
    /// The rule runs in an older version: why the newest was refused.
    pub stale: Option<String>,
    /// Filters that apply to it, by id.
    pub filters: Vec<String>,
    /// What becomes of what it finds; nothing of rules that are only for others.
    pub mode: Option<Mode>,
    /// What says so, if not its level.
    pub tuned: Option<Tuned>,
    /// Of a running Picket only.
    pub hits: Option<u64>,
    /// Time of the newest event that it matched, RFC 3339.
    pub last_hit: Option<String>,
    /// Its share of the matching; matching is done for all rules together, and no share of it is measured.
    pub cost: Option<f64>,
}

/// The entry that decides about a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tuned {
    /// Of its alerts, instead of the rule's.
    pub level: Option<Level>,
    pub reason: String,
    pub owner: Option<String>,
    pub expires: Option<String>,
    pub file: String,
    pub line: u32,
}

/// What a running Picket knows besides.
pub struct Running<'a> {
    pub hits: &'a Hits,
    pub kinds: &'a [KindStatus],
}

/// Every rule of a generation and of the files it refused: by file, then as they stand there.
pub fn of(generation: &Generation, running: Option<&Running<'_>>) -> Vec<Line> {
    let mut by_file: HashMap<&str, Vec<&Diagnostic>> = HashMap::new();
    let told = generation.diagnostics.iter().filter(|d| d.gravity >= Gravity::Warning);
    for diagnostic in told.chain(&generation.silenced) {
        by_file.entry(diagnostic.file.as_str()).or_default().push(diagnostic);
    }
    let stale: HashMap<&str, &str> = generation.stale.iter().map(|s| (s.file.as_str(), s.why.as_str())).collect();
    let mut starts: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for analytic in generation.guests().flat_map(|g| &g.plan.analytics) {
        starts.entry(&analytic.file).or_default().push(analytic.line);
    }
    for lines in starts.values_mut() {
        lines.sort_unstable();
    }

    let mut lines = Vec::new();
    for guest in generation.guests() {
        for analytic in &guest.plan.analytics {
            let said = by_file.get(analytic.file.as_str()).map_or(&[][..], Vec::as_slice);
            let starts = starts.get(analytic.file.as_str()).map_or(&[][..], Vec::as_slice);
            let own = |d: &&&Diagnostic| d.gravity != Gravity::Error && owner(starts, d.line) == analytic.line;
            let reasons = said.iter().filter(own).filter(|d| is_about_firing(&d.code)).map(|d| reason(d)).collect();
            let stale = stale.get(analytic.file.as_str()).map(|why| (*why).to_owned());
            lines.push(line(guest, analytic, &generation.tuning, reasons, stale, running));
        }
    }
    for (file, said) in by_file.iter().filter(|(file, _)| !starts.contains_key(**file) && !file.is_empty()) {
        let errors: Vec<Reason> = said.iter().filter(|d| d.gravity == Gravity::Error).map(|d| reason(d)).collect();
        if let Some(first) = errors.first() {
            lines.push(refused(file, first.line, errors));
        }
    }
    lines.sort_by(|a, b| (&a.file, a.line, &a.id).cmp(&(&b.file, b.line, &b.id)));
    lines
}

/// The rule that a line of a file belongs to: the last one that begins before it, or the first.
fn owner(starts: &[u32], line: u32) -> u32 {
    let before = starts.partition_point(|start| *start <= line);
    starts.get(before.saturating_sub(1)).copied().unwrap_or_default()
}

/// The code of what is said about rules whose log source nothing feeds.
pub const NOT_FED: &str = "source-not-fed";
const NEEDS_FIELD: &str = "needs-field";
const NEEDS_VALUE: &str = "needs-value";
const NOT_OF_LINUX: &str = "not-of-linux";

/// Diagnostics that say what a rule can see; the others are about how it is written.
fn is_about_firing(code: &str) -> bool {
    [NOT_FED, NEEDS_FIELD, NEEDS_VALUE, NOT_OF_LINUX, "unknown-field", "field-never-here"].contains(&code)
}

fn reason(d: &Diagnostic) -> Reason {
    Reason { code: d.code.clone(), message: d.message.clone(), help: d.help.clone(), line: d.line }
}

fn line(
    guest: &Guest,
    analytic: &Analytic,
    tuning: &Tuning,
    mut reasons: Vec<Reason>,
    stale: Option<String>,
    running: Option<&Running<'_>>,
) -> Line {
    // A silence in the rule's file may keep what the guest would say, and not every guest says what it keeps.
    if matches!(by(guest, analytic), By::Nothing) && !reasons.iter().any(|r| r.code == NOT_FED) {
        let message = "no event of this host belongs to the log source of this rule: it never matches".to_owned();
        reasons.push(Reason { code: NOT_FED.to_owned(), message, help: String::new(), line: analytic.line });
    }
    let has = |code: &str| reasons.iter().any(|r| r.code == code);
    let mut state = match () {
        () if has(NOT_FED) => State::NotFed,
        () if has(NEEDS_FIELD) => State::NeedsField,
        () if has(NEEDS_VALUE) => State::NeedsValue,
        () if has(NOT_OF_LINUX) => State::NotOfLinux,
        () => State::Live,
    };
    if state == State::Live
        && let Some(why) = running.and_then(|r| not_collected(guest, analytic, r.kinds))
    {
        state = State::NotCollected;
        reasons.push(why);
    }
    // What decides comes first.
    let decides =
        |r: &Reason| [NOT_FED, NEEDS_FIELD, NEEDS_VALUE, NOT_OF_LINUX, NOT_COLLECTED].contains(&r.code.as_str());
    reasons.sort_by_key(|r| (!decides(r), r.line));
    let hit = running.map(|r| r.hits.of(&guest.name, &analytic.id));
    let verdict = analytic.deliver.then(|| tuning.of(&guest.name, analytic, analytic.level));
    let mode = verdict.as_ref().map(|v| v.mode);
    let tuned = verdict.and_then(|v| {
        let by = v.by?;
        Some(Tuned {
            level: v.level,
            reason: by.reason.clone(),
            owner: by.owner.clone(),
            expires: by.expires.as_ref().map(|e| e.text.clone()),
            file: by.file.clone(),
            line: by.line,
        })
    });
    let list = |key: &str| analytic.metadata.get(key).and_then(Json::as_array).cloned().unwrap_or_default();
    Line {
        id: Some(analytic.id.clone()),
        title: Some(analytic.title.clone()),
        level: Some(analytic.level),
        log_source: log_source(analytic),
        guest: Some(guest.name.clone()),
        file: analytic.file.clone(),
        line: analytic.line,
        state,
        reasons,
        stale,
        filters: list("filters").iter().filter_map(|f| f.as_str().map(str::to_owned)).collect(),
        mode,
        tuned,
        hits: hit.map(|h| h.count),
        last_hit: hit.filter(|h| h.last > 0).map(|h| time_text(h.last)),
        cost: None,
    }
}

fn refused(file: &str, line: u32, reasons: Vec<Reason>) -> Line {
    Line {
        id: None,
        title: None,
        level: None,
        log_source: None,
        guest: None,
        file: file.to_owned(),
        line,
        state: State::Refused,
        reasons,
        stale: None,
        filters: Vec::new(),
        mode: None,
        tuned: None,
        hits: None,
        last_hit: None,
        cost: None,
    }
}

/// `category/product/service` of a Sigma rule.
pub fn log_source(analytic: &Analytic) -> Option<String> {
    let source = analytic.metadata.get("logsource")?.as_object()?;
    let part = |key: &str| source.get(key).and_then(Json::as_str).unwrap_or("*");
    Some(format!("{}/{}/{}", part("category"), part("product"), part("service")))
}

const NOT_COLLECTED: &str = "not-collected";

/// What a rule gets its events by.
enum By<'g> {
    Subscription(&'g Subscription),
    /// Nothing here feeds it.
    Nothing,
    /// Its guest does not say.
    Unsaid,
}

fn by<'g>(guest: &'g Guest, analytic: &Analytic) -> By<'g> {
    let Some(number) = analytic.metadata.get("subscription").and_then(Json::as_u64) else { return By::Unsaid };
    let found = guest.plan.subscriptions.iter().find(|s| u64::from(s.number) == number);
    found.map_or(By::Nothing, By::Subscription)
}

/// Why no event kind of the rule's subscription is attached, if none is.
fn not_collected(guest: &Guest, analytic: &Analytic, kinds: &[KindStatus]) -> Option<Reason> {
    let By::Subscription(subscription) = by(guest, analytic) else { return None };
    let mut failed = Vec::new();
    for kind in subscription.selection.wanted().filter_map(KindId::spec) {
        let status = kinds.iter().find(|s| s.kind.name() == kind.name)?;
        if status.rung.is_some() {
            return None;
        }
        failed.push(format!("{}: {}", kind.name, status.degraded.as_deref().unwrap_or("no hook works")));
    }
    let message = format!("nothing it looks at is collected: {}", failed.join("; "));
    let help = "`picket status` shows the hooks of each kind".to_owned();
    (!failed.is_empty()).then(|| Reason { code: NOT_COLLECTED.to_owned(), message, help, line: analytic.line })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_belongs_to_the_rule_that_begins_before_it() {
        let starts = [3, 20, 40];
        assert_eq!([1, 3, 19, 20, 39, 100].map(|line| owner(&starts, line)), [3, 3, 3, 20, 20, 40]);
        assert_eq!(owner(&[], 7), 0);
    }

    #[test]
    fn names_of_states_are_those_of_the_json() {
        for state in State::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
    }
}
