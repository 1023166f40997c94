//! `picket audit`: who changed what, from the log in the state directory. No Picket has to run.

use std::io::Write as _;

use jiff::Timestamp;
use serde_json::Value as Json;

use crate::audit;

use super::args::{AuditArgs, ExitCode, Format, Global};
use super::terminal::escape_str;

pub fn run(args: &AuditArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.effective(&args.sets.sets, Vec::new())?.config;
    super::log(global, &config);
    let from =
        args.since.map(|since| Timestamp::now() - jiff::SignedDuration::try_from(since.duration()).unwrap_or_default());
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut written = Ok(());
    audit::each(&config.state_dir(), &mut |entry, line| {
        let time = || entry["time"].as_str().and_then(|t| t.parse::<Timestamp>().ok());
        if from.is_none_or(|from| time().is_some_and(|at| at >= from)) {
            written = match args.format.format {
                Format::Json => writeln!(out, "{line}"),
                Format::Human => writeln!(out, "{}", human(entry)),
            };
        }
        written.is_ok()
    })?;
    match written.and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(ExitCode::Ok),
    }
}

fn human(entry: &Json) -> String {
    let text = |v: &Json| escape_str(v.as_str().unwrap_or_default());
    let state = |v: &Json| match v {
        Json::Null => "nothing".to_owned(),
        Json::String(effect) => escape_str(effect),
        set if set["refused"] == true => format!("generation {} stays, the new set was refused", set["generation"]),
        set => format!("generation {} with {} rules", set["generation"], set["rules"]),
    };
    let time = text(&entry["time"]);
    let mut line = format!("{} {:<9}", time.get(..19).unwrap_or(&time), text(&entry["what"]));
    if entry["subject"].is_string() {
        line.push_str(&format!(" {}:", text(&entry["subject"])));
    }
    line.push_str(&format!(" {} -> {}", state(&entry["before"]), state(&entry["after"])));
    if entry["why"].is_string() {
        line.push_str(&format!("; {}", text(&entry["why"])));
    }
    if entry["owner"].is_string() {
        line.push_str(&format!(" (owner {})", text(&entry["owner"])));
    }
    for asker in entry["asked_by"].as_array().into_iter().flatten() {
        let peer = &asker["control"];
        match (peer.is_object(), peer["login_uid"].as_u64()) {
            (false, _) => line.push_str("; asked by a signal"),
            (true, None) => line.push_str(&format!("; asked by uid {}, pid {}", peer["uid"], peer["pid"])),
            (true, Some(login)) => {
                line.push_str(&format!("; asked by uid {}, logged in as {login}, pid {}", peer["uid"], peer["pid"]));
            }
        }
    }
    for file in entry["files"].as_array().into_iter().flatten() {
        line.push_str(&format!("\n    {} {}", text(&file["change"]), text(&file["file"])));
        if let Some(uid) = file["uid"].as_u64() {
            line.push_str(&format!(", of uid {uid}, written {}", text(&file["mtime"])));
        }
    }
    if let Some(more) = entry["more_files"].as_u64() {
        line.push_str(&format!("\n    and {more} more files"));
    }
    line
}
