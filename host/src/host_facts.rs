//! Who this host is: part of the identity of every alert.

use crate::slab::Origin;

/// Machine id, boot id and name of this host.
pub fn origin() -> Origin {
    let read = |path: &str| std::fs::read_to_string(path).map(|t| t.trim().to_owned()).unwrap_or_default();
    Origin {
        machine: read("/etc/machine-id"),
        boot: read("/proc/sys/kernel/random/boot_id"),
        hostname: read("/proc/sys/kernel/hostname"),
    }
}

/// A seed for hashers in guests: attackers choose the strings, so the seed must not be guessable.
pub fn seed() -> (u64, u64) {
    use std::hash::{BuildHasher as _, Hasher as _};
    // The standard library seeds its hashers from the system's random numbers.
    let word = || std::collections::hash_map::RandomState::new().build_hasher().finish();
    (word(), word())
}
