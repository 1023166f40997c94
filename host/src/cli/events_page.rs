//! docs/events.md: every kind with its hooks, its fields and what it cannot see, read from the tables that the code runs on.

use std::fmt::Write as _;

use super::fields::{Line, PRODUCT, own, process, sources};
use crate::kind::{KINDS, Kind, SYSTEM};

const HEAD: &str = "\
# Events

Every kind of event: where the kernel is asked, which fields it has, what it cannot see. Printed by `picket fields --markdown`; a
test compares. The JSON of an event has the fields below `EventData` in this order, `System` before them, and the process
behind the event in `EventData.ProcInfo` and `context`. A field answers to its dotted name and to the names in the column
*Sigma*. Times are nanoseconds since the epoch where the type is unsigned, RFC 3339 where it is time. A field that a hook cannot
fill is null, or left out where the model does not have it.

";

/// The whole page.
pub fn text() -> String {
    let mut out = HEAD.to_owned();
    for kind in KINDS {
        let sources: Vec<String> = sources(kind).map(|(part, name)| format!("{part} `{name}`")).collect();
        let _ = writeln!(
            out,
            "## {}\n\nWhat: {}.\n\n* log sources of product {PRODUCT}: {}",
            kind.name,
            kind.doc,
            sources.join(", ")
        );
        hooks(&mut out, kind);
        table(&mut out, &own("EventData", kind.fields));
    }
    out.push_str("## The process behind every event\n\n");
    table(&mut out, &process());
    out.push_str("## System, of every event\n\n");
    table(&mut out, &own("System", SYSTEM));
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// Where the kernel is asked, on each rung.
fn hooks(out: &mut String, kind: &Kind) {
    let Some(record) = picket_ebpf::Kind::from_id(kind.record) else {
        let _ = writeln!(out, "* hooks: none, the host makes it\n");
        return;
    };
    let programs = picket_ebpf::programs();
    let on = |rung: &str| -> Vec<String> {
        let own = programs.iter().filter_map(|p| p.strip_prefix(kind.name)?.strip_prefix("__")?.strip_prefix(rung));
        let mut at: Vec<String> = own
            .map(|rest| {
                let (returns, target) = rest.strip_prefix("_return").map_or((false, rest), |rest| (true, rest));
                let target = target.strip_prefix("__").unwrap_or(kind.name);
                format!("`{target}`{}", if returns { " (return)" } else { "" })
            })
            .collect();
        if rung == "tracepoint" && record.tracepoint() == picket_ebpf::Tracepoint::SystemCall {
            at.push("`sys_exit`".to_owned());
        }
        at.sort();
        at.dedup();
        at
    };
    for (rung, name) in [("kprobe", "kprobes"), ("tracepoint", "tracepoints")] {
        let at = on(rung);
        if !at.is_empty() {
            let _ = writeln!(out, "* {name}: {}", at.join(", "));
        }
    }
    if !record.blind_spot().is_empty() {
        let _ = writeln!(out, "* on tracepoints: {}", record.blind_spot());
    }
    out.push('\n');
}

fn table(out: &mut String, lines: &[Line]) {
    out.push_str("| field | Sigma | type | |\n|---|---|---|---|\n");
    for line in lines {
        let sigma: Vec<String> = line.sigma.iter().map(|s| format!("`{s}`")).collect();
        let note = if line.filled { "" } else { " (only in replayed events)" };
        let doc = line.doc.replace('|', "\\|");
        let _ = writeln!(out, "| `{}` | {} | {} | {doc}{note} |", line.name, sigma.join(", "), line.ty);
    }
    out.push('\n');
}
