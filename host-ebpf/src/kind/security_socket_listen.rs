//! A socket starts to listen.

use crate::bodies::socket_body;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "listens by io_uring and failed listens are not seen";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

socket_body! {
    /// Body of `security_socket_listen`.
    Listen = "listen_body",
    /// The descriptor.
    fd,
    /// Connections that may wait, as asked for.
    backlog: i32
}

impl Listen {
    /// Slice: the local `sockaddr`.
    pub const LOCAL: usize = 0;
    /// Number of slices.
    pub const SLICES: usize = 1;
}
