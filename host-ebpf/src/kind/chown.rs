//! The owner of a file was changed, by path or descriptor.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "the path of chown and lchown is from user memory";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

layout! {
    /// Body of `chown`.
    pub struct Chown = "chown_body" {
        /// User id, -1 to leave it.
        pub owner: i32,
        /// Group id, -1 to leave it.
        pub group: i32,
        /// Index into [`Chown::CALLS`].
        pub call: u8,
        /// Zero.
        pub reserved: [u8; 7],
    }
}

impl Chown {
    /// The calls, by [`Self::call`].
    pub const CALLS: &'static [&'static str] = &["chown", "lchown", "fchown"];

    /// Slice: the path, mostly [`crate::SliceFlags::AS_GIVEN`] and then to be joined with [`Chown::BASE`].
    pub const PATHNAME: usize = 0;
    /// Slice: resolved directory that an as-given relative path starts from, else absent.
    pub const BASE: usize = 1;
    /// Number of slices.
    pub const SLICES: usize = 2;
}
