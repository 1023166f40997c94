//! A socket is being connected.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "the result of a TCP connect is not known";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

layout! {
    /// Body of `security_socket_connect`.
    pub struct Connect = "connect_body" {
        /// The descriptor, -1 where the hook cannot know it.
        pub fd: i32,
        /// Result of the call: 0 or a negative errno; meaningful when `result_known` is 1.
        pub result: i32,
        /// Inode number of the network namespace.
        pub net_ns: u32,
        /// `SOCK_*`.
        pub type_: u16,
        /// `AF_*`.
        pub family: u16,
        /// `IPPROTO_*`.
        pub protocol: u16,
        /// Whether the hook saw the result.
        pub result_known: u8,
        /// Zero.
        pub reserved: u8,
        /// Zero.
        pub reserved2: u32,
    }
}

impl Connect {
    /// Slice: the peer's `sockaddr`.
    pub const REMOTE: usize = 0;
    /// Slice: the local `sockaddr` where it is known.
    pub const LOCAL: usize = 1;
    /// Number of slices.
    pub const SLICES: usize = 2;
}
