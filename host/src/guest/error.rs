//! What can be wrong with a guest.

use std::path::PathBuf;

use crate::detection::Diagnostic;

/// Why a guest cannot be compiled, loaded or asked.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The engine refused its own configuration, or a thread could not be started.
    #[error("cannot start the guest runtime: {reason}")]
    Runtime { reason: String },

    /// The directory of compiled code is not one that only we can write.
    #[error("cannot use {} for compiled guests: {reason}", path.display())]
    CacheDir { path: PathBuf, reason: String },

    #[error("{}: not a WebAssembly component: {reason}", path.display())]
    NotAComponent { path: PathBuf, reason: String },

    #[error("{}: {bytes} bytes is above the limit of {limit} bytes for a guest", path.display())]
    TooLarge { path: PathBuf, bytes: usize, limit: usize },

    #[error(
        "{}: imports {import}, and guests get no WASI: build Rust for wasm32-unknown-unknown, Python with `componentize-py --stub-wasi`, JavaScript with every feature of componentize-js disabled, C without stdio",
        path.display()
    )]
    Wasi { path: PathBuf, import: String },

    #[error("{}: imports {import}, which this host does not offer", path.display())]
    UnknownImport { path: PathBuf, import: String },

    #[error("{}: guest wants {wanted}, this host speaks picket:guest@{speaks}", path.display())]
    Version { path: PathBuf, wanted: String, speaks: &'static str },

    #[error(
        "{}: exports neither a detector, an enricher nor a formatter of picket:guest (exports: {exports})",
        path.display()
    )]
    NoWorld { path: PathBuf, exports: String },

    #[error("{}: exports {first} and {second}: a guest is one of detector, enricher and formatter", path.display())]
    ManyWorlds { path: PathBuf, first: &'static str, second: &'static str },

    /// The bytes are a component of our world, and still not valid or not linkable.
    #[error("{}: {reason}", path.display())]
    Compile { path: PathBuf, reason: String },

    #[error("guest {guest}: {call} failed: {reason}")]
    Trapped { guest: String, call: &'static str, reason: String },

    /// `init` returned diagnostics instead of a plan; they are in [`LoadError::diagnostics`].
    #[error("guest {guest}: refused to start: {reason}")]
    Refused { guest: String, reason: String },

    #[error("guest {guest}: {reason}")]
    Plan { guest: String, reason: String },

    #[error("guest {guest}: formatters do not take events; name it as the shape of an endpoint")]
    Formatter { guest: String },

    #[error("guest {guest}: has no rule {rule}")]
    NoSuchRule { guest: String, rule: String },

    #[error("guest {guest}: does not explain its rules")]
    NoExplain { guest: String },

    #[error("guest {guest}: none of its subscriptions takes this event")]
    NotSelected { guest: String },
}

/// Why a guest could not be loaded, with what it said about its input.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct LoadError {
    pub source: GuestError,
    pub diagnostics: Vec<Diagnostic>,
}

impl From<GuestError> for LoadError {
    fn from(source: GuestError) -> LoadError {
        LoadError { source, diagnostics: Vec::new() }
    }
}
