//! What host and kernel side tell each other outside the records: interest, configuration, counters.

use crate::record::layout;

/// A way to see a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Rung {
    /// kprobes on `security_*`: the kernel's own copy of every value.
    Kprobe = 1,
    /// BTF raw tracepoints: everywhere, with what they can see.
    Tracepoint = 2,
}

impl Rung {
    /// The name, as in the names of the object's programs.
    pub fn name(self) -> &'static str {
        match self {
            Rung::Kprobe => "kprobe",
            Rung::Tracepoint => "tracepoint",
        }
    }
}

layout! {
    /// Value of the `INTEREST` array, indexed by kind id: what the host wants of a kind.
    pub struct Interest = "interest" {
        /// [`Interest::WANTED`] and filters.
        pub flags: u32,
        /// [`Rung`] whose programs report the kind.
        pub rung: u32,
    }
}

impl Interest {
    /// The kind is reported at all.
    pub const WANTED: u32 = 1;
    /// Of opens, only those that can change a file: for writing, creating or truncating.
    pub const CHANGES_ONLY: u32 = 2;
    /// Of sockets, not `AF_UNIX`.
    pub const NO_UNIX: u32 = 4;
}

layout! {
    /// Value of the `CONFIG` array's only entry.
    pub struct Config = "config" {
        /// The host's process id in the initial pid namespace; the task iterator writes it.
        pub own_tgid: u32,
        /// While not 0, the host's own operations pass, marked [`crate::Flags::CANARY`].
        pub canary: u32,
    }
}

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
    /// Not the first of its like, and the kind means the first.
    Repeat = 7,
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
        (Filtered::Repeat, "repeat"),
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
