//! `picket rules mode`: what becomes of what a rule finds. Writes one small file beside the others of tuning, and loads it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value as Json, json};

use crate::cli::args::{ExitCode, Format, Global, RulesModeArgs};
use crate::cli::print;
use crate::cli::terminal::escape_str;
use crate::config::Config;
use crate::control::{self, ControlError, Request};
use crate::hits::Hits;
use crate::notice;
use crate::tune::{self, Expiry, Mode, writing};
use crate::units::Period;

pub fn run(args: &RulesModeArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.effective(&args.sets.sets, Vec::new())?.config;
    crate::cli::log(global, &config);
    let expires = args.expires.as_deref().map(end).transpose()?;
    let dir = tuning_dir(&config, None)?;
    let Some((_, rule)) = find(&config, &args.rule)? else { return Ok(ExitCode::BadSetup) };
    let text = |key: &str| rule[key].as_str().unwrap_or_default().to_owned();
    let (id, title) = (text("id"), text("title"));
    let key = if id.is_empty() { &title } else { &id };
    anyhow::ensure!(rule["mode"].is_string(), "`{title}` is only for other rules and makes no alerts: it has no mode");
    let path = dir.join(format!("{}.toml", writing::stem(key)));
    own(&path, key)?;
    let owner = args.owner.clone().or_else(user);
    let file = writing::mode_file(key, &title, args.mode, &args.reason, owner.as_deref(), expires.as_deref());
    put(&path, &file)?;
    let reload = reload(&config)?;
    // The same question again: what was written is only worth what follows from it.
    let now = find(&config, key)?.map(|(_, rule)| rule["mode"].clone()).unwrap_or_default();
    let hits = Hits::read(&config.state_dir()).unwrap_or_default();
    let week = hits.week(&text("guest"), &id, notice::now());
    let took = now.as_str() == Some(args.mode.name());
    let report = json!({
        "rule": id, "title": title, "before": rule["mode"], "mode": now, "asked": args.mode.name(),
        "file": path, "owner": owner, "expires": expires, "reload": reload,
        "week": week.iter().map(|(day, mode, count)| json!({"day": day, "mode": mode, "count": count})).collect::<Vec<_>>(),
        "shadow_hits": week.iter().filter(|(_, mode, _)| *mode == Mode::Shadow).map(|(.., n)| n).sum::<u64>(),
    });
    match args.format.format {
        Format::Json => print(format!("{report}\n").as_bytes())?,
        Format::Human => print(human(&report, args.mode).as_bytes())?,
    };
    if !took {
        eprintln!(
            "error: the mode is {}: something else counts above {}; `picket rules ls` shows what",
            escape_str(now.as_str().unwrap_or("unknown")),
            escape_str(&path.to_string_lossy())
        );
    }
    let refused = reload.as_ref().is_some_and(|r| r["outcome"] == "refused");
    Ok(if took && !refused { ExitCode::Ok } else { ExitCode::BadSetup })
}

fn human(report: &Json, mode: Mode) -> String {
    let text = |key: &str| escape_str(report[key].as_str().unwrap_or("-"));
    let mut out = format!("{}: {} -> {}\n{}\n", text("title"), text("before"), text("mode"), text("file"));
    out.push_str(&reloaded(&report["reload"]));
    if mode == Mode::Live {
        out.push_str(&format!("shadow counted {} hits in the last 7 days\n", report["shadow_hits"]));
        for day in report["week"].as_array().into_iter().flatten().filter(|d| d["mode"] == Mode::Shadow.name()) {
            out.push_str(&format!("  {}  {}\n", escape_str(day["day"].as_str().unwrap_or_default()), day["count"]));
        }
    }
    out
}

/// What came of a reload, on a line.
pub fn reloaded(reload: &Json) -> String {
    match reload["outcome"].as_str() {
        Some("live") => format!("generation {} is live\n", reload["generation"]),
        Some("unchanged") => format!("nothing else changed; generation {} is live\n", reload["generation"]),
        Some(_) => format!("the set was refused: {}\n", escape_str(reload["why"].as_str().unwrap_or_default())),
        None => "no picket is running: it counts from the next start\n".to_owned(),
    }
}

/// The directory that tuning is written to, made if it is not there.
pub fn tuning_dir(config: &Config, out: Option<&Path>) -> anyhow::Result<PathBuf> {
    let first = config.tuning.paths.first().map(PathBuf::as_path);
    let dir = out.or(first).context("no directory of tuning is configured: set tuning.paths")?;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir.to_owned())
}

/// The rule that a text means: an id, a file or a title. Nothing, said on stderr, where there is none or are several. The first is
/// whether a Picket runs.
pub fn find(config: &Config, meant: &str) -> anyhow::Result<Option<(bool, Json)>> {
    let Some(report) = super::report(config.clone())? else { return Ok(None) };
    let empty = Vec::new();
    let rules = report["rules"].as_array().unwrap_or(&empty);
    let is = |rule: &&Json| ["id", "file", "title"].iter().any(|key| rule[*key].as_str() == Some(meant));
    let found: Vec<&Json> = rules.iter().filter(|r| !r["id"].is_null()).filter(is).collect();
    match found[..] {
        [rule] => return Ok(Some((report["running"] == true, rule.clone()))),
        [] => {
            let near = rules.iter().filter_map(|r| r["id"].as_str());
            let near = near.map(|id| (strsim::jaro_winkler(meant, id), id)).max_by(|a, b| a.0.total_cmp(&b.0));
            let help =
                near.filter(|(score, _)| *score > 0.9).map(|(_, id)| format!("; did you mean {}?", escape_str(id)));
            eprintln!("error: no rule has the id, file or title `{}`{}", escape_str(meant), help.unwrap_or_default());
        }
        [..] => {
            let ids: Vec<String> = found.iter().map(|r| escape_str(r["id"].as_str().unwrap_or_default())).collect();
            eprintln!("error: `{}` is several rules: {}", escape_str(meant), ids.join(", "));
        }
    }
    Ok(None)
}

/// A file that is there already is replaced only if it is what this command writes: one entry about this rule.
fn own(path: &Path, key: &str) -> anyhow::Result<()> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
    };
    let entries = tune::read("", &text, &mut Vec::new());
    let own = matches!(&entries[..], [one] if one.rules == [key.to_owned()]);
    anyhow::ensure!(own, "{} holds more than the mode of this rule: change it by hand", path.display());
    Ok(())
}

/// Replaces a file that others may read.
pub fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    crate::whole::write(path, &[text.as_bytes()])
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Loads what was written where a Picket runs; its answer.
pub fn reload(config: &Config) -> anyhow::Result<Option<Json>> {
    match control::ask(&config.control_socket(), &Request::Reload { force: false, wait: true }) {
        Ok(report) => Ok(Some(report)),
        Err(ControlError::NotRunning { .. }) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The day that `--expires` means: a time from now, or a day.
pub fn end(text: &str) -> anyhow::Result<String> {
    if let Some(expiry) = Expiry::parse(text) {
        anyhow::ensure!(
            expiry.stage(jiff::Timestamp::now().as_second()) != tune::Stage::Lapsed,
            "--expires {text} is over already"
        );
        return Ok(expiry.text);
    }
    let period: Period = text
        .parse()
        .with_context(|| format!("--expires {text} is neither a time like 90d nor a day like 2027-02-01"))?;
    writing::day_after(jiff::Timestamp::now(), period.duration())
        .with_context(|| format!("--expires {text} is too far away"))
}

/// Who runs this command, by name.
pub fn user() -> Option<String> {
    ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|n| !n.is_empty()))
}
