//! Tuning: what becomes of what a rule finds, said beside the rules and not in them, so that a vendored set can be updated.
//!
//! `entry.rs` reads the files of modes, `exception.rs` what exceptions (Sigma filters) say about themselves, `lists.rs` lists of
//! values. [`Tuning`] is what follows from them for one generation; `context.rs` keeps low-value hits for the alerts that come
//! after them. Nothing here does I/O: files come from the loader's snapshot, the time from its caller.

mod context;
mod entry;
pub mod exception;
pub mod lists;
pub mod writing;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::detection::{Analytic, Diagnostic, Gravity, Level};
use crate::text::hex;

pub use context::{Context, ContextHit, Relation};
pub use entry::{Entry, MAX_ENTRIES, read};

/// What becomes of the detections of a rule.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Alerts, delivered
    #[default]
    Live,
    /// Counted and kept in the history of alerts; not printed, not delivered
    Shadow,
    /// Shown with a later alert of the same process tree, never alone
    Context,
    /// Dropped and counted
    Off,
}

impl Mode {
    pub const ALL: [Mode; 4] = [Mode::Live, Mode::Shadow, Mode::Context, Mode::Off];

    pub fn name(self) -> &'static str {
        match self {
            Mode::Live => "live",
            Mode::Shadow => "shadow",
            Mode::Context => "context",
            Mode::Off => "off",
        }
    }

    pub fn parse(name: &str) -> Option<Mode> {
        Mode::ALL.into_iter().find(|m| m.name() == name)
    }
}

/// How long before the end of an entry or an exception it is said.
const AHEAD: i64 = 14 * 86_400;

/// When an entry or an exception ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expiry {
    /// As it is written.
    pub text: String,
    /// Unix seconds.
    #[serde(skip)]
    pub at: i64,
}

/// Where something stands that ends, relative to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Far away.
    Stands,
    /// In so many days, rounded up.
    EndsIn(i64),
    Lapsed,
}

impl Expiry {
    /// A day, which ends it as it begins (UTC), or a time with its offset.
    pub fn parse(text: &str) -> Option<Expiry> {
        let text = text.trim();
        let at = match text.parse::<Date>() {
            Ok(day) if text.len() == "2027-02-01".len() => day.to_zoned(TimeZone::UTC).ok()?.timestamp(),
            _ => text.parse::<Timestamp>().ok()?,
        };
        Some(Expiry { text: text.to_owned(), at: at.as_second() })
    }

    pub fn stage(&self, now: i64) -> Stage {
        match self.at.saturating_sub(now) {
            left if left <= 0 => Stage::Lapsed,
            left if left <= AHEAD => Stage::EndsIn(left.saturating_add(86_399) / 86_400),
            _ => Stage::Stands,
        }
    }

    /// The next time its stage changes.
    fn next(&self, now: i64) -> Option<i64> {
        [self.at.saturating_sub(AHEAD), self.at].into_iter().find(|at| *at > now)
    }
}

/// What is said about an entry or exception that ends, or has ended. `what` names it, `then` says what follows.
fn ending(expiry: &Expiry, now: i64, what: &str, then: &str, place: (&str, u32)) -> Option<Diagnostic> {
    let days = |n: i64| if n == 1 { "1 day".to_owned() } else { format!("{n} days") };
    let (code, message) = match expiry.stage(now) {
        Stage::Stands => return None,
        Stage::EndsIn(n) => ("expires-soon", format!("{what} expires in {} ({}); then {then}", days(n), expiry.text)),
        Stage::Lapsed => ("expired", format!("{what} expired on {}: {then}", expiry.text)),
    };
    let help = "give it a later `expires`, or remove it".to_owned();
    Some(diagnostic(Gravity::Warning, code, message, help, place.0, place.1, 1))
}

fn diagnostic(
    gravity: Gravity,
    code: &str,
    message: String,
    help: String,
    file: &str,
    line: u32,
    column: u32,
) -> Diagnostic {
    Diagnostic { gravity, code: code.to_owned(), message, help, file: file.to_owned(), line, column, length: 1 }
}

/// What follows for one rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    pub mode: Mode,
    /// The level that alerts get instead of the rule's.
    pub level: Option<Level>,
    /// What says so; nothing: the default of its level.
    pub by: Option<Arc<Entry>>,
}

/// An entry or an exception as it is noted when it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub effect: String,
    pub reason: Option<String>,
    pub owner: Option<String>,
    pub file: String,
}

/// What follows from the entries for the rules of one generation.
#[derive(Debug)]
pub struct Tuning {
    /// Rules of lower levels are context unless an entry says otherwise.
    live_from: Level,
    /// Only rules that entries are about: by guest, then by [`Analytic::key`].
    verdicts: HashMap<String, HashMap<String, Verdict>>,
    /// Every entry, in the order in which they count.
    pub entries: Vec<Arc<Entry>>,
    /// Exceptions that are loaded, or were until they expired.
    pub exceptions: Vec<exception::Exception>,
    /// Over all that decides, expiries that have come near or passed included.
    pub digest: String,
    /// Unix seconds at which something ends, or its end comes near: then the set has to be loaded again.
    pub next: Option<i64>,
    /// Unix seconds by which expiries were measured.
    now: i64,
}

impl Default for Tuning {
    /// Everything is live: for sets that nobody tunes.
    fn default() -> Tuning {
        Tuning {
            live_from: Level::Informational,
            verdicts: HashMap::new(),
            entries: Vec::new(),
            exceptions: Vec::new(),
            digest: String::new(),
            next: None,
            now: 0,
        }
    }
}

/// A rule as it is matched against entries.
pub struct Rule<'a> {
    pub guest: &'a str,
    pub analytic: &'a Analytic,
    /// Where its file is, if it is known.
    pub path: Option<&'a std::path::Path>,
}

impl Tuning {
    /// Applies entries to rules. What is said about entries is added to `diagnostics`.
    pub fn new(
        live_from: Level,
        entries: Vec<Arc<Entry>>,
        exceptions: Vec<exception::Exception>,
        rules: &[Rule<'_>],
        now: i64,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Tuning {
        let mut verdicts: HashMap<String, HashMap<String, Verdict>> = HashMap::new();
        let mut used = vec![false; entries.len()];
        // Those that name rules count above those that describe some; among equals the last one counts.
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by_key(|i| !entries[*i].rules.is_empty());
        for rule in rules {
            let mut verdict: Option<Verdict> = None;
            for &i in &order {
                let entry = &entries[i];
                if !entry.is_about(rule) {
                    continue;
                }
                used[i] = true;
                if entry.expires.as_ref().is_some_and(|e| e.stage(now) == Stage::Lapsed) {
                    continue;
                }
                let before = verdict.take().unwrap_or_default();
                let level = entry.level.or(before.level);
                let said = entry.mode.or_else(|| before.by.as_ref().map(|_| before.mode));
                let by_level =
                    if level.unwrap_or(rule.analytic.level) >= live_from { Mode::Live } else { Mode::Context };
                verdict = Some(Verdict { mode: said.unwrap_or(by_level), level, by: Some(entry.clone()) });
            }
            if let Some(verdict) = verdict {
                let of_guest = verdicts.entry(rule.guest.to_owned()).or_default();
                of_guest.insert(rule.analytic.key().to_owned(), verdict);
            }
        }
        let ids = || rules.iter().map(|r| r.analytic.key());
        for (entry, used) in entries.iter().zip(used) {
            diagnostics.extend(entry.said(used, now, ids));
        }
        for exception in &exceptions {
            diagnostics.extend(exception.said(now));
        }
        let expiries = || {
            entries
                .iter()
                .filter_map(|e| e.expires.as_ref())
                .chain(exceptions.iter().filter_map(|e| e.expires.as_ref()))
        };
        let next = expiries().filter_map(|e| e.next(now)).min();
        let stages: Vec<Stage> = expiries().map(|e| e.stage(now)).collect();
        // Days are left out: a set is not loaded again for each day that passes.
        let stages = stages.iter().map(|s| match s {
            Stage::Stands => '.',
            Stage::EndsIn(_) => '!',
            Stage::Lapsed => 'x',
        });
        let text = format!("{live_from:?} {entries:?} {exceptions:?} {}", stages.collect::<String>());
        let digest = hex(&<sha2::Sha256 as sha2::Digest>::digest(text));
        Tuning { live_from, verdicts, entries, exceptions, digest, next, now }
    }

    /// What stands, by what it is about: `mode rule X` or `exception ID`.
    pub fn standing(&self) -> std::collections::BTreeMap<String, Standing> {
        let until = |expires: &Option<Expiry>, effect: String| match expires {
            Some(e) if e.stage(self.now) == Stage::Lapsed => format!("expired ({effect} until {})", e.text),
            Some(e) => format!("{effect} until {}", e.text),
            None => effect,
        };
        let entries = self.entries.iter().map(|e| {
            let (reason, owner) = (Some(e.reason.clone()), e.owner.clone());
            let standing = Standing { effect: until(&e.expires, e.effect()), reason, owner, file: e.file.clone() };
            (format!("mode {}", e.what()), standing)
        });
        let exceptions = self.exceptions.iter().map(|e| {
            let (reason, owner) = (e.reason.clone(), e.owner.clone());
            let effect = until(&e.expires, e.title.clone());
            let id = e.id.as_deref().unwrap_or(&e.file);
            (format!("exception {id}"), Standing { effect, reason, owner, file: e.file.clone() })
        });
        entries.chain(exceptions).collect()
    }

    /// What becomes of a detection of this rule at this level.
    pub fn of(&self, guest: &str, analytic: &Analytic, level: Level) -> Verdict {
        match self.verdicts.get(guest).and_then(|rules| rules.get(analytic.key())) {
            Some(verdict) => verdict.clone(),
            None => Verdict { mode: self.by_level(level), level: None, by: None },
        }
    }

    fn by_level(&self, level: Level) -> Mode {
        if level >= self.live_from { Mode::Live } else { Mode::Context }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(id: &str, level: Level) -> Analytic {
        Analytic {
            id: id.to_owned(),
            title: String::new(),
            level,
            deliver: true,
            file: "linux/process/a.yml".to_owned(),
            line: 1,
            metadata: serde_json::json!({"tags": ["attack.discovery"], "status": "test"}),
            digest: String::new(),
        }
    }

    fn tuning(text: &str, now: i64) -> (Tuning, Vec<String>) {
        let mut said = Vec::new();
        let entries = read("a.toml", text, &mut said);
        let (low, high) = (rule("low", Level::Low), rule("high", Level::High));
        let rules: Vec<Rule<'_>> =
            [&low, &high].into_iter().map(|analytic| Rule { guest: "sigma", analytic, path: None }).collect();
        let tuning = Tuning::new(Level::Medium, entries, Vec::new(), &rules, now, &mut said);
        (tuning, said.into_iter().map(|d| format!("{}:{} {}", d.line, d.code, d.message)).collect())
    }

    fn modes(tuning: &Tuning) -> [Mode; 2] {
        ["low", "high"].map(|id| {
            let level = if id == "low" { Level::Low } else { Level::High };
            tuning.of("sigma", &rule(id, level), level).mode
        })
    }

    #[test]
    fn levels_decide_where_nothing_is_said() {
        let (tuning, said) = tuning("", 0);
        assert_eq!((modes(&tuning), said), ([Mode::Context, Mode::Live], vec![]));
        assert_eq!(modes(&Tuning::default()), [Mode::Live, Mode::Live]);
        // A guest may give a detection a level of its own.
        assert_eq!(tuning.of("sigma", &rule("low", Level::Low), Level::High).mode, Mode::Live);
    }

    #[test]
    fn entries_that_name_a_rule_count_above_all_others() {
        let text = "[[tune]]\nrule = 'high'\nmode = 'shadow'\nreason = 'r'\n\
                    [[tune]]\ntag = 'attack.discovery'\nmode = 'off'\nreason = 'r'\n";
        assert_eq!(modes(&tuning(text, 0).0), [Mode::Off, Mode::Shadow]);
        let text = "[[tune]]\npath = 'linux'\nmode = 'off'\nreason = 'r'\n\
                    [[tune]]\npath = 'linux/process'\nbelow = 'medium'\nmode = 'shadow'\nreason = 'r'\n\
                    [[tune]]\npath = 'lin'\nmode = 'live'\nreason = 'r'\n";
        let (tuning, said) = tuning(text, 0);
        assert_eq!(modes(&tuning), [Mode::Shadow, Mode::Off]);
        assert_eq!(said, ["10:tune-nothing no rule that is loaded is meant by this entry"]);
    }

    #[test]
    fn another_level_is_also_another_default() {
        let text = "[[tune]]\nrule = 'low'\nset_level = 'high'\nreason = 'r'\n";
        let (tuning, _) = tuning(text, 0);
        let verdict = tuning.of("sigma", &rule("low", Level::Low), Level::Low);
        assert_eq!((verdict.mode, verdict.level), (Mode::Live, Some(Level::High)));
    }

    #[test]
    fn what_expires_says_so_before_and_after() {
        let text = "[[tune]]\nrule = 'high'\nmode = 'off'\nreason = 'r'\nexpires = 2027-02-01\n";
        let at = Expiry::parse("2027-02-01").unwrap().at;
        let far = tuning(text, at - 20 * 86_400);
        assert_eq!((modes(&far.0)[1], far.1, far.0.next), (Mode::Off, vec![], Some(at - AHEAD)));
        let near = tuning(text, at - 2 * 86_400 + 5);
        assert_eq!((modes(&near.0)[1], near.0.next), (Mode::Off, Some(at)));
        assert!(near.1[0].contains("expires in 2 days (2027-02-01)"), "{:?}", near.1);
        let past = tuning(text, at);
        assert_eq!((modes(&past.0)[1], past.0.next), (Mode::Live, None));
        assert!(past.1[0].starts_with("1:expired"), "{:?}", past.1);
        let digests = [&far.0.digest, &near.0.digest, &past.0.digest];
        assert!(digests[0] != digests[1] && digests[1] != digests[2]);
        assert_eq!(tuning(text, at - 86_400).0.digest, near.0.digest, "a day that passes changes nothing");
    }

    #[test]
    fn a_day_and_a_time_are_ends_and_other_texts_are_not() {
        assert_eq!(Expiry::parse("1970-01-02").unwrap().at, 86_400);
        assert_eq!(Expiry::parse("1970-01-01T01:00:00+01:00").unwrap().at, 0);
        for bad in ["", "soon", "2027-02-30", "90d", "2027-02-01T00:00:00"] {
            assert_eq!(Expiry::parse(bad), None, "{bad}");
        }
    }
}
