//! `picket rules ls`: every rule, whether it can fire here and why not; of a running Picket also how often it did.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use crate::config::Config;
use crate::control::{self, ControlError, Request};
use crate::offline::Offline;
use crate::roster::{self, State};

use super::args::{ExitCode, Format, Global, RulesArgs, RulesCommand, RulesLsArgs};
use super::terminal::{Paint, Style, escape_str};
use super::{load, print, rules_new};

pub fn run(args: &RulesArgs, global: &Global) -> anyhow::Result<ExitCode> {
    match &args.command {
        RulesCommand::Ls(args) => ls(args, global),
        RulesCommand::New(args) => rules_new::run(args, global),
    }
}

fn ls(args: &RulesLsArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.effective(&args.load.sets.sets, args.load.flags())?.config;
    super::log(global, &config);
    let given = !(args.load.rules.is_empty() && args.load.guests.is_empty() && args.load.sets.sets.is_empty());
    let running = if given { None } else { ask(&config)? };
    let report = match running {
        Some(report) => report,
        None => match offline(config)? {
            Some(report) => report,
            None => return Ok(ExitCode::BadSetup),
        },
    };
    match args.format.format {
        Format::Json => print(format!("{report}\n").as_bytes()),
        Format::Human => print(human(&report, Paint(global.color.stdout())).as_bytes()),
    }
}

/// The answer of the running Picket; nothing where none runs.
fn ask(config: &Config) -> anyhow::Result<Option<Json>> {
    match control::ask(&config.control_socket(), &Request::Rules) {
        Ok(report) => Ok(Some(report)),
        Err(ControlError::NotRunning { path, .. }) => {
            eprintln!(
                "no picket is running at {}; these are the rules of the config",
                escape_str(&path.to_string_lossy())
            );
            Ok(None)
        }
        Err(e) => Err(e.into()),
    }
}

/// The set of the config, loaded as a start would.
fn offline(config: Config) -> anyhow::Result<Option<Json>> {
    let inputs = load::inputs(config)?;
    match Offline::load(&inputs, false, load::cache_dir(&inputs.config)) {
        Ok(offline) => {
            let rules = roster::of(&offline.generation, None);
            Ok(Some(json!({ "running": false, "rules": rules })))
        }
        Err(e) => {
            eprintln!("error: {}", escape_str(&crate::text::chain(&e)));
            Ok(None)
        }
    }
}

fn human(report: &Json, paint: Paint) -> String {
    let mut out = String::new();
    let running = report["running"] == true;
    let empty = Vec::new();
    let rules = report["rules"].as_array().unwrap_or(&empty);
    let text = |v: &Json| escape_str(v.as_str().unwrap_or("-"));
    for rule in rules {
        let state = rule["state"].as_str().unwrap_or_default();
        let style = match state {
            "live" => Style::Green,
            "refused" => Style::Red,
            _ => Style::Yellow,
        };
        let title = if rule["title"].is_null() { text(&rule["file"]) } else { text(&rule["title"]) };
        let hits = match (running, rule["hits"].as_u64()) {
            (true, Some(0)) => "  no hit".to_owned(),
            (true, Some(hits)) => format!("  {hits} hits, last {}", text(&rule["last_hit"])),
            _ => String::new(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{} {:<13} {title}  {}  {}{hits}",
            paint.paint(style, &format!("{state:<13}")),
            text(&rule["level"]),
            text(&rule["log_source"]),
            text(&rule["id"]),
        );
        for reason in rule["reasons"].as_array().into_iter().flatten() {
            let help = reason["help"].as_str().filter(|h| !h.is_empty()).map(|h| format!(" ({})", escape_str(h)));
            let place = format!("{}:{}", text(&rule["file"]), reason["line"]);
            let _ = writeln!(out, "    {place}: {}{}", text(&reason["message"]), help.unwrap_or_default());
        }
        if let Some(why) = rule["stale"].as_str() {
            let _ = writeln!(out, "    stale, an older version is live: {}", escape_str(why));
        }
        let filters = rule["filters"].as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
        if !filters.is_empty() {
            let _ = writeln!(out, "    filters: {}", filters.join(", "));
        }
    }
    let count = |state: State| rules.iter().filter(|r| r["state"] == state.name()).count();
    let counts: Vec<String> = State::ALL
        .iter()
        .map(|s| (s, count(*s)))
        .filter(|(_, n)| *n > 0)
        .map(|(s, n)| format!("{n} {}", s.name()))
        .collect();
    let _ = writeln!(out, "{} rules: {}", rules.len(), counts.join(", "));
    if running {
        for (name, guest) in report["guests"].as_object().into_iter().flatten() {
            let seconds = guest["cpu_ns"].as_u64().unwrap_or_default() as f64 / 1e9;
            let (name, rows) = (escape_str(name), &guest["handled"]);
            let _ = writeln!(
                out,
                "guest {name}: {seconds:.3} s of a core for {rows} rows; the share of a rule is not measured"
            );
        }
    }
    out
}
