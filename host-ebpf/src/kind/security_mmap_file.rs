//! A file was mapped to be executed.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "mappings that exec itself makes are not seen";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = false;

layout! {
    /// Body of `security_mmap_file`.
    pub struct Mmap = "mmap_body" {
        /// Inode of the file.
        pub inode: u64,
        /// Change time of that inode, ns since the epoch.
        pub ctime: u64,
        /// Device as the kernel encodes it: major << 20 | minor.
        pub dev: u32,
        /// `file->f_flags`.
        pub flags: u32,
        /// `PROT_*` asked for.
        pub prot: u32,
        /// `MAP_*`.
        pub mmap_flags: u32,
    }
}

impl Mmap {
    /// Slice: resolved path of the file.
    pub const PATHNAME: usize = 0;
    /// Number of slices.
    pub const SLICES: usize = 1;
}
