//! `picket rules`; here `ls`: every rule, whether it can fire here and why not; of a running Picket also how often it did.

mod except;
mod fetch;
mod mode;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use crate::config::Config;
use crate::control::{self, ControlError, Request};
use crate::hits::Hits;
use crate::kind::time_text;
use crate::offline::Offline;
use crate::roster::{self, State};
use crate::ruletest;
use crate::tune::Mode;

use super::args::{ExitCode, Format, Global, RulesArgs, RulesCommand, RulesLsArgs};
use super::terminal::{Paint, Style, escape_str};
use super::{load, print, rules_new};

pub fn run(args: &RulesArgs, global: &Global) -> anyhow::Result<ExitCode> {
    match &args.command {
        RulesCommand::Ls(args) => ls(args, global),
        RulesCommand::New(args) => rules_new::run(args, global),
        RulesCommand::Mode(args) => mode::run(args, global),
        RulesCommand::Except(args) => except::run(args, global),
        RulesCommand::Fetch(args) => fetch::run(args, global),
    }
}

fn ls(args: &RulesLsArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.effective(&args.load.sets.sets, args.load.flags())?.config;
    super::log(global, &config);
    let given = !(args.load.rules.is_empty() && args.load.guests.is_empty() && args.load.sets.sets.is_empty());
    let report = if given { offline(config.clone())? } else { report(config.clone())? };
    let Some(mut report) = report else { return Ok(ExitCode::BadSetup) };
    if args.stale {
        stale(&mut report, config)?;
    }
    match args.format.format {
        Format::Json => print(format!("{report}\n").as_bytes()),
        Format::Human => print(human(&report, Paint(global.color.stdout())).as_bytes()),
    }
}

/// Every rule: of the running Picket, or as a start would load them. Nothing, said on stderr, where they cannot be loaded.
fn report(config: Config) -> anyhow::Result<Option<Json>> {
    match ask(&config)? {
        Some(report) => Ok(Some(report)),
        None => offline(config),
    }
}

/// Leaves the rules that may be of no use, each with why.
fn stale(report: &mut Json, config: Config) -> anyhow::Result<()> {
    let hits = Hits::read(&config.state_dir()).unwrap_or_default();
    let cases = ruletest::read(&load::inputs(config)?.rules).cases;
    let tested: BTreeSet<String> = cases.into_iter().map(|case| case.rule).collect();
    let Some(rules) = report["rules"].as_array_mut() else { return Ok(()) };
    rules.retain_mut(|rule| {
        let text = |key: &str| rule[key].as_str().unwrap_or_default();
        let count = rule["hits"].as_u64().unwrap_or_else(|| hits.of(text("guest"), text("id")).count);
        let codes = rule["reasons"].as_array().into_iter().flatten().filter_map(|r| r["code"].as_str());
        let unseen = ["unknown-field", "field-never-here", "needs-field"];
        let why = [
            (count == 0, "never-hit"),
            (!tested.contains(text("file")), "never-tested"),
            (codes.into_iter().any(|code| unseen.contains(&code)), "field-never-seen"),
        ];
        let why: Vec<&str> = why.into_iter().filter(|(is, _)| *is).map(|(_, why)| why).collect();
        let is_stale = !why.is_empty();
        rule["stale_because"] = why.into();
        is_stale
    });
    if hits.since() > 0 {
        report["hits_since"] = time_text(hits.since()).into();
    }
    Ok(())
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
        if let Some(mode) = rule["mode"].as_str().filter(|mode| *mode != "live" || rule["tuned"].is_object()) {
            let tuned = &rule["tuned"];
            let mut why = "its level; see tuning.live_from".to_owned();
            if tuned.is_object() {
                why = format!("{} ({}:{})", text(&tuned["reason"]), text(&tuned["file"]), tuned["line"]);
            }
            let level = tuned["level"].as_str().map(|l| format!(", level {}", escape_str(l))).unwrap_or_default();
            let until = tuned["expires"].as_str().map(|e| format!(" until {}", escape_str(e))).unwrap_or_default();
            let _ = writeln!(out, "    mode {mode}{level}{until}: {why}");
        }
        for reason in rule["reasons"].as_array().into_iter().flatten() {
            let help = reason["help"].as_str().filter(|h| !h.is_empty()).map(|h| format!(" ({})", escape_str(h)));
            let place = format!("{}:{}", text(&rule["file"]), reason["line"]);
            let _ = writeln!(out, "    {place}: {}{}", text(&reason["message"]), help.unwrap_or_default());
        }
        let because = rule["stale_because"].as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
        if !because.is_empty() {
            let _ = writeln!(out, "    {}", because.join(", "));
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
    let in_mode = |mode: Mode| rules.iter().filter(|r| r["mode"] == mode.name()).count();
    let modes: Vec<String> = Mode::ALL
        .iter()
        .map(|m| (m, in_mode(*m)))
        .filter(|(_, n)| *n > 0)
        .map(|(m, n)| format!("{n} {}", m.name()))
        .collect();
    let _ = writeln!(out, "by mode: {}", modes.join(", "));
    if let Some(since) = report["hits_since"].as_str() {
        let _ = writeln!(out, "hits are counted since {}", escape_str(since));
    }
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
