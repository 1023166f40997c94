//! A name of a file was removed: the calls.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "the path is from user memory; io_uring is not seen";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = true;

layout! {
    /// Body of `unlink`.
    pub struct Unlink = "unlink_call_body" {
        /// Index into [`Unlink::CALLS`].
        pub call: u8,
        /// Zero.
        pub reserved: [u8; 7],
    }
}

impl Unlink {
    /// The calls, by [`Self::call`].
    pub const CALLS: &'static [&'static str] = &["unlink", "unlinkat"];

    /// Slice: the path, mostly [`crate::SliceFlags::AS_GIVEN`] and then to be joined with [`Unlink::BASE`].
    pub const PATHNAME: usize = 0;
    /// Slice: resolved directory that an as-given relative path starts from, else absent.
    pub const BASE: usize = 1;
    /// Number of slices.
    pub const SLICES: usize = 2;
}
