//! A process sends UDP to a peer that it has not connected to, for the first time.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "raw sockets are not seen";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::Cgroup;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

layout! {
    /// Body of `net_udp_send`.
    pub struct UdpSend = "udp_send_body" {
        /// The descriptor, -1 where the hook cannot know it.
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

impl UdpSend {
    /// Slice: the peer's `sockaddr`.
    pub const REMOTE: usize = 0;
    /// Slice: the local `sockaddr`.
    pub const LOCAL: usize = 1;
    /// Number of slices.
    pub const SLICES: usize = 2;
}
