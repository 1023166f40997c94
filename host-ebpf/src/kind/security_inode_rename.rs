//! A file got another name.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "inode, device and ctime are not known";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

layout! {
    /// Body of `security_inode_rename`.
    pub struct Rename = "rename_body" {
        /// Inode that moved, valid when `inode_known` is 1.
        pub inode: u64,
        /// Its change time, ns since the epoch, valid when `inode_known` is 1.
        pub ctime: u64,
        /// Device as the kernel encodes it, valid when `inode_known` is 1.
        pub dev: u32,
        /// `RENAME_*`: 1 do not replace, 2 exchange (there is a second record, the other way), 4 leave a whiteout.
        pub rename_flags: u32,
        /// `i_mode`, valid when `inode_known` is 1.
        pub mode: u16,
        /// Whether the hook saw the inode.
        pub inode_known: u8,
        /// Zero.
        pub reserved: [u8; 5],
    }
}

impl Rename {
    /// Slice: the new path; resolved, or [`crate::SliceFlags::AS_GIVEN`] and then to be joined with the slice behind it.
    pub const NEW: usize = 0;
    /// Slice: the old path, likewise.
    pub const OLD: usize = 2;
    /// Number of slices.
    pub const SLICES: usize = 4;
}
