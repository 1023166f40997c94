//! A file got another name.

use crate::bodies::name_body;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "inode, device and ctime are not known";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

name_body! {
    /// Body of `security_inode_rename`.
    Rename = "rename_body",
    /// `RENAME_*`: 1 do not replace, 2 exchange (there is a second record, the other way), 4 leave a whiteout.
    rename_flags,
    /// `i_mode`, valid when `inode_known` is 1.
    mode
}

impl Rename {
    /// Slice: the new path; resolved, or [`crate::SliceFlags::AS_GIVEN`] and then to be joined with the slice behind it.
    pub const NEW: usize = 0;
    /// Slice: the old path, likewise.
    pub const OLD: usize = 2;
    /// Number of slices.
    pub const SLICES: usize = 4;
}
