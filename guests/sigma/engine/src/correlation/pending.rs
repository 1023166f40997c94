//! Matches that are younger than the watermark: an older one may still come.

use super::state::Entry;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Match {
    pub entry: Entry,
    pub correlation: u32,
    pub member: u32,
    pub key: Box<[u8]>,
    pub value: Box<[u8]>,
}

#[derive(Debug, Default)]
pub(super) struct Pending {
    heap: BinaryHeap<Reverse<Match>>,
}

impl Pending {
    pub fn push(&mut self, found: Match) {
        self.heap.push(Reverse(found));
    }

    pub fn len(&self) -> usize {
        self.heap.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Match> {
        self.heap.iter().map(|Reverse(found)| found)
    }

    /// The oldest match.
    pub fn pop(&mut self) -> Option<Match> {
        self.heap.pop().map(|Reverse(found)| found)
    }

    /// The oldest match, if it is older than `entry`.
    pub fn pop_before(&mut self, entry: Entry) -> Option<Match> {
        let Reverse(first) = self.heap.peek()?;
        if first.entry < entry { self.pop() } else { None }
    }
}
