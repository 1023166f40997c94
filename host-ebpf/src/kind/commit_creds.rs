//! A process got other credentials.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "changes that are made inside the kernel without a call (exploits) are not seen";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = false;

layout! {
    /// The credentials of a task.
    pub struct Creds = "creds" {
        /// Real user id.
        pub uid: u32,
        /// Real group id.
        pub gid: u32,
        /// Saved user id.
        pub suid: u32,
        /// Saved group id.
        pub sgid: u32,
        /// Effective user id.
        pub euid: u32,
        /// Effective group id.
        pub egid: u32,
        /// User id for file accesses.
        pub fsuid: u32,
        /// Group id for file accesses.
        pub fsgid: u32,
        /// Inode number of the user namespace.
        pub user_ns: u32,
        /// `SECBIT_*`.
        pub securebits: u32,
        /// Capabilities kept over exec.
        pub inheritable: u64,
        /// Capabilities that may be used.
        pub permitted: u64,
        /// Capabilities in use.
        pub effective: u64,
        /// Capabilities that exec may give.
        pub bounding: u64,
        /// Capabilities that stay over exec of any program.
        pub ambient: u64,
    }
}

layout! {
    /// Body of `commit_creds`.
    pub struct CommitCreds = "commit_creds_body" {
        /// The credentials before.
        pub before: Creds,
        /// The credentials after.
        pub after: Creds,
        /// Number of the system call, [`CommitCreds::EXEC`], or [`CommitCreds::ANY`].
        pub call: u32,
        /// Zero.
        pub reserved: u32,
    }
}

impl CommitCreds {
    /// exec changed them.
    pub const EXEC: u32 = u32::MAX;
    /// The hook does not know what changed them.
    pub const ANY: u32 = u32::MAX - 1;

    /// Number of slices.
    pub const SLICES: usize = 0;
}
