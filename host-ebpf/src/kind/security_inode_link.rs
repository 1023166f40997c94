//! A file got a second name (a hard link).

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "links by io_uring are not seen; inode, device and ctime are not known";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

layout! {
    /// Body of `security_inode_link`.
    pub struct Link = "link_body" {
        /// Inode of the file, valid when `inode_known` is 1.
        pub inode: u64,
        /// Its change time, ns since the epoch, valid when `inode_known` is 1.
        pub ctime: u64,
        /// Device as the kernel encodes it, valid when `inode_known` is 1.
        pub dev: u32,
        /// Zero.
        pub reserved2: u32,
        /// `i_mode`, valid when `inode_known` is 1.
        pub mode: u16,
        /// Whether the hook saw the inode.
        pub inode_known: u8,
        /// Zero.
        pub reserved: [u8; 5],
    }
}

impl Link {
    /// Slice: the new path; resolved, or [`crate::SliceFlags::AS_GIVEN`] and then to be joined with the slice behind it.
    pub const NEW: usize = 0;
    /// Slice: the path that was there, likewise.
    pub const OLD: usize = 2;
    /// Number of slices.
    pub const SLICES: usize = 4;
}
