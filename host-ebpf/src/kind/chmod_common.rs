//! The mode of a file was changed.

use crate::bodies::name_body;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "by path (not by descriptor), inode, device and ctime are not known";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

name_body! {
    /// Body of `chmod_common`.
    Chmod = "chmod_body",
    /// The twelve bits that were asked for.
    requested,
    /// `i_mode` after the change, valid when `inode_known` is 1.
    mode
}

impl Chmod {
    /// Slice: the path; resolved, or [`crate::SliceFlags::AS_GIVEN`] and then to be joined with the slice behind it.
    pub const PATHNAME: usize = 0;
    /// Number of slices.
    pub const SLICES: usize = 2;
}
