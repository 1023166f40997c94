//! A pipe, device or socket was made, or an ordinary file by mknod(2).

use crate::bodies::name_body;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "sockets made by bind are not seen; inode, device and ctime are not known";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

name_body! {
    /// Body of `security_inode_mknod`.
    Mknod = "mknod_body",
    /// Device that the file stands for, as the kernel encodes it: major << 20 | minor.
    rdev,
    /// Type and permissions; those asked for where the inode is not known.
    mode
}

impl Mknod {
    /// Slice: the path; resolved, or [`crate::SliceFlags::AS_GIVEN`] and then to be joined with the slice behind it.
    pub const FILE_NAME: usize = 0;
    /// Number of slices.
    pub const SLICES: usize = 2;
}
