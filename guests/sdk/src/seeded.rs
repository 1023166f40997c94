//! A hasher whose keys the host chooses.

use std::hash::BuildHasher;

/// Keyed hashing for maps over event data. The target has no entropy: the standard library's keys would be the same in every run, and
/// event strings are chosen by attackers.
///
/// ```
/// let mut seen = std::collections::HashSet::with_hasher(picket_guest::Seeded::new((1, 2)));
/// assert!(seen.insert("/bin/sh"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeded(u64, u64);

impl Seeded {
    /// Takes [`Setup::seed`](crate::Setup::seed).
    pub fn new(seed: (u64, u64)) -> Seeded {
        Seeded(seed.0, seed.1)
    }
}

#[expect(deprecated, reason = "the only keyed hasher of the standard library; its successor cannot be given keys")]
impl BuildHasher for Seeded {
    type Hasher = std::hash::SipHasher;

    fn build_hasher(&self) -> Self::Hasher {
        std::hash::SipHasher::new_with_keys(self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_decide_the_hash() {
        let hash = |seed| Seeded::new(seed).hash_one("/bin/sh");
        assert_eq!(hash((1, 2)), hash((1, 2)));
        assert_ne!(hash((1, 2)), hash((1, 3)));
        assert_ne!(hash((1, 2)), hash((0, 2)));
    }
}
