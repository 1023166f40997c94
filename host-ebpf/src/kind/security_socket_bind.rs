//! A socket was bound to an address.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "binds by io_uring and failed binds are not seen";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

layout! {
    /// Body of `security_socket_bind`.
    pub struct Bind = "bind_body" {
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

impl Bind {
    /// Slice: the local `sockaddr`. With a known result it is the address the socket got, so an
    /// asked-for port 0 reads as the port that was chosen.
    pub const LOCAL: usize = 0;
    /// Number of slices.
    pub const SLICES: usize = 1;
}
