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
    /// Value of the `FILTERS` array's only entry: who is left out, by the host's configuration.
    pub struct Filters = "filters" {
        /// [`Filters::IGNORE_TASKS`] and so on.
        pub flags: u32,
        /// Which of the two path automata counts.
        pub bank: u32,
        /// Records of a kind per second and process; 0 = any number.
        pub rate: u32,
        /// And at once.
        pub burst: u32,
        /// Magic numbers of ignored file systems; 0 = none.
        pub magic: [u64; 8],
    }
}

impl Filters {
    /// Processes in `IGNORED` are left out.
    pub const IGNORE_TASKS: u32 = 1;
    /// Control groups with this flag in `CGROUPS` are left out.
    pub const IGNORE_CGROUPS: u32 = 2;
    /// All but the control groups with this flag in `CGROUPS` are left out.
    pub const ONLY_CGROUPS: u32 = 4;
    /// The host's own operations are reported like any other.
    pub const SEE_OWN: u32 = 8;
}

layout! {
    /// Key of `BINARIES`: the file of an ignored binary.
    pub struct Binary = "binary" {
        /// Its inode.
        pub inode: u64,
        /// Its device as the kernel encodes it: major << 20 | minor.
        pub dev: u32,
        /// Zero.
        pub reserved: u32,
    }
}

layout! {
    /// Value of `THROTTLED`, by process and kind.
    pub struct Throttled = "throttled" {
        /// Records that were left out.
        pub count: u64,
        /// The thread that was first.
        pub comm: [u8; 16],
    }
}

layout! {
    /// Value of `PATH_STATES`: a state of the automaton that reads paths.
    pub struct PathState = "path_state" {
        /// By class of the next byte.
        pub next: [u16; 64],
        /// Groups whose text ends here.
        pub groups: u32,
        /// Zero.
        pub reserved: u32,
    }
}

impl PathState {
    /// Entries of one bank.
    pub const STATES: usize = 4096;
    /// Bytes in no text.
    pub const OTHER: u8 = 0;
    /// What stands before the first byte.
    pub const START: u8 = 1;
    /// What stands after the last one.
    pub const END: u8 = 2;
}

layout! {
    /// Value of `PATH_CLASSES`.
    pub struct PathClasses = "path_classes" {
        /// By byte.
        pub of: [u8; 256],
        /// The state before the first byte.
        pub start: u32,
    }
}

layout! {
    /// Value of `PATH_WISHES`, by kind: the groups of paths it is wanted for; 0 = every path.
    pub struct PathWish = "path_wish" {
        /// Of any operation.
        pub any: u32,
        /// Of those that can change the file.
        pub change: u32,
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
        pub filtered: [u64; 16],
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
    /// A path that no rule is about.
    Path = 10,
    /// A process of an ignored binary, or one that such a process started.
    Binary = 11,
    /// A control group that is ignored, or not among those that are wanted.
    Cgroup = 12,
    /// A file system that is ignored.
    Filesystem = 13,
    /// The process made more records of this kind than it may.
    Throttled = 14,
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
        (Filtered::Path, "path"),
        (Filtered::Binary, "binary"),
        (Filtered::Cgroup, "cgroup"),
        (Filtered::Filesystem, "filesystem"),
        (Filtered::Throttled, "throttled"),
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
