//! A correlation that has been read, with everything it refers to resolved.

use crate::condition::Condition;
use crate::rule::RuleMeta;
use std::cmp::Ordering;

/// Nanoseconds of a second.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// What is measured about a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// How many matches.
    EventCount,
    /// How many distinct values.
    ValueCount,
    /// The sum of the values.
    ValueSum,
    /// Their mean.
    ValueAvg,
    /// The value that this share of the values (0 to 100) does not exceed, interpolated linearly.
    ValuePercentile(f64),
    /// The one in the middle.
    ValueMedian,
    /// How many of the rules matched.
    Temporal,
    /// How many of the rules matched, one after the other.
    TemporalOrdered,
}

pub(crate) const KINDS: &[(&str, Kind)] = &[
    ("event_count", Kind::EventCount),
    ("value_count", Kind::ValueCount),
    ("value_sum", Kind::ValueSum),
    ("value_avg", Kind::ValueAvg),
    ("value_percentile", Kind::ValuePercentile(50.0)),
    ("value_median", Kind::ValueMedian),
    ("temporal", Kind::Temporal),
    ("temporal_ordered", Kind::TemporalOrdered),
];

impl Kind {
    /// The word of the specification.
    pub fn name(self) -> &'static str {
        let same = |k: &Kind| std::mem::discriminant(k) == std::mem::discriminant(&self);
        KINDS.iter().find(|(_, k)| same(k)).map_or("", |(name, _)| name)
    }

    pub(crate) fn temporal(self) -> bool {
        matches!(self, Self::Temporal | Self::TemporalOrdered)
    }

    /// It looks at the values of a field.
    pub(crate) fn valued(self) -> bool {
        !self.temporal() && self != Self::EventCount
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Gt,
    Gte,
    Lt,
    Lte,
    Eq,
    Neq,
}

pub(crate) const OPERATORS: &[(&str, Operator)] = &[
    ("gt", Operator::Gt),
    ("gte", Operator::Gte),
    ("lt", Operator::Lt),
    ("lte", Operator::Lte),
    ("eq", Operator::Eq),
    ("neq", Operator::Neq),
];

impl Operator {
    pub fn name(self) -> &'static str {
        OPERATORS.iter().find(|(_, o)| *o == self).map_or("", |(name, _)| name)
    }

    fn holds(self, value: f64, wanted: f64) -> bool {
        match self {
            Self::Gt => value > wanted,
            Self::Gte => value >= wanted,
            Self::Lt => value < wanted,
            Self::Lte => value <= wanted,
            Self::Eq => value.partial_cmp(&wanted) == Some(Ordering::Equal),
            Self::Neq => value.partial_cmp(&wanted) != Some(Ordering::Equal),
        }
    }
}

/// When the measure of a window is enough.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    /// Each of these holds.
    Limits(Vec<(Operator, f64)>),
    /// This holds of the rules that matched; the selections are positions in [`Correlation::rules`].
    Rules(Condition),
}

impl Test {
    pub fn limits(&self, value: f64) -> bool {
        matches!(self, Self::Limits(limits) if limits.iter().all(|(operator, wanted)| operator.holds(value, *wanted)))
    }

    /// The largest number that the measure is compared with.
    pub fn most(&self) -> f64 {
        let Self::Limits(limits) = self else { return 0.0 };
        limits.iter().map(|(_, wanted)| *wanted).fold(0.0, f64::max)
    }

    /// More matches never make it false again, so that there is no need to wait for the end of the window.
    pub fn rising(&self) -> bool {
        match self {
            Self::Limits(limits) => limits.iter().all(|(o, _)| matches!(o, Operator::Gt | Operator::Gte)),
            Self::Rules(condition) => !negates(condition),
        }
    }
}

fn negates(condition: &Condition) -> bool {
    match condition {
        Condition::All(terms) | Condition::Any(terms) => terms.iter().any(negates),
        Condition::Not(_) => true,
        Condition::Named(_, term) => negates(term),
        Condition::Selection(_) | Condition::Of { .. } => false,
    }
}

/// Whether `condition` holds where the rules in `seen` (bit per position) matched.
pub(crate) fn holds(condition: &Condition, seen: u64) -> bool {
    let saw = |i: usize| seen >> i & 1 == 1;
    match condition {
        Condition::All(terms) => terms.iter().all(|t| holds(t, seen)),
        Condition::Any(terms) => terms.iter().any(|t| holds(t, seen)),
        Condition::Not(term) => !holds(term, seen),
        Condition::Named(_, term) => holds(term, seen),
        Condition::Selection(i) => saw(*i),
        Condition::Of { all: true, members, .. } => members.iter().all(|i| saw(*i)),
        Condition::Of { all: false, members, .. } => members.iter().any(|i| saw(*i)),
    }
}

/// Rules that have to match one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Positions in [`Correlation::rules`].
    pub steps: Vec<usize>,
    /// So many of the steps may be missing.
    pub gaps: usize,
    /// None of these may match in the same window; bit per position.
    pub without: u64,
}

/// What a finding does to its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refire {
    /// It goes on, and finds nothing more until it has emptied.
    Quiet,
    /// It starts anew.
    Reset,
}

/// Where the value of a group-by or value field of one rule comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The column of the batch, index into [`super::Correlator::fields`] once the correlator is made.
    Column(u32),
    /// The group-by field, by position, of the correlation that is referred to.
    Key(u32),
    /// The correlation that is referred to does not group by it.
    Nowhere,
}

/// What one of the rules contributes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Member {
    /// Index of the analytic: rules first, then correlations.
    pub analytic: u32,
    pub id: String,
    pub group: Vec<Source>,
    pub value: Vec<Source>,
}

/// A correlation.
#[derive(Clone, Debug)]
pub struct Correlation {
    /// Its attributes. The log source says nothing.
    pub meta: RuleMeta,
    /// What it measures.
    pub kind: Kind,
    /// Fields (or aliases) whose values keep groups apart.
    pub group_by: Vec<String>,
    /// Length of the window in nanoseconds; both ends belong to it.
    pub timespan: u64,
    /// The rules referred to are for people, too.
    pub generate: bool,
    pub(crate) members: Vec<Member>,
    pub(crate) test: Test,
    /// For `temporal_ordered`: any of these.
    pub(crate) chains: Vec<Chain>,
    /// The condition is looked at when a window closes, not at each match.
    pub(crate) at_close: bool,
    /// A group that fired is quiet for so long; None = until its window has emptied.
    pub(crate) suppress: Option<u64>,
    pub(crate) refire: Refire,
    /// Names of the fields that [`Source::Column`] means.
    pub(crate) fields: Vec<String>,
    /// It refers, directly or not, to a correlation whose windows close: one row may then make up several windows.
    pub(crate) after_close: bool,
    /// The correlations between this one and the rules, itself included.
    pub(crate) depth: u32,
    /// What the state depends on, as text: state of another definition is not taken over.
    pub(crate) definition: String,
    /// The condition in words, for evidence.
    pub(crate) condition: String,
    /// The value field in words.
    pub(crate) field: String,
}

impl Correlation {
    /// Indices of the rules and correlations it refers to, rules first; see [`crate::RuleSet::analytic`].
    pub fn rules(&self) -> impl Iterator<Item = u32> + '_ {
        self.members.iter().map(|m| m.analytic)
    }

    /// What was asked for, in words: `gte 5 in 10m`.
    pub fn condition(&self) -> &str {
        &self.condition
    }

    /// The field whose values are looked at, if it looks at any.
    pub fn value_field(&self) -> &str {
        &self.field
    }
}
