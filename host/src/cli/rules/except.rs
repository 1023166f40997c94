//! `picket rules except`: an exception for what an alert was about. It is written only after it was seen at work: it hides this
//! event, and none that a test of the rule expects to match.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use crate::cli::args::{ExitCode, Format, Global, RulesExceptArgs};
use crate::cli::terminal::{Paint, escape_str};
use crate::cli::{load, print, show};
use crate::config::Config;
use crate::detection::{Analytic, Gravity};
use crate::history;
use crate::kind::{Access, Availability, Catalogue};
use crate::offline::Offline;
use crate::reload::{Inputs, SourceFile};
use crate::ruletest::{self, Expect};
use crate::sensor::Input;
use crate::slab::Value;
use crate::text::hex;
use crate::tune::writing::{Asked, stem};

use super::mode;

/// Kept alerts of the rule that are tried, the newest.
const PAST: usize = 1000;
/// Fields of one exception.
const MAX_FIELDS: usize = 16;

pub fn run(args: &RulesExceptArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.effective(&args.sets.sets, Vec::new())?.config;
    crate::cli::log(global, &config);
    let state_dir = config.state_dir();
    let alert = match alert(&args.alert, &config) {
        Ok(alert) => alert,
        Err(e) => {
            eprintln!("error: {}", escape_str(&format!("{e:#}")));
            return Ok(ExitCode::BadInput);
        }
    };
    let rule = alert["rule"]["id"].as_str().unwrap_or_default().to_owned();
    let expires = mode::end(&args.expires)?;
    let owner = args.owner.clone().or_else(mode::user).context("whose is the exception? give --owner")?;
    let inputs = load::inputs(config)?;
    let mut events = vec![alert["event"].to_string()];
    let past = past(&state_dir, &rule)?;
    events.extend(past.iter().map(|(_, event)| event.clone()));

    let base = Offline::load(&inputs, false, load::cache_dir(&inputs.config))?;
    let found = base.generation.guests().find_map(|g| g.plan.analytics.iter().find(|a| a.id == rule).cloned());
    let analytic = found.with_context(|| format!("the rule of the alert, `{rule}`, is not loaded"))?;
    let source = log_source(&analytic);
    anyhow::ensure!(
        !source.is_empty(),
        "`{}` is a correlation, and exceptions are for rules: take an alert of a rule it refers to",
        analytic.title
    );
    let catalogue = base.generation.catalogue.clone();
    let (matched, values) = watch(base, &rule, &events, &args.on, &catalogue);
    anyhow::ensure!(
        matched.first() == Some(&true),
        "`{}` does not match this event as it is loaded now: there is nothing to except",
        analytic.title
    );
    let fields = args.on.iter().cloned().zip(values).map(|(field, value)| Ok((field, value?)));
    let fields = fields.collect::<Result<Vec<(String, String)>, String>>().map_err(anyhow::Error::msg)?;
    anyhow::ensure!(
        !fields.is_empty() && fields.len() <= MAX_FIELDS,
        "an exception has one to {MAX_FIELDS} fields: give --on"
    );

    let asked = Asked {
        rule: &rule,
        title: &analytic.title,
        log_source: source.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
        fields: &fields,
        reason: &args.reason,
        owner: &owner,
        expires: &expires,
    };
    let dir = mode::tuning_dir(&inputs.config, args.out.as_deref())?;
    let name = format!("except-{}-{}", stem(&rule), &asked.id()[..8]);
    let template = inputs.rules.iter().find(|f| f.name == analytic.file).context("the rule's file is gone")?;
    let made = [
        file(template, &dir, format!("{name}.yml"), asked.filter()),
        file(template, &dir, format!("{name}.test.yml"), asked.test(&analytic.file, &events[0])),
    ];
    let before = own_tests(&inputs, &analytic.file);
    let mut next = inputs.clone();
    // The same exception may be there already, with another end.
    next.rules.retain(|f| made.iter().all(|m| m.path != f.path));
    next.rules.extend(made.iter().cloned());
    let trial = Offline::load(&next, false, load::cache_dir(&inputs.config))?;
    let said: Vec<_> = trial.generation.diagnostics.iter().filter(|d| made.iter().any(|m| m.name == d.file)).collect();
    if said.iter().any(|d| d.gravity >= Gravity::Warning) {
        for d in said {
            eprint!("{}", show::diagnostic(d, &made, Paint(global.color.stderr())));
        }
        anyhow::bail!("the exception would not count as it stands; nothing was written");
    }
    let (hidden, _) = watch(trial, &rule, &events, &[], &catalogue);
    anyhow::ensure!(hidden.first() == Some(&false), "the exception does not hide this event; nothing was written");

    let tests = tests_fail(&inputs, &next, &before, &made)?;
    let gone: Vec<&str> = past
        .iter()
        .zip(matched.iter().zip(&hidden).skip(1))
        .filter(|(_, (was, is))| **was && !**is)
        .map(|((id, _), _)| id.as_str())
        .collect();
    for made in &made {
        mode::put(&made.path, &String::from_utf8_lossy(&made.content))?;
    }
    let reload = mode::reload(&inputs.config)?;
    let report = json!({
        "rule": rule, "title": analytic.title, "exception": asked.id(), "files": made.iter().map(|m| &m.path).collect::<Vec<_>>(),
        "on": fields.iter().map(|(k, v)| (k.clone(), Json::from(v.as_str()))).collect::<serde_json::Map<_, _>>(),
        "reason": args.reason, "owner": owner, "expires": expires, "reload": reload,
        "tests": { "expect_match": tests },
        "kept_alerts": { "of_rule": past.len(), "hidden": gone.len(), "ids": gone },
    });
    match args.format.format {
        Format::Json => print(format!("{report}\n").as_bytes())?,
        Format::Human => print(human(&report).as_bytes())?,
    };
    Ok(if reload.is_some_and(|r| r["outcome"] == "refused") { ExitCode::BadSetup } else { ExitCode::Ok })
}

fn human(report: &Json) -> String {
    let text = |v: &Json| escape_str(v.as_str().unwrap_or_default());
    let mut out = format!("{}: an exception until {}\n", text(&report["title"]), text(&report["expires"]));
    for (field, value) in report["on"].as_object().into_iter().flatten() {
        out.push_str(&format!("  {} is {}\n", escape_str(field), text(value)));
    }
    report["files"].as_array().into_iter().flatten().for_each(|f| out.push_str(&format!("{}\n", text(f))));
    let kept = &report["kept_alerts"];
    out.push_str(&format!("it hides {} of {} alerts of this rule that are kept\n", kept["hidden"], kept["of_rule"]));
    for id in kept["ids"].as_array().into_iter().flatten().take(10) {
        out.push_str(&format!("  {}\n", text(id)));
    }
    match report["tests"]["expect_match"].as_u64() {
        Some(0) => {
            out.push_str("the rule has no test that expects a match: nothing shows that it still finds anything\n");
        }
        n => out.push_str(&format!("{} tests of the rule still match\n", n.unwrap_or_default())),
    }
    out.push_str(&mode::reloaded(&report["reload"]));
    out
}

/// The alert: a file, `-`, or the id of one that is kept.
fn alert(given: &str, config: &Config) -> anyhow::Result<Json> {
    let alert = load::alert(given, config)?.map(|given| given.alert);
    let alert = alert.with_context(|| format!("`{given}` is neither a file nor an alert that is kept"))?;
    anyhow::ensure!(alert["rule"]["id"].is_string() && alert["event"].is_object(), "{given} is no alert with an event");
    Ok(alert)
}

/// The kept alerts of a rule, with their events.
fn past(state_dir: &Path, rule: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut found = std::collections::VecDeque::new();
    history::each(state_dir, &mut |line| {
        // Cheaper than to read every alert.
        if line.contains(rule)
            && let Ok(alert) = serde_json::from_str::<Json>(line)
            && alert["rule"]["id"].as_str() == Some(rule)
            && alert["event"].is_object()
        {
            if found.len() >= PAST {
                found.pop_front();
            }
            found.push_back((alert["id"].as_str().unwrap_or_default().to_owned(), alert["event"].to_string()));
        }
        true
    })?;
    Ok(found.into())
}

/// The parts of a rule's log source that it says; a correlation has none.
fn log_source(analytic: &Analytic) -> Vec<(String, String)> {
    let source = analytic.metadata.get("logsource").and_then(Json::as_object);
    let parts = source.into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())));
    parts.filter(|(k, _)| ["category", "product", "service"].contains(&k.as_str())).collect()
}

type Values = Vec<Result<String, String>>;

/// Which of these events the rule matches, and what the fields of the first one hold.
fn watch(offline: Offline, rule: &str, events: &[String], on: &[String], catalogue: &Catalogue) -> (Vec<bool>, Values) {
    let hits: Mutex<BTreeSet<u64>> = Mutex::default();
    let values: Mutex<Option<Values>> = Mutex::default();
    let (slabs, _) = offline.run(
        |feeder| {
            let mut slab = 0;
            let feed = |(number, text): (usize, &String)| {
                let added = feeder.add(&Input::Line { number: number as u64 + 1, text }).is_ok();
                let own = slab;
                slab = feeder.close();
                added.then_some(own)
            };
            events.iter().enumerate().map(feed).collect::<Vec<_>>()
        },
        |finished| {
            let slab = &finished.flight.slab;
            for found in finished.found.iter().filter(|f| f.detection.analytic.id == rule) {
                hits.lock().unwrap_or_else(PoisonError::into_inner).insert(slab.number);
                let Some(row) = found.detection.row.filter(|_| slab.number == 0) else { continue };
                let read = |field: &String| value(&slab.value(row as usize, &access(catalogue, field)?), field);
                *values.lock().unwrap_or_else(PoisonError::into_inner) = Some(on.iter().map(read).collect());
            }
        },
    );
    let hits = hits.into_inner().unwrap_or_else(PoisonError::into_inner);
    let values = values.into_inner().unwrap_or_else(PoisonError::into_inner).unwrap_or_default();
    (slabs.iter().map(|s| s.is_some_and(|s| hits.contains(&s))).collect(), values)
}

fn access(catalogue: &Catalogue, field: &str) -> Result<Access, String> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
    let bound = catalogue.resolve(None, field);
    if !field.chars().all(plain) || bound.availability != Availability::Bound {
        let note = if bound.note.is_empty() { String::new() } else { format!(": {}", bound.note) };
        return Err(format!("`{field}` is no field of an event{note}"));
    }
    Ok(bound.access)
}

/// A value that an exception can be about: one that is there, and is exactly what is written.
fn value(value: &Value<'_>, field: &str) -> Result<String, String> {
    match *value {
        Value::Text(text) if !text.is_empty() => {
            let text =
                std::str::from_utf8(text).map_err(|_| format!("`{field}` is no UTF-8, and a rule cannot name it"))?;
            Ok(text.to_owned())
        }
        Value::Unsigned(n) => Ok(n.to_string()),
        Value::Signed(n) => Ok(n.to_string()),
        Value::Bool(b) => Ok(b.to_string()),
        Value::List(_) => Err(format!("`{field}` is a list: take a field with one value")),
        _ => Err(format!("the event has no `{field}`: an exception on it would hide nothing, or everything")),
    }
}

fn file(template: &SourceFile, dir: &Path, name: String, content: String) -> SourceFile {
    let mut file = template.clone();
    file.path = dir.join(&name);
    file.name = name;
    file.digest = hex(&Sha256::digest(content.as_bytes()));
    file.content = content.into_bytes().into();
    file
}

/// The test files of a rule's file, with the rules' files they are about.
fn own_tests(inputs: &Inputs, rule_file: &str) -> Vec<SourceFile> {
    let cases = ruletest::read(&inputs.rules).cases;
    let names: BTreeSet<&str> = cases.iter().filter(|c| c.rule == rule_file).map(|c| c.file.as_str()).collect();
    let wanted = |f: &&SourceFile| names.contains(f.name.as_str()) || f.name == rule_file;
    inputs.rules.iter().filter(wanted).cloned().collect()
}

/// Runs the rule's own tests without and with the exception. An error if one fails only with it; else how many expect a match.
fn tests_fail(inputs: &Inputs, next: &Inputs, own: &[SourceFile], made: &[SourceFile]) -> anyhow::Result<usize> {
    let run = |inputs: &Inputs, files: &[SourceFile]| -> anyhow::Result<ruletest::Report> {
        Ok(ruletest::run(Offline::load(inputs, false, load::cache_dir(&inputs.config))?, files, false))
    };
    let before = run(inputs, own)?;
    let files: Vec<SourceFile> =
        own.iter().filter(|f| made.iter().all(|m| m.path != f.path)).chain(made).cloned().collect();
    let after = run(next, &files)?;
    let failed_before =
        |v: &ruletest::Verdict| before.verdicts.iter().any(|b| b.file == v.file && b.test == v.test && !b.passed);
    let broken: Vec<String> = after
        .verdicts
        .iter()
        .filter(|v| !v.passed && !failed_before(v))
        .map(|v| format!("{}: {}: {}", v.file, v.test, v.why.as_deref().unwrap_or_default()))
        .collect();
    anyhow::ensure!(
        broken.is_empty(),
        "the exception hides what tests of the rule expect to match; nothing was written. Name more fields with --on.\n{}",
        broken.join("\n")
    );
    let made: Vec<PathBuf> = made.iter().map(|m| m.path.clone()).collect();
    let own =
        |v: &&ruletest::Verdict| !made.iter().any(|m| m.ends_with(&v.file)) && v.passed && v.expect == Expect::Match;
    Ok(after.verdicts.iter().filter(own).count())
}
