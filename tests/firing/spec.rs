//! What one stimulus of the live firing test consists of: the contract between the test and the stage.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One stimulus, complete: where it runs and what runs. All paths are absolute.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Directories that the stimulus sees empty: each gets a tmpfs in the private mount namespace. One that does not exist stands for
    /// its nearest existing parent, which must not be `/`.
    pub hide: Vec<PathBuf>,
    /// Files made after that, in this order. They lie below a hidden directory or below the stimulus's own one.
    pub files: Vec<SpecFile>,
    /// Addresses (with a prefix length) that the loopback device of the private network namespace gets.
    pub addresses: Vec<String>,
    /// Names that the stage's own DNS server knows, each with its address. Without any there is no server, and no way to ask one.
    pub names: Vec<(String, Ipv4Addr)>,
    /// Real, effective and saved user and group id of the program.
    pub uid: u32,
    pub cwd: PathBuf,
    /// What is executed. A name without a slash is looked up in `PATH`.
    pub program: PathBuf,
    /// The whole argument vector, `argv[0]` included.
    pub argv: Vec<String>,
    /// Additions to an otherwise fixed environment.
    pub env: Vec<(String, String)>,
    /// Given to the program as its standard input.
    pub input: String,
}

/// A file, link or copy that a stimulus needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SpecFile {
    pub path: PathBuf,
    #[serde(flatten)]
    pub content: Content,
}

/// What a [`SpecFile`] holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// A regular file with this text and the mode 0644.
    Text(String),
    /// An executable script with this text and the mode 0755.
    Script(String),
    /// An executable copy of this file, read before any directory is hidden.
    Copy(PathBuf),
    /// A symbolic link to this target, which is taken as it is written.
    Link(PathBuf),
    /// An empty directory.
    Directory(bool),
}
