//! What can be configured. The doc comments are the documentation: they become the JSON Schema of `picket schema config`.
//!
//! The schema is also what checks a config: unknown keys, types, bounds and allowed words are found with their place by
//! `check.rs`, so a bound is written once, here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::keep::{HistoryConfig, RecorderConfig};
use super::process::{ContainersConfig, HashesConfig};
use super::tuning::TuningConfig;
use crate::deliver::EndpointConfig;
use crate::units::{ByteSize, Period};

/// The configuration of Picket: `picket.toml`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Sigma rules: directories, searched with everything below them for `.yml` and `.yaml`, or single files.
    /// A relative path starts at the directory of the file it is written in.
    #[schemars(extend("items" = { "type": "string", "format": "path" }))]
    pub rules: Vec<PathBuf>,

    /// Guests: directories, searched with everything below them for `.wasm` components, or single files.
    /// A guest's name is its file name without `.wasm`.
    #[schemars(extend("items" = { "type": "string", "format": "path" }))]
    pub guests: Vec<PathBuf>,

    /// Where the spool, the state of guests, compiled guests and the control socket live.
    /// Default: `/var/lib/picket` for root, else `picket` below `$XDG_STATE_HOME` or `~/.local/state`.
    #[schemars(extend("format" = "path"))]
    pub state_dir: Option<PathBuf>,

    /// What the log source `file_event` shows of opened files.
    pub file_event: FileEvent,

    /// Make audit records from events, for rules with `service: auditd`; no audit daemon is needed. See docs/auditd.md.
    pub auditd: Auditd,

    /// Refuse the whole set when one rule or guest in it is bad. Otherwise a bad file keeps its own last good version and
    /// is reported as stale, and at start it is skipped.
    pub strict: bool,

    /// The kernel side.
    pub sensor: SensorConfig,

    /// What is found out about containers.
    pub containers: ContainersConfig,

    /// Hashes of executables.
    pub hashes: HashesConfig,

    /// What is left out before it becomes an event. All of it is counted, by kind and reason.
    pub collect: CollectConfig,

    /// How events are handed to guests.
    pub dispatch: DispatchConfig,

    /// When changed rules, guests and config are loaded.
    pub reload: ReloadConfig,

    /// Guests by name. One without an entry here runs with the defaults.
    pub guest: BTreeMap<String, GuestConfig>,

    /// Where alerts are sent, by a name of your choice. The name is the identity: what waits for an endpoint stays with its name.
    pub endpoint: BTreeMap<String, EndpointConfig>,

    /// Alerts that are not delivered yet, on disk.
    pub spool: SpoolConfig,

    /// Alerts that were made, for whoever asks about one later.
    pub history: HistoryConfig,

    /// Events of the last day, for hunts and explanations.
    pub recorder: RecorderConfig,

    /// What becomes of what rules find.
    pub tuning: TuningConfig,

    /// How the running Picket is asked and scraped.
    pub control: ControlConfig,

    /// The page of `picket console`.
    pub console: ConsoleConfig,

    /// What Picket says about itself, on stderr.
    pub log: LogConfig,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            rules: vec!["rules".into()],
            guests: vec!["guests".into()],
            state_dir: None,
            file_event: FileEvent::default(),
            auditd: Auditd::default(),
            strict: false,
            sensor: SensorConfig::default(),
            containers: ContainersConfig::default(),
            hashes: HashesConfig::default(),
            collect: CollectConfig::default(),
            dispatch: DispatchConfig::default(),
            reload: ReloadConfig::default(),
            guest: BTreeMap::new(),
            endpoint: BTreeMap::new(),
            spool: SpoolConfig::default(),
            history: HistoryConfig::default(),
            recorder: RecorderConfig::default(),
            tuning: TuningConfig::default(),
            control: ControlConfig::default(),
            console: ConsoleConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Config {
    /// The state directory, with its default where none is set.
    pub fn state_dir(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(super::default_state_dir)
    }

    /// The control socket, with its default where none is set.
    pub fn control_socket(&self) -> PathBuf {
        self.control.socket.clone().unwrap_or_else(|| self.state_dir().join("control.sock"))
    }

    /// The settings of a guest; the defaults for one that the config does not name.
    pub fn guest(&self, name: &str) -> GuestConfig {
        let mut guest = self.guest.get(name).cloned().unwrap_or_default();
        guest.rules.get_or_insert(name == SIGMA);
        guest.replicas.get_or_insert(self.dispatch.replicas);
        guest
    }
}

/// The guest that gets the rule files unless the config says otherwise.
const SIGMA: &str = "sigma";

/// What the log source `file_event` shows of opened files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FileEvent {
    /// Files that appear or are opened to be changed: created, renamed to, linked to, opened for writing.
    #[default]
    Changes,
    /// Every open, reads too: many more events.
    EveryOpen,
}

/// Audit records made from events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Auditd {
    /// None: rules with `service: auditd` do not run, and loading says so.
    #[default]
    Off,
    /// Of everything but opens that only read.
    Changes,
    /// Reads too: what discovery rules are about, and many more events.
    EveryOpen,
}

/// The kernel side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SensorConfig {
    /// Size of the ring between kernel and Picket: a power of two. Default: 2 MiB for each CPU, at least 8 MiB, at most 64 MiB.
    #[schemars(extend("x-minimum" = "1MiB", "x-maximum" = "1GiB", "x-power-of-two" = true))]
    pub ring_bytes: Option<ByteSize>,

    /// BTF of the running kernel, where `/sys/kernel/btf/vmlinux` does not have it.
    #[schemars(extend("format" = "path"))]
    pub btf: Option<PathBuf>,

    /// How Picket attaches to the kernel.
    pub rung: Rung,

    /// Leave out what Picket itself does; what others do to it is always seen. Without this, a rule that matches the
    /// delivery of its own alert makes alerts without end. Read at start.
    pub self_exclude: bool,
}

impl Default for SensorConfig {
    fn default() -> SensorConfig {
        SensorConfig { ring_bytes: None, btf: None, rung: Rung::default(), self_exclude: true }
    }
}

/// How Picket attaches to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// The best one that delivers a test event here: kprobes, then tracepoints.
    #[default]
    Auto,
    /// Kprobes only: Picket does not start where they do not work.
    Kprobe,
    /// Tracepoints only.
    Tracepoint,
}

/// What is left out before it becomes an event. All of it is counted, by kind and reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CollectConfig {
    /// Do not collect files that no rule is about, where every rule of a kind says which paths it is about. No alert is
    /// lost by it; without it a capture also has what no rule looks at.
    pub path_filters: bool,

    /// Executables whose processes are ignored, and whatever those start. Their exec, fork and exit are still seen.
    #[schemars(extend("items" = { "type": "string", "format": "path" }))]
    pub ignore_binaries: Vec<PathBuf>,

    /// Control groups of the unified hierarchy whose processes are ignored, and the groups below them.
    pub ignore_cgroups: Vec<PathBuf>,

    /// If there are any, all but these control groups, and those below them, are ignored.
    pub only_cgroups: Vec<PathBuf>,

    /// File systems whose files may be opened unseen. Rules about files of them then match nothing.
    #[schemars(length(max = 8))]
    pub ignore_filesystems: Vec<Filesystem>,

    /// Events of one kind that a single process may make in a second, and twice as many at once; more are left out, and
    /// the process is named. 0 = as many as it likes. Exec, fork and exit are never left out.
    #[schemars(range(max = 10_000_000))]
    pub max_per_process: u32,
}

impl Default for CollectConfig {
    fn default() -> CollectConfig {
        CollectConfig {
            path_filters: true,
            ignore_binaries: Vec::new(),
            ignore_cgroups: Vec::new(),
            only_cgroups: Vec::new(),
            ignore_filesystems: Vec::new(),
            max_per_process: 0,
        }
    }
}

/// A kind of file system that has no files on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Filesystem {
    /// Control groups, version 1.
    Cgroup,
    /// Control groups, version 2.
    Cgroup2,
    /// Kernel debugging.
    Debugfs,
    /// Terminals.
    Devpts,
    /// Processes.
    Proc,
    /// Devices.
    Sysfs,
    /// Kernel tracing.
    Tracefs,
}

/// How events are handed to guests. A batch closes at the first of the three limits, or as soon as a guest is idle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DispatchConfig {
    /// Events in a batch, at most.
    #[schemars(range(min = 1, max = 65536))]
    pub rows: u32,

    /// Bytes of event data in a batch, at most.
    #[schemars(extend("x-minimum" = "64KiB", "x-maximum" = "64MiB"))]
    pub bytes: ByteSize,

    /// How long an event waits for its batch, at most.
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "1s"))]
    pub interval: Period,

    /// Batches that wait for one guest instance. When there are more, the oldest is dropped for that guest and counted as shed.
    #[schemars(range(min = 1, max = 4096))]
    pub queue: u32,

    /// Instances of each guest that declares it can be replicated.
    #[schemars(range(min = 1, max = 64))]
    pub replicas: u32,

    /// How often all that guests remember of detections is written to the state directory: after a crash a window may miss what was found in this time.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "1h"))]
    pub snapshot: Period,
}

impl Default for DispatchConfig {
    fn default() -> DispatchConfig {
        DispatchConfig {
            rows: 1024,
            bytes: ByteSize::mib(1),
            interval: Period::millis(5),
            queue: 64,
            replicas: 1,
            snapshot: Period::secs(10),
        }
    }
}

/// When changed rules, guests and config are loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReloadConfig {
    /// Load changes as they are saved. Without it only `picket reload` and SIGHUP load.
    pub watch: bool,

    /// How long the files must be quiet before they are read.
    #[schemars(extend("x-minimum" = "10ms", "x-maximum" = "60s"))]
    pub settle: Period,

    /// How often the files are compared whether or not a change was noticed: some file systems notify nobody.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "1d"))]
    pub poll: Period,

    /// Refuse a set that lacks more than this share of the rules loaded now, unless forced: 0.5 is half, 1.0 never refuses.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_shrink: f64,
}

impl Default for ReloadConfig {
    fn default() -> ReloadConfig {
        ReloadConfig { watch: true, settle: Period::millis(300), poll: Period::secs(30), max_shrink: 0.5 }
    }
}

/// One guest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GuestConfig {
    /// Run it.
    pub enabled: bool,

    /// Instances, for a guest that declares it can be replicated. Default: `dispatch.replicas`.
    #[schemars(range(min = 1, max = 64))]
    pub replicas: Option<u32>,

    /// Memory of one instance, at most.
    #[schemars(extend("x-minimum" = "1MiB", "x-maximum" = "4GiB"))]
    pub memory: ByteSize,

    /// CPU time of one call, at most.
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "1m"))]
    pub cpu: Period,

    /// Give it the rule files. Default: only the guest `sigma` gets them.
    pub rules: Option<bool>,

    /// Settings of the guest's own, handed to it as JSON. Not for secrets: `picket config show` prints them.
    pub config: serde_json::Map<String, serde_json::Value>,
}

impl Default for GuestConfig {
    fn default() -> GuestConfig {
        GuestConfig {
            enabled: true,
            replicas: None,
            memory: ByteSize::mib(128),
            cpu: Period::secs(1),
            rules: None,
            config: serde_json::Map::new(),
        }
    }
}

/// Alerts that are not delivered yet, on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SpoolConfig {
    /// Size of the spool, at most. When it is full the oldest alerts of the lowest level are dropped and counted as evicted.
    #[schemars(extend("x-minimum" = "1MiB", "x-maximum" = "1TiB"))]
    pub max_bytes: ByteSize,
}

impl Default for SpoolConfig {
    fn default() -> SpoolConfig {
        SpoolConfig { max_bytes: ByteSize::gib(1) }
    }
}

/// How the running Picket is asked and scraped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ControlConfig {
    /// Unix socket of `picket status` and `picket reload`. Default: `control.sock` in the state directory.
    #[schemars(extend("format" = "path"))]
    pub socket: Option<PathBuf>,

    /// Address that serves `/metrics`, `/healthz` and `/readyz`, like `127.0.0.1:9464`. Default: none is served.
    #[schemars(with = "Option<String>", extend("format" = "socket-address"))]
    pub metrics_listen: Option<SocketAddr>,
}

/// The page of `picket console`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConsoleConfig {
    /// Let `picket console` open it. Nothing listens until somebody who may use the control socket asks for it.
    pub enabled: bool,

    /// Port on 127.0.0.1; it listens nowhere else. 0 = any that is free. Read when it is opened.
    pub port: u16,
}

impl Default for ConsoleConfig {
    fn default() -> ConsoleConfig {
        ConsoleConfig { enabled: true, port: 0 }
    }
}

/// What Picket says about itself, on stderr.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// How much.
    pub level: LogLevel,

    /// In which form.
    pub format: LogFormat,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What stopped working.
    Error,
    /// And what may stop working.
    Warn,
    /// And what changed: starts, reloads, endpoints that come and go.
    #[default]
    Info,
    /// And why Picket decided as it did.
    Debug,
    /// And every step.
    Trace,
}

impl LogLevel {
    pub const ALL: [LogLevel; 5] = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];

    /// This level made louder (positive) or quieter by so many steps, as `-v` and `-q` do.
    #[must_use]
    pub fn louder(self, steps: i32) -> LogLevel {
        let last = LogLevel::ALL.len() as i32 - 1;
        LogLevel::ALL[(self as i32).saturating_add(steps).clamp(0, last) as usize]
    }

    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
