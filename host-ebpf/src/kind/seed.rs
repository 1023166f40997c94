//! A process that was already there, found by the task iterator.

use crate::record::{TaskFacts, layout};

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::Own;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = false;

layout! {
    /// Body of `seed`. The header describes the process (its leader).
    pub struct Seed = "seed_body" {
        /// Inode of the executable, 0 for kernel threads.
        pub inode: u64,
        /// Change time of that inode, ns since the epoch.
        pub ctime: u64,
        /// What is true of the process.
        pub facts: TaskFacts,
        /// Device as the kernel encodes it: major << 20 | minor.
        pub dev: u32,
        /// `i_mode` of the executable.
        pub mode: u16,
        /// Zero.
        pub reserved: u16,
    }
}

impl Seed {
    /// Slice: resolved path of the executable, absent for kernel threads.
    pub const PATHNAME: usize = 0;
    /// Slice: working directory.
    pub const CWD: usize = 1;
    /// Slice: name of the cgroup, see [`super::sched_process_exec::Exec::CGROUP`].
    pub const CGROUP: usize = 2;
    /// Slice: name of the controlling terminal.
    pub const TTY: usize = 3;
    /// Number of slices.
    pub const SLICES: usize = 4;
}
