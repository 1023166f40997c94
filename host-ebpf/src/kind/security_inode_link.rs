//! A file got a second name (a hard link).

use crate::bodies::name_body;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "links by io_uring are not seen; inode, device and ctime are not known";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

name_body! {
    /// Body of `security_inode_link`.
    Link = "link_body",
    /// Zero.
    reserved2,
    /// `i_mode`, valid when `inode_known` is 1.
    mode
}

impl Link {
    /// Slice: the new path; resolved, or [`crate::SliceFlags::AS_GIVEN`] and then to be joined with the slice behind it.
    pub const NEW: usize = 0;
    /// Slice: the path that was there, likewise.
    pub const OLD: usize = 2;
    /// Number of slices.
    pub const SLICES: usize = 4;
}
