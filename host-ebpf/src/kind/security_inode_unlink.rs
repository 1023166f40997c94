//! A name of a file was removed.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "inode, device and ctime are not known";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

layout! {
    /// Body of `security_inode_unlink`.
    pub struct Unlink = "unlink_body" {
        /// Inode that lost the name, valid when `inode_known` is 1.
        pub inode: u64,
        /// Change time before the removal, ns since the epoch, valid when `inode_known` is 1.
        pub ctime: u64,
        /// Device as the kernel encodes it, valid when `inode_known` is 1.
        pub dev: u32,
        /// `i_mode`, valid when `inode_known` is 1.
        pub mode: u16,
        /// Whether the hook saw the inode.
        pub inode_known: u8,
        /// Zero.
        pub reserved: u8,
    }
}

impl Unlink {
    /// Slice: the path; resolved, or [`crate::SliceFlags::AS_GIVEN`] and then to be joined with [`Unlink::BASE`].
    pub const PATHNAME: usize = 0;
    /// Slice: resolved directory that an as-given relative path starts from, else absent.
    pub const BASE: usize = 1;
    /// Number of slices.
    pub const SLICES: usize = 2;
}
