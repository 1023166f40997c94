//! What one match does, in the order of event times: to the window of its group, to those who wait for it to fire, and to the
//! windows that close before.

use super::correlator::{Correlator, Fired, Route};
use super::groups::{Group, LIVE, quiet};
use super::key;
use super::pending::Match;
use super::plan::{Correlation, Kind, Refire, Source};
use super::snapshot::shard;
use super::state::{Entry, Input, State};
use crate::number::Number;
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// Steps that one match may set off by way of one correlation in those that refer to it.
pub(super) const MAX_STEPS: u32 = 4096;
/// The bytes in use are looked at once in so many steps: each adds less than a kilobyte.
const SHRINK_EVERY: u32 = 256;

/// A match for one correlation.
#[derive(Clone, Copy)]
pub(super) struct Hit<'a> {
    pub correlation: u32,
    pub member: u32,
    pub entry: Entry,
    pub key: &'a [u8],
    pub value: &'a [u8],
    /// Batch and row, while those are there.
    pub row: Option<(u32, u32)>,
}

/// What a finding at `fired` has used up: up to and with that match; of windows that closed, where the rows do not tell the
/// order, everything at that time.
fn moment(plan: &Correlation, fired: Entry) -> Entry {
    if plan.after_close { Entry { seq: u64::MAX, ..fired } } else { fired }
}

/// Where a group is.
#[derive(Clone, Copy)]
struct Place {
    correlation: usize,
    shard: usize,
    at: u32,
}

impl Correlator {
    pub(super) fn take(&mut self, found: Match, out: &mut Vec<Fired>) {
        self.steps = MAX_STEPS;
        let Match { entry, correlation, member, key, value } = found;
        self.step(&Hit { correlation, member, entry, key: &key, value: &value, row: None }, out);
    }

    pub(super) fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.seed.0, self.seed.1);
        hasher.write(bytes);
        hasher.finish()
    }

    /// One match for one correlation, in the order of event times.
    pub(super) fn step(&mut self, hit: &Hit<'_>, found: &mut Vec<Fired>) {
        let Hit { correlation, member, entry, key, value, row } = *hit;
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
                // After a reset it is empty, too, but what was found stays found.
                if plan.suppress.is_none() && plan.refire == Refire::Quiet && group.state.is_empty() {
                    group.fired = None;
                }
            }
            if !plan.at_close || opened {
                group.mark = entry;
            }
            let forgotten = group.state.add(plan, member as usize, entry, input, cap);
            let again = group.fired.is_some_and(|fired| entry <= moment(plan, fired));
            let fires = !plan.at_close && !again && !quiet(plan, group, entry.time);
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
            self.fire(Place { correlation: c, shard: shard(key), at }, entry, value, row, found);
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
    pub(super) fn close(&mut self, before: u64, found: &mut Vec<Fired>) {
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
                self.fire(Place { correlation: c, shard: s, at }, entry, value, None, found);
                // What it set off may have needed its room.
                if self.groups[c][s].table.key(at) != key {
                    continue;
                }
            }
            self.groups[c][s].end(&self.plans[c], at, end);
        }
    }

    /// Reports that a group fired, and tells the correlations that refer to this one.
    fn fire(&mut self, place: Place, entry: Entry, value: f64, row: Option<(u32, u32)>, found: &mut Vec<Fired>) {
        let Place { correlation: c, shard, at } = place;
        let (plan, groups) = (&self.plans[c], &mut self.groups[c][shard]);
        let Some(group) = groups.table.get(at) else { return };
        let now = Some(entry).filter(|_| !plan.at_close);
        let entries = group.state.contributing(plan, now, group.fired.map(|fired| moment(plan, fired)));
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
        found.push(Fired { correlation: c as u32, row, time: entry.time, span, key: text, fields, value, related });
        groups.change(at, |group: &mut Group| {
            group.fired = Some(entry);
            if plan.refire == Refire::Reset {
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
            self.step(&Hit { correlation, member, entry, key: &key, value: &value, row }, found);
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

    pub(super) fn expire(&mut self, now: u64) {
        for (plan, shards) in self.plans.iter().zip(&mut self.groups) {
            for groups in shards {
                groups.expire(plan, now);
            }
        }
    }
}
