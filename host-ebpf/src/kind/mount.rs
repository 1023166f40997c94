//! A file system was mounted.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "source, target and type of the mount call are from user memory";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = false;

layout! {
    /// Body of `mount`.
    pub struct Mount = "mount_body" {
        /// `MS_*`, valid when `flags_known` is 1.
        pub flags: u64,
        /// The address of the options, valid when `data_known` is 1.
        pub data: u64,
        /// Index into [`Mount::CALLS`].
        pub call: u8,
        /// Whether the hook knows the flags.
        pub flags_known: u8,
        /// Whether the call has options.
        pub data_known: u8,
        /// Zero.
        pub reserved: [u8; 5],
    }
}

impl Mount {
    /// The calls, by [`Self::call`].
    pub const CALLS: &'static [&'static str] = &["mount", "move_mount"];

    /// Slice: what is mounted; as given by `mount`, the kernel's name for it with `move_mount`.
    pub const SOURCE: usize = 0;
    /// Slice: where; resolved, or as given and then to be joined with [`Mount::BASE`].
    pub const TARGET: usize = 1;
    /// Slice: name of the file system's type.
    pub const FILESYSTEMTYPE: usize = 2;
    /// Slice: resolved directory that an as-given relative path starts from, else absent.
    pub const BASE: usize = 3;
    /// Slice: the directory inside the file system that was attached, absent when it is the whole of it.
    pub const ROOT: usize = 4;
    /// Number of slices.
    pub const SLICES: usize = 5;
}
