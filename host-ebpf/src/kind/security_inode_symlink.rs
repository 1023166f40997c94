//! A symbolic link was made.

use crate::bodies::name_body;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "links by io_uring are not seen; inode, device and ctime are not known";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

name_body! {
    /// Body of `security_inode_symlink`.
    Symlink = "symlink_body",
    /// Zero.
    reserved2,
    /// `i_mode`, valid when `inode_known` is 1.
    mode
}

impl Symlink {
    /// Slice: path of the link; resolved, or [`crate::SliceFlags::AS_GIVEN`] and then to be joined with the slice behind it.
    pub const LINKPATH: usize = 0;
    /// Slice: what the link says, word for word.
    pub const TARGET: usize = 2;
    /// Number of slices.
    pub const SLICES: usize = 3;
}
