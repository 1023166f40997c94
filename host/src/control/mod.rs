//! The inbound side: a Unix socket for the command line, and HTTP for metrics and health. Both only ask the [`Daemon`];
//! neither reaches into another room.

mod http;
mod page;
mod socket;
pub mod text;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audit::Peer;
use crate::capture::Limits;
use crate::viewers::{ViewError, Viewer, Wish};

pub use http::HttpServer;
pub use page::Page;
pub use socket::{Server, Stream, ask, serve, watch};

/// Name of the socket within `state_dir`.
pub const SOCKET: &str = "control.sock";

/// What a running picket answers. Called from several threads at once.
pub trait Daemon: Send + Sync {
    /// The account of everything, for `picket status`.
    fn status(&self) -> Value;

    /// Every rule with its state, hits and reasons, for `picket rules ls`.
    fn rules(&self) -> Value {
        Value::Null
    }

    /// Builds and publishes the next generation. `force` overrides the mass-change guard; `wait` returns only when the
    /// new set runs. The report says what is loaded, stale and refused. `by` is who asked.
    fn reload(&self, force: bool, wait: bool, by: Option<Peer>) -> Value;

    /// Appends metrics in Prometheus text format; [`text::Text`] writes it.
    fn metrics(&self, out: &mut String);

    /// Writes what passed so far into the recording.
    fn flush(&self) -> Value {
        Value::Null
    }

    /// Begins to write the events that pass into a file; an `error` in the answer says why not.
    fn capture(&self, path: &Path, limits: Limits) -> Value {
        let _ = (path, limits);
        serde_json::json!({ "error": "this process does not collect" })
    }

    /// Whether it still writes.
    fn capturing(&self) -> bool {
        false
    }

    /// Ends it: how many events and bytes.
    fn capture_end(&self) -> Value {
        Value::Null
    }

    /// Lets somebody watch what passes, with what is to be said first.
    fn watch(&self, wish: &Wish) -> Result<(Value, Viewer), ViewError> {
        let _ = wish;
        Err(ViewError::Stopping)
    }

    /// Opens the console, where it is not open, and tells a link that lets one in; an `error` in the answer says why not.
    fn console(&self) -> Value {
        serde_json::json!({ "error": "this process has no console" })
    }

    /// Closes the console and ends every session; whether it was open.
    fn console_close(&self) -> Value {
        Value::Null
    }

    /// Whether it does its work now; the error says what is missing. `/readyz`.
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// A question to a running picket: one line of JSON, `{"cmd": "status"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    Status,
    Rules,
    Reload {
        #[serde(default)]
        force: bool,
        #[serde(default)]
        wait: bool,
    },
    /// The metrics page, as a string.
    Metrics,
    /// Writes the events that pass into a file.
    Capture {
        path: PathBuf,
        #[serde(default)]
        ms: Option<u64>,
        #[serde(default)]
        bytes: Option<u64>,
    },
    /// Whether that file is still being written.
    CaptureRunning,
    /// Ends it.
    CaptureEnd,
    /// Writes what passed so far into the recording.
    Flush,
    /// A link to the console, which is opened if need be.
    Console,
    /// Closes it.
    ConsoleClose,
    /// Events and alerts as they pass: an answer, then a line for each until the asker leaves.
    Watch(Wish),
}

/// Why a running picket cannot be asked, or cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("no picket is running at {path}; start one with `picket run`, or name the state_dir of the one you mean")]
    NotRunning { path: PathBuf, source: std::io::Error },
    /// The socket belongs to somebody else.
    #[error("not allowed to ask picket at {path}; use the user that runs it, usually root")]
    Denied { path: PathBuf, source: std::io::Error },
    /// It stopped or hung while it answered.
    #[error("picket at {path} gave no answer")]
    NoAnswer { path: PathBuf, source: std::io::Error },
    /// It answered something that this version does not understand.
    #[error("picket at {path} gave an answer that is not understood; is it another version?")]
    Garbled { path: PathBuf, source: serde_json::Error },
    /// It refused the question.
    #[error("picket at {path} refuses: {why}")]
    Refused { path: PathBuf, why: String },
    /// Another picket listens there.
    #[error("another picket answers at {path}; stop it or give this one its own state_dir")]
    InUse { path: PathBuf },
    /// The socket cannot be made.
    #[error("cannot listen at {path}")]
    Listen { path: PathBuf, source: std::io::Error },
    /// The console's port cannot be opened.
    #[error("the console cannot listen at {address}; choose another console.port")]
    Console { address: std::net::SocketAddr, source: std::io::Error },
    /// The metrics port cannot be opened.
    #[error("cannot listen at metrics_listen = \"{address}\"")]
    Http { address: std::net::SocketAddr, source: std::io::Error },
}
