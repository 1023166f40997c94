//! Settings of what is found out about processes.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Period};

/// What is found out about containers. A change takes effect at the next start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ContainersConfig {
    /// Look up containers, and the users they have of their own. Without it events carry the name of the control group, and
    /// every user is named by the host.
    pub enabled: bool,

    /// Sockets of container engines that speak the Docker Engine API: Docker, and Podman's service.
    #[schemars(extend("items" = { "type": "string", "format": "path" }))]
    pub sockets: Vec<PathBuf>,

    /// Where containerd keeps the state of running containers.
    #[schemars(extend("format" = "path"))]
    pub containerd: PathBuf,

    /// Where Podman and CRI-O keep theirs.
    #[schemars(extend("items" = { "type": "string", "format": "path" }))]
    pub storage: Vec<PathBuf>,
}

impl Default for ContainersConfig {
    fn default() -> ContainersConfig {
        ContainersConfig {
            enabled: true,
            sockets: vec!["/run/docker.sock".into(), "/run/podman/podman.sock".into()],
            containerd: "/run/containerd/io.containerd.runtime.v2.task".into(),
            storage: vec!["/run/containers/storage".into(), "/var/lib/containers/storage".into()],
        }
    }
}

/// Hashes of executables: only made when a rule or another guest asks for them. A change takes effect at the next start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HashesConfig {
    /// Larger files have no hash.
    #[schemars(extend("x-minimum" = "1KiB", "x-maximum" = "4GiB"))]
    pub max_bytes: ByteSize,

    /// How long a batch waits for hashes, at most. A process whose file is not hashed by then has no hash; the next one of that
    /// file has.
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "10s"))]
    pub wait: Period,
}

impl Default for HashesConfig {
    fn default() -> HashesConfig {
        HashesConfig { max_bytes: ByteSize::mib(64), wait: Period::millis(500) }
    }
}
