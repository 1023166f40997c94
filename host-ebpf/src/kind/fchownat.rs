//! The owner of a file was changed, by a path that starts from a directory.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "the path is from user memory";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

layout! {
    /// Body of `fchownat`.
    pub struct Fchownat = "fchownat_body" {
        /// Descriptor of the directory, -100 for the working directory.
        pub dirfd: i32,
        /// User id, -1 to leave it.
        pub owner: i32,
        /// Group id, -1 to leave it.
        pub group: i32,
        /// `AT_*`.
        pub flags: u32,
    }
}

impl Fchownat {
    /// Slice: the path, mostly [`crate::SliceFlags::AS_GIVEN`] and then to be joined with [`Fchownat::BASE`].
    pub const PATHNAME: usize = 0;
    /// Slice: resolved directory that an as-given relative path starts from, else absent.
    pub const BASE: usize = 1;
    /// Number of slices.
    pub const SLICES: usize = 2;
}
