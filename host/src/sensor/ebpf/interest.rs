//! Which kinds are wanted, and how each is seen.

use std::collections::BTreeMap;

use picket_ebpf::{Class, Interest, Kind, Rung};

use super::filters::Wish;

/// The kinds wanted, each with its filters (`Interest::CHANGES_ONLY`, `Interest::NO_UNIX`). The
/// lifecycle kinds are always on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterestSet {
    kinds: BTreeMap<Kind, u32>,
    paths: BTreeMap<Kind, Wish>,
}

impl InterestSet {
    /// Adds a kind. When it is there already, only filters that both want stay.
    pub fn add(&mut self, kind: Kind, filters: u32) {
        self.add_paths(kind, filters, &Wish::ALL);
    }
    /// Adds a kind of which only some paths are wanted.
    pub fn add_paths(&mut self, kind: Kind, filters: u32, paths: &Wish) {
        self.paths.entry(kind).and_modify(|have| *have = std::mem::take(have).or(paths)).or_insert(paths.clone());
        let flags = filters | Interest::WANTED;
        self.kinds.entry(kind).and_modify(|have| *have &= flags).or_insert(flags);
    }
    /// What either set wants.
    #[must_use]
    pub fn union(mut self, other: &InterestSet) -> InterestSet {
        for (&kind, &flags) in &other.kinds {
            self.add_paths(kind, flags, other.paths.get(&kind).unwrap_or(&Wish::ALL));
        }
        self
    }
    /// The kinds of this set of which the other wants more.
    #[must_use]
    pub fn widened_by(&self, other: &InterestSet) -> Vec<Kind> {
        let both = self.clone().union(other);
        let wider =
            |kind: &&Kind| both.flags(**kind) != self.flags(**kind) || both.paths.get(kind) != self.paths.get(kind);
        self.kinds.keys().filter(wider).copied().collect()
    }
    /// The paths that are wanted, by kind.
    pub(super) fn paths(&self) -> &BTreeMap<Kind, Wish> {
        &self.paths
    }
    /// Interest flags of a kind: 0 when it is not wanted.
    pub(super) fn flags(&self, kind: Kind) -> u32 {
        match kind.class() {
            Class::Lifecycle => Interest::WANTED,
            Class::Bulk => self.kinds.get(&kind).copied().unwrap_or(0),
            Class::Iterator => 0,
        }
    }
}

/// How a kind is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindStatus {
    /// The kind.
    pub kind: Kind,
    /// The rung it is on, `None` when no rung works.
    pub rung: Option<Rung>,
    /// Its main hook, as `System.Hook` names it; empty when no rung works.
    pub hook: &'static str,
    /// What is not seen on this rung, and why; `None` when everything is.
    pub degraded: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interest_of_two_is_the_weaker_filter() {
        let (open, connect) = (Kind::ALL[3], Kind::ALL[4]);
        let mut a = InterestSet::default();
        a.add(open, Interest::CHANGES_ONLY);
        let mut b = InterestSet::default();
        b.add(open, 0);
        b.add(connect, Interest::NO_UNIX);
        let both = a.clone().union(&b);
        assert_eq!(both.flags(open), Interest::WANTED);
        assert_eq!(both.flags(connect), Interest::WANTED | Interest::NO_UNIX);
        assert_eq!(a.flags(connect), 0);
        assert_eq!(InterestSet::default().flags(Kind::ALL[0]), Interest::WANTED);
    }
}
