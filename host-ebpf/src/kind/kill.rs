//! A process sends a signal.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

layout! {
    /// Body of `kill`.
    pub struct Kill = "kill_body" {
        /// The number the signal goes to, as the call has it: a process, a thread, or a group when it is not positive.
        pub pid: i32,
        /// The signal, 0 to ask only.
        pub sig: i32,
        /// Result of the call: 0 or a negative errno.
        pub result: i32,
        /// Index into [`Kill::CALLS`].
        pub call: u8,
        /// Whether `pid` is known: a pidfd may have none in the caller's namespace.
        pub pid_known: u8,
        /// Zero.
        pub reserved: u16,
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

impl Kill {
    /// The calls, by [`Self::call`].
    pub const CALLS: &'static [&'static str] = &["kill", "tkill", "tgkill", "pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo"];

    /// Slice: path of the target's executable, absent when it is gone.
    pub const TARGET_EXE: usize = 0;
    /// Number of slices.
    pub const SLICES: usize = 1;
}
