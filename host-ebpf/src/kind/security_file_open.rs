//! A file was opened.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "opens by exec and by the kernel itself are not seen";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

layout! {
    /// Body of `security_file_open`.
    pub struct Open = "open_body" {
        /// Inode of the opened file.
        pub inode: u64,
        /// Change time of that inode, ns since the epoch.
        pub ctime: u64,
        /// Device as the kernel encodes it: major << 20 | minor.
        pub dev: u32,
        /// `O_*` flags: `file->f_flags` and the creation flags that the call asked for.
        pub flags: u32,
        /// `file->f_mode`, kernel-internal bits.
        pub f_mode: u32,
        /// The new descriptor, -1 where the hook cannot know it.
        pub fd: i32,
        /// `i_mode`.
        pub mode: u16,
        /// 1 when this very open created the file.
        pub created: u8,
        /// Zero.
        pub reserved: u8,
        /// Zero.
        pub reserved2: u32,
    }
}

impl Open {
    /// Slice: resolved path.
    pub const PATHNAME: usize = 0;
    /// Slice: the path as the system call gave it (user memory).
    pub const SYSCALL_PATHNAME: usize = 1;
    /// Number of slices.
    pub const SLICES: usize = 2;
}
