//! The command line: one file per subcommand.

mod alerts;
pub mod args;
mod audit;
pub mod capture;
pub mod completions;
pub mod config;
mod console;
mod cost;
pub mod events_page;
pub mod explain;
mod fields;
mod hunt;
mod load;
pub mod man;
mod progress;
mod rates;
pub mod reload;
pub mod replay;
mod rules;
mod rules_new;
pub mod run;
mod saved;
pub mod schema;
mod show;
pub mod status;
mod tail;
pub mod terminal;
pub mod test;
mod top;
pub mod validate;

use std::io::Write;

use args::{Cli, Command, ExitCode, Global};

use crate::config::{Config, LogFormat};
use crate::control::ControlError;
use crate::daemon::DaemonError;
use crate::privilege::PrivilegeError;

/// Runs a parsed command line. An error becomes its exit code here, and is printed once.
pub fn main(cli: &Cli) -> ExitCode {
    let global = &cli.global;
    let result = match &cli.command {
        Command::Run(args) => run::run(args, global),
        Command::Replay(args) => replay::run(args, global),
        Command::Capture(args) => capture::run(args, global),
        Command::Validate(args) => validate::run(args, global),
        Command::Test(args) => test::run(args, global),
        Command::Explain(args) => explain::run(args, global),
        Command::Reload(args) => reload::run(args, global),
        Command::Hunt(args) => hunt::run(args, global),
        Command::Rules(args) => rules::run(args, global),
        Command::Alerts(args) => alerts::run(args, global),
        Command::Audit(args) => audit::run(args, global),
        Command::Status(args) => status::run(args, global),
        Command::Console(args) => console::run(args, global),
        Command::Top(args) => top::run(args, global),
        Command::Tail(args) => tail::run(args, global),
        Command::Fields(args) => fields::run(args, global),
        Command::Schema(args) => schema::run(args, global, crate::alert::schema),
        Command::Config(args) => config::run(args, global),
        Command::Completions(args) => completions::run(args, global),
        Command::Man(args) => man::run(args, global),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {}", terminal::escape_lines(&format!("{error:#}")));
        let cannot = error.is::<ControlError>() || error.is::<DaemonError>() || error.is::<PrivilegeError>();
        if cannot { ExitCode::HostCannot } else { ExitCode::BadSetup }
    })
}

/// Talk goes to stderr, as the config and `-v` say. Field values are escaped: they may come from attackers.
fn log(global: &Global, config: &Config) {
    let level = match global.log_level(config.log.level) {
        crate::config::LogLevel::Error => tracing::Level::ERROR,
        crate::config::LogLevel::Warn => tracing::Level::WARN,
        crate::config::LogLevel::Info => tracing::Level::INFO,
        crate::config::LogLevel::Debug => tracing::Level::DEBUG,
        crate::config::LogLevel::Trace => tracing::Level::TRACE,
    };
    // Only Picket's own modules: libraries log what only their authors can use.
    let filter = tracing_subscriber::EnvFilter::new(format!("picket={}", level.as_str().to_lowercase()));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A second call in one process keeps the first.
    let _ = match config.log.format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => builder.with_ansi(global.color.stderr()).try_init(),
    };
}

/// Writes data to stdout. A reader that has seen enough (`| head`) is not an error.
pub fn print(data: &[u8]) -> anyhow::Result<ExitCode> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(data).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(ExitCode::Ok),
    }
}
