//! A DNS response arrives at this host.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str =
    "only port 53 in the clear: not DoH, DoT, nss-resolve, nor who asked a resolver daemon over its own socket";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::Cgroup;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = false;

layout! {
    /// Body of `net_packet_dns_response`.
    pub struct DnsResponse = "dns_response_body" {
        /// Source address, the first four bytes in IP version 4.
        pub source: [u8; 16],
        /// Destination address, likewise.
        pub destination: [u8; 16],
        /// Bytes of the packet, IP header included.
        pub packet_length: u32,
        /// Number of the network device in its namespace.
        pub ifindex: u32,
        /// Source port.
        pub source_port: u16,
        /// Destination port.
        pub destination_port: u16,
        /// IP version.
        pub version: u8,
        /// `IPPROTO_*`.
        pub protocol: u8,
        /// Zero.
        pub reserved: u16,
    }
}

impl DnsResponse {
    /// Slice: the DNS message, cut at 1,500 bytes.
    pub const MESSAGE: usize = 0;
    /// Number of slices.
    pub const SLICES: usize = 1;
}
