//! A module left the kernel.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::Own;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = false;

layout! {
    /// Body of `module_free`.
    pub struct ModuleFree = "module_free_body" {
        /// Zero.
        pub reserved: u64,
    }
}

impl ModuleFree {
    /// Slice: name.
    pub const NAME: usize = 0;
    /// Slice: version, absent when the author gave none.
    pub const VERSION: usize = 1;
    /// Slice: checksum of its sources, absent when it was not built with one.
    pub const SRC_VERSION: usize = 2;
    /// Number of slices.
    pub const SLICES: usize = 3;
}
