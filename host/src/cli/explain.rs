//! `picket explain`: why a rule does or does not match an event, from the same component that `run` uses.

use std::io::Read as _;
use std::sync::Mutex;

use anyhow::Context as _;

use crate::detection::{Analytic, Diagnostic};
use crate::guest::{GuestError, Node, OwnedValue};
use crate::offline::Offline;
use crate::roster;
use crate::sensor::Input;
use crate::slab::{Slab, Value};

use super::args::{ExitCode, ExplainArgs, Format, Global};
use super::terminal::{Paint, Style, escape_str, escape_to};
use super::{load, print};

/// Longest value shown.
const VALUE: usize = 120;

pub fn run(args: &ExplainArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let mut config = global.effective(&[], Vec::new())?.config;
    super::log(global, &config);
    let file = std::path::Path::new(&args.rule);
    if file.is_file() {
        config.rules = vec![file.to_path_buf()];
    }
    let inputs = load::inputs(config)?;
    let mut text = String::new();
    load::open(&args.event)?.read_to_string(&mut text).context("cannot read the event")?;
    let Some(event) = crate::alert::event_in(&text) else {
        eprintln!("error: {} holds no JSON object", escape_str(&args.event.display().to_string()));
        return Ok(ExitCode::BadInput);
    };
    let line = event.to_string();
    let offline = match Offline::load(&inputs, false, load::cache_dir(&inputs.config)) {
        Ok(offline) => offline,
        Err(e) => {
            eprintln!("error: {}", escape_str(&crate::text::chain(&e)));
            return Ok(ExitCode::BadSetup);
        }
    };
    let paint = Paint(global.color.stderr());
    let in_file = |f: &str| file.is_file() && std::path::Path::new(f).file_name() == file.file_name();
    let found = offline.generation.guests().find_map(|guest| {
        let analytic = guest.plan.analytics.iter().find(|a| a.id == args.rule || in_file(&a.file))?;
        Some((guest.clone(), analytic.clone()))
    });
    let Some((guest, analytic)) = found else {
        load::report(&offline.generation.diagnostics, &inputs.rules, paint, crate::detection::Gravity::Error);
        eprintln!("error: no loaded rule has the id or file `{}`", escape_str(&args.rule));
        return Ok(ExitCode::BadSetup);
    };
    let diagnostics = offline.generation.diagnostics.clone();
    // Only the slab is kept: a flight would hold its generation, whose lanes end the run.
    let last: Mutex<Option<std::sync::Arc<Slab>>> = Mutex::new(None);
    let matched: Mutex<bool> = Mutex::new(false);
    let (added, _) = offline.run(
        |feeder| feeder.add(&Input::Line { number: 1, text: &line }),
        |finished| {
            let hit = finished.found.iter().any(|f| f.detection.analytic == analytic);
            *matched.lock().unwrap_or_else(std::sync::PoisonError::into_inner) |= hit;
            let slab = &finished.flight.slab;
            if !slab.is_empty() {
                *last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(slab.clone());
            }
        },
    );
    if let Err(e) = added {
        eprintln!("error: {}", escape_str(&crate::text::chain(&e)));
        return Ok(ExitCode::BadInput);
    }
    let slab = last.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).context("the event was lost")?;
    let matched = matched.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    // The event, or what is made from it: the row that comes nearest to a match.
    let rows = slab.len() as u32;
    let mut nodes = guest.explain(&analytic.id, &slab, 0);
    for said in (1..rows).filter_map(|row| guest.explain(&analytic.id, &slab, row).ok()) {
        let holding = |nodes: &[Node]| nodes.iter().filter(|n| n.holds).count();
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

/// Why a rule does not even look at an event.
fn of_another_source(analytic: &Analytic, diagnostics: &[Diagnostic]) -> String {
    let source = roster::log_source(analytic).unwrap_or_default();
    let unfed = diagnostics.iter().find(|d| d.file == analytic.file && d.code == roster::NOT_FED);
    match unfed {
        Some(d) => format!("never produced on this host: the rule is about {source}; {}", d.help),
        None => format!("the event is not of the rule's log source, {source}"),
    }
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
