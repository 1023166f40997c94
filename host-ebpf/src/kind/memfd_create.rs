//! A file that lives in memory only was made.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

layout! {
    /// Body of `memfd_create`.
    pub struct Memfd = "memfd_body" {
        /// Inode of the new file.
        pub inode: u64,
        /// Device as the kernel encodes it: major << 20 | minor.
        pub dev: u32,
        /// `MFD_*`.
        pub flags: u32,
        /// The new descriptor.
        pub fd: i32,
        /// Zero.
        pub reserved: u32,
    }
}

impl Memfd {
    /// Slice: name as the kernel keeps it: `memfd:` and what the caller gave.
    pub const NAME: usize = 0;
    /// Number of slices.
    pub const SLICES: usize = 1;
}
