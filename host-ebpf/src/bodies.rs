//! Bodies that several kinds share, as the C side has them: `SOCKET_BODY`, `NAME_BODY` and `dns_body`.

use crate::record::layout;

/// The body of a record about a socket; `$last` is the kind's own.
macro_rules! socket_body {
    ($(#[$doc:meta])* $name:ident = $c:literal, $(#[$fd:meta])* fd, $(#[$own:meta])* $last:ident: $ty:ty) => {
        $crate::record::layout! {
            $(#[$doc])*
            pub struct $name = $c {
                $(#[$fd])*
                pub fd: i32,
                /// Result of the call: 0 or more, or a negative errno; meaningful when `result_known` is 1.
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
                $(#[$own])*
                pub $last: $ty,
            }
        }
    };
}
pub(crate) use socket_body;

/// The body of a record about a name of a file; `$more` is the kind's own.
macro_rules! name_body {
    ($(#[$doc:meta])* $name:ident = $c:literal, $(#[$own:meta])* $more:ident, $(#[$mode:meta])* mode) => {
        $crate::record::layout! {
            $(#[$doc])*
            pub struct $name = $c {
                /// Inode behind the name, valid when `inode_known` is 1.
                pub inode: u64,
                /// Its change time, ns since the epoch, valid when `inode_known` is 1.
                pub ctime: u64,
                /// Device that it lies on, as the kernel encodes it, valid when `inode_known` is 1.
                pub dev: u32,
                $(#[$own])*
                pub $more: u32,
                $(#[$mode])*
                pub mode: u16,
                /// Whether the hook saw the inode.
                pub inode_known: u8,
                /// Zero.
                pub reserved: [u8; 5],
            }
        }
    };
}
pub(crate) use name_body;

layout! {
    /// Body of the kinds about DNS messages in packets.
    pub struct Dns = "dns_body" {
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

impl Dns {
    /// Slice: the DNS message, cut at 1,500 bytes.
    pub const MESSAGE: usize = 0;
    /// Number of slices.
    pub const SLICES: usize = 1;
}
