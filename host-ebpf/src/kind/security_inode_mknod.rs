//! A pipe, device or socket was made, or an ordinary file by mknod(2).

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "sockets made by bind are not seen; inode, device and ctime are not known";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

layout! {
    /// Body of `security_inode_mknod`.
    pub struct Mknod = "mknod_body" {
        /// Inode of the new file, valid when `inode_known` is 1.
        pub inode: u64,
        /// Its change time, ns since the epoch, valid when `inode_known` is 1.
        pub ctime: u64,
        /// Device that the file lies on, as the kernel encodes it, valid when `inode_known` is 1.
        pub dev: u32,
        /// Device that the file stands for, as the kernel encodes it: major << 20 | minor.
        pub rdev: u32,
        /// Type and permissions; those asked for where the inode is not known.
        pub mode: u16,
        /// Whether the hook saw the inode.
        pub inode_known: u8,
        /// Zero.
        pub reserved: [u8; 5],
    }
}

impl Mknod {
    /// Slice: the path; resolved, or [`crate::SliceFlags::AS_GIVEN`] and then to be joined with the slice behind it.
    pub const FILE_NAME: usize = 0;
    /// Number of slices.
    pub const SLICES: usize = 2;
}
