//! A socket is being connected.

use crate::bodies::socket_body;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "the result of a TCP connect is not known";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

socket_body! {
    /// Body of `security_socket_connect`.
    Connect = "connect_body",
    /// The descriptor, -1 where the hook cannot know it.
    fd,
    /// Zero.
    reserved2: u32
}

impl Connect {
    /// Slice: the peer's `sockaddr`.
    pub const REMOTE: usize = 0;
    /// Slice: the local `sockaddr` where it is known.
    pub const LOCAL: usize = 1;
    /// Number of slices.
    pub const SLICES: usize = 2;
}
