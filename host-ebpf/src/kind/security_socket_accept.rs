//! A connection was accepted.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "accepts by multishot io_uring requests are not seen";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

layout! {
    /// Body of `security_socket_accept`.
    pub struct Accept = "accept_body" {
        /// The descriptor of the listening socket, -1 where the hook cannot know it.
        pub fd: i32,
        /// Result of the call; meaningful when `result_known` is 1.
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

impl Accept {
    /// Slice: this end's `sockaddr`.
    pub const LOCAL: usize = 0;
    /// Slice: the peer's `sockaddr`.
    pub const REMOTE: usize = 1;
    /// Number of slices.
    pub const SLICES: usize = 2;
}
