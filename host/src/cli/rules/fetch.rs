//! `picket rules fetch`: a rule set of others, from a checkout or a release archive, and what of it counts on this host.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use crate::cli::args::{ExitCode, Format, Global, RulesFetchArgs};
use crate::cli::terminal::escape_str;
use crate::cli::{load, print};
use crate::offline::Offline;
use crate::reload::Inputs;
use crate::roster::{self, State};
use crate::tune::Mode;
use crate::vendor;

pub fn run(args: &RulesFetchArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let mut config = global.effective(&args.sets.sets, Vec::new())?.config;
    crate::cli::log(global, &config);
    let now = jiff::Timestamp::now().to_string();
    let origin = match vendor::fetch(&args.source, &args.to, args.all, args.version.as_deref(), &now) {
        Ok(origin) => origin,
        Err(e) => {
            eprintln!("error: {}", escape_str(&crate::text::chain(&e)));
            return Ok(ExitCode::BadInput);
        }
    };
    let named = config.rules.iter().any(|root| within(&args.to, root));
    // As a start would load it, with this host's tuning.
    config.rules = vec![args.to.clone()];
    let inputs = load::inputs(config)?;
    let offline = Offline::load(&inputs, false, load::cache_dir(&inputs.config))?;
    let lines = roster::of(&offline.generation, None);
    let report = report(&inputs, &lines, &origin, named)?;
    match args.format.format {
        Format::Json => print(format!("{report}\n").as_bytes()),
        Format::Human => print(human(&report).as_bytes()),
    }
}

/// Whether a directory, which is there, is a root of rules or below one.
fn within(dir: &std::path::Path, root: &std::path::Path) -> bool {
    dir.canonicalize().is_ok_and(|dir| root.canonicalize().is_ok_and(|root| dir.starts_with(root)))
}

fn report(inputs: &Inputs, lines: &[roster::Line], origin: &vendor::Origin, named: bool) -> anyhow::Result<Json> {
    let mut modes: BTreeMap<&str, usize> = Mode::ALL.iter().map(|m| (m.name(), 0)).collect();
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for line in lines {
        if line.state == State::Live {
            *modes.entry(line.mode.unwrap_or_default().name()).or_default() += 1;
            continue;
        }
        *states.entry(line.state.name()).or_default() += 1;
        let why = line.reasons.first().map(|r| r.message.clone()).unwrap_or_default();
        *reasons.entry(format!("{}: {why}", line.state.name())).or_default() += 1;
    }
    // A file of which nothing is said would be a rule that nobody knows is dead.
    let known: BTreeSet<&str> = lines.iter().map(|l| l.file.as_str()).collect();
    let about = |f: &&crate::reload::SourceFile| {
        !crate::ruletest::is_test(&f.name) && f.path.starts_with(&inputs.config.rules[0])
    };
    let silent: Vec<&str> =
        inputs.rules.iter().filter(about).map(|f| f.name.as_str()).filter(|name| !known.contains(name)).collect();
    let mut reasons: Vec<(String, usize)> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let reasons: Vec<Json> = reasons.into_iter().map(|(why, rules)| json!({"why": why, "rules": rules})).collect();
    Ok(json!({
        "origin": serde_json::to_value(origin)?, "to": inputs.config.rules[0], "rules": lines.len(), "can_fire": modes,
        "cannot_fire": states, "reasons": reasons, "silently_dead": silent, "configured": named,
    }))
}

fn human(report: &Json) -> String {
    let text = |v: &Json| escape_str(v.as_str().unwrap_or_default());
    let origin = &report["origin"];
    let mut out = format!("{}: {} of {}", text(&report["to"]), report["rules"], text(&origin["source"]));
    if origin["version"].is_string() {
        out.push_str(&format!(", version {}", text(&origin["version"])));
    }
    let licences: Vec<String> = origin["licences"].as_array().into_iter().flatten().map(text).collect();
    out.push_str(&format!(
        "\nsha256 {}\nlicence {}; {} files left out\n",
        text(&origin["digest"]),
        if licences.is_empty() { "not found: ask where the rules are from".to_owned() } else { licences.join(", ") },
        origin["left_out"]
    ));
    for (mode, count) in report["can_fire"].as_object().into_iter().flatten().filter(|(_, n)| **n != json!(0)) {
        out.push_str(&format!("{:>6} {mode}\n", count.as_u64().unwrap_or_default()));
    }
    let cannot: u64 = report["cannot_fire"].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum();
    out.push_str(&format!("{cannot:>6} cannot fire here\n"));
    for reason in report["reasons"].as_array().into_iter().flatten().take(12) {
        let rules = reason["rules"].as_u64().unwrap_or_default();
        out.push_str(&format!("       {rules:>5} {}\n", text(&reason["why"])));
    }
    let silent = report["silently_dead"].as_array().map_or(0, Vec::len);
    out.push_str(&format!("{silent:>6} silently dead\n"));
    for file in report["silently_dead"].as_array().into_iter().flatten().take(20) {
        out.push_str(&format!("       {}\n", text(file)));
    }
    if report["configured"] != true {
        out.push_str(&format!("to load it, add \"{}\" to `rules` in the config\n", text(&report["to"])));
    }
    out
}
