//! What is remembered of one group's window, and what is measured about it.

use super::plan::{Correlation, Kind, Test, holds};
use super::table::{Order, Table};
use std::collections::VecDeque;

/// Rows that a finding lists: the first, and the newest of the others.
pub(super) const MAX_RELATED: usize = 64;

/// One match: when, and which row said so. Matches are taken in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub time: u64,
    pub seq: u64,
}

/// What a match contributes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input<'a> {
    Nothing,
    /// A value to be counted once, and its hash.
    Value(&'a [u8], u64),
    Number(f64),
}

#[derive(Debug)]
pub(super) enum State {
    Count(Count),
    Values(Box<Values>),
    Numbers(Box<Numbers>),
    /// Per rule its last match.
    Seen(Box<[Option<Entry>]>),
    Chains(Box<Runs>),
}

#[derive(Debug, Default)]
pub(super) struct Count {
    pub entries: VecDeque<Entry>,
    /// Counted, but not kept.
    pub more: u64,
}

/// Distinct values, each with its last match: older matches of a value do not matter, so each match costs the same, however
/// many there are.
#[derive(Debug, Default)]
pub(super) struct Values {
    pub table: Table<Entry>,
    pub bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Numbers {
    pub entries: VecDeque<(Entry, f64)>,
    pub sum: f64,
    pub count: u64,
    /// Subtracted since the sum was last added up: floats would drift.
    pub removed: usize,
    /// For order statistics; empty for sums.
    pub sorted: Vec<f64>,
}

#[derive(Debug)]
pub(super) struct Runs {
    /// Per chain: for step `k` with `s` steps left out before it, at `k * (gaps + 1) + s`, the run that began last.
    pub runs: Vec<Box<[Vec<Entry>]>>,
    /// Bit per rule.
    pub seen: u64,
}

impl State {
    pub fn new(plan: &Correlation) -> Self {
        match plan.kind {
            Kind::EventCount => Self::Count(Count::default()),
            Kind::ValueCount => Self::Values(Box::default()),
            Kind::ValueSum | Kind::ValueAvg | Kind::ValuePercentile(_) | Kind::ValueMedian => {
                Self::Numbers(Box::default())
            }
            Kind::Temporal => Self::Seen(vec![None; plan.members.len()].into()),
            Kind::TemporalOrdered => {
                let cells = plan.chains.iter().map(|c| vec![Vec::new(); c.steps.len() * (c.gaps + 1)].into()).collect();
                Self::Chains(Box::new(Runs { runs: cells, seen: 0 }))
            }
        }
    }

    /// Takes a match in; at most `cap` are kept. Returns how many were given up for it although they count.
    pub fn add(&mut self, plan: &Correlation, member: usize, entry: Entry, input: Input<'_>, cap: usize) -> u64 {
        match (self, input) {
            (Self::Count(count), _) => count.add(entry, plan.at_close, cap),
            (Self::Values(values), Input::Value(value, hash)) => values.add(value, hash, entry, plan.at_close, cap),
            (Self::Numbers(numbers), Input::Number(n)) => numbers.add(plan, entry, n, cap),
            (Self::Seen(seen), _) => {
                if let Some(slot) = seen.get_mut(member) {
                    *slot = Some(entry);
                }
                0
            }
            (Self::Chains(runs), _) => {
                runs.add(plan, member, entry);
                0
            }
            (Self::Values(_) | Self::Numbers(_), _) => 0,
        }
    }

    /// Forgets what was before `time`.
    pub fn prune(&mut self, time: u64) {
        match self {
            Self::Count(count) => {
                while count.entries.front().is_some_and(|e| e.time < time) {
                    count.entries.pop_front();
                }
            }
            Self::Values(values) => {
                while let Some(at) = values.table.oldest(Order::First) {
                    if values.table.get(at).is_some_and(|e| e.time >= time) {
                        break;
                    }
                    values.drop_at(at);
                }
            }
            Self::Numbers(numbers) => {
                while numbers.entries.front().is_some_and(|(e, _)| e.time < time) {
                    numbers.drop_oldest();
                }
            }
            Self::Seen(seen) => seen.iter_mut().for_each(|e| *e = e.filter(|e| e.time >= time)),
            Self::Chains(runs) => {
                for run in runs.runs.iter_mut().flatten() {
                    if run.first().is_some_and(|e| e.time < time) {
                        run.clear();
                    }
                }
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Self::Count(count) => count.entries.is_empty(),
            Self::Values(values) => values.table.len() == 0,
            Self::Numbers(numbers) => numbers.entries.is_empty(),
            Self::Seen(seen) => seen.iter().all(Option::is_none),
            Self::Chains(runs) => runs.seen == 0 && runs.runs.iter().flatten().all(Vec::is_empty),
        }
    }

    /// The measure of the window, if the condition holds of it. `now` is the match that is looked at: what it has no part in was
    /// found before.
    pub fn satisfies(&self, plan: &Correlation, now: Option<Entry>) -> Option<f64> {
        let value = match (self, &plan.test) {
            (Self::Seen(seen), Test::Rules(condition)) => {
                let bits = (0..).zip(seen.iter()).filter(|(_, e)| e.is_some()).map(|(i, _)| 1 << i).sum();
                return holds(condition, bits).then_some(f64::from(bits.count_ones()));
            }
            (Self::Chains(runs), Test::Rules(_)) => return runs.best(plan, now).map(|run| run.len() as f64),
            (Self::Seen(seen), _) => seen.iter().flatten().count() as f64,
            (Self::Chains(runs), _) => runs.best(plan, now).map_or(0.0, |run| run.len() as f64),
            (Self::Count(count), _) => (count.entries.len() as u64 + count.more) as f64,
            (Self::Values(values), _) => values.table.len() as f64,
            (Self::Numbers(numbers), _) => numbers.measure(plan.kind)?,
        };
        plan.test.limits(value).then_some(value)
    }

    /// The matches that make up the measure and came after `after`: the first, and the newest of the others. Ascending.
    pub fn contributing(&self, plan: &Correlation, now: Option<Entry>, after: Option<Entry>) -> Vec<Entry> {
        let new = |e: &Entry| after.is_none_or(|after| *e > after);
        let mut found: Vec<Entry> = match self {
            Self::Count(count) => ends(&count.entries, |e| *e, new),
            Self::Numbers(numbers) => ends(&numbers.entries, |(e, _)| *e, new),
            Self::Values(values) => {
                let table = &values.table;
                let newest = std::iter::successors(table.newest(Order::First), |at| table.older(*at));
                let mut newest = newest.filter_map(|at| table.get(at).copied()).take_while(new);
                let mut found: Vec<Entry> = newest.by_ref().take(MAX_RELATED - 1).collect();
                found.extend(newest.last());
                found
            }
            Self::Seen(seen) => seen.iter().flatten().copied().filter(new).collect(),
            Self::Chains(runs) => runs.best(plan, now).into_iter().flatten().copied().filter(new).collect(),
        };
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Bytes beside the state itself, about.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Count(count) => count.entries.capacity() * size_of::<Entry>(),
            Self::Values(values) => size_of::<Values>() + values.bytes,
            Self::Numbers(numbers) => {
                size_of::<Numbers>() + numbers.entries.capacity() * 24 + numbers.sorted.capacity() * 8
            }
            Self::Seen(seen) => size_of_val::<[_]>(seen),
            Self::Chains(runs) => {
                let cells = runs.runs.iter().flatten();
                size_of::<Runs>() + cells.map(|run| size_of::<Vec<Entry>>() + run.capacity() * 16).sum::<usize>()
            }
        }
    }
}

/// The first and the newest others, of entries in order.
fn ends<T>(all: &VecDeque<T>, entry: impl Fn(&T) -> Entry, new: impl Fn(&Entry) -> bool) -> Vec<Entry> {
    let mut found: Vec<Entry> = all.iter().rev().map(&entry).filter(&new).take(MAX_RELATED).collect();
    let first = all.iter().map(&entry).find(&new);
    if let (Some(last), Some(first)) = (found.last_mut(), first) {
        *last = first;
    }
    found
}

impl Count {
    fn add(&mut self, entry: Entry, at_close: bool, cap: usize) -> u64 {
        self.entries.push_back(entry);
        if at_close && self.entries.len() > MAX_RELATED {
            // Nothing leaves the window before it closes, so a number is enough; the first is kept for the finding.
            self.entries.remove(1);
            self.more += 1;
        } else if self.entries.len() > cap {
            self.entries.pop_front();
            return 1;
        }
        0
    }
}

impl Values {
    fn add(&mut self, value: &[u8], hash: u64, entry: Entry, at_close: bool, cap: usize) -> u64 {
        if let Some(at) = self.table.find(hash, value) {
            self.table.renew(at, Order::First);
            if let Some(last) = self.table.get_mut(at) {
                *last = entry;
            }
            return 0;
        }
        if at_close && self.table.len() >= cap {
            return 1;
        }
        self.restore(value, hash, entry);
        match self.table.oldest(Order::First).filter(|_| self.table.len() > cap) {
            Some(at) => {
                self.drop_at(at);
                1
            }
            None => 0,
        }
    }

    /// Adds a value that is not there yet.
    pub fn restore(&mut self, value: &[u8], hash: u64, entry: Entry) {
        self.table.insert(hash, value, Order::First, entry);
        self.bytes += value.len() + Table::<Entry>::ENTRY_BYTES;
    }

    fn drop_at(&mut self, at: u32) {
        self.bytes -= self.table.key(at).len() + Table::<Entry>::ENTRY_BYTES;
        self.table.remove(at);
    }
}

impl Numbers {
    fn add(&mut self, plan: &Correlation, entry: Entry, n: f64, cap: usize) -> u64 {
        let ordered = matches!(plan.kind, Kind::ValuePercentile(_) | Kind::ValueMedian);
        self.entries.push_back((entry, n));
        self.sum += n;
        self.count += 1;
        if ordered {
            let at = self.sorted.partition_point(|m| m.total_cmp(&n).is_lt());
            self.sorted.insert(at, n);
        }
        if plan.at_close && !ordered && self.entries.len() > MAX_RELATED {
            self.entries.remove(1);
        } else if self.entries.len() > cap {
            self.drop_oldest();
            return 1;
        }
        0
    }

    fn drop_oldest(&mut self) {
        let Some((_, n)) = self.entries.pop_front() else { return };
        self.count -= 1;
        self.sum -= n;
        self.removed += 1;
        if let Ok(at) = self.sorted.binary_search_by(|m| m.total_cmp(&n)) {
            self.sorted.remove(at);
        }
        if self.removed > self.entries.len() {
            self.sum = self.entries.iter().map(|(_, n)| n).sum();
            self.removed = 0;
        }
    }

    fn measure(&self, kind: Kind) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let value = match kind {
            Kind::ValueSum => self.sum,
            Kind::ValueAvg => self.sum / self.count as f64,
            Kind::ValuePercentile(p) => self.percentile(p)?,
            _ => self.percentile(50.0)?,
        };
        Some(value).filter(|value| !value.is_nan())
    }

    /// Interpolated linearly between the two nearest values, which for the 50th is the median.
    fn percentile(&self, percent: f64) -> Option<f64> {
        let rank = percent / 100.0 * (self.sorted.len().checked_sub(1)?) as f64;
        let below = *self.sorted.get(rank.floor() as usize)?;
        let above = *self.sorted.get(rank.ceil() as usize)?;
        let part = rank.fract();
        Some(if part == 0.0 { below } else { below + (above - below) * part })
    }
}

impl Runs {
    fn add(&mut self, plan: &Correlation, member: usize, entry: Entry) {
        if plan.at_close {
            self.seen |= 1 << member;
        }
        for (chain, cells) in plan.chains.iter().zip(&mut self.runs) {
            let width = chain.gaps + 1;
            // From the last step on, so that one match is never two steps.
            for step in (0..chain.steps.len()).rev().filter(|step| chain.steps[*step] == member) {
                for left_out in 0..width.min(step + 1) {
                    let mut run = Vec::new();
                    if left_out < step {
                        let before = (0..=left_out).map(|d| &cells[(step - 1 - d) * width + left_out - d]);
                        // The run that began last stays in the window longest.
                        match before.filter(|run| !run.is_empty()).max_by_key(|run| run[0]) {
                            Some(best) => run.clone_from(best),
                            None => continue,
                        }
                    }
                    run.push(entry);
                    cells[step * width + left_out] = run;
                }
            }
        }
    }

    /// The run that counts, of those that end with `now` if that is given: the longest, or of an extended condition one that
    /// goes through all of its chain.
    fn best(&self, plan: &Correlation, now: Option<Entry>) -> Option<&Vec<Entry>> {
        let whole = matches!(plan.test, Test::Rules(_));
        let possible = plan.chains.iter().zip(&self.runs).filter(|(chain, _)| chain.without & self.seen == 0);
        possible
            .flat_map(|(_, cells)| if whole { cells.get(cells.len() - 1..).unwrap_or_default() } else { &cells[..] })
            .filter(|run| run.last().is_some_and(|last| now.is_none_or(|now| *last == now)))
            .max_by_key(|run| (run.len(), run[0]))
    }
}
