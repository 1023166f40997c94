//! What the kernel side counts, per kind and CPU.

use crate::record::layout;

layout! {
    /// One kind's counters on one CPU; sum over the CPUs. `run = filtered + dropped + submitted`.
    pub struct KindCounters = "kind_counters" {
        /// Times the hook ran for an operation of this kind.
        pub run: u64,
        /// Records that reached the ring.
        pub submitted: u64,
        /// Left out on purpose, by [`Filtered`].
        pub filtered: [u64; 8],
        /// Lost, by [`Dropped`].
        pub dropped: [u64; 4],
        /// Runs that were the sensor's own probe of the hook (counted in `submitted` or `dropped`, too).
        pub canary: u64,
        /// Zero.
        pub reserved: u64,
    }
}

/// Why a run made no record on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Filtered {
    /// The kind is not wanted.
    Off = 0,
    /// The sensor's own operation.
    Own = 1,
    /// A thread, not a process (fork), or not the last thread (exit).
    Thread = 2,
    /// The operation failed and the kind means success.
    Failed = 3,
    /// Outside the class that is wanted (e.g. opens that cannot change a file).
    Class = 4,
    /// The same operation was reported by a better hook.
    Paired = 5,
    /// The object is not of this kind (e.g. the descriptor is not a socket).
    Other = 6,
}

impl Filtered {
    /// Every reason, with its name in metrics.
    pub const ALL: &'static [(Filtered, &'static str)] = &[
        (Filtered::Off, "off"),
        (Filtered::Own, "own"),
        (Filtered::Thread, "thread"),
        (Filtered::Failed, "failed"),
        (Filtered::Class, "class"),
        (Filtered::Paired, "paired"),
        (Filtered::Other, "other"),
    ];
}

/// Why a record was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Dropped {
    /// A bulk kind, and the ring was more than three quarters full.
    Headroom = 0,
    /// The ring was full.
    Full = 1,
    /// Scratch or kernel memory could not be read.
    Fault = 2,
    /// The second half of a two-step hook never came.
    Unpaired = 3,
}

impl Dropped {
    /// Every reason, with its name in metrics.
    pub const ALL: &'static [(Dropped, &'static str)] = &[
        (Dropped::Headroom, "headroom"),
        (Dropped::Full, "full"),
        (Dropped::Fault, "fault"),
        (Dropped::Unpaired, "unpaired"),
    ];
}
