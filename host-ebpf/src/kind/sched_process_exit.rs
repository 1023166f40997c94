//! The last thread of a process ended.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::Own;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

layout! {
    /// Body of `sched_process_exit`.
    pub struct Exit = "exit_body" {
        /// Status as wait(2) encodes it: exit code << 8 | signal.
        pub exit_code: u32,
        /// Zero.
        pub reserved: u32,
    }
}

impl Exit {
    /// Number of slices.
    pub const SLICES: usize = 0;
}
