//! `picket test`: runs the tests beside rules; with `--watch`, whenever a file is saved.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::detection::{Diagnostic, Gravity};
use crate::mutate;
use crate::offline::Offline;
use crate::reload::Inputs;
use crate::ruletest::{self, Baseline, Coverage, Outcome, Report};
use crate::watch::{Event, WatchOptions, Watcher};

use super::args::{ExitCode, Global, TestArgs, TestFormat};
use super::terminal::{Paint, Style, escape_str};
use super::{load, print, progress, saved, validate};

pub fn run(args: &TestArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let mut config = global.effective(&[], Vec::new())?.config;
    super::log(global, &config);
    let paths: Vec<&PathBuf> = args.paths.iter().collect();
    if !paths.is_empty() {
        // A rule's file is tested with the test beside it, whichever of the two is named.
        let both: Vec<PathBuf> = args.paths.iter().flat_map(|p| beside(p)).collect();
        validate::narrow(&mut config, &both.iter().collect::<Vec<_>>());
    }
    let inputs = load::inputs(config)?;
    if args.mutate {
        return mutate(args, global, &inputs);
    }
    let code = once(args, global, &inputs)?;
    if !args.watch {
        return Ok(code);
    }
    let options = WatchOptions {
        settle: inputs.config.reload.settle.duration(),
        poll: inputs.config.reload.poll.duration(),
        ..WatchOptions::default()
    };
    let (_watcher, events) = Watcher::start(Inputs::sets(&inputs.config).into(), options)?;
    let mut known = digests(&inputs);
    eprintln!("watching; save a rule or its test");
    for event in events {
        let snapshots = match event {
            Event::Settled(snapshots) => snapshots,
            Event::Settling { reason: Some(reason), .. } => {
                eprintln!("settling: {}", escape_str(&reason.to_string()));
                continue;
            }
            Event::Settling { .. } | Event::Unchanged => continue,
        };
        let next = Inputs::new(inputs.config.clone(), snapshots);
        let now = digests(&next);
        let changed: BTreeSet<String> =
            now.iter().filter(|(n, d)| known.get(*n) != Some(*d)).map(|(n, _)| n.clone()).collect();
        if now == known {
            continue;
        }
        eprintln!("changed: {}", changed.iter().map(|n| escape_str(n)).collect::<Vec<_>>().join(", "));
        once(args, global, &next)?;
        saved::tell(&next, &changed);
        known = now;
    }
    Ok(ExitCode::Ok)
}

fn digests(inputs: &Inputs) -> BTreeMap<String, String> {
    let files = inputs.rules.iter().chain(&inputs.guests).chain(&inputs.tuning).chain(&inputs.lists);
    files.map(|f| (f.name.clone(), f.digest.clone())).collect()
}

/// A path with the file that belongs to it: the test of a rule, the rule of a test.
fn beside(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let other = match name.strip_suffix(".test.yml") {
        Some(stem) => format!("{stem}.yml"),
        None => match name.strip_suffix(".yml") {
            Some(stem) => format!("{stem}.test.yml"),
            None => return vec![path.to_path_buf()],
        },
    };
    let other = path.with_file_name(other);
    if other.exists() { vec![path.to_path_buf(), other] } else { vec![path.to_path_buf()] }
}

fn once(args: &TestArgs, global: &Global, inputs: &Inputs) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let offline = match Offline::load(inputs, false, load::cache_dir(&inputs.config)) {
        Ok(offline) => offline,
        Err(e) => {
            eprintln!("error: {}", escape_str(&crate::text::chain(&e)));
            return Ok(ExitCode::BadSetup);
        }
    };
    let diagnostics: Vec<Diagnostic> = offline.generation.diagnostics.clone();
    let bar = progress::working("running the tests", global);
    let mut report = ruletest::run(offline, &inputs.rules, args.coverage);
    if let Some(path) = &args.baseline {
        // What a run was fed is gone with it, so the baseline has one of its own.
        let offline = Offline::load(inputs, false, load::cache_dir(&inputs.config))?;
        report.baseline = match ruletest::baseline(offline, path, args.fail_on) {
            Ok(baseline) => Some(baseline),
            Err(e) => {
                eprintln!("error: {}", escape_str(&crate::text::chain(&e)));
                return Ok(ExitCode::BadInput);
            }
        };
    }
    bar.finish_and_clear();
    let bad_rules = diagnostics.iter().any(|d| d.gravity == Gravity::Error);
    match args.format {
        TestFormat::Json => {
            let mut value = serde_json::to_value(&report)?;
            value["diagnostics"] = serde_json::to_value(&diagnostics)?;
            print(format!("{value}\n").as_bytes())?;
        }
        TestFormat::Junit => {
            print(ruletest::junit(&report, &diagnostics).as_bytes())?;
        }
        TestFormat::Sarif => {
            let here = std::env::current_dir().unwrap_or_default();
            let value = ruletest::sarif(&report, &diagnostics, &inputs.rules, &here);
            print(format!("{value}\n").as_bytes())?;
        }
        TestFormat::Human => {
            load::report(&diagnostics, &inputs.texts(), Paint(global.color.stderr()), Gravity::Warning);
            let text = human(&report, Paint(global.color.stdout()), started);
            print(text.as_bytes())?;
        }
    }
    Ok(if bad_rules {
        ExitCode::BadSetup
    } else if report.baseline.as_ref().is_some_and(|b| b.bad_lines > 0) {
        ExitCode::BadInput
    } else if report.has_failed() {
        ExitCode::AssertionFailed
    } else {
        ExitCode::Ok
    })
}

fn mutate(args: &TestArgs, global: &Global, inputs: &Inputs) -> anyhow::Result<ExitCode> {
    let bar = progress::working("trying the changes", global);
    let mutated = mutate::run(inputs, load::cache_dir(&inputs.config).as_ref());
    bar.finish_and_clear();
    let report = match mutated {
        Ok(report) => report,
        Err(e) => {
            eprintln!("error: {}", escape_str(&crate::text::chain(&e)));
            return Ok(ExitCode::BadSetup);
        }
    };
    match args.format {
        TestFormat::Json => print(format!("{}\n", serde_json::to_value(&report)?).as_bytes())?,
        TestFormat::Human => print(scores(&report, Paint(global.color.stdout())).as_bytes())?,
        TestFormat::Junit | TestFormat::Sarif => {
            anyhow::bail!("--mutate prints `human` or `json`: a score is no test that passes or fails")
        }
    };
    let below = args.min_score.is_some_and(|least| report.below(f64::from(least)) > 0);
    let failing = report.rules.iter().any(|r| r.why.is_some()) || !report.broken.is_empty();
    Ok(if below || failing { ExitCode::AssertionFailed } else { ExitCode::Ok })
}

/// Percent with one decimal, rounded down: 100 means all.
fn percent(score: Option<f64>) -> String {
    score.map_or_else(|| "-".to_owned(), |s| format!("{:.1} %", (s * 10.0).floor() / 10.0))
}

fn scores(report: &mutate::Report, paint: Paint) -> String {
    let mut out = String::new();
    for (file, why) in &report.broken {
        out.push_str(&format!("{} {}: {}\n", paint.paint(Style::Red, "BROKEN"), escape_str(file), escape_str(why)));
    }
    for rule in &report.rules {
        let name = escape_str(&rule.rule);
        if let Some(why) = &rule.why {
            out.push_str(&format!("{} {name}: {}\n", paint.paint(Style::Red, "NOT MUTATED"), escape_str(why)));
            continue;
        }
        let style = if rule.survivors.is_empty() { Style::Green } else { Style::Yellow };
        let all = rule.killed + rule.survivors.len();
        let score = paint.paint(style, &format!("{:>7}", percent(rule.score)));
        out.push_str(&format!("{score}  {}/{all}  {name}\n", rule.killed));
        for s in &rule.survivors {
            out.push_str(&format!("    {name}:{}:{}: survived: {}\n", s.line, s.column, escape_str(&s.mutant)));
        }
        for silence in &rule.idle_silences {
            out.push_str(&format!("    silence without a survivor or a reason: {}\n", escape_str(silence)));
        }
        if rule.not_tried > 0 {
            out.push_str(&format!("    {} further changes were not tried\n", rule.not_tried));
        }
    }
    let sum = |part: fn(&mutate::RuleScore) -> usize| report.rules.iter().map(part).sum::<usize>();
    out.push_str(&format!(
        "{} of {} changes of {} rules noticed: {}; {} equivalent, {} made no rule, {} not tried\n",
        report.killed,
        report.killed + report.survived,
        report.rules.len(),
        percent(report.score),
        sum(|r| r.equivalent),
        sum(|r| r.invalid),
        sum(|r| r.not_tried),
    ));
    out
}

fn human(report: &Report, paint: Paint, started: Instant) -> String {
    let mut out = String::new();
    for (file, why) in &report.broken {
        out.push_str(&format!("{} {}: {}\n", paint.paint(Style::Red, "BROKEN"), escape_str(file), escape_str(why)));
    }
    for v in report.verdicts.iter().filter(|v| v.outcome != Outcome::Passed) {
        let (word, style, why) = match v.outcome {
            Outcome::KnownGap => ("KNOWN GAP", Style::Yellow, v.why.as_deref().unwrap_or_default()),
            Outcome::Fixed => ("FIXED", Style::Green, "it passes: remove todo"),
            _ => ("FAIL", Style::Red, v.why.as_deref().unwrap_or_default()),
        };
        let (file, test, why) = (escape_str(&v.file), escape_str(&v.test), escape_str(why));
        out.push_str(&format!("{} {file}:{}: {test}: {why}\n", paint.paint(style, word), v.line));
    }
    for rule in &report.untested {
        out.push_str(&format!("{} {}: no tests\n", paint.paint(Style::Yellow, "UNTESTED"), escape_str(rule)));
    }
    if let Some(coverage) = &report.coverage {
        covered(coverage, paint, &mut out);
    }
    if let Some(baseline) = &report.baseline {
        false_positives(baseline, paint, &mut out);
    }
    let passed = report.count(Outcome::Passed) + report.count(Outcome::Fixed);
    let gaps = match report.count(Outcome::KnownGap) {
        0 => String::new(),
        n => format!(", {n} known gaps"),
    };
    let (failed, seconds) = (report.failed(), started.elapsed().as_secs_f64());
    out.push_str(&format!("{passed} passed, {failed} failed{gaps} ({seconds:.2} s)\n"));
    out
}

fn covered(coverage: &Coverage, paint: Paint, out: &mut String) {
    for rule in &coverage.rules {
        let style = if rule.never.is_empty() { Style::Green } else { Style::Yellow };
        let share = paint.paint(style, &format!("{:>7}", percent(rule.percent)));
        out.push_str(&format!(
            "{share}  {}/{}  {}: {}\n",
            rule.seen,
            rule.values,
            escape_str(&rule.file),
            escape_str(&rule.rule)
        ));
        for never in &rule.never {
            let (file, what) = (escape_str(&rule.file), escape_str(&never.what));
            out.push_str(&format!("    {file}:{}: never true: {what}\n", never.line));
        }
    }
    let (seen, values, rules, none) = (coverage.seen, coverage.values, coverage.rules.len(), coverage.untested.len());
    let share = percent(coverage.percent);
    out.push_str(&format!(
        "{seen} of {values} values of {rules} rules were true in a test: {share}; {none} files without tests\n"
    ));
}

fn false_positives(baseline: &Baseline, paint: Paint, out: &mut String) {
    for bad in &baseline.bad {
        out.push_str(&format!("{} {}\n", paint.paint(Style::Red, "NO EVENT"), escape_str(bad)));
    }
    for hit in &baseline.hits {
        let (word, level) = (paint.paint(Style::Red, "FALSE POSITIVE"), hit.level.name());
        let place = format!("{}:{}", escape_str(&hit.file), hit.line);
        let rule = format!("{} ({}, {})", escape_str(&hit.title), escape_str(&hit.rule), escape_str(&hit.rule_file));
        out.push_str(&format!("{word} {place}: {level}: {rule}\n"));
    }
    let (hits, events, bad) = (baseline.count, baseline.events, baseline.bad_lines);
    let level = baseline.level.map_or("any", |l| l.name());
    out.push_str(&format!(
        "{hits} hits of the level {level} or higher in {events} events of the baseline; {bad} bad lines\n"
    ));
}
