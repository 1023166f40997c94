//! Memory became executable.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "what the memory was before the call is not known";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::Own;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = false;

layout! {
    /// Body of `security_file_mprotect`.
    pub struct Mprotect = "mprotect_body" {
        /// Inode of the mapped file, 0 for anonymous memory.
        pub inode: u64,
        /// Change time of that inode, ns since the epoch.
        pub ctime: u64,
        /// First address of the call.
        pub address: u64,
        /// Bytes the call named.
        pub length: u64,
        /// Device as the kernel encodes it: major << 20 | minor.
        pub dev: u32,
        /// `PROT_*` asked for.
        pub prot: u32,
        /// `PROT_*` before, -1 where it is not known.
        pub prev_prot: i32,
        /// Protection key, -1 when the call has none.
        pub pkey: i32,
        /// Whether the mapping was looked at; else nothing is known of its file.
        pub mapping_known: u8,
        /// Zero.
        pub reserved: [u8; 7],
    }
}

impl Mprotect {
    /// Slice: resolved path of the mapped file, absent for anonymous memory.
    pub const PATHNAME: usize = 0;
    /// Number of slices.
    pub const SLICES: usize = 1;
}
