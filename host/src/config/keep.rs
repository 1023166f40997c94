//! Settings of what is kept on disk for whoever asks later.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Period};

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

/// Events of the last day, for `picket hunt`, `picket explain RULE --at` and exported alerts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RecorderConfig {
    /// Record events.
    pub enabled: bool,

    /// Size of the recording, at most. The oldest events go when it is full.
    #[schemars(extend("x-minimum" = "16MiB", "x-maximum" = "1TiB"))]
    pub max_bytes: ByteSize,

    /// How long events are kept, at most.
    #[schemars(extend("x-minimum" = "1m", "x-maximum" = "365d"))]
    pub max_age: Period,
}

impl Default for RecorderConfig {
    fn default() -> RecorderConfig {
        RecorderConfig { enabled: true, max_bytes: ByteSize::gib(1), max_age: Period::secs(24 * 60 * 60) }
    }
}
