//! `picket hunt`: rules over what this host recorded. No Picket has to run; one that does is asked to write what it has first.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::config::Config;
use crate::control::{self, Request};
use crate::detection::{Gravity, Level};
use crate::export;
use crate::hunt::{self, Difference, Findings, Hit, Hits, NotCollected};
use crate::offline::{Offline, OfflineError};
use crate::recorder::Recording;
use crate::reload::Inputs;

use super::args::{ExitCode, Format, Global, HuntArgs};
use super::terminal::{Paint, Style, escape_str, escape_to};
use super::{load, print, progress};

/// Longest value shown.
const VALUE: usize = 100;

pub fn run(args: &HuntArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.effective(&args.sets.sets, Vec::new())?.config;
    super::log(global, &config);
    // Whether one runs or not: what is on disk is hunted.
    let _ = control::ask(&config.control_socket(), &Request::Flush);
    let started = Instant::now();
    if let [old, new] = &args.diff[..] {
        let old = hunt(args, global, &config, std::slice::from_ref(old))?;
        let new = hunt(args, global, &config, std::slice::from_ref(new))?;
        let (Some(old), Some(new)) = (old, new) else { return Ok(ExitCode::BadSetup) };
        let difference = Difference::of(old, new);
        return match args.format.format {
            Format::Json => print(format!("{}\n", serde_json::to_string(&difference)?).as_bytes()),
            Format::Human => print(changes(&difference, Paint(global.color.stdout())).as_bytes()),
        };
    }
    let Some(findings) = hunt(args, global, &config, &args.rules)? else { return Ok(ExitCode::BadSetup) };
    let failed = args.fail_on.is_some_and(|least: Level| findings.rules.iter().any(|r| r.hits > 0 && r.level >= least));
    match args.format.format {
        Format::Json => print(format!("{}\n", serde_json::to_string(&findings)?).as_bytes())?,
        Format::Human => print(told(&findings, started, Paint(global.color.stdout())).as_bytes())?,
    };
    Ok(if failed { ExitCode::AssertionFailed } else { ExitCode::Ok })
}

/// Loads rules and runs them over the recording; `None` if they cannot be loaded, which is said.
fn hunt(args: &HuntArgs, global: &Global, config: &Config, rules: &[String]) -> anyhow::Result<Option<Findings>> {
    let paint = Paint(global.color.stderr());
    let Some(offline) = load_rules(config, rules, paint)? else { return Ok(None) };
    let mut recording = Recording::last(&config.state_dir(), args.since.duration())?;
    let bar = progress::bytes(recording.size, global);
    let findings = hunt::run(offline, &mut recording, &mut |done| bar.set_position(done));
    bar.finish_and_clear();
    Ok(Some(findings))
}

/// Files and directories are loaded as they are; a rule named by its id or title, or all of the config, with the filters of the config.
fn load_rules(config: &Config, rules: &[String], paint: Paint) -> anyhow::Result<Option<Offline>> {
    let paths: Vec<PathBuf> = rules.iter().map(PathBuf::from).filter(|p| p.exists()).collect();
    let mut config = config.clone();
    if !rules.is_empty() && paths.len() == rules.len() {
        config.rules.clone_from(&paths);
    }
    let mut inputs = load::inputs(config)?;
    let cache = load::cache_dir(&inputs.config);
    let load = |inputs: &Inputs| match Offline::load(inputs, false, cache.clone()) {
        Ok(offline) => Ok(Some(offline)),
        Err(e @ OfflineError::Refused(_)) => {
            eprintln!("error: {}", escape_str(&crate::text::chain(&e)));
            Ok(None)
        }
        Err(e) => Err(e),
    };
    let Some(mut offline) = load(&inputs)? else { return Ok(None) };
    if paths.len() != rules.len() {
        let mut files = Vec::new();
        for rule in rules {
            let named = hunt::file_of(&offline, rule).or_else(|| Path::new(rule).exists().then(|| rule.clone()));
            let Some(file) = named else {
                eprintln!("error: no file, and no loaded rule by id or title: `{}`", escape_str(rule));
                return Ok(None);
            };
            files.push(file);
        }
        inputs.rules.retain(|f| files.contains(&f.name) || export::is_filter(&f.content));
        let Some(some) = load(&inputs)? else { return Ok(None) };
        offline = some;
    }
    if load::report(&offline.generation.diagnostics, &inputs.rules, paint, Gravity::Error) {
        return Ok(None);
    }
    Ok(Some(offline))
}

fn told(findings: &Findings, started: Instant, paint: Paint) -> String {
    let mut out = heading(findings);
    out.push_str(&format!(", in {:.1} s\n", started.elapsed().as_secs_f64()));
    let (hit, quiet): (Vec<&Hits>, Vec<&Hits>) = findings.rules.iter().partition(|r| r.hits > 0);
    for rule in hit {
        out.push_str(&rule_text(rule, paint));
    }
    match quiet.as_slice() {
        [] => {}
        [one] => out.push_str(&format!("no hit: {}\n", escape_str(&one.title))),
        many => out.push_str(&format!("no hit: {} rules\n", many.len())),
    }
    out.push_str(&limits(findings, paint));
    out
}

fn heading(findings: &Findings) -> String {
    match (&findings.from, &findings.to) {
        (Some(from), Some(to)) => {
            let short = |t: &str| t.get(..19).unwrap_or(t).replace('T', " ");
            format!("{} events looked at, recorded {} to {} UTC", findings.events, short(from), short(to))
        }
        _ => "nothing is recorded in this time".to_owned(),
    }
}

fn rule_text(rule: &Hits, paint: Paint) -> String {
    let style = match rule.level {
        Level::Critical | Level::High => Style::Red,
        Level::Medium => Style::Yellow,
        _ => Style::Cyan,
    };
    let level = paint.paint(style, &format!("{:<13}", rule.level.name()));
    let short = |t: &Option<String>| t.as_deref().and_then(|t| t.get(..19)).unwrap_or("?").replace('T', " ");
    let mut out = format!(
        "{level} {} hits  {}  ({})\n    first {}, last {}\n",
        rule.hits,
        escape_str(&rule.title),
        escape_str(&rule.file),
        short(&rule.first),
        short(&rule.last)
    );
    if rule.per_day.len() > 1 {
        let days: Vec<String> = rule.per_day.iter().map(|(day, hits)| format!("{day}: {hits}")).collect();
        out.push_str(&format!("    per day  {}\n", days.join("  ")));
    }
    for (field, values) in &rule.top {
        for (at, often) in values.iter().enumerate() {
            let name = if at == 0 { escape_str(field) } else { String::new() };
            out.push_str(&format!("    {name:<18} {:>7}  {}\n", often.count, escape_to(often.value.as_bytes(), VALUE)));
        }
    }
    out
}

/// What the numbers do not say.
fn limits(findings: &Findings, paint: Paint) -> String {
    let mut out = String::new();
    let warning = paint.paint(Style::Yellow, "warning");
    let in_part = |k: &&NotCollected| k.whole + k.in_part >= 100;
    for kind in findings.not_collected.iter().filter(|k| !in_part(k)) {
        out.push_str(&format!(
            "{warning}: {} was collected in {} % of this time: hits on it may be missing\n",
            kind.kind,
            kind.whole + kind.in_part
        ));
    }
    let parts: Vec<&str> = findings.not_collected.iter().filter(in_part).map(|k| k.kind).collect();
    if !parts.is_empty() {
        out.push_str(&format!(
            "of {} only the rows that a rule of that time asked for were collected\n",
            parts.join(", ")
        ));
    }
    for problem in &findings.problems {
        out.push_str(&format!("{warning}: {}\n", escape_str(problem)));
    }
    if findings.refused > 0 {
        out.push_str(&format!(
            "{warning}: {} detections were too many at once and are not counted\n",
            findings.refused
        ));
    }
    out
}

fn changes(d: &Difference, paint: Paint) -> String {
    let mut out = format!("{}\n", heading(&d.new));
    out.push_str(&format!(
        "{} events hit by both, {} gained, {} lost\n",
        d.both,
        paint.paint(Style::Green, &d.gained_count.to_string()),
        paint.paint(Style::Red, &d.lost_count.to_string())
    ));
    let mut list = |mark: &str, style: Style, hits: &[Hit], count: usize| {
        for hit in hits {
            let what = if hit.command.is_empty() { &hit.image } else { &hit.command };
            let time = hit.time.get(..19).unwrap_or(&hit.time).replace('T', " ");
            let line = format!("{mark} {time}  {}  {}", escape_str(&hit.rule), escape_to(what.as_bytes(), VALUE));
            out.push_str(&paint.paint(style, &line));
            out.push('\n');
        }
        if count > hits.len() {
            out.push_str(&format!("{mark} and {} more\n", count - hits.len()));
        }
    };
    list("+", Style::Green, &d.gained, d.gained_count);
    list("-", Style::Red, &d.lost, d.lost_count);
    if d.cut {
        out.push_str("there are more hits than are compared one by one: the numbers are of the first of them\n");
    }
    out.push_str(&limits(&d.new, paint));
    out
}
