//! A process sends UDP to a peer that it has not connected to, for the first time.

use crate::bodies::socket_body;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "raw sockets are not seen";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::Cgroup;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

socket_body! {
    /// Body of `net_udp_send`.
    UdpSend = "udp_send_body",
    /// The descriptor, -1 where the hook cannot know it.
    fd,
    /// Zero.
    reserved2: u32
}

impl UdpSend {
    /// Slice: the peer's `sockaddr`.
    pub const REMOTE: usize = 0;
    /// Slice: the local `sockaddr`.
    pub const LOCAL: usize = 1;
    /// Number of slices.
    pub const SLICES: usize = 2;
}
