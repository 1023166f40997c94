//! `picket explain`: why a rule does or does not match an event, from the same component that `run` uses.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value as Json;

use crate::config::Config;
use crate::control::{self, Request};
use crate::detection::{Diagnostic, Gravity};
use crate::explain::{self, ExplainError, Nearest, Which, explain, shown};
use crate::guest::Node;
use crate::kind::time_text;
use crate::notice::now;
use crate::offline::Offline;
use crate::recorder::Recording;
use crate::reload::Inputs;

use super::args::{ExitCode, ExplainArgs, Format, Global};
use super::terminal::{Paint, Style, escape_str, escape_to};
use super::{load, print};

/// Longest value shown.
const VALUE: usize = 120;

pub fn run(args: &ExplainArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.effective(&args.sets.sets, Vec::new())?.config;
    super::log(global, &config);
    let paint = Paint(global.color.stderr());
    if let Some(at) = &args.at {
        return past(args, global, config, at);
    }
    let asked = if let Some(file) = &args.event {
        let mut text = String::new();
        load::open(file)?.read_to_string(&mut text).context("cannot read the event")?;
        let Some(event) = crate::alert::event_in(&text) else {
            eprintln!("error: {} holds no JSON object", escape_str(&file.display().to_string()));
            return Ok(ExitCode::BadInput);
        };
        Some((args.rule.clone(), event.to_string()))
    } else {
        of_alert(&args.rule, &config)?
    };
    let Some((rule, line)) = asked else { return Ok(ExitCode::BadInput) };
    let Some(asked) = Asked::load(&rule, config)? else { return Ok(ExitCode::BadSetup) };
    let said = match explain(asked.offline, which(&rule), &line) {
        Ok(said) => said,
        Err(e) => return failed(e, &asked.diagnostics, &asked.inputs, paint),
    };
    match args.format.format {
        Format::Json => print(format!("{}\n", said.to_json()).as_bytes()),
        Format::Human => {
            let verdict = if said.matched { "matches" } else { "does not match" };
            let mut out = format!("{} {verdict}\n", escape_str(&said.analytic.title));
            if let Some(why) = &said.why {
                out.push_str(&format!("  {}\n", escape_str(why)));
            }
            tree(&said.nodes, Paint(global.color.stdout()), &mut out);
            print(out.as_bytes())
        }
    }
}

/// The rule of an alert, and its event; `None` = they cannot be had, which is said.
fn of_alert(named: &str, config: &Config) -> anyhow::Result<Option<(String, String)>> {
    let Some(given) = load::alert(named, config)? else {
        eprintln!("error: no alert `{}`, and no event to look at", escape_str(named));
        return Ok(None);
    };
    let text = |path: &str| given.alert.pointer(path).and_then(Json::as_str).unwrap_or_default().to_owned();
    let Some(event) = given.alert.get("event").filter(|e| e.is_object()) else {
        eprintln!("error: the alert has no event: {}", escape_str(&text("/message")));
        return Ok(None);
    };
    Ok(Some((text("/rule/id"), event.to_string())))
}

/// The set that a rule is in, with what loading said.
struct Asked {
    offline: Offline,
    diagnostics: Vec<Diagnostic>,
    inputs: Inputs,
}

impl Asked {
    /// `rule` is a file or an id; `None` = the set cannot be loaded, which is said.
    fn load(rule: &str, mut config: Config) -> anyhow::Result<Option<Asked>> {
        if let Some(file) = which(rule).file {
            config.rules = vec![file.to_path_buf()];
        }
        let inputs = load::inputs(config)?;
        match Offline::load(&inputs, false, load::cache_dir(&inputs.config)) {
            Ok(offline) => {
                let diagnostics = offline.generation.diagnostics.clone();
                Ok(Some(Asked { offline, diagnostics, inputs }))
            }
            Err(e) => {
                eprintln!("error: {}", escape_str(&crate::text::chain(&e)));
                Ok(None)
            }
        }
    }
}

fn which(rule: &str) -> Which<'_> {
    let file = Path::new(rule);
    Which { id: rule, file: file.is_file().then_some(file) }
}

/// Says why there is no explanation.
fn failed(e: ExplainError, diagnostics: &[Diagnostic], inputs: &Inputs, paint: Paint) -> anyhow::Result<ExitCode> {
    match e {
        ExplainError::NoRule { .. } => {
            load::report(diagnostics, &inputs.rules, paint, Gravity::Error);
            eprintln!("error: {}", escape_str(&e.to_string()));
            Ok(ExitCode::BadSetup)
        }
        ExplainError::Event(e) => {
            eprintln!("error: {}", escape_str(&crate::text::chain(&e)));
            Ok(ExitCode::BadInput)
        }
        e => Err(e.into()),
    }
}

/// Why a rule did or did not fire around a time.
fn past(args: &ExplainArgs, global: &Global, config: Config, at: &str) -> anyhow::Result<ExitCode> {
    let at = moment(at, now())
        .with_context(|| format!("`{at}` is no time: 10:02, 10:02:03 or 2026-01-31T10:02:03Z, in UTC"))?;
    let within = args.within.duration().as_nanos() as u64;
    // Whether one runs or not: what is on disk is looked at.
    let _ = control::ask(&config.control_socket(), &Request::Flush);
    let times = at.saturating_sub(within)..=at.saturating_add(within);
    let (from, to) = (time_text(*times.start()), time_text(*times.end()));
    let mut recording = Recording::open(&config.state_dir(), times)?;
    let Some(asked) = Asked::load(&args.rule, config)? else { return Ok(ExitCode::BadSetup) };
    let near = match explain::nearest(asked.offline, which(&args.rule), &mut recording, at) {
        Ok(near) => near,
        Err(e) => return failed(e, &asked.diagnostics, &asked.inputs, Paint(global.color.stderr())),
    };
    match args.format.format {
        Format::Json => {
            let mut report = near.to_json();
            report["from"] = from.into();
            report["to"] = to.into();
            report["problems"] = recording.problems.clone().into();
            print(format!("{report}\n").as_bytes())
        }
        Format::Human => {
            let mut out = nearest_text(&near, &format!("{from} to {to}"), Paint(global.color.stdout()));
            recording.problems.iter().for_each(|p| out.push_str(&format!("warning: {}\n", escape_str(p))));
            print(out.as_bytes())
        }
    }
}

fn nearest_text(near: &Nearest, times: &str, paint: Paint) -> String {
    let title = escape_str(&near.analytic.title);
    let mut out = match (near.hits.len(), near.looked_at) {
        (0, 0) => format!("{title}: nothing that it looks at was recorded"),
        (0, n) => format!("{title} did not match: {n} events of its kinds"),
        (hits, n) => format!("{title} matched {hits} of {n} events of its kinds"),
    };
    out.push_str(&format!(", {times}\n"));
    if near.cut {
        out.push_str("only the first events that it looks at were compared: narrow it with --within\n");
    }
    for tried in &near.events {
        let what = escape_to(tried.what.as_bytes(), VALUE);
        out.push_str(&format!("\n{} {what}\n", paint.paint(Style::Cyan, &time_text(tried.time))));
        tree(&tried.nodes, paint, &mut out);
    }
    out
}

/// A moment, Unix ns: a time of day is the last one that has been.
fn moment(text: &str, now: u64) -> Option<u64> {
    const DAY: u64 = 86_400;
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return u64::try_from(time.as_nanosecond()).ok();
    }
    let mut parts = text.split(':').map(|part| part.parse::<u64>().ok().filter(|_| part.len() == 2));
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().map_or(Some(0), |s| s)?;
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = now / 1_000_000_000;
    let today = seconds - seconds % DAY + hour * 3600 + minute * 60 + second;
    let last = if today > seconds { today.checked_sub(DAY)? } else { today };
    Some(last * 1_000_000_000)
}

fn tree(nodes: &[Node], paint: Paint, out: &mut String) {
    let mut depth = vec![0usize; nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        let parent = node.parent as usize;
        if parent < i {
            depth[i] = depth[parent] + 1;
        }
        let mark = if node.holds { paint.paint(Style::Green, "yes") } else { paint.paint(Style::Red, " no") };
        let mut line = format!("{mark} {}{}", "  ".repeat(depth[i]), escape_str(&node.label));
        if !node.field.is_empty() {
            line.push_str(&format!(" {} = {}", escape_str(&node.field), escape_to(node.pattern.as_bytes(), VALUE)));
        }
        if !node.field.is_empty() {
            line.push_str(&format!(" | is {}", escape_to(shown(&node.actual).as_bytes(), VALUE)));
        }
        if !node.reason.is_empty() {
            line.push_str(&format!(" | {}", escape_str(&node.reason)));
        }
        if node.line > 0 {
            line.push_str(&format!(" (line {})", node.line));
        }
        out.push_str(&line);
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_is_the_last_one_that_has_been() {
        // 2026-01-31T10:05:00Z
        let now = 1_769_853_900_000_000_000;
        let shown = |text: &str| moment(text, now).map(time_text);
        assert_eq!(shown("10:02").as_deref(), Some("2026-01-31T10:02:00Z"));
        assert_eq!(shown("10:06:01").as_deref(), Some("2026-01-30T10:06:01Z"));
        assert_eq!(shown("2025-12-01T00:00:00+01:00").as_deref(), Some("2025-11-30T23:00:00Z"));
        for bad in ["", "10", "24:00", "1:2", "10:02:60", "10:02:03:04", "now"] {
            assert_eq!(shown(bad), None, "{bad}");
        }
    }
}
