//! `picket alerts`: what was found on this host, from the history in the state directory. No Picket has to run.

use std::io::Write as _;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::Value as Json;

use crate::config::Config;
use crate::control::{self, Request};
use crate::detection::Level;
use crate::export::{self, Export, NEAR};
use crate::history;
use crate::recorder::Recording;

use super::args::{
    AlertsArgs, AlertsCommand, AlertsExportArgs, AlertsLsArgs, AlertsShowArgs, AlertsTestArgs, ExitCode, Format, Global,
};
use super::terminal::{Paint, escape_str};
use super::{load, print, show};

pub fn run(args: &AlertsArgs, global: &Global) -> anyhow::Result<ExitCode> {
    match &args.command {
        AlertsCommand::Ls(args) => ls(args, global),
        AlertsCommand::Show(args) => show(args, global),
        AlertsCommand::Export(args) => export(args, global),
        AlertsCommand::Test(args) => test(args, global),
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
        return Ok(unknown(&args.id, &config));
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

fn export(args: &AlertsExportArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.effective(&args.sets.sets, Vec::new())?.config;
    super::log(global, &config);
    // Whether one runs or not: what is on disk is exported.
    let _ = control::ask(&config.control_socket(), &Request::Flush);
    let Some(alert) = history::find(&config.state_dir(), &args.id)? else {
        return Ok(unknown(&args.id, &config));
    };
    let time = |path: &str| {
        let time: Option<Timestamp> = alert.pointer(path).and_then(Json::as_str).and_then(|t| t.parse().ok());
        time.and_then(|t| u64::try_from(t.as_nanosecond()).ok()).unwrap_or_default()
    };
    let times = time("/first").saturating_sub(NEAR)..=time("/last").saturating_add(NEAR);
    let mut recording = Recording::open(&config.state_dir(), times)?;
    let export = Export::of(&alert, load::inputs(config)?, &mut recording)?;
    recording.problems.iter().for_each(|p| tracing::warn!("{}", escape_str(p)));
    if export.rule_changed {
        tracing::warn!("the rule's file has changed since: the export has the present one");
    }
    print(format!("{}\n", serde_json::to_string(&export)?).as_bytes())
}

fn test(args: &AlertsTestArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.effective(&args.sets.sets, Vec::new())?.config;
    super::log(global, &config);
    let Some(given) = load::alert(&args.alert, &config)? else {
        return Ok(unknown(&args.alert, &config));
    };
    let events = match (&given.export, given.alert.get("event")) {
        (Some(export), _) => export.events.clone(),
        (None, Some(event)) if event.is_object() => vec![event.clone()],
        _ => anyhow::bail!("the alert has no event of its own: export it first, and give the file"),
    };
    let text = |path: &str| given.alert.pointer(path).and_then(Json::as_str).unwrap_or_default();
    let inputs = load::inputs(config)?;
    let rule = export::rule_file(&inputs.rules, text("/rule/id"), text("/rule/digest"));
    let rule = rule.with_context(|| format!("no rule of the config has the id `{}`", text("/rule/id")))?;
    let stem = rule.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    // Ids are made by Picket, but a file may say anything.
    let id: String = text("/id").chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    let dir = args.out.clone().or_else(|| Some(rule.path.parent()?.to_owned())).unwrap_or_default();
    let path = dir.join(format!("{stem}.{id}.test.yml"));
    let name = rule.path.file_name().unwrap_or_default().to_string_lossy();
    let mut out = format!(
        "# An alert of {}, kept as a test.\nrule: {}\ntests:\n  - name: alert {id}\n    expect: match\n    ndjson: |\n",
        text("/last"),
        serde_json::Value::from(name.as_ref())
    );
    for event in &events {
        out.push_str(&format!("      {event}\n"));
    }
    let mut file = std::fs::File::create_new(&path).with_context(|| format!("cannot create {}", path.display()))?;
    file.write_all(out.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    print(format!("{}\n", escape_str(&path.display().to_string())).as_bytes())
}

fn unknown(id: &str, config: &Config) -> ExitCode {
    let dir = config.state_dir();
    eprintln!("error: no alert `{}` in {}", escape_str(id), escape_str(&dir.display().to_string()));
    ExitCode::BadInput
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
