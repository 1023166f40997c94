//! What a reload will cost, and what it did cost.
//!
//! Of a kind that is collected already the kernel side counts what its filters leave out: that is what a wider filter would add, and it is
//! said before the new rules are live. Of a kind that is new nobody knows a rate before its hook is attached: it is told as soon as there
//! is something to go by. To hold a reload back until then would have been a prediction, too, but a later rule.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use picket_ebpf::Kind;
use serde::{Deserialize, Serialize};

use crate::sensor::ebpf::{Counters, InterestSet};

/// How long a mark is the newer one. Rates are of one to two of these.
const MARK_EVERY: Duration = Duration::from_mins(1);

/// How long new kinds are counted before their rate is told.
const RATE_OVER: Duration = Duration::from_secs(2);

/// Fewer records than this say nothing of what one costs.
const ENOUGH: u64 = 1_000;

/// Reasons for which a rule's own narrowness leaves events out, as against what the configuration leaves out.
const BY_RULES: [&str; 2] = ["path", "class"];

/// What a reload adds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Before the new rules are live, from what filters leave out; or counted afterwards.
    pub predicted: bool,
    pub events_per_s: f64,
    /// Share of one core that this process needs for them; the hooks themselves are measured by `picket status --cost`.
    pub core_share: Option<f64>,
    pub by_kind: BTreeMap<String, f64>,
}

impl Cost {
    /// All kinds together, as the log and the status say it.
    pub fn sum(&self) -> String {
        let how = if self.predicted { "will add at most" } else { "adds" };
        let share = self.core_share.map(|share| format!(", +{:.2} % of a core", share * 100.0));
        format!("{how} {} events/s{}", self.events_per_s, share.unwrap_or_default())
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds: Vec<String> = self.by_kind.iter().map(|(kind, rate)| format!("{kind} {rate}")).collect();
        write!(f, "{} ({})", self.sum(), kinds.join(", "))
    }
}

/// The kernel side's counts, and the processor time of the threads that deal with its records, at one time.
pub struct Usage<'u> {
    pub at: Instant,
    pub counters: &'u Counters,
    pub busy: Duration,
}

/// What was counted at a time.
struct Mark {
    at: Instant,
    counters: Counters,
    busy: Duration,
}

/// Rates of the last minutes, and the kinds that were added last.
#[derive(Default)]
pub struct Forecast {
    older: Option<Mark>,
    newer: Option<Mark>,
    /// Since when they are attached, and how many records each had then.
    added: Option<(Instant, BTreeMap<Kind, u64>)>,
}

impl Forecast {
    /// Takes a report. Says what the kinds cost that were added last, once, as soon as that is known.
    pub fn report(&mut self, now: &Usage<'_>) -> Option<Cost> {
        if self.newer.as_ref().is_none_or(|m| now.at.duration_since(m.at) >= MARK_EVERY) {
            let mark = Mark { at: now.at, counters: now.counters.clone(), busy: now.busy };
            self.older = self.newer.replace(mark);
        }
        let (since, before) = self.added.take_if(|(since, _)| now.at.duration_since(*since) >= RATE_OVER)?;
        let seconds = now.at.duration_since(since).as_secs_f64();
        let rate = |(kind, before): (&Kind, &u64)| {
            let records = now.counters.kinds.get(kind)?.submitted.saturating_sub(*before);
            Some((kind.name(), records as f64 / seconds))
        };
        Some(self.cost(false, before.iter().filter_map(rate), now))
    }

    /// What will be added by the kinds of which `next` wants more than `live`.
    pub fn predict(&self, live: &InterestSet, next: &InterestSet, now: &Usage<'_>) -> Option<Cost> {
        let mark = self.mark()?;
        let seconds = now.at.duration_since(mark.at).as_secs_f64();
        let widened = live.widened_by(next);
        let rate = |kind: &Kind| {
            let left_out = |c: &Counters| -> u64 {
                let count = c.kinds.get(kind);
                BY_RULES.iter().filter_map(|reason| count?.filtered.get(reason)).sum()
            };
            let more = left_out(now.counters).saturating_sub(left_out(&mark.counters));
            (kind.name(), more as f64 / seconds)
        };
        (!widened.is_empty() && seconds >= 1.0).then(|| self.cost(true, widened.iter().map(rate), now))
    }

    /// Kinds that are attached now and were not before.
    pub fn added(&mut self, kinds: BTreeMap<Kind, u64>, at: Instant) {
        self.added = (!kinds.is_empty()).then_some((at, kinds));
    }

    fn cost(&self, predicted: bool, rates: impl Iterator<Item = (&'static str, f64)>, now: &Usage<'_>) -> Cost {
        let by_kind: BTreeMap<_, _> = rates.map(|(kind, rate)| (kind.to_owned(), rate.round())).collect();
        let events_per_s: f64 = by_kind.values().sum();
        let core_share = self.seconds_per_record(now).map(|seconds| events_per_s * seconds);
        Cost { predicted, events_per_s, core_share, by_kind }
    }

    /// What rates count from.
    fn mark(&self) -> Option<&Mark> {
        self.older.as_ref().or(self.newer.as_ref())
    }

    fn seconds_per_record(&self, now: &Usage<'_>) -> Option<f64> {
        let mark = self.mark()?;
        let records = now.counters.read.saturating_sub(mark.counters.read);
        let busy = now.busy.saturating_sub(mark.busy).as_secs_f64();
        (records >= ENOUGH).then(|| busy / records as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::ebpf::{KindCount, PathOp, PathTest, Paths, Wish};

    fn bulk() -> Kind {
        Kind::ALL.iter().copied().find(|k| k.class() == picket_ebpf::Class::Bulk).expect("a kind")
    }

    fn counters(left_out: u64, submitted: u64) -> Counters {
        let count = KindCount { submitted, filtered: [("path", left_out), ("own", 7)].into(), ..KindCount::default() };
        Counters { kinds: [(bulk(), count)].into(), read: submitted, ..Counters::default() }
    }

    fn set(paths: Paths) -> InterestSet {
        let mut set = InterestSet::default();
        set.add_paths(bulk(), 0, &Wish { any: paths, change: Paths::Nothing });
        set
    }

    #[test]
    fn a_wider_filter_adds_what_the_narrower_one_leaves_out() {
        let narrow = set(Paths::Some([PathTest { op: PathOp::Equals, text: "/etc/shadow".into() }].into()));
        let start = Instant::now();
        let mut forecast = Forecast::default();
        let first = counters(0, 0);
        assert_eq!(forecast.report(&Usage { at: start, counters: &first, busy: Duration::ZERO }), None);
        let later = counters(50_000, 10_000);
        let now = Usage { at: start + Duration::from_secs(10), counters: &later, busy: Duration::from_millis(20) };
        let cost = forecast.predict(&narrow, &set(Paths::Everything), &now).expect("it is wider");
        // 2 µs a record.
        assert_eq!((cost.predicted, cost.events_per_s, cost.core_share), (true, 5_000.0, Some(0.01)));
        let kind = bulk().name();
        assert_eq!(cost.to_string(), format!("will add at most 5000 events/s, +1.00 % of a core ({kind} 5000)"));
        assert_eq!(forecast.predict(&narrow, &narrow.clone(), &now), None, "nothing new is wanted");
        assert_eq!(forecast.predict(&set(Paths::Everything), &narrow, &now), None, "less is wanted");
    }

    #[test]
    fn a_new_kind_is_told_of_once_and_after_a_while() {
        let start = Instant::now();
        let mut forecast = Forecast::default();
        forecast.added([(bulk(), 100)].into(), start);
        let usage =
            |seconds: u64, counters| Usage { at: start + Duration::from_secs(seconds), counters, busy: Duration::ZERO };
        let counts = counters(0, 500);
        assert_eq!(forecast.report(&usage(1, &counts)), None, "too early");
        let cost = forecast.report(&usage(4, &counts)).expect("it is time");
        assert_eq!((cost.predicted, cost.events_per_s, cost.core_share), (false, 100.0, None));
        assert_eq!(forecast.report(&usage(5, &counts)), None, "told already");
    }
}
