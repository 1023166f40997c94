//! The process behind an event: identity, image, ancestors.

use std::sync::{Arc, OnceLock};

/// Identity of a process: host pid of its leader and the leader's start, nanoseconds since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Key {
    pub tgid: u32,
    pub start: u64,
}

/// What a process runs: replaced as a whole at exec, copied when its user changes. What is not known is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    pub key: Key,
    /// comm.
    pub name: Option<Arc<[u8]>>,
    /// Resolved path of the executable.
    pub exe: Option<Arc<[u8]>>,
    /// Path as executed.
    pub executed: Option<Arc<[u8]>>,
    /// Arguments joined by spaces.
    pub cmdline: Option<Arc<[u8]>>,
    pub argv: Option<Arc<[Box<[u8]>]>>,
    /// Working directory when the program started.
    pub cwd: Option<Arc<[u8]>>,
    /// Unix nanoseconds.
    pub create_time: Option<u64>,
    pub euid: Option<u32>,
    pub login_uid: Option<u32>,
    /// Name of the effective user, or its number.
    pub user: Option<Arc<[u8]>>,
    /// Whose list of users the name is from; `None` for a number.
    pub user_source: Option<UserSource>,
    pub login: Option<Arc<[u8]>>,
    /// Leaf name of the control group.
    pub cgroup: Option<Arc<[u8]>>,
    /// Of its environment, the few variables that are collected, as `NAME=value`.
    pub env: Option<Arc<[Box<[u8]>]>>,
    /// Name of the controlling terminal.
    pub tty: Option<Arc<[u8]>>,
    /// Process id of the session's leader.
    pub session: Option<u32>,
    /// As it was at the last exec or fork.
    pub caps: Option<Caps>,
    /// As it was at the last exec or fork.
    pub namespaces: Option<Namespaces>,
    pub container: Option<Arc<Container>>,
    /// The file behind `exe`.
    pub file: Option<FileId>,
    /// `SHA256=` and the hash of that file in hexadecimal digits. Filled at most once, by the stage before the detectors and
    /// only when a guest asks for it; empty until then, `None` inside where it cannot be known.
    pub sha256: OnceLock<Option<Arc<[u8]>>>,
}

/// What precedes the digits in [`Image::sha256`].
const SHA256: &str = "SHA256=";

impl Image {
    /// The hash of the executable in hexadecimal digits, once it is known.
    pub fn sha256(&self) -> Option<&[u8]> {
        self.hashes()?.get(SHA256.len()..)
    }

    /// The same, as other tools write it: `SHA256=...`.
    pub fn hashes(&self) -> Option<&[u8]> {
        self.sha256.get()?.as_deref()
    }

    /// For an image whose hash is known from elsewhere, or is not.
    #[must_use]
    pub fn with_sha256(self, digits: Option<&[u8]>) -> Image {
        let text = digits.map(|d| [SHA256.as_bytes(), d].concat().into());
        Image { sha256: OnceLock::from(text), ..self }
    }
}

/// A version of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// As the kernel encodes it: major << 20 | minor.
    pub dev: u32,
    pub inode: u64,
    /// Change time of the inode, unix nanoseconds.
    pub ctime: u64,
}

/// How many ancestors a process keeps: bounds memory for any chain of forks.
pub const ANCESTORS: usize = 10;

/// An image with the images of its ancestors, nearest first. Pinned by every event row it is behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Unique for each (process, image): equal ids hold equal values.
    pub id: u64,
    pub image: Arc<Image>,
    pub ancestors: Box<[Arc<Image>]>,
}

mod cache;
mod container;
mod facts;
pub(crate) mod hash;
mod lookup;
mod procfs;
mod table;
mod texts;
mod users;

pub use container::Container;
pub use facts::{Caps, Namespaces, Ns};
pub use hash::HashAccount;
pub use lookup::{LookupCounters, LookupError, Lookups};
pub use table::{Table, TableCounters};
pub use users::{UserSource, Users};
