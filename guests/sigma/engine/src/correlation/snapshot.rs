//! The state as bytes, in parts, and back.
//!
//! A part holds some groups with the matches that wait for them, as of one moment, and says which rows it has seen. Parts may
//! be of different moments: after [`Correlator::restore`] the rows since the oldest come again, and each group takes only
//! those that its part had not seen. Correlations that refer to each other are in one part, because what one finds the other
//! must not find twice.

use super::correlator::Correlator;
use super::groups::{Group, LIVE, RESTING};
use super::pending::{Match, Pending};
use super::plan::{Correlation, Kind};
use super::state::{Entry, State, Values};
use super::table::Order;
use siphasher::sip::SipHasher13;
use std::collections::HashMap;
use std::hash::Hasher;
use std::ops::Range;

/// Of the format below.
const VERSION: u64 = 1;

/// Shares of a correlation's groups, by their keys.
pub(super) const SHARDS: usize = 16;

/// What a shard has seen: rows up to `seen.seq` that are not younger than `seen.time`, and everything before `watermark`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floor {
    seen: Entry,
    watermark: u64,
}

const NOTHING_SEEN: Floor = Floor { seen: Entry { time: 0, seq: 0 }, watermark: 0 };

/// How the shards are divided into parts.
#[derive(Debug, Default)]
pub(super) struct Layout {
    parts: Vec<Vec<Piece>>,
    /// Parts made since it was decided.
    made: usize,
}

/// Shards of a correlation.
#[derive(Clone, Debug)]
struct Piece {
    correlation: usize,
    shards: Range<usize>,
}

/// The same whatever the seed, because that may be another after a restart.
fn fixed_hash(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    hasher.write(bytes);
    hasher.finish()
}

pub(super) fn shard(key: &[u8]) -> usize {
    (fixed_hash(key) % SHARDS as u64) as usize
}

impl Correlator {
    /// The number of parts of the state. Decided anew once all parts were made, so that one round of
    /// [`Correlator::snapshot`] fits together.
    pub fn parts(&mut self) -> u32 {
        if self.layout.made == 0 || self.layout.made >= self.layout.parts.len() {
            self.layout = Layout { parts: self.divide(), made: 0 };
        }
        self.layout.parts.len() as u32
    }

    /// Correlations that refer to each other, directly or not.
    fn families(&self) -> Vec<Vec<usize>> {
        let mut above: Vec<usize> = (0..self.plans.len()).collect();
        let root = |above: &[usize], mut c: usize| {
            while above[c] != c {
                c = above[c];
            }
            c
        };
        for (c, plan) in self.plans.iter().enumerate() {
            for below in plan.rules().filter_map(|r| (r as usize).checked_sub(self.base)) {
                let (a, b) = (root(&above, c), root(&above, below));
                above[a.max(b)] = a.min(b);
            }
        }
        let mut families: Vec<Vec<usize>> = vec![Vec::new(); self.plans.len()];
        for c in 0..self.plans.len() {
            families[root(&above, c)].push(c);
        }
        families.retain(|members| !members.is_empty());
        families
    }

    fn divide(&self) -> Vec<Vec<Piece>> {
        let mut parts = Vec::new();
        let (mut open, mut filled) = (Vec::new(), 0);
        let mut add = |pieces: Vec<Piece>| {
            let shards = pieces.iter().flat_map(|p| &self.groups[p.correlation][p.shards.clone()]);
            let groups: usize = shards.map(|g| g.table.len()).sum();
            if filled > 0 && filled + groups > self.limits.part {
                parts.push(std::mem::take(&mut open));
                filled = 0;
            }
            open.extend(pieces);
            filled += groups;
        };
        for members in self.families() {
            let groups: usize = members.iter().flat_map(|c| &self.groups[*c]).map(|g| g.table.len()).sum();
            match members.as_slice() {
                [c] if groups > self.limits.part => {
                    (0..SHARDS).for_each(|s| add(vec![Piece { correlation: *c, shards: s..s + 1 }]));
                }
                _ => add(members.iter().map(|c| Piece { correlation: *c, shards: 0..SHARDS }).collect()),
            }
        }
        if !open.is_empty() {
            parts.push(open);
        }
        parts
    }

    /// One part of the state; empty if there is no such part.
    pub fn snapshot(&mut self, part: u32) -> Vec<u8> {
        if self.layout.parts.is_empty() {
            self.parts();
        }
        let Some(pieces) = self.layout.parts.get(part as usize) else { return Vec::new() };
        let mut waiting: Vec<&Match> = self.pending.iter().collect();
        waiting.sort_unstable();
        let mut out = Writer::default();
        out.number(VERSION);
        out.number(pieces.iter().map(|piece| piece.shards.len() as u64).sum());
        for Piece { correlation, shards } in pieces {
            shards.clone().for_each(|s| self.section(*correlation, s, &waiting, &mut out));
        }
        self.layout.made += 1;
        out.0
    }

    fn section(&self, c: usize, s: usize, waiting: &[&Match], out: &mut Writer) {
        let plan = &self.plans[c];
        let floor = self.floors[c].as_ref().map_or(NOTHING_SEEN, |floors| floors[s]);
        out.bytes(plan.meta.id.as_bytes());
        out.number(fixed_hash(plan.definition.as_bytes()));
        out.number(s as u64);
        out.number(self.last.time.max(floor.seen.time));
        out.number(self.last.seq.max(floor.seen.seq));
        out.number(self.watermark.max(floor.watermark));
        let mine = || waiting.iter().filter(|m| m.correlation as usize == c && shard(&m.key) == s);
        out.number(mine().count() as u64);
        for found in mine() {
            out.entry(found.entry);
            out.number(found.member.into());
            out.bytes(&found.key);
            out.bytes(&found.value);
        }
        for order in [LIVE, RESTING] {
            let groups = || self.groups[c][s].table.iter(order);
            out.number(groups().count() as u64);
            for (_, key, group) in groups() {
                out.bytes(key);
                out.entry(group.mark);
                out.optional(group.fired);
                out.state(&group.state);
            }
        }
    }

    /// Takes the state over from the parts of a snapshot, in place of what there was. Parts of correlations that are not here,
    /// or were defined otherwise, are counted and left out. The error says what is wrong with the bytes; then nothing is taken.
    pub fn restore<B: AsRef<[u8]>>(&mut self, parts: &[B]) -> Result<(), String> {
        let names: HashMap<&[u8], usize> =
            self.plans.iter().enumerate().map(|(c, plan)| (plan.meta.id.as_bytes(), c)).collect();
        let mut sections = Vec::new();
        let mut strangers = 0;
        for (number, part) in parts.iter().enumerate() {
            let mut input = Reader(part.as_ref());
            let mut read = || {
                if input.number()? != VERSION {
                    return Err(Broken);
                }
                for _ in 0..input.number()? {
                    sections.extend(section(&mut input, &self.plans, &names, &mut strangers)?);
                }
                input.end()
            };
            read().map_err(|Broken| format!("part {number} of the snapshot cannot be read"))?;
        }
        self.counters.strangers += strangers;
        self.pending = Pending::default();
        self.groups = self.plans.iter().map(|_| Default::default()).collect();
        self.floors = vec![None; self.plans.len()];
        self.layout = Layout::default();
        self.next_close = 0;
        // What is in no part has seen nothing; of the rest, what has seen least says where to begin.
        let floors = || sections.iter().map(|s| s.floor);
        self.watermark = floors().map(|f| f.watermark).min().unwrap_or(0);
        self.last = Entry {
            time: floors().map(|f| f.seen.time).min().unwrap_or(0),
            seq: floors().map(|f| f.seen.seq).min().unwrap_or(0),
        };
        for Section { correlation: c, shard: s, floor, pending, mut groups } in sections {
            self.floors[c].get_or_insert_with(|| Box::new([NOTHING_SEEN; SHARDS]))[s] = floor;
            for found in pending {
                self.pending.push(found);
            }
            // As they were written, unless somebody else wrote them.
            groups.sort_by_key(|(order, _, group)| (*order == RESTING, (*order == LIVE).then_some(group.mark.time)));
            for (order, key, group) in groups {
                let hash = self.hash(&key);
                let state = self.rehashed(group.state);
                if shard(&key) == s && self.groups[c][s].table.find(hash, &key).is_none() {
                    self.groups[c][s].insert(hash, &key, order, Group { state, ..group });
                }
            }
        }
        Ok(())
    }

    /// Distinct values are read without their hashes, which depend on the seed.
    fn rehashed(&self, state: State) -> State {
        let State::Values(read) = state else { return state };
        let mut values = Box::<Values>::default();
        for (_, value, last) in read.table.iter(Order::First) {
            let hash = self.hash(value);
            if values.table.find(hash, value).is_none() {
                values.restore(value, hash, *last);
            }
        }
        State::Values(values)
    }

    /// The row is one that the group's shard has seen.
    pub(super) fn seen(&self, correlation: u32, key: &[u8], entry: Entry) -> bool {
        let Some(floors) = &self.floors[correlation as usize] else { return false };
        let floor = floors[shard(key)];
        // Not by the sequence alone: should the numbers begin anew, rows must not be lost for it.
        entry.time < floor.watermark || entry.seq <= floor.seen.seq && entry.time <= floor.seen.time
    }

    /// Once no row can come again, there is nothing to look out for.
    pub(super) fn forget_floors(&mut self) {
        for slot in &mut self.floors {
            let over = |floors: &[Floor; SHARDS]| floors.iter().all(|f| f.seen.time.max(f.watermark) < self.watermark);
            if slot.as_ref().is_some_and(|floors| over(floors)) {
                *slot = None;
            }
        }
    }
}

struct Section {
    correlation: usize,
    shard: usize,
    floor: Floor,
    pending: Vec<Match>,
    groups: Vec<(Order, Box<[u8]>, Group)>,
}

/// None = of a correlation that is not here.
fn section(
    input: &mut Reader<'_>,
    plans: &[Correlation],
    names: &HashMap<&[u8], usize>,
    strangers: &mut u64,
) -> Result<Option<Section>, Broken> {
    let correlation = names.get(input.bytes()?).copied();
    let definition = input.number()?;
    let plan = correlation.and_then(|c| plans.get(c));
    let same = plan.filter(|plan| fixed_hash(plan.definition.as_bytes()) == definition);
    let shard = input.size().ok().filter(|s| *s < SHARDS).ok_or(Broken)?;
    let (time, seq) = (input.number()?, input.number()?);
    let floor = Floor { seen: Entry { time, seq }, watermark: input.number()? };
    let mut pending = Vec::new();
    for _ in 0..input.number()? {
        let (entry, member) = (input.entry()?, u32::try_from(input.number()?).map_err(|_| Broken)?);
        let (key, value) = (input.bytes()?, input.bytes()?);
        if let (Some(plan), Some(correlation)) = (same, correlation) {
            plan.members.get(member as usize).ok_or(Broken)?;
            let correlation = correlation as u32;
            pending.push(Match { entry, correlation, member, key: key.into(), value: value.into() });
        }
    }
    let mut groups = Vec::new();
    for order in [LIVE, RESTING] {
        for _ in 0..input.number()? {
            let key = input.bytes()?;
            let (mark, fired) = (input.entry()?, input.optional()?);
            let state = input.state(same)?;
            match state {
                Some(state) => groups.push((order, key.into(), Group { mark, fired, state })),
                None => *strangers += 1,
            }
        }
    }
    Ok(same.and(correlation).map(|correlation| Section { correlation, shard, floor, pending, groups }))
}

/// Numbers in seven bits a byte, lowest first, the highest bit for "more follows".
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn float(&mut self, n: f64) {
        self.0.extend_from_slice(&n.to_bits().to_le_bytes());
    }

    fn entry(&mut self, entry: Entry) {
        self.number(entry.time);
        self.number(entry.seq);
    }

    fn optional(&mut self, entry: Option<Entry>) {
        self.number(entry.is_some().into());
        if let Some(entry) = entry {
            self.entry(entry);
        }
    }

    /// Written so that it can be skipped without knowing the correlation: its length comes first.
    fn state(&mut self, state: &State) {
        let mut out = Self::default();
        match state {
            State::Count(count) => {
                out.number(count.more);
                count.entries.iter().for_each(|e| out.entry(*e));
            }
            State::Values(values) => {
                for (_, value, last) in values.table.iter(Order::First) {
                    out.bytes(value);
                    out.entry(*last);
                }
            }
            State::Numbers(numbers) => {
                out.float(numbers.sum);
                out.number(numbers.count);
                out.number(numbers.removed as u64);
                for (entry, n) in &numbers.entries {
                    out.entry(*entry);
                    out.float(*n);
                }
            }
            State::Seen(seen) => seen.iter().for_each(|e| out.optional(*e)),
            State::Chains(runs) => {
                out.number(runs.seen);
                for run in runs.runs.iter().flatten() {
                    out.number(run.len() as u64);
                    for entry in run {
                        out.entry(*entry);
                    }
                }
            }
        }
        self.bytes(&out.0);
    }
}

/// Bytes that are no snapshot.
struct Broken;

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Result<u64, Broken> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(Broken)?;
            self.0 = rest;
            n |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(Broken)
    }

    fn size(&mut self) -> Result<usize, Broken> {
        usize::try_from(self.number()?).map_err(|_| Broken)
    }

    fn end(&self) -> Result<(), Broken> {
        if self.0.is_empty() { Ok(()) } else { Err(Broken) }
    }

    fn bytes(&mut self) -> Result<&'a [u8], Broken> {
        let length = self.size()?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Broken)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn float(&mut self) -> Result<f64, Broken> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Broken)?;
        self.0 = rest;
        Ok(f64::from_bits(u64::from_le_bytes(*bytes)))
    }

    fn entry(&mut self) -> Result<Entry, Broken> {
        Ok(Entry { time: self.number()?, seq: self.number()? })
    }

    fn optional(&mut self) -> Result<Option<Entry>, Broken> {
        match self.number()? {
            0 => Ok(None),
            1 => Ok(Some(self.entry()?)),
            _ => Err(Broken),
        }
    }

    /// None = skipped.
    fn state(&mut self, plan: Option<&Correlation>) -> Result<Option<State>, Broken> {
        let mut input = Reader(self.bytes()?);
        let Some(plan) = plan else { return Ok(None) };
        let mut state = State::new(plan);
        match &mut state {
            State::Count(count) => {
                count.more = input.number()?;
                while !input.0.is_empty() {
                    count.entries.push_back(input.entry()?);
                }
            }
            State::Values(values) => {
                while !input.0.is_empty() {
                    let value = input.bytes()?;
                    values.restore(value, fixed_hash(value), input.entry()?);
                }
            }
            State::Numbers(numbers) => {
                numbers.sum = input.float()?;
                numbers.count = input.number()?;
                numbers.removed = input.size()?;
                while !input.0.is_empty() {
                    let (entry, n) = (input.entry()?, input.float()?);
                    numbers.entries.push_back((entry, n));
                }
                if numbers.count < numbers.entries.len() as u64 {
                    return Err(Broken);
                }
                if matches!(plan.kind, Kind::ValuePercentile(_) | Kind::ValueMedian) {
                    numbers.sorted = numbers.entries.iter().map(|(_, n)| *n).collect();
                    numbers.sorted.sort_unstable_by(f64::total_cmp);
                }
            }
            State::Seen(seen) => {
                for slot in seen.iter_mut() {
                    *slot = input.optional()?;
                }
            }
            State::Chains(runs) => {
                runs.seen = input.number()?;
                for run in runs.runs.iter_mut().flatten() {
                    for _ in 0..input.number()? {
                        run.push(input.entry()?);
                    }
                }
            }
        }
        input.end()?;
        Ok(Some(state))
    }
}
