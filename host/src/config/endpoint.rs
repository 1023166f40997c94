//! Stands in for the delivery room's own `EndpointConfig` until both are merged.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::detection::Level;
use crate::units::Period;

/// One receiver of alerts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointConfig {
    /// Where alerts are posted: `https://`, or `http://` to this host.
    #[schemars(extend("format" = "uri"))]
    pub url: String,

    /// File with the signing secret (`whsec_` and base64), read at start and at each reload.
    #[serde(default)]
    #[schemars(extend("format" = "path"))]
    pub secret_file: Option<PathBuf>,

    /// Environment variable with the signing secret.
    #[serde(default)]
    pub secret_env: Option<String>,

    /// Alerts below this level are not sent here.
    #[serde(default = "lowest")]
    pub min_level: Level,

    /// Posts under way at a time.
    #[serde(default = "four")]
    #[schemars(range(min = 1, max = 64))]
    pub in_flight: u32,

    /// How long one post may take.
    #[serde(default = "fifteen_seconds")]
    #[schemars(extend("x-minimum" = "100ms", "x-maximum" = "5m"))]
    pub timeout: Period,

    /// How long an alert is tried before it is a dead letter.
    #[serde(default = "three_days")]
    #[schemars(extend("x-minimum" = "1m", "x-maximum" = "30d"))]
    pub max_age: Period,

    /// Extra headers of each post.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    pub headers: BTreeMap<String, String>,

    /// Certificates to trust besides the system's, PEM.
    #[serde(default)]
    #[schemars(extend("format" = "path"))]
    pub ca_file: Option<PathBuf>,
}

fn lowest() -> Level {
    Level::Informational
}

fn four() -> u32 {
    4
}

fn fifteen_seconds() -> Period {
    Period::secs(15)
}

fn three_days() -> Period {
    Period::secs(3 * 86_400)
}
