//! The mode of a file was changed.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "by path (not by descriptor), inode, device and ctime are not known";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

layout! {
    /// Body of `chmod_common`.
    pub struct Chmod = "chmod_body" {
        /// Inode of the file, valid when `inode_known` is 1.
        pub inode: u64,
        /// Its change time after the change, ns since the epoch, valid when `inode_known` is 1.
        pub ctime: u64,
        /// Device as the kernel encodes it, valid when `inode_known` is 1.
        pub dev: u32,
        /// The twelve bits that were asked for.
        pub requested: u32,
        /// `i_mode` after the change, valid when `inode_known` is 1.
        pub mode: u16,
        /// Whether the hook saw the inode.
        pub inode_known: u8,
        /// Zero.
        pub reserved: [u8; 5],
    }
}

impl Chmod {
    /// Slice: the path; resolved, or [`crate::SliceFlags::AS_GIVEN`] and then to be joined with the slice behind it.
    pub const PATHNAME: usize = 0;
    /// Number of slices.
    pub const SLICES: usize = 2;
}
