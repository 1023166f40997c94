//! Settings of what becomes of what rules find.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::detection::Level;

/// What becomes of what rules find. See docs/tuning.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TuningConfig {
    /// Directories of tuning: modes (`.toml`), and exceptions (Sigma filters, `.yml`) with their tests. They need not exist.
    /// `picket rules mode` and `picket rules except` write into the first.
    #[schemars(extend("items" = { "type": "string", "format": "path" }))]
    pub paths: Vec<PathBuf>,

    /// Directories of value lists for the modifier `expand`: `.txt` files, one value a line. They need not exist.
    #[schemars(extend("items" = { "type": "string", "format": "path" }))]
    pub lists: Vec<PathBuf>,

    /// Rules of lower levels make no alerts of their own, but are shown as context of others, unless tuning says otherwise.
    /// "informational": every rule makes alerts.
    pub live_from: Level,

    /// Hits of such rules that are kept for the alerts to come, at most; the oldest go first.
    #[schemars(range(max = 1_000_000))]
    pub context: u32,
}

impl Default for TuningConfig {
    fn default() -> TuningConfig {
        TuningConfig {
            paths: vec!["tuning".into()],
            lists: vec!["lists".into()],
            live_from: Level::Medium,
            context: 4096,
        }
    }
}
