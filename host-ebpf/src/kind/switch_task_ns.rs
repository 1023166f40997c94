//! A process went into other namespaces.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = false;

layout! {
    /// Body of `switch_task_ns`. A namespace's number is 0 when the call was not about it.
    pub struct SwitchTaskNs = "switch_task_ns_body" {
        /// `CLONE_NEW*` as the call has them.
        pub flags: u64,
        /// Mount namespace.
        pub mnt: u32,
        /// Pid namespace of the children to come.
        pub pid: u32,
        /// UTS namespace.
        pub uts: u32,
        /// IPC namespace.
        pub ipc: u32,
        /// Network namespace.
        pub net: u32,
        /// Cgroup namespace.
        pub cgroup: u32,
        /// User namespace.
        pub user: u32,
        /// Index into [`SwitchTaskNs::CALLS`].
        pub call: u8,
        /// Zero.
        pub reserved: [u8; 3],
    }
}

impl SwitchTaskNs {
    /// The calls, by [`Self::call`].
    pub const CALLS: &'static [&'static str] = &["unshare", "setns"];

    /// Number of slices.
    pub const SLICES: usize = 0;
}
