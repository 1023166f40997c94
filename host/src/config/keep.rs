//! Settings of what is kept on disk for whoever asks later.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::ByteSize;

/// Alerts that were made, for whoever asks about one later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// Size of the history, at most. The older half goes when it is full.
    #[schemars(extend("x-minimum" = "1MiB", "x-maximum" = "1TiB"))]
    pub max_bytes: ByteSize,
}

impl Default for HistoryConfig {
    fn default() -> HistoryConfig {
        HistoryConfig { max_bytes: ByteSize::mib(64) }
    }
}
