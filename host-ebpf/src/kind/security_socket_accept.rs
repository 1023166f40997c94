//! A connection was accepted.

use crate::bodies::socket_body;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "accepts by multishot io_uring requests are not seen";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

socket_body! {
    /// Body of `security_socket_accept`.
    Accept = "accept_body",
    /// The descriptor of the listening socket, -1 where the hook cannot know it.
    fd,
    /// Zero.
    reserved2: u32
}

impl Accept {
    /// Slice: this end's `sockaddr`.
    pub const LOCAL: usize = 0;
    /// Slice: the peer's `sockaddr`.
    pub const REMOTE: usize = 1;
    /// Number of slices.
    pub const SLICES: usize = 2;
}
