//! `picket explain`: why a rule does or does not match an event, from the same component that `run` uses.

use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use serde_json::Value as Json;

use crate::config::Config;
use crate::control::{self, Request};
use crate::detection::{Analytic, Diagnostic};
use crate::generation::Interest;
use crate::guest::{Guest, GuestError, Node, OwnedValue};
use crate::kind::{self, KindId};
use crate::notice::now;
use crate::offline::Offline;
use crate::recorder::Recording;
use crate::roster;
use crate::sensor::Input;
use crate::slab::{Slab, Value};

use super::args::{ExitCode, ExplainArgs, Format, Global};
use super::terminal::{Paint, Style, escape_str, escape_to};
use super::{load, print};

/// Longest value shown.
const VALUE: usize = 120;

pub fn run(args: &ExplainArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.effective(&args.sets.sets, Vec::new())?.config;
    super::log(global, &config);
    if let Some(at) = &args.at {
        return around(args, global, config, at);
    }
    let (rule, line) = match &args.event {
        Some(event) => {
            let mut text = String::new();
            load::open(event)?.read_to_string(&mut text).context("cannot read the event")?;
            let Some(line) = event_line(&text) else {
                eprintln!("error: {} holds no JSON object", escape_str(&event.display().to_string()));
                return Ok(ExitCode::BadInput);
            };
            (args.rule.clone(), line)
        }
        None => {
            let Some(given) = load::alert(&args.rule, &config)? else {
                eprintln!("error: no alert `{}`, and no event to look at", escape_str(&args.rule));
                return Ok(ExitCode::BadInput);
            };
            let text = |path: &str| given.alert.pointer(path).and_then(Json::as_str).unwrap_or_default().to_owned();
            let Some(event) = given.alert.get("event").filter(|e| e.is_object()) else {
                eprintln!("error: the alert has no event: {}", escape_str(&text("/message")));
                return Ok(ExitCode::BadInput);
            };
            (text("/rule/id"), event.to_string())
        }
    };
    let Some(asked) = Asked::load(&rule, config, Paint(global.color.stderr()))? else { return Ok(ExitCode::BadSetup) };
    let Asked { offline, guest, analytic, diagnostics } = asked;
    // Only the slab is kept: a flight would hold its generation, whose lanes end the run.
    let last: Mutex<Option<Arc<Slab>>> = Mutex::new(None);
    let matched: Mutex<bool> = Mutex::new(false);
    let (added, _) = offline.run(
        |feeder| feeder.add(&Input::Line { number: 1, text: &line }),
        |finished| {
            let hit = finished.found.iter().any(|f| f.detection.analytic == analytic);
            *matched.lock().unwrap_or_else(PoisonError::into_inner) |= hit;
            let slab = &finished.flight.slab;
            if !slab.is_empty() {
                *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(slab.clone());
            }
        },
    );
    if let Err(e) = added {
        eprintln!("error: {}", escape_str(&crate::text::chain(&e)));
        return Ok(ExitCode::BadInput);
    }
    let slab = last.into_inner().unwrap_or_else(PoisonError::into_inner).context("the event was lost")?;
    let matched = matched.into_inner().unwrap_or_else(PoisonError::into_inner);
    // The event, or what is made from it: the row that comes nearest to a match.
    let rows = slab.len() as u32;
    let mut nodes = guest.explain(&analytic.id, &slab, 0);
    for said in (1..rows).filter_map(|row| guest.explain(&analytic.id, &slab, row).ok()) {
        if nodes.as_ref().is_ok_and(|best| holding(best) >= holding(&said)) {
            continue;
        }
        nodes = Ok(said);
    }
    let (nodes, why) = match nodes {
        Ok(nodes) => (nodes, None),
        Err(GuestError::NotSelected { .. }) => (Vec::new(), Some(of_another_source(&analytic, &diagnostics))),
        Err(e) => return Err(e.into()),
    };
    match args.format.format {
        Format::Json => {
            let report = serde_json::json!({ "rule": analytic.id, "title": analytic.title, "matched": matched, "why": why, "nodes": nodes.iter().map(node_json).collect::<Vec<_>>() });
            print(format!("{report}\n").as_bytes())
        }
        Format::Human => {
            let verdict = if matched { "matches" } else { "does not match" };
            let mut out = format!("{} {verdict}\n", escape_str(&analytic.title));
            if let Some(why) = why {
                out.push_str(&format!("  {}\n", escape_str(&why)));
            }
            tree(&nodes, Paint(global.color.stdout()), &mut out);
            print(out.as_bytes())
        }
    }
}

fn holding(nodes: &[Node]) -> usize {
    nodes.iter().filter(|n| n.holds).count()
}

/// A rule that was asked about, with the set it is in.
struct Asked {
    offline: Offline,
    guest: Arc<Guest>,
    analytic: Arc<Analytic>,
    diagnostics: Vec<Diagnostic>,
}

impl Asked {
    /// `rule` is a file or an id; `None` = it cannot be had, which is said.
    fn load(rule: &str, mut config: Config, paint: Paint) -> anyhow::Result<Option<Asked>> {
        let file = Path::new(rule);
        if file.is_file() {
            config.rules = vec![file.to_path_buf()];
        }
        let inputs = load::inputs(config)?;
        let offline = match Offline::load(&inputs, false, load::cache_dir(&inputs.config)) {
            Ok(offline) => offline,
            Err(e) => {
                eprintln!("error: {}", escape_str(&crate::text::chain(&e)));
                return Ok(None);
            }
        };
        let in_file = |f: &str| file.is_file() && Path::new(f).file_name() == file.file_name();
        let found = offline.generation.guests().find_map(|guest| {
            let analytic = guest.plan.analytics.iter().find(|a| a.id == rule || in_file(&a.file))?;
            Some((guest.clone(), analytic.clone()))
        });
        let Some((guest, analytic)) = found else {
            load::report(&offline.generation.diagnostics, &inputs.rules, paint, crate::detection::Gravity::Error);
            eprintln!("error: no loaded rule has the id or file `{}`", escape_str(rule));
            return Ok(None);
        };
        let diagnostics = offline.generation.diagnostics.clone();
        Ok(Some(Asked { offline, guest, analytic, diagnostics }))
    }
}

/// Recorded events that are explained: each takes an instance of its own.
const EXPLAINED: usize = 400;

/// Of those, the ones that are shown.
const SHOWN: usize = 3;

/// A recorded event that a rule was tried on.
struct Tried {
    time: u64,
    what: String,
    event: String,
    nodes: Vec<Node>,
}

/// Why a rule did or did not fire around a time: the recorded events that came nearest to a match.
fn around(args: &ExplainArgs, global: &Global, config: Config, at: &str) -> anyhow::Result<ExitCode> {
    let at = moment(at, now())
        .with_context(|| format!("`{at}` is no time: 10:02, 10:02:03 or 2026-01-31T10:02:03Z, in UTC"))?;
    let within = args.within.duration().as_nanos() as u64;
    // Whether one runs or not: what is on disk is looked at.
    let _ = control::ask(&config.control_socket(), &Request::Flush);
    let state_dir = config.state_dir();
    let Some(asked) = Asked::load(&args.rule, config, Paint(global.color.stderr()))? else {
        return Ok(ExitCode::BadSetup);
    };
    let Asked { offline, guest, analytic, .. } = asked;
    let mut recording = Recording::open(&state_dir, at.saturating_sub(within)..=at.saturating_add(within))?;
    let interest = offline.generation.interest.clone();
    let wanted = |kind: KindId| interest.get(kind.0 as usize).is_some_and(|i| *i != Interest::None);
    let found: Mutex<(usize, Vec<String>, Vec<Tried>)> = Mutex::default();
    let (looked_at, _) = offline.run(
        |feeder| {
            let mut looked_at = 0;
            while let Some(mut block) = recording.next(&wanted) {
                for row in 0..block.rows() {
                    if recording.covers(block.time(row)) {
                        feeder.recorded(&mut block, row);
                        looked_at += 1;
                    }
                }
            }
            looked_at
        },
        |finished| {
            let (explained, hits, tried) = &mut *found.lock().unwrap_or_else(PoisonError::into_inner);
            let slab = &finished.flight.slab;
            let hit = finished.found.iter().filter(|f| f.detection.analytic == analytic);
            hits.extend(hit.map(|f| f.id.to_string()));
            for row in 0..slab.len() as u32 {
                if *explained >= EXPLAINED {
                    return;
                }
                let Ok(nodes) = guest.explain(&analytic.id, slab, row) else { continue };
                *explained += 1;
                let row = row as usize;
                let event = kind::render(slab, row);
                let what = what(slab, row);
                tried.push(Tried { time: slab.rows[row].time, what, event, nodes });
                // Nearest to a match first, then nearest in time.
                tried.sort_by_key(|t| (std::cmp::Reverse(holding(&t.nodes)), t.time.abs_diff(at)));
                tried.truncate(SHOWN);
            }
        },
    );
    let (explained, hits, tried) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (from, to) = (kind::time_text(at.saturating_sub(within)), kind::time_text(at.saturating_add(within)));
    match args.format.format {
        Format::Json => {
            let near: Vec<Json> = tried
                .iter()
                .map(|t| {
                    let event: Json = serde_json::from_str(&t.event).unwrap_or_default();
                    let nodes: Vec<Json> = t.nodes.iter().map(node_json).collect();
                    serde_json::json!({ "time": kind::time_text(t.time), "event": event, "nodes": nodes })
                })
                .collect();
            let report = serde_json::json!({
                "rule": analytic.id, "title": analytic.title, "from": from, "to": to, "looked_at": looked_at,
                "explained": explained, "hits": hits, "nearest": near, "problems": recording.problems,
            });
            print(format!("{report}\n").as_bytes())
        }
        Format::Human => {
            let paint = Paint(global.color.stdout());
            let mut out = match (hits.len(), looked_at) {
                (0, 0) => format!("{}: nothing that it looks at was recorded", escape_str(&analytic.title)),
                (0, n) => format!("{} did not match: {n} events of its kinds", escape_str(&analytic.title)),
                (hits, n) => format!("{} matched {hits} of {n} events of its kinds", escape_str(&analytic.title)),
            };
            out.push_str(&format!(", {from} to {to}\n"));
            if explained >= EXPLAINED {
                out.push_str(&format!(
                    "only the first {EXPLAINED} events it looks at were compared: narrow it with --within\n"
                ));
            }
            for t in &tried {
                let what = escape_to(t.what.as_bytes(), VALUE);
                out.push_str(&format!("\n{} {}\n", paint.paint(Style::Cyan, &kind::time_text(t.time)), what));
                tree(&t.nodes, paint, &mut out);
            }
            recording.problems.iter().for_each(|p| out.push_str(&format!("warning: {}\n", escape_str(p))));
            print(out.as_bytes())
        }
    }
}

/// What an event is, in a few words.
fn what(slab: &Slab, row: usize) -> String {
    let kind = slab.rows[row].kind.spec().map_or("", |k| k.name);
    let image = slab.rows[row].process.as_ref().map(|p| p.image.clone());
    let command = image.as_ref().and_then(|i| i.cmdline.as_deref().or(i.exe.as_deref())).unwrap_or_default();
    format!("{kind} {}", String::from_utf8_lossy(command))
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

/// Why a rule does not even look at an event.
fn of_another_source(analytic: &Analytic, diagnostics: &[Diagnostic]) -> String {
    let source = roster::log_source(analytic).unwrap_or_default();
    let unfed = diagnostics.iter().find(|d| d.file == analytic.file && d.code == roster::NOT_FED);
    match unfed {
        Some(d) => format!("never produced on this host: the rule is about {source}; {}", d.help),
        None => format!("the event is not of the rule's log source, {source}"),
    }
}

/// The event in `text`: one JSON object, or the `event` of an alert.
fn event_line(text: &str) -> Option<String> {
    let first = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>().next()?.ok()?;
    let object = first.as_object()?;
    let alert = object.contains_key("rule") && object.contains_key("picket");
    Some(if alert { object.get("event")?.to_string() } else { first.to_string() })
}

fn node_json(n: &Node) -> serde_json::Value {
    serde_json::json!({ "parent": n.parent, "label": n.label, "field": n.field, "pattern": n.pattern,
        "actual": shown(&n.actual), "holds": n.holds, "reason": n.reason, "line": n.line })
}

/// A value as text; `(absent)` and the like in parentheses.
fn shown(value: &OwnedValue) -> String {
    match value.as_value() {
        Value::Absent => "(absent)".to_owned(),
        Value::Null => "(null)".to_owned(),
        Value::Unavailable => "(unavailable)".to_owned(),
        Value::Unsigned(v) => v.to_string(),
        Value::Signed(v) => v.to_string(),
        Value::Float(v) => v.to_string(),
        Value::Bool(v) => v.to_string(),
        Value::Time(t) => crate::kind::time_text(t),
        Value::Text(t) => String::from_utf8_lossy(t).into_owned(),
        Value::List(list) => {
            let mut items = Vec::new();
            list.each(&mut |i| items.push(String::from_utf8_lossy(i).into_owned()));
            format!("{items:?}")
        }
    }
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
        let shown = |text: &str| moment(text, now).map(kind::time_text);
        assert_eq!(shown("10:02").as_deref(), Some("2026-01-31T10:02:00Z"));
        assert_eq!(shown("10:06:01").as_deref(), Some("2026-01-30T10:06:01Z"));
        assert_eq!(shown("2025-12-01T00:00:00+01:00").as_deref(), Some("2025-11-30T23:00:00Z"));
        for bad in ["", "10", "24:00", "1:2", "10:02:60", "10:02:03:04", "now"] {
            assert_eq!(shown(bad), None, "{bad}");
        }
    }
}
