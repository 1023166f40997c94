//! Takes matches in the order of their event times and keeps the windows.

use super::groups::Groups;
use super::key;
use super::pending::{Match, Pending};
use super::plan::{Correlation, Source};
use super::snapshot::{Floor, Layout, SHARDS};
use super::state::Entry;
use super::step::{Hit, MAX_STEPS};
use crate::batch::{Cell, ColumnView};
use crate::ruleset::RuleSet;
use std::collections::HashMap;

/// What a correlator may take up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Groups of one correlation.
    pub groups: usize,
    /// Bytes of all groups, about.
    pub bytes: usize,
    /// Matches (or distinct values) remembered of one group; more if a condition counts further.
    pub entries: usize,
    /// Matches that wait for the watermark.
    pub pending: usize,
    /// Nanoseconds that a match may be older than the watermark.
    pub tolerance: u64,
    /// Groups of one part of a snapshot, about: a part is made in one go.
    pub part: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { groups: 1_000_000, bytes: 64 << 20, entries: 1000, pending: 65_536, tolerance: 0, part: 32_768 }
    }
}

/// What became of the matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Matches of rules that a correlation refers to.
    pub matches: u64,
    /// Older than the watermark: not used.
    pub late: u64,
    /// Taken before the watermark had reached them, because too many waited; older ones after them are late.
    pub forced: u64,
    /// Groups forgotten to make room.
    pub evicted: u64,
    /// Matches forgotten although they were in the window, because the group had too many.
    pub forgotten: u64,
    /// Steps of correlations of correlations not made, because one match set off too many.
    pub cut: u64,
    /// Groups not taken over from a snapshot, because their correlation is gone or another.
    pub strangers: u64,
}

/// Matches, as columns.
#[derive(Clone, Copy, Debug)]
pub struct Detections<'a> {
    /// Per row the rule, see [`Correlator::rule`]; others are left out.
    pub rules: &'a [Option<u32>],
    /// Per row its place in host order: no two are equal, and a row has the same whenever it comes again.
    pub seqs: &'a [u64],
    /// Per row the event time in nanoseconds.
    pub times: &'a [u64],
    /// One per entry of [`Correlator::fields`], in that order. A missing column is absent in every row.
    pub columns: &'a [ColumnView<'a>],
}

/// A correlation found what it looks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Fired {
    /// Index into [`RuleSet::correlations`].
    pub correlation: u32,
    /// Batch and row of the match that it fired at; None if that came in an earlier turn, or the window closed.
    pub row: Option<(u32, u32)>,
    /// When: the event time of that match, or the end of the window.
    pub time: u64,
    /// Event times of the first and last match listed.
    pub span: (u64, u64),
    /// The group; different groups have different keys. No two findings of a correlation have the same key and the same first
    /// row.
    pub key: String,
    /// The group, per field.
    pub fields: Vec<(String, String)>,
    /// What was measured.
    pub value: f64,
    /// Rows of the matches, ascending: since the group last fired, the first and the newest. At most 64.
    pub related: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub correlation: u32,
    pub member: u32,
}

/// What is remembered between turns. Deterministic: the same rows give the same findings, however they are divided into turns.
#[derive(Debug)]
pub struct Correlator {
    pub(super) plans: Vec<Correlation>,
    /// Per correlation, in shards: each is a whole for snapshots.
    pub(super) groups: Vec<[Groups; SHARDS]>,
    pub(super) pending: Pending,
    pub(super) watermark: u64,
    /// The last row, and the latest event time, that came.
    pub(super) last: Entry,
    /// Per correlation and shard what it has seen of the rows that come again; None = nothing comes again.
    pub(super) floors: Vec<Option<Box<[Floor; SHARDS]>>>,
    pub(super) layout: Layout,
    pub(super) counters: Counters,
    pub(super) limits: Limits,
    /// Per correlation the matches that a group remembers.
    pub(super) caps: Vec<usize>,
    /// Correlations whose windows have to be closed in time, those that others refer to first.
    pub(super) closing: Vec<u32>,
    /// No window closes earlier.
    pub(super) next_close: u64,
    /// Per analytic.
    pub(super) routes: Vec<Vec<Route>>,
    /// Number of rules; correlations follow.
    pub(super) base: usize,
    rules: HashMap<Vec<u8>, u32>,
    fields: Vec<String>,
    pub(super) seed: (u64, u64),
    pub(super) steps: u32,
    /// Steps taken.
    pub(super) taken: u32,
    order: Vec<(Entry, u32, u32)>,
    scratch: Scratch,
}

#[derive(Debug, Default)]
struct Scratch {
    text: Vec<u8>,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Correlator {
    /// Makes a correlator for the correlations of `set`. Who may choose values of events must not know `seed`.
    pub fn new(set: &RuleSet, seed: (u64, u64), limits: Limits) -> Self {
        let mut plans = set.correlations.clone();
        let base = set.rules.len();
        let mut fields: Vec<String> = Vec::new();
        let mut known: HashMap<String, u32> = HashMap::new();
        let mut routes = vec![Vec::new(); base + plans.len()];
        let mut rules = HashMap::new();
        for (correlation, plan) in (0..).zip(&mut plans) {
            let columns: Vec<u32> = plan
                .fields
                .iter()
                .map(|field| {
                    *known.entry(field.clone()).or_insert_with(|| {
                        fields.push(field.clone());
                        (fields.len() - 1) as u32
                    })
                })
                .collect();
            for (member, m) in (0..).zip(&mut plan.members) {
                for source in m.group.iter_mut().chain(&mut m.value) {
                    if let Source::Column(column) = source {
                        *column = columns.get(*column as usize).copied().unwrap_or(u32::MAX);
                    }
                }
                if let Some(routes) = routes.get_mut(m.analytic as usize) {
                    routes.push(Route { correlation, member });
                }
                if (m.analytic as usize) < base {
                    rules.insert(m.id.clone().into_bytes(), m.analytic);
                }
            }
        }
        let mut closing: Vec<u32> = (0..).zip(&plans).filter(|(_, plan)| plan.at_close).map(|(i, _)| i).collect();
        closing.sort_by_key(|c| plans[*c as usize].depth);
        Self {
            groups: plans.iter().map(|_| Default::default()).collect(),
            floors: vec![None; plans.len()],
            caps: plans.iter().map(|plan| limits.entries.max(plan.test.most() as usize + 1)).collect(),
            plans,
            pending: Pending::default(),
            watermark: 0,
            last: Entry { time: 0, seq: 0 },
            layout: Layout::default(),
            counters: Counters::default(),
            limits,
            closing,
            next_close: u64::MAX,
            routes,
            base,
            rules,
            fields,
            seed,
            steps: 0,
            taken: 0,
            order: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    /// The columns that [`Correlator::turn`] wants, in order.
    pub fn fields(&self) -> &[String] {
        &self.fields
    }

    /// The rule with an id, if a correlation refers to it.
    pub fn rule(&self, id: &[u8]) -> Option<u32> {
        self.rules.get(id).copied()
    }

    /// What became of the matches so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Groups and the bytes that they take up, about.
    pub fn size(&self) -> (usize, usize) {
        let all = || self.groups.iter().flatten();
        (all().map(|g| g.table.len()).sum(), all().map(|g| g.bytes).sum())
    }

    /// Takes in matches, in any order. No later turn brings one that is older than `watermark` less the tolerance; those that
    /// do are counted and left out. What is found is appended to `found`.
    pub fn turn(&mut self, batches: &[Detections<'_>], watermark: u64, found: &mut Vec<Fired>) {
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        for (b, batch) in (0..).zip(batches) {
            let rows = batch.seqs.iter().zip(batch.times).zip(batch.rules);
            for (row, ((seq, time), rule)) in (0..).zip(rows) {
                self.last.seq = self.last.seq.max(*seq);
                let wanted = rule.and_then(|r| self.routes.get(r as usize)).is_some_and(|routes| !routes.is_empty());
                if !wanted {
                    continue;
                }
                self.counters.matches += 1;
                if *time < self.watermark {
                    self.counters.late += 1;
                } else {
                    self.last.time = self.last.time.max(*time);
                    order.push((Entry { time: *time, seq: *seq }, b, row));
                }
            }
        }
        if !order.is_sorted() {
            order.sort_unstable();
        }
        // The end of the input is the end, tolerance or not.
        let until = if watermark == u64::MAX { watermark } else { watermark.saturating_sub(self.limits.tolerance) };
        for (entry, b, row) in &order {
            self.intake(&batches[*b as usize], *entry, (*b, *row), until, found);
        }
        self.order = order;
        while let Some(next) = self.pending.pop_before(Entry { time: until, seq: u64::MAX }) {
            self.take(next, found);
        }
        self.close(until, found);
        while self.pending.len() > self.limits.pending {
            let Some(first) = self.pending.pop() else { break };
            self.counters.forced += 1;
            self.watermark = self.watermark.max(first.entry.time);
            self.take(first, found);
        }
        self.watermark = self.watermark.max(until);
        self.expire(self.watermark);
        self.forget_floors();
    }

    /// A row, in order: it is taken now, or waits for the watermark.
    fn intake(&mut self, batch: &Detections<'_>, entry: Entry, place: (u32, u32), until: u64, found: &mut Vec<Fired>) {
        let now = entry.time <= until;
        if now {
            while let Some(next) = self.pending.pop_before(entry) {
                self.take(next, found);
            }
        }
        let row = place.1 as usize;
        let Some(rule) = batch.rules.get(row).copied().flatten() else { return };
        let mut scratch = std::mem::take(&mut self.scratch);
        for i in 0..self.routes[rule as usize].len() {
            // What one correlation sets off takes nothing from the others.
            self.steps = MAX_STEPS;
            let Route { correlation, member } = self.routes[rule as usize][i];
            let m = &self.plans[correlation as usize].members[member as usize];
            let Scratch { text, key, value } = &mut scratch;
            for (sources, out) in [(&m.group, &mut *key), (&m.value, &mut *value)] {
                out.clear();
                for source in sources {
                    let column = if let Source::Column(c) = source { batch.columns.get(*c as usize) } else { None };
                    key::push(column.map_or(Cell::Absent, |c| c.cell(row)), text, out);
                }
            }
            if self.seen(correlation, key, entry) {
                continue;
            }
            if now {
                let row = Some(place);
                self.step(&Hit { correlation, member, entry, key, value, row }, found);
            } else {
                let (key, value) = (key.as_slice().into(), value.as_slice().into());
                self.pending.push(Match { entry, correlation, member, key, value });
            }
        }
        self.scratch = scratch;
    }
}
