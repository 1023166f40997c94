//! The command line as it is typed. The doc comments are the help texts, the man page and the completions.
//!
//! Parsing gives no meaning: what a flag does is said where it is used. Flags that stand for a setting become the highest
//! layer of the config, through the `flags` functions.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};

use super::terminal::Color;
use crate::config::{ConfigError, Effective, Flag, LogLevel, Overrides, effective};
use crate::detection::Level;
use crate::tune::Mode;
use crate::units::{ByteSize, Period};

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    Ok = 0,
    /// A test failed, or `--fail-on` found its level.
    AssertionFailed = 1,
    /// Bad rules, config, guest or command line.
    BadSetup = 2,
    /// Bad events.
    BadInput = 3,
    /// This host cannot: kernel, capabilities, BTF.
    HostCannot = 4,
    Interrupted = 130,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> std::process::ExitCode {
        std::process::ExitCode::from(code as u8)
    }
}

/// Detects what matters on this Linux host: kernel events, sandboxed detectors, signed webhooks.
#[derive(Clone, Debug, Parser)]
#[command(name = "picket", version, subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "\
Exit codes: 0 ok, 1 an assertion failed (test, --fail-on),
2 bad rules, config, guest or command line, 3 bad input,
4 this host cannot (kernel, capabilities), 130 interrupted.")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Config file [default: ./picket.toml, then /etc/picket/picket.toml]
    #[arg(long, global = true, value_name = "FILE", env = "PICKET_CONFIG", hide_env_values = true, value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// Say more on stderr; twice for every step
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,

    /// Say less on stderr; twice for errors only
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub quiet: u8,

    /// When to colour; NO_COLOR is honoured
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

impl Global {
    /// How much to log, given what the config says.
    pub fn log_level(&self, config: LogLevel) -> LogLevel {
        config.louder(i32::from(self.verbose) - i32::from(self.quiet))
    }

    /// The config, with these overrides above the environment's.
    pub fn effective(&self, sets: &[String], flags: Vec<Flag>) -> Result<Effective, ConfigError> {
        effective(self.config.as_deref(), &Overrides { sets: sets.to_vec(), flags, ..Overrides::from_env() })
    }
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Watch this host: collect, detect, alert
    Run(RunArgs),
    /// Run events from a file or stdin through the detectors
    Replay(ReplayArgs),
    /// Write this host's events to a file, for replay
    Capture(CaptureArgs),
    /// Check rules, guests and config without running them
    Validate(ValidateArgs),
    /// Run the tests beside rules
    Test(TestArgs),
    /// Show why a rule does or does not match an event
    Explain(ExplainArgs),
    /// Run rules over what this host recorded: what they would have found
    Hunt(HuntArgs),
    /// Look after rules
    Rules(RulesArgs),
    /// Look at the alerts that were made on this host
    Alerts(AlertsArgs),
    /// Show who changed what: loads, modes of rules, exceptions
    Audit(AuditArgs),
    /// Load changed rules, guests and config now
    Reload(ReloadArgs),
    /// Show what runs, what is loaded, what is stale, and the ledger
    Status(StatusArgs),
    /// Show what rules, guests and kinds do and cost, second by second
    Top(TopArgs),
    /// Open the console: a live page for this host's rules and alerts
    Console(ConsoleArgs),
    /// Show events and alerts as they pass
    Tail(TailArgs),
    /// List event kinds, their fields and log sources
    Fields(FieldsArgs),
    /// Print a JSON Schema
    Schema(SchemaArgs),
    /// Show or check the config
    Config(ConfigArgs),
    /// Print a completion script
    Completions(CompletionsArgs),
    /// Print the man page
    Man(ManArgs),
}

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Human,
    /// For machines: one JSON value a line
    Json,
}

/// `--format`, of every command that prints data.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct FormatArg {
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub format: Format,
}

/// `--set`, of every command that reads the config.
#[derive(Clone, Debug, Default, Args)]
pub struct Sets {
    /// Override a setting, like dispatch.rows=256; may be given more than once
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
}

/// What `run` and `replay` load.
#[derive(Clone, Debug, Default, Args)]
pub struct Load {
    /// Directory or file with rules, instead of the config's; may be given more than once
    #[arg(long, value_name = "DIR", value_hint = ValueHint::AnyPath)]
    pub rules: Vec<PathBuf>,

    /// Directory or file with guests, instead of the config's; may be given more than once
    #[arg(long, value_name = "DIR", value_hint = ValueHint::AnyPath)]
    pub guests: Vec<PathBuf>,

    /// Directory for state, instead of the config's
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub state_dir: Option<PathBuf>,

    #[command(flatten)]
    pub sets: Sets,
}

impl Load {
    /// The settings these flags stand for.
    pub fn flags(&self) -> Vec<Flag> {
        let mut flags = Vec::new();
        list_flag(&mut flags, "--rules", "rules", &self.rules);
        list_flag(&mut flags, "--guests", "guests", &self.guests);
        path_flag(&mut flags, "--state-dir", "state_dir", self.state_dir.as_deref());
        flags
    }
}

fn list_flag(flags: &mut Vec<Flag>, name: &'static str, key: &str, paths: &[PathBuf]) {
    if !paths.is_empty() {
        let value = toml::Value::Array(paths.iter().map(|p| toml_path(p)).collect());
        flags.push(Flag { name, key: key.to_owned(), value });
    }
}

fn path_flag(flags: &mut Vec<Flag>, name: &'static str, key: &str, path: Option<&Path>) {
    if let Some(path) = path {
        flags.push(Flag { name, key: key.to_owned(), value: toml_path(path) });
    }
}

/// A path that is not UTF-8 becomes one that does not exist, and fails by name where it is opened.
fn toml_path(path: &Path) -> toml::Value {
    toml::Value::String(path.to_string_lossy().into_owned())
}

/// `--btf`, of the commands that load the kernel side.
#[derive(Clone, Debug, Default, Args)]
pub struct Btf {
    /// BTF of the running kernel, where /sys/kernel/btf/vmlinux does not have it
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub btf: Option<PathBuf>,
}

impl Btf {
    /// The settings this flag stands for.
    pub fn flags(&self) -> Vec<Flag> {
        let mut flags = Vec::new();
        path_flag(&mut flags, "--btf", "sensor.btf", self.btf.as_deref());
        flags
    }
}

#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub load: Load,
    #[command(flatten)]
    pub btf: Btf,

    /// Send alerts here too, besides the config's endpoints
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url, conflicts_with = "no_deliver")]
    pub endpoint: Option<String>,

    /// Only print alerts: send nothing
    #[arg(long)]
    pub no_deliver: bool,

    #[command(flatten)]
    pub format: FormatArg,
}

/// The name of the endpoint that `--endpoint` adds.
pub const COMMAND_LINE_ENDPOINT: &str = "command-line";

impl RunArgs {
    /// The settings these flags stand for.
    pub fn flags(&self) -> Vec<Flag> {
        let mut flags = self.load.flags();
        flags.extend(self.btf.flags());
        if let Some(url) = &self.endpoint {
            let key = format!("endpoint.{COMMAND_LINE_ENDPOINT}.url");
            flags.push(Flag { name: "--endpoint", key, value: toml::Value::String(url.clone()) });
        }
        flags
    }
}

#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// NDJSON events, one a line, or an exported alert; - is stdin
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    #[command(flatten)]
    pub load: Load,

    /// Try each rule on each event, whatever its logsource: for JSON of any shape
    #[arg(long)]
    pub all_log_sources: bool,

    /// Do as the modes of rules say, as `run` does: no alert of a rule in shadow, or that is only context
    #[arg(long)]
    pub modes: bool,

    /// Exit with 1 if an alert has this level or a higher one
    #[arg(long, value_name = "LEVEL", value_parser = level())]
    pub fail_on: Option<Level>,

    #[command(flatten)]
    pub format: FormatArg,
}

fn level() -> impl clap::builder::TypedValueParser<Value = Level> {
    use clap::builder::{PossibleValuesParser, TypedValueParser};
    PossibleValuesParser::new(Level::ALL.map(Level::name)).try_map(|name| Level::parse(&name).ok_or("not a level"))
}

#[derive(Clone, Debug, Args)]
pub struct CaptureArgs {
    /// File to write; - is stdout
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    /// Stop after this time, like 30s [default: when interrupted]
    #[arg(long = "for", value_name = "D")]
    pub duration: Option<Period>,

    /// Stop at this size, like 100MiB
    #[arg(long, value_name = "N")]
    pub max_size: Option<ByteSize>,

    #[command(flatten)]
    pub sets: Sets,
    #[command(flatten)]
    pub btf: Btf,
}

#[derive(Clone, Debug, Default, Args)]
pub struct ValidateArgs {
    /// Rules, guests and configs, or directories of them [default: what the config names]
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,

    #[command(flatten)]
    pub format: FormatArg,
}

#[derive(Clone, Debug, Args)]
pub struct TestArgs {
    /// Rules or their .test.yml files, or directories of them [default: what the config names]
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,

    /// Stay, and run the tests of a rule whenever it is saved
    #[arg(long)]
    pub watch: bool,

    /// Change each literal, modifier and term of each rule, one at a time: a test has to fail
    #[arg(long, conflicts_with = "watch")]
    pub mutate: bool,

    /// Exit with 1 if the tests of a rule notice fewer percent of the changes
    #[arg(long, value_name = "N", requires = "mutate", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub min_score: Option<u8>,

    /// Find out which selections and values of each rule no test makes true
    #[arg(long, conflicts_with_all = ["watch", "mutate"])]
    pub coverage: bool,

    /// Events of a quiet time, NDJSON: what the rules find in them is a false positive
    #[arg(long, value_name = "DIR", value_hint = ValueHint::AnyPath, conflicts_with_all = ["watch", "mutate"])]
    pub baseline: Option<PathBuf>,

    /// With --baseline: from this level on a hit fails the run
    #[arg(long, value_name = "LEVEL", value_parser = level(), default_value = "medium")]
    pub fail_on: Level,

    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub format: TestFormat,
}

/// How `test` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TestFormat {
    /// For people
    #[default]
    Human,
    /// For machines: one JSON object
    Json,
    /// JUnit XML, for CI
    Junit,
    /// SARIF 2.1.0, for code hosts
    Sarif,
}

#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// Rule file or rule id; alone, the id of an alert of this host
    #[arg(value_name = "RULE|ALERT-ID")]
    pub rule: String,

    /// File with one event or alert as JSON; - is stdin
    #[arg(value_name = "EVENT", value_hint = ValueHint::FilePath)]
    pub event: Option<PathBuf>,

    /// Look at what was recorded around this time, UTC: 10:02, 10:02:03 or 2026-01-31T10:02:03Z
    #[arg(long, value_name = "TIME", conflicts_with = "event")]
    pub at: Option<String>,

    /// How far from that time
    #[arg(long, value_name = "D", default_value = "1m", requires = "at")]
    pub within: Period,

    #[command(flatten)]
    pub sets: Sets,

    #[command(flatten)]
    pub format: FormatArg,
}

#[derive(Clone, Debug, Args)]
pub struct HuntArgs {
    /// Rule files, directories of them, or ids or titles of loaded rules [default: all that the config names]
    #[arg(value_name = "RULE", value_hint = ValueHint::AnyPath)]
    pub rules: Vec<String>,

    /// How far back
    #[arg(long, value_name = "D", default_value = "24h")]
    pub since: Period,

    /// Show what a change gains and loses
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], conflicts_with = "rules", value_hint = ValueHint::AnyPath)]
    pub diff: Vec<String>,

    /// Exit with 1 if a rule of this level or a higher one has hits
    #[arg(long, value_name = "LEVEL", value_parser = level(), conflicts_with = "diff")]
    pub fail_on: Option<Level>,

    #[command(flatten)]
    pub sets: Sets,
    #[command(flatten)]
    pub format: FormatArg,
}

#[derive(Clone, Debug, Args)]
pub struct RulesArgs {
    #[command(subcommand)]
    pub command: RulesCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum RulesCommand {
    /// List every rule: whether it can fire here and why not, and how often it did
    Ls(RulesLsArgs),
    /// Begin a rule and its tests, from a template or from an event
    New(RulesNewArgs),
    /// Say what becomes of what a rule finds, and load it
    Mode(RulesModeArgs),
    /// Write an exception for what an alert was about, with its test, and load it
    Except(RulesExceptArgs),
    /// Take over the rules of a checkout or a release archive, and say what of them counts here
    Fetch(RulesFetchArgs),
}

#[derive(Clone, Debug, Args)]
#[group(id = "what", required = true, multiple = false, args = ["template", "from", "list"])]
pub struct RulesNewArgs {
    /// Name of the files, without .yml [default: the template's, or one made from the event]
    #[arg(value_name = "NAME", conflicts_with = "list")]
    pub name: Option<String>,

    /// Begin with this template
    #[arg(long, value_name = "TEMPLATE", value_parser = template())]
    pub template: Option<String>,

    /// Begin with an alert by its id (`last` is the newest), or a file that holds one event or alert as JSON; - is stdin
    #[arg(long, value_name = "ID|FILE", value_hint = ValueHint::FilePath)]
    pub from: Option<String>,

    /// List the templates
    #[arg(long)]
    pub list: bool,

    /// Directory to write to [default: the first one with rules in the config]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,

    #[command(flatten)]
    pub sets: Sets,
    #[command(flatten)]
    pub format: FormatArg,
}

fn template() -> impl clap::builder::TypedValueParser {
    clap::builder::PossibleValuesParser::new(crate::draft::TEMPLATES.iter().map(|t| t.name))
}

/// With `--rules`, `--guests` or `--set` what these would load; else what the running Picket has loaded.
#[derive(Clone, Debug, Default, Args)]
pub struct RulesLsArgs {
    /// Only rules that never fired, that no test is about, or whose fields nothing here fills
    #[arg(long)]
    pub stale: bool,

    #[command(flatten)]
    pub load: Load,
    #[command(flatten)]
    pub format: FormatArg,
}

#[derive(Clone, Debug, Args)]
pub struct RulesModeArgs {
    /// Its id, file or title
    #[arg(value_name = "RULE")]
    pub rule: String,

    /// What becomes of what it finds; of `live` it is said what shadow counted
    #[arg(value_name = "MODE")]
    pub mode: Mode,

    /// Why
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub reason: String,

    /// Whose it is [default: who runs this]
    #[arg(long, value_name = "NAME")]
    pub owner: Option<String>,

    /// When it ends: a time from now, like 90d, or a day, like 2027-02-01 [default: never]
    #[arg(long, value_name = "WHEN")]
    pub expires: Option<String>,

    #[command(flatten)]
    pub sets: Sets,
    #[command(flatten)]
    pub format: FormatArg,
}

#[derive(Clone, Debug, Args)]
pub struct RulesExceptArgs {
    /// File with the alert, - for stdin, or the id of an alert that is kept
    #[arg(value_name = "ALERT", value_hint = ValueHint::FilePath)]
    pub alert: String,

    /// Fields that have to be as they are in the alert's event, like Image,ParentImage
    #[arg(long, value_name = "FIELDS", required = true, value_delimiter = ',')]
    pub on: Vec<String>,

    /// Why it is harmless
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub reason: String,

    /// Whose it is [default: who runs this]
    #[arg(long, value_name = "NAME")]
    pub owner: Option<String>,

    /// When it ends: a time from now, or a day, like 2027-02-01
    #[arg(long, value_name = "WHEN", default_value = "90d")]
    pub expires: String,

    /// Directory to write it to [default: the first of tuning.paths]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,

    #[command(flatten)]
    pub sets: Sets,
    #[command(flatten)]
    pub format: FormatArg,
}

#[derive(Clone, Debug, Args)]
pub struct RulesFetchArgs {
    /// Directory, .zip, .tar.gz or .tar on this machine: nothing is downloaded
    #[arg(value_name = "SOURCE", value_hint = ValueHint::AnyPath)]
    pub source: PathBuf,

    /// Directory to make; one that was made before is replaced
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub to: PathBuf,

    /// Keep rules of other systems, too
    #[arg(long)]
    pub all: bool,

    /// What to call this version [default: what the source says]
    #[arg(long, value_name = "TEXT")]
    pub version: Option<String>,

    #[command(flatten)]
    pub sets: Sets,
    #[command(flatten)]
    pub format: FormatArg,
}

#[derive(Clone, Debug, Default, Args)]
pub struct AuditArgs {
    /// Only what was changed in the last time, like 24h
    #[arg(long, value_name = "D")]
    pub since: Option<Period>,

    #[command(flatten)]
    pub sets: Sets,
    #[command(flatten)]
    pub format: FormatArg,
}

#[derive(Clone, Debug, Args)]
pub struct AlertsArgs {
    #[command(subcommand)]
    pub command: AlertsCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum AlertsCommand {
    /// List alerts, the oldest first
    Ls(AlertsLsArgs),
    /// Print one alert
    Show(AlertsShowArgs),
    /// Print an alert as a file that gives the same verdict anywhere: events, process tree, rule
    Export(AlertsExportArgs),
    /// Write an alert as a test of its rule
    Test(AlertsTestArgs),
}

#[derive(Clone, Debug, Default, Args)]
pub struct AlertsLsArgs {
    /// Only those of the last time, like 24h
    #[arg(long, value_name = "D")]
    pub since: Option<Period>,

    /// Only those of this level or a higher one
    #[arg(long, value_name = "LEVEL", value_parser = level())]
    pub level: Option<Level>,

    /// Only those of this rule: its id or a part of its title
    #[arg(long, value_name = "RULE")]
    pub rule: Option<String>,

    #[command(flatten)]
    pub sets: Sets,
    #[command(flatten)]
    pub format: FormatArg,
}

#[derive(Clone, Debug, Args)]
pub struct AlertsShowArgs {
    /// Its id, or the first digits of it
    #[arg(value_name = "ID")]
    pub id: String,

    #[command(flatten)]
    pub sets: Sets,
    #[command(flatten)]
    pub format: FormatArg,
}

#[derive(Clone, Debug, Args)]
pub struct AlertsExportArgs {
    /// Its id, or the first digits of it
    #[arg(value_name = "ID")]
    pub id: String,

    #[command(flatten)]
    pub sets: Sets,
}

#[derive(Clone, Debug, Args)]
pub struct AlertsTestArgs {
    /// Its id, or a file: an alert as JSON, or what `alerts export` printed
    #[arg(value_name = "ID|FILE")]
    pub alert: String,

    /// Directory to write it to [default: beside the rule]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,

    #[command(flatten)]
    pub sets: Sets,
}

#[derive(Clone, Debug, Default, Args)]
pub struct ReloadArgs {
    /// Wait until the new set runs or is refused; exit with 2 if it is refused
    #[arg(long)]
    pub wait: bool,

    /// Load a set even if it lacks most of the rules
    #[arg(long)]
    pub force: bool,

    #[command(flatten)]
    pub format: FormatArg,
}

#[derive(Clone, Debug, Default, Args)]
pub struct StatusArgs {
    /// Show what each program of the kernel side is: attached or not, its size, what it missed
    #[arg(long, conflicts_with = "cost")]
    pub probes: bool,

    /// Measure what each kind and each guest costs; needs CAP_SYS_ADMIN
    #[arg(long)]
    pub cost: bool,

    /// How long to measure [default: 2s]
    #[arg(long = "for", value_name = "D", requires = "cost")]
    pub duration: Option<Period>,

    #[command(flatten)]
    pub format: FormatArg,
}

/// q leaves. Where stdout is no terminal, one table is printed.
#[derive(Clone, Debug, Default, Args)]
pub struct TopArgs {
    /// Print one table and end
    #[arg(long)]
    pub once: bool,

    /// How long to count before each table [default: 1s]
    #[arg(long, value_name = "D")]
    pub interval: Option<Period>,

    #[command(flatten)]
    pub format: FormatArg,
}

/// Prints a link that lets one browser of this machine in, once. From elsewhere: ssh -L PORT:127.0.0.1:PORT.
#[derive(Clone, Debug, Default, Args)]
pub struct ConsoleArgs {
    /// Close it, and end every session
    #[arg(long)]
    pub close: bool,

    #[command(flatten)]
    pub format: FormatArg,
}

/// Without --events and --alerts both are shown.
#[derive(Clone, Debug, Default, Args)]
pub struct TailArgs {
    /// Show events: those that the loaded rules and guests ask for
    #[arg(long)]
    pub events: bool,

    /// Show alerts
    #[arg(long)]
    pub alerts: bool,

    /// Only events of this kind, like exec or sched_process_exec; may be given more than once
    #[arg(long = "kind", value_name = "KIND", conflicts_with = "alerts")]
    pub kinds: Vec<String>,

    /// Only this process and those it started
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,

    /// Only alerts of this level or a higher one
    #[arg(long, value_name = "LEVEL", value_parser = level(), conflicts_with = "events")]
    pub level: Option<Level>,

    /// Only alerts of this rule: its id, or a part of its title or file
    #[arg(long, value_name = "RULE", conflicts_with = "events")]
    pub rule: Option<String>,

    /// End after so many
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,

    #[command(flatten)]
    pub format: FormatArg,

    /// Words that must be found, whatever their case: a text anywhere, or FIELD=TEXT, like Image=/curl
    #[arg(value_name = "FILTER")]
    pub words: Vec<String>,
}

#[derive(Clone, Debug, Default, Args)]
pub struct FieldsArgs {
    /// Only this event kind, like sched_process_exec
    #[arg(value_name = "KIND")]
    pub kind: Option<String>,

    #[command(flatten)]
    pub format: FormatArg,

    /// Print docs/events.md: the same with hooks and blind spots
    #[arg(long, conflicts_with_all = ["kind", "format"])]
    pub markdown: bool,
}

#[derive(Clone, Debug, Args)]
pub struct SchemaArgs {
    /// Of what
    #[arg(value_name = "WHAT")]
    pub what: Schema,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Schema {
    /// What is sent and printed
    Alert,
    /// picket.toml
    Config,
    /// A Sigma rule, correlation or filter
    Rule,
    /// The tests beside a rule
    Test,
}

#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the effective settings, each with where it comes from; secrets are left out
    Show(ConfigViewArgs),
    /// Check the config; exit with 2 if anything is wrong
    Check(ConfigViewArgs),
}

#[derive(Clone, Debug, Default, Args)]
pub struct ConfigViewArgs {
    #[command(flatten)]
    pub sets: Sets,
    #[command(flatten)]
    pub format: FormatArg,
}

#[derive(Clone, Debug, Args)]
pub struct CompletionsArgs {
    /// For which shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

#[derive(Clone, Copy, Debug, Default, Args)]
pub struct ManArgs {}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_become_the_highest_layer() {
        let line = "picket run --rules /a --rules /b --state-dir /s --btf /btf --endpoint http://localhost:1/ --set state_dir=/low";
        let cli = Cli::parse_from(line.split(' '));
        let Command::Run(args) = &cli.command else { panic!("{:?}", cli.command) };
        let overrides = Overrides { sets: args.load.sets.sets.clone(), flags: args.flags(), env: Vec::new() };
        let config = crate::config::parse(None, &overrides).unwrap().config;
        assert_eq!(config.rules, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(config.state_dir(), PathBuf::from("/s"));
        assert_eq!(config.sensor.btf, Some(PathBuf::from("/btf")));
        assert!(config.endpoint.contains_key(COMMAND_LINE_ENDPOINT));
    }

    #[test]
    fn levels_and_amounts_are_checked_as_typed() {
        let parses = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(parses("picket replay - --fail-on high"));
        assert!(!parses("picket replay - --fail-on terrible"));
        assert!(parses("picket capture f --for 30s --max-size 1MiB"));
        assert!(!parses("picket capture f --for 30"));
        assert!(parses("picket test --mutate --min-score 90 rules"));
        assert!(!parses("picket test --min-score 90 rules"));
        assert!(!parses("picket test --mutate --min-score 101 rules"));
        assert!(!parses("picket test --mutate --watch rules"));
        assert!(!parses("picket run --no-deliver --endpoint http://localhost/"));
    }

    #[test]
    fn talk_follows_the_config_and_the_flags() {
        let level = |line: &str| Cli::parse_from(line.split(' ')).global.log_level(LogLevel::Info);
        assert_eq!(level("picket status"), LogLevel::Info);
        assert_eq!(level("picket -vv status"), LogLevel::Trace);
        assert_eq!(level("picket status -qqqq"), LogLevel::Error);
    }
}
