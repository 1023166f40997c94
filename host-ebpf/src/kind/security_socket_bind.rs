//! A socket was bound to an address.

use crate::bodies::socket_body;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "binds by io_uring and failed binds are not seen";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

socket_body! {
    /// Body of `security_socket_bind`.
    Bind = "bind_body",
    /// The descriptor, -1 where the hook cannot know it.
    fd,
    /// Zero.
    reserved2: u32
}

impl Bind {
    /// Slice: the local `sockaddr`. With a known result it is the address the socket got, so an
    /// asked-for port 0 reads as the port that was chosen.
    pub const LOCAL: usize = 0;
    /// Number of slices.
    pub const SLICES: usize = 1;
}
