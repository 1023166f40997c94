//! `picket explain`: why a rule does or does not match an event, from the same component that `run` uses.

use std::io::Read as _;

use anyhow::Context as _;

use crate::detection::Gravity;
use crate::explain::{ExplainError, Which, event_line, explain, shown};
use crate::guest::Node;
use crate::offline::Offline;

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
    let Some(line) = event_line(&text) else {
        eprintln!("error: {} holds no JSON object", escape_str(&args.event.display().to_string()));
        return Ok(ExitCode::BadInput);
    };
    let offline = match Offline::load(&inputs, false, load::cache_dir(&inputs.config)) {
        Ok(offline) => offline,
        Err(e) => {
            eprintln!("error: {}", escape_str(&crate::text::chain(&e)));
            return Ok(ExitCode::BadSetup);
        }
    };
    let diagnostics = offline.generation.diagnostics.clone();
    let which = Which { id: &args.rule, file: file.is_file().then_some(file) };
    let said = match explain(offline, which, &line) {
        Ok(said) => said,
        Err(e @ ExplainError::NoRule { .. }) => {
            load::report(&diagnostics, &inputs.rules, Paint(global.color.stderr()), Gravity::Error);
            eprintln!("error: {}", escape_str(&e.to_string()));
            return Ok(ExitCode::BadSetup);
        }
        Err(ExplainError::Event(e)) => {
            eprintln!("error: {}", escape_str(&crate::text::chain(&e)));
            return Ok(ExitCode::BadInput);
        }
        Err(e) => return Err(e.into()),
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
