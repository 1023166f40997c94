//! The configuration: built-in defaults, `picket.toml`, the environment, `--set`, flags; later ones win.
//!
//! `model.rs` declares what can be set, `layer.rs` merges where it is set, `check.rs` finds what is wrong with it.

mod check;
mod error;
mod keep;
mod layer;
mod model;
mod process;
mod schema;
mod settings;
mod tuning;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::{DeTable, DeValue};

pub use crate::deliver::EndpointConfig;
pub use error::{ConfigError, Fault, Faults};
pub use keep::{HistoryConfig, RecorderConfig};
pub use layer::{Layer, Origin};
pub use model::{
    Auditd, CollectConfig, Config, ControlConfig, DispatchConfig, FileEvent, Filesystem, GuestConfig, LogConfig,
    LogFormat, LogLevel, ReloadConfig, Rung, SensorConfig, SpoolConfig,
};
pub use process::{ContainersConfig, HashesConfig};
pub use schema::schema;
pub use settings::{REDACTED, Setting};
pub use tuning::TuningConfig;

use layer::Sources;
use schema::Node;

/// The largest config file, in bytes.
pub const MAX_FILE: u64 = 1 << 20;

/// Where a config is looked for when none is named.
pub const SEARCH: [&str; 2] = ["picket.toml", "/etc/picket/picket.toml"];

/// Environment variables that start so are settings: `PICKET_DISPATCH__ROWS` is `dispatch.rows`.
pub const ENV_PREFIX: &str = "PICKET_";

/// What stands above the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Environment variables, of which those of [`ENV_PREFIX`] count.
    pub env: Vec<(String, String)>,
    /// `KEY=VALUE`, the value as TOML, or as text if it is not TOML.
    pub sets: Vec<String>,
    /// Command line flags that stand for a setting.
    pub flags: Vec<Flag>,
}

/// A command line flag that stands for a setting.
#[derive(Clone, Debug)]
pub struct Flag {
    /// As typed, like `--rules`.
    pub name: &'static str,
    /// Dotted.
    pub key: String,
    pub value: toml::Value,
}

impl Overrides {
    /// The settings in the environment of this process.
    pub fn from_env() -> Overrides {
        let env = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok().filter(|n| n.starts_with(ENV_PREFIX))?, value.into_string().ok()?))
        });
        let mut env: Vec<_> = env.collect();
        env.sort();
        Overrides { env, ..Overrides::default() }
    }
}

/// A config with all it was made of.
#[derive(Clone, Debug)]
pub struct Effective {
    pub config: Config,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// Every setting with its origin; secrets are not in it.
    pub settings: Vec<Setting>,
}

/// The config of `path`, or of the first file of [`SEARCH`], with the environment and `sets` above it.
pub fn load(path: Option<&Path>, sets: &[String]) -> Result<Config, ConfigError> {
    let overrides = Overrides { sets: sets.to_vec(), ..Overrides::from_env() };
    Ok(effective(path, &overrides)?.config)
}

/// The file a config is read from: the named one, or the first of [`SEARCH`] that is there.
pub fn find(path: Option<&Path>) -> Option<PathBuf> {
    path.map(Path::to_owned).or_else(|| SEARCH.iter().map(PathBuf::from).find(|p| p.is_file()))
}

/// Reads and merges all layers.
pub fn effective(path: Option<&Path>, overrides: &Overrides) -> Result<Effective, ConfigError> {
    let Some(path) = find(path) else { return parse(None, overrides) };
    let text = read(&path)?;
    parse(Some((&path, &text)), overrides)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    use std::io::Read;
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|f| f.take(MAX_FILE + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(ConfigError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|_| ConfigError::NotText { path: path.to_owned() })
}

/// Merges all layers with a file that was read already, as a reload does with what it found on disk.
pub fn parse(file: Option<(&Path, &str)>, overrides: &Overrides) -> Result<Effective, ConfigError> {
    let root = schema();
    let root = Node::root(&root);
    let mut faults = Vec::new();
    let sources = layers(file, overrides, root, &mut faults);

    let mut merged = sources.merged(&mut faults);
    if faults.is_empty() {
        faults = check::check(&sources, root, &merged);
    }
    if !faults.is_empty() {
        return Err(ConfigError::Invalid(Faults(faults)));
    }
    check::place_paths_in(&sources, root, merged.get_mut());
    let settings = settings::settings(&sources, root, merged.get_ref());
    let config = Config::deserialize(toml::Deserializer::from(merged)).map_err(|error| {
        let at = error.span().map_or(0, |s| s.start);
        ConfigError::Invalid(Faults(vec![Fault::new(sources.origin(at), error.message().trim_end())]))
    })?;
    Ok(Effective { config, file: file.map(|(path, _)| path.to_owned()), settings })
}

fn layers(file: Option<(&Path, &str)>, overrides: &Overrides, root: Node<'_>, faults: &mut Vec<Fault>) -> Sources {
    // Where the working directory is gone, relative paths stay relative and fail by name where they are opened.
    let here = std::env::current_dir().unwrap_or_default();
    let beside = file.and_then(|(path, _)| path.parent()).map_or_else(|| here.clone(), |dir| here.join(dir));
    let mut sources = Sources::default();

    sources.push(Layer::Default, built_in(), &beside);
    if let Some((path, text)) = file {
        sources.push(Layer::File(path.to_owned()), text.to_owned(), &beside);
    }
    for (name, value) in &overrides.env {
        if let Some(key) = env_key(name, root) {
            sources.push(Layer::Env(name.clone()), format!("{key} = {}", as_toml(value)), &here);
        }
    }
    for set in &overrides.sets {
        match set.split_once('=').map(|(key, value)| (key.trim(), value)).filter(|(key, _)| is_key(key)) {
            Some((key, value)) => {
                sources.push(Layer::Set(key.to_owned()), format!("{key} = {}", as_toml(value)), &here);
            }
            None => faults.push(
                Fault::new(Origin::of(Layer::Flag("--set".to_owned())), format!("`{set}` is not KEY=VALUE"))
                    .help(Some("like `dispatch.rows=256`".to_owned())),
            ),
        }
    }
    for flag in &overrides.flags {
        sources.push(Layer::Flag(flag.name.to_owned()), format!("{} = {}", flag.key, flag.value), &here);
    }
    sources
}

/// Defaults that depend on where Picket runs, or are paths beside the config. All others are in the schema.
fn built_in() -> String {
    let defaults = Config::default();
    let paths = |paths: &[PathBuf]| {
        toml::Value::Array(paths.iter().map(|p| toml::Value::String(p.to_string_lossy().into_owned())).collect())
    };
    let state_dir = toml::Value::String(default_state_dir().to_string_lossy().into_owned());
    let Config { rules, guests, tuning, .. } = &defaults;
    let (rules, guests, tunings, lists) = (paths(rules), paths(guests), paths(&tuning.paths), paths(&tuning.lists));
    let tuning = format!("tuning.paths = {tunings}\ntuning.lists = {lists}");
    format!("rules = {rules}\nguests = {guests}\nstate_dir = {state_dir}\n{tuning}")
}

/// `/var/lib/picket` for root, else below the user's state directory.
pub fn default_state_dir() -> PathBuf {
    if effective_uid() == Some(0) {
        return "/var/lib/picket".into();
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let state = state.or_else(|| std::env::home_dir().map(|home| home.join(".local/state")));
    // Never below /tmp, where anybody may have made the directory first.
    state.unwrap_or_default().join("picket")
}

/// From /proc: the system call would need `unsafe`, which only the sensor may use.
fn effective_uid() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|l| l.strip_prefix("Uid:"))?.split_whitespace().nth(1)?.parse().ok()
}

/// The key a variable sets. A variable without `__` that is not a top-level setting is somebody else's: perhaps the
/// one a `secret_env` names.
fn env_key(name: &str, root: Node<'_>) -> Option<String> {
    let key = name.strip_prefix(ENV_PREFIX)?.to_ascii_lowercase();
    if !key.contains("__") && root.field(&key).is_none_or(Node::is_table) {
        return None;
    }
    let key = key.split("__").fold(String::new(), |path, part| check::join(&path, part));
    is_key(&key).then_some(key)
}

/// Whether a text is one dotted key.
fn is_key(text: &str) -> bool {
    !text.contains(['\n', '=']) && DeTable::parse(&format!("{text} = 0")).is_ok()
}

/// A value as it was typed: TOML, or text if it is not TOML.
fn as_toml(value: &str) -> String {
    let trimmed = value.trim();
    if DeValue::parse(trimmed).is_ok() { trimmed.to_owned() } else { toml::Value::String(value.to_owned()).to_string() }
}
