//! A process was created. Threads are not reported.

use crate::record::{TaskFacts, layout};

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::Own;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

layout! {
    /// Body of `sched_process_fork`. The header describes the creator.
    pub struct Fork = "fork_body" {
        /// Start of the child, `CLOCK_BOOTTIME` ns.
        pub child_start: u64,
        /// Start of the child's real parent (not the creator with `CLONE_PARENT`), `CLOCK_BOOTTIME` ns.
        pub child_parent_start: u64,
        /// What is true of the child.
        pub child: TaskFacts,
        /// The child's process id.
        pub child_pid: u32,
        /// The child's process id inside its own pid namespace.
        pub child_ns_pid: u32,
        /// The child's real parent.
        pub child_ppid: u32,
        /// Inode number of the child's pid namespace.
        pub child_pid_ns: u32,
    }
}

impl Fork {
    /// Slice: name of the child's cgroup, see [`super::sched_process_exec::Exec::CGROUP`].
    pub const CGROUP: usize = 0;
    /// Number of slices.
    pub const SLICES: usize = 1;
}
