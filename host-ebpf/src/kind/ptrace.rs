//! A process reaches into another.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

layout! {
    /// Body of `ptrace`.
    pub struct Ptrace = "ptrace_body" {
        /// `PTRACE_*`; 0 for the other calls.
        pub request: u64,
        /// Address argument.
        pub addr: u64,
        /// Data argument.
        pub data: u64,
        /// Result of the call; negative errno when it failed.
        pub result: i64,
        /// Thread or process id as the call has it.
        pub pid: i32,
        /// Index into [`Ptrace::CALLS`].
        pub call: u8,
        /// Zero.
        pub reserved: [u8; 3],
        /// Start of the target's leader, `CLOCK_BOOTTIME` ns; as all of the target, valid when `target_known` is 1.
        pub target_start: u64,
        /// Process id of the target in the initial namespace.
        pub target_pid: u32,
        /// Real user id of the target.
        pub target_uid: u32,
        /// `comm` of the target's leader, NUL padded.
        pub target_comm: [u8; 16],
        /// Whether the target was found.
        pub target_known: u8,
        /// Zero.
        pub reserved2: [u8; 7],
    }
}

impl Ptrace {
    /// The calls, by [`Self::call`].
    pub const CALLS: &'static [&'static str] = &["ptrace", "process_vm_readv", "process_vm_writev"];

    /// Slice: path of the target's executable, absent when it is gone or not known.
    pub const TARGET_EXE: usize = 0;
    /// Number of slices.
    pub const SLICES: usize = 1;
}
