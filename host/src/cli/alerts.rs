//! `picket alerts`: what was found on this host, from the history in the state directory. No Picket has to run.

use std::io::Write as _;

use jiff::Timestamp;
use serde_json::Value as Json;

use crate::detection::Level;
use crate::history;

use super::args::{AlertsArgs, AlertsCommand, AlertsLsArgs, AlertsShowArgs, ExitCode, Format, Global};
use super::terminal::{Paint, escape_str};
use super::{print, show};

pub fn run(args: &AlertsArgs, global: &Global) -> anyhow::Result<ExitCode> {
    match &args.command {
        AlertsCommand::Ls(args) => ls(args, global),
        AlertsCommand::Show(args) => show(args, global),
    }
}

fn ls(args: &AlertsLsArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.effective(&args.sets.sets, Vec::new())?.config;
    super::log(global, &config);
    let paint = Paint(global.color.stdout());
    let from =
        args.since.map(|since| Timestamp::now() - jiff::SignedDuration::try_from(since.duration()).unwrap_or_default());
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut written = Ok(());
    history::each(&config.state_dir(), &mut |line| {
        let Ok(alert) = serde_json::from_str::<Json>(line) else { return true };
        if !wanted(&alert, args, from) {
            return true;
        }
        written = match args.format.format {
            Format::Json => writeln!(out, "{line}"),
            Format::Human => writeln!(out, "{}", show::kept_line(&alert, paint)),
        };
        written.is_ok()
    })?;
    match written.and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(ExitCode::Ok),
    }
}

fn wanted(alert: &Json, args: &AlertsLsArgs, from: Option<Timestamp>) -> bool {
    let text = |path: &str| alert.pointer(path).and_then(Json::as_str).unwrap_or_default();
    let late = || from.is_none_or(|from| text("/last").parse::<Timestamp>().is_ok_and(|at| at >= from));
    let high = || args.level.is_none_or(|least| Level::parse(text("/severity")).is_some_and(|level| level >= least));
    let of_rule = || {
        args.rule.as_deref().is_none_or(|rule| {
            text("/rule/id") == rule || text("/rule/title").to_lowercase().contains(&rule.to_lowercase())
        })
    };
    late() && high() && of_rule()
}

fn show(args: &AlertsShowArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.effective(&args.sets.sets, Vec::new())?.config;
    super::log(global, &config);
    let Some(alert) = history::find(&config.state_dir(), &args.id)? else {
        eprintln!(
            "error: no alert `{}` in {}",
            escape_str(&args.id),
            escape_str(&config.state_dir().display().to_string())
        );
        return Ok(ExitCode::BadInput);
    };
    match args.format.format {
        Format::Json => print(format!("{alert}\n").as_bytes()),
        Format::Human => {
            let mut out = show::kept_line(&alert, Paint(global.color.stdout()));
            out.push('\n');
            leaves(&alert, &mut String::new(), &mut out);
            print(out.as_bytes())
        }
    }
}

/// Every value on a line of its own, by its path. What is not known is left out.
fn leaves(value: &Json, path: &mut String, out: &mut String) {
    let mut below = |key: &str, value: &Json| {
        let length = path.len();
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
        leaves(value, path, out);
        path.truncate(length);
    };
    match value {
        Json::Object(fields) => fields.iter().for_each(|(key, value)| below(key, value)),
        Json::Array(items) => items.iter().enumerate().for_each(|(i, value)| below(&i.to_string(), value)),
        Json::Null => {}
        Json::String(text) => out.push_str(&format!("{}: {}\n", escape_str(path), escape_str(text))),
        other => out.push_str(&format!("{}: {other}\n", escape_str(path))),
    }
}
