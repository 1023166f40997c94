//! Takes matches in the order of their event times and keeps the windows.

use super::groups::{Group, Groups, LIVE, quiet};
use super::key;
use super::pending::{Match, Pending};
use super::plan::{Correlation, Kind, Source};
use super::snapshot::{Floor, Layout, SHARDS, shard};
use super::state::{Entry, Input, State};
use crate::batch::{Cell, ColumnView};
use crate::number::Number;
use crate::ruleset::RuleSet;
use siphasher::sip::SipHasher13;
use std::collections::HashMap;
use std::hash::Hasher;

/// Steps that one match may set off in correlations of correlations.
const MAX_STEPS: u32 = 4096;
/// The bytes in use are looked at once in so many steps: each adds less than a kilobyte.
const SHRINK_EVERY: u32 = 256;

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
struct Route {
    correlation: u32,
    member: u32,
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
    caps: Vec<usize>,
    /// Correlations whose windows have to be closed in time, those that others refer to first.
    closing: Vec<u32>,
    /// No window closes earlier.
    pub(super) next_close: u64,
    /// Per analytic.
    routes: Vec<Vec<Route>>,
    /// Number of rules; correlations follow.
    pub(super) base: usize,
    rules: HashMap<Vec<u8>, u32>,
    fields: Vec<String>,
    seed: (u64, u64),
    steps: u32,
    /// Steps taken.
    taken: u32,
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
        self.steps = MAX_STEPS;
        for i in 0..self.routes[rule as usize].len() {
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
                self.step(correlation, member, entry, key, value, Some(place), found);
            } else {
                let (key, value) = (key.as_slice().into(), value.as_slice().into());
                self.pending.push(Match { entry, correlation, member, key, value });
            }
        }
        self.scratch = scratch;
    }

    fn take(&mut self, found: Match, out: &mut Vec<Fired>) {
        self.steps = MAX_STEPS;
        let Match { entry, correlation, member, key, value } = found;
        self.step(correlation, member, entry, &key, &value, None, out);
    }

    pub(super) fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.seed.0, self.seed.1);
        hasher.write(bytes);
        hasher.finish()
    }

    /// One match for one correlation, in the order of event times.
    fn step(
        &mut self,
        correlation: u32,
        member: u32,
        entry: Entry,
        key: &[u8],
        value: &[u8],
        row: Option<(u32, u32)>,
        found: &mut Vec<Fired>,
    ) {
        if self.next_close < entry.time {
            self.close(entry.time, found);
        }
        let Some(left) = self.steps.checked_sub(1) else {
            self.counters.cut += 1;
            return;
        };
        self.steps = left;
        let c = correlation as usize;
        let Some(input) = self.input(self.plans[c].kind, value) else { return };
        let hash = self.hash(key);
        let at = self.group(c, hash, key, entry);
        let (plan, groups) = (&self.plans[c], &mut self.groups[c][shard(key)]);
        let cap = self.caps[c];
        let opened = groups.table.get(at).is_some_and(|group| group.state.is_empty());
        let added = groups.change(at, |group| {
            if !plan.at_close {
                group.state.prune(entry.time.saturating_sub(plan.timespan));
                if plan.suppress.is_none() && group.state.is_empty() {
                    group.fired = None;
                }
            }
            if !plan.at_close || opened {
                group.mark = entry;
            }
            let forgotten = group.state.add(plan, member as usize, entry, input, cap);
            let fires = !plan.at_close && !quiet(plan, group, entry.time);
            (forgotten, if fires { group.state.satisfies(plan, Some(entry)) } else { None })
        });
        if !plan.at_close || opened {
            groups.table.renew(at, LIVE);
        }
        if plan.at_close {
            self.next_close = self.next_close.min(groups.deadline(plan).map_or(u64::MAX, |(end, _)| end));
        }
        let Some((forgotten, satisfied)) = added else { return };
        self.counters.forgotten += forgotten;
        if let Some(value) = satisfied {
            self.fire(correlation, shard(key), at, entry, value, row, found);
        } else if groups.table.get(at).is_some_and(|group| group.state.is_empty()) {
            // A step of no run that is under way: nothing to remember.
            groups.end(plan, at, entry.time);
        }
        self.taken = self.taken.wrapping_add(1);
        if self.taken.is_multiple_of(SHRINK_EVERY) {
            self.shrink(entry.time);
        }
    }

    /// The group of `key`, a new one if there is none.
    fn group(&mut self, c: usize, hash: u64, key: &[u8], entry: Entry) -> u32 {
        let plan = &self.plans[c];
        let groups = &mut self.groups[c][shard(key)];
        groups.expire(plan, entry.time);
        if let Some(at) = groups.table.find(hash, key) {
            return at;
        }
        if self.groups[c].iter().map(|g| g.table.len()).sum::<usize>() >= self.limits.groups {
            self.groups[c].iter_mut().for_each(|g| g.expire(plan, entry.time));
            if self.groups[c].iter().map(|g| g.table.len()).sum::<usize>() >= self.limits.groups {
                let ranks = self.groups[c].iter().enumerate().filter_map(|(s, g)| Some((g.first_to_go()?, s)));
                if let Some(((_, at), s)) = ranks.min() {
                    self.groups[c][s].remove(at);
                    self.counters.evicted += 1;
                }
            }
        }
        let group = Group { mark: entry, fired: None, state: State::new(plan) };
        self.groups[c][shard(key)].insert(hash, key, LIVE, group)
    }

    /// What a match contributes; None = it does not count, because the field has no value, or none that is a number.
    fn input<'a>(&self, kind: Kind, value: &'a [u8]) -> Option<Input<'a>> {
        match kind {
            Kind::EventCount | Kind::Temporal | Kind::TemporalOrdered => Some(Input::Nothing),
            Kind::ValueCount => key::parts(value).all(key::is_value).then(|| Input::Value(value, self.hash(value))),
            _ => match Number::parse(key::text(value)?)? {
                Number::Integer(i) => Some(Input::Number(i as f64)),
                Number::Float(f) => Some(Input::Number(f)),
            },
        }
    }

    /// The window that closes next: when, the match that it began with, its correlation by depth, its shard.
    fn next_to_close(&self) -> Option<(u64, usize, Entry, usize)> {
        let ends = self.closing.iter().enumerate().flat_map(|(rank, c)| {
            let plan = &self.plans[*c as usize];
            let shards = self.groups[*c as usize].iter().enumerate();
            shards.filter_map(move |(s, groups)| groups.deadline(plan).map(|(end, began)| (end, rank, began, s)))
        });
        // Of those that end together, what one finds is still in the windows of those that refer to it.
        ends.min()
    }

    /// Closes windows that end before `before`, in the order in which they end.
    fn close(&mut self, before: u64, found: &mut Vec<Fired>) {
        while self.next_close < before {
            let next = self.next_to_close();
            self.next_close = next.map_or(u64::MAX, |(end, ..)| end);
            let Some((end, rank, _, s)) = next.filter(|(end, ..)| *end < before) else { break };
            let c = self.closing[rank] as usize;
            let Some(at) = self.groups[c][s].table.oldest(LIVE) else { break };
            let plan = &self.plans[c];
            let group = self.groups[c][s].table.get(at);
            let open = group.filter(|group| plan.suppress.is_none() || !quiet(plan, group, end));
            let last = open.and_then(|group| group.state.contributing(plan, None, None).last().copied());
            let measure = open.and_then(|group| group.state.satisfies(plan, None));
            if let (Some(value), Some(last)) = (measure, last) {
                self.steps = MAX_STEPS;
                let key = self.groups[c][s].table.key(at).to_vec();
                let entry = Entry { time: end, seq: last.seq };
                self.fire(c as u32, s, at, entry, value, None, found);
                // What it set off may have needed its room.
                if self.groups[c][s].table.key(at) != key {
                    continue;
                }
            }
            self.groups[c][s].end(&self.plans[c], at, end);
        }
    }

    /// Reports that a group fired, and tells the correlations that refer to this one.
    #[allow(clippy::too_many_arguments)]
    fn fire(
        &mut self,
        correlation: u32,
        shard: usize,
        at: u32,
        entry: Entry,
        value: f64,
        row: Option<(u32, u32)>,
        found: &mut Vec<Fired>,
    ) {
        let c = correlation as usize;
        let (plan, groups) = (&self.plans[c], &mut self.groups[c][shard]);
        let Some(group) = groups.table.get(at) else { return };
        let now = Some(entry).filter(|_| !plan.at_close);
        let entries = group.state.contributing(plan, now, group.fired);
        let times = || entries.iter().map(|e| e.time);
        let span = (times().min().unwrap_or(entry.time), times().max().unwrap_or(entry.time));
        let mut related: Vec<u64> = entries.iter().map(|e| e.seq).collect();
        related.sort_unstable();
        related.dedup();
        let key = groups.table.key(at).to_vec();
        let fields = plan.group_by.iter().cloned().zip(key::parts(&key).map(key::display)).collect();
        let mut text = key::whole(&plan.group_by, &key);
        if plan.after_close {
            // The row that a window ended with may be in the next one directly.
            text.push_str(&format!("{}time={}", if text.is_empty() { "" } else { ", " }, entry.time));
        }
        found.push(Fired { correlation, row, time: entry.time, span, key: text, fields, value, related });
        groups.change(at, |group: &mut Group| {
            group.fired = Some(entry);
            if plan.reset {
                group.state = State::new(plan);
            }
        });
        for i in 0..self.routes[self.base + c].len() {
            let Route { correlation, member } = self.routes[self.base + c][i];
            let m = &self.plans[correlation as usize].members[member as usize];
            let pick = |sources: &[Source]| {
                let mut picked = Vec::new();
                for source in sources {
                    let part = if let Source::Key(n) = source { key::parts(&key).nth(*n as usize) } else { None };
                    match part {
                        Some(part) => picked.extend_from_slice(part),
                        None => key::push_nothing(&mut picked),
                    }
                }
                picked
            };
            let (key, value) = (pick(&m.group), pick(&m.value));
            self.step(correlation, member, entry, &key, &value, row, found);
        }
    }

    /// Forgets the groups that were least recently touched, of whatever correlation, until the rest fits.
    ///
    /// It depends on the matches and nothing else when this is called and what it finds, so that batches of other sizes make
    /// no difference.
    fn shrink(&mut self, now: u64) {
        self.expire(now);
        let (_, mut bytes) = self.size();
        while bytes > self.limits.bytes {
            let all = self.groups.iter().enumerate().flat_map(|(c, shards)| {
                shards.iter().enumerate().filter_map(move |(s, groups)| Some((groups.first_to_go()?, c, s)))
            });
            let Some(((_, at), c, s)) = all.min() else { break };
            let groups = &mut self.groups[c][s];
            let before = groups.bytes;
            groups.remove(at);
            bytes -= before - groups.bytes;
            self.counters.evicted += 1;
        }
    }

    fn expire(&mut self, now: u64) {
        for (plan, shards) in self.plans.iter().zip(&mut self.groups) {
            shards.iter_mut().for_each(|groups| groups.expire(plan, now));
        }
    }
}
