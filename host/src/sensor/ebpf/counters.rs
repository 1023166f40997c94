//! The counts of the kernel side, added up.

use std::{collections::BTreeMap, mem::offset_of};

use picket_ebpf::{Dropped, Filtered, Kind, KindCounters};

/// A kind's counters as words.
pub(super) const WORDS: usize = size_of::<KindCounters>() / size_of::<u64>();
pub(super) const RUN: usize = offset_of!(KindCounters, run) / size_of::<u64>();
const SUBMITTED: usize = offset_of!(KindCounters, submitted) / size_of::<u64>();
const FILTERED: usize = offset_of!(KindCounters, filtered) / size_of::<u64>();
const DROPPED: usize = offset_of!(KindCounters, dropped) / size_of::<u64>();
pub(super) const CANARY: usize = offset_of!(KindCounters, canary) / size_of::<u64>();

/// What was counted since [`Ebpf::open`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By kind.
    pub kinds: BTreeMap<Kind, KindCount>,
    /// Runs that the kernel skipped, by program: `fired = missed + run`.
    pub missed: BTreeMap<String, u64>,
    /// Canary records read from the ring and held back.
    pub canaries_read: u64,
    /// Records handed to the caller of [`Ebpf::poll`].
    pub read: u64,
}

/// One kind's counts; `run = filtered + dropped + submitted`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KindCount {
    /// Times a hook ran for this kind.
    pub run: u64,
    /// Records that reached the ring.
    pub submitted: u64,
    /// Left out on purpose, by reason.
    pub filtered: BTreeMap<&'static str, u64>,
    /// Lost, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Runs that were canaries, among `submitted` or `dropped`.
    pub canary: u64,
}

impl KindCount {
    /// Names the words of a `KindCounters`.
    pub(super) fn from_words(words: &[u64; WORDS]) -> KindCount {
        KindCount {
            run: words[RUN],
            submitted: words[SUBMITTED],
            filtered: Filtered::ALL.iter().map(|&(why, name)| (name, words[FILTERED + why as usize])).collect(),
            dropped: Dropped::ALL.iter().map(|&(why, name)| (name, words[DROPPED + why as usize])).collect(),
            canary: words[CANARY],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_word() {
        let words: [u64; WORDS] = std::array::from_fn(|n| n as u64);
        let count = KindCount::from_words(&words);
        assert_eq!((count.run, count.submitted, count.canary), (0, 1, 22));
        assert_eq!((count.filtered["off"], count.filtered["other"]), (2, 8));
        assert_eq!(count.filtered["throttled"], 16);
        assert_eq!((count.dropped["headroom"], count.dropped["unpaired"]), (18, 21));
    }
}
