//! A socket starts to listen.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "listens by io_uring and failed listens are not seen";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

layout! {
    /// Body of `security_socket_listen`.
    pub struct Listen = "listen_body" {
        /// The descriptor.
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
        /// Connections that may wait, as asked for.
        pub backlog: i32,
    }
}

impl Listen {
    /// Slice: the local `sockaddr`.
    pub const LOCAL: usize = 0;
    /// Number of slices.
    pub const SLICES: usize = 1;
}
