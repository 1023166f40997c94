//! A module was loaded into the kernel.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::Own;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = false;

layout! {
    /// Body of `module_load`.
    pub struct ModuleLoad = "module_load_body" {
        /// Inode of the module's file.
        pub inode: u64,
        /// Change time of that inode, ns since the epoch.
        pub ctime: u64,
        /// Device as the kernel encodes it: major << 20 | minor.
        pub dev: u32,
        /// Whether the call named a file (finit_module); else the values above are 0.
        pub file_known: u8,
        /// Zero.
        pub reserved: [u8; 3],
    }
}

impl ModuleLoad {
    /// Slice: name.
    pub const NAME: usize = 0;
    /// Slice: version, absent when the author gave none.
    pub const VERSION: usize = 1;
    /// Slice: checksum of its sources, absent when it was not built with one.
    pub const SRC_VERSION: usize = 2;
    /// Slice: resolved path of the file.
    pub const PATHNAME: usize = 3;
    /// Number of slices.
    pub const SLICES: usize = 4;
}
