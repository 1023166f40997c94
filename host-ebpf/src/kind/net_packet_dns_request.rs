//! A DNS request leaves this host.

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str =
    "only port 53 in the clear: not DoH, DoT, nss-resolve, nor who asked a resolver daemon over its own socket";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::Cgroup;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = false;

pub use crate::bodies::Dns as DnsRequest;
