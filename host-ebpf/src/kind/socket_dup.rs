//! A socket became standard input, output or error.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = false;

layout! {
    /// Body of `socket_dup`.
    pub struct Dup = "dup_body" {
        /// Descriptor that was copied.
        pub old_fd: i32,
        /// The copy: 0, 1 or 2.
        pub new_fd: i32,
        /// `AF_*`.
        pub family: u16,
        /// `SOCK_*`.
        pub type_: u16,
        /// Inode number of the network namespace.
        pub net_ns: u32,
    }
}

impl Dup {
    /// Slice: the peer's `sockaddr`.
    pub const REMOTE: usize = 0;
    /// Number of slices.
    pub const SLICES: usize = 1;
}
