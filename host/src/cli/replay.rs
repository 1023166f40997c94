//! `picket replay`: events from a file through the detectors.

use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::alert::{self, Desk};
use crate::detection::{Gravity, Level};
use crate::export::{self, Export};
use crate::offline::Offline;
use crate::sensor::replay::Lines;
use crate::tune::Context;

use super::args::{ExitCode, Format, Global, ReplayArgs};
use super::terminal::{Paint, escape_str};
use super::{load, progress, show};

/// Bad lines named on stderr; more are only counted.
const NAMED: usize = 20;

pub fn run(args: &ReplayArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let effective = global.effective(&args.load.sets.sets, args.load.flags())?;
    super::log(global, &effective.config);
    let (reader, bar) = match load::open(&args.file) {
        Ok(reader) => progress::reading(&args.file, reader, global),
        Err(e) => {
            eprintln!("error: {}", escape_str(&format!("{e:#}")));
            return Ok(ExitCode::BadInput);
        }
    };
    let mut reader = std::io::BufReader::with_capacity(1 << 16, reader);
    let export = match export(&mut reader) {
        Ok(export) => export,
        Err(e) => {
            eprintln!("error: {}", escape_str(&format!("{e:#}")));
            return Ok(ExitCode::BadInput);
        }
    };
    let inputs = match &export {
        // Its own rules, unless others are given.
        Some(export) if args.load.rules.is_empty() => {
            let mut config = effective.config;
            config.guests = load::found_guests(&config);
            export.inputs(config)?
        }
        _ => load::inputs(effective.config)?,
    };
    let cache = load::cache_dir(&inputs.config);
    let offline = match Offline::load(&inputs, args.all_log_sources, cache) {
        Ok(offline) => offline,
        Err(e) => {
            eprintln!("error: {}", escape_str(&crate::text::chain(&e)));
            return Ok(ExitCode::BadSetup);
        }
    };
    let paint = Paint(global.color.stderr());
    let bad_rules = load::report(&offline.generation.diagnostics, &inputs.texts(), paint, Gravity::Error);
    // About no file: a guest asks for what nothing feeds, and its rules never match.
    for d in offline.generation.diagnostics.iter().filter(|d| d.gravity == Gravity::Warning && d.file.is_empty()) {
        tracing::warn!(code = %d.code, "{}", escape_str(&d.message));
    }
    let context = inputs.config.tuning.context as usize;
    let mut desk = if args.modes { Desk::Modes(Context::new(context)) } else { Desk::Shown };
    let failing = AtomicUsize::new(0);
    // Ids of the alerts of an export: there are few.
    let made: std::sync::Mutex<Vec<String>> = std::sync::Mutex::default();
    let closed = AtomicBool::new(false);
    let ledger = offline.ledger.clone();
    let paint = Paint(global.color.stdout());
    let stdout = std::sync::Mutex::new(std::io::BufWriter::new(std::io::stdout()));
    let (bad, _) = offline.run(
        |feeder| {
            let mut bad = 0;
            let mut say = |what: &dyn std::error::Error| {
                bad += 1;
                if bad <= NAMED {
                    eprintln!("error: {}", escape_str(&crate::text::chain(what)));
                }
            };
            if let Some(export) = &export {
                export::feed(export, feeder).unwrap_or_else(|e| say(&e));
                return bad;
            }
            let mut lines = Lines::new(reader);
            loop {
                match lines.read() {
                    Ok(None) => break,
                    Ok(Some(Ok(input))) => {
                        if let Err(e) = feeder.add(&input) {
                            say(&e);
                        }
                    }
                    Ok(Some(Err(e))) => say(&e),
                    Err(e) => {
                        say(&e);
                        break;
                    }
                }
                if closed.load(Ordering::Relaxed) {
                    break;
                }
            }
            bad
        },
        |finished| {
            let mut out = stdout.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            for (alert, ready) in alert::of(&finished, &ledger, &mut desk) {
                if ready.quiet {
                    continue;
                }
                made.lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .extend(export.as_ref().map(|_| alert.id.clone()));
                if args.fail_on.is_some_and(|least: Level| alert.severity >= least) {
                    failing.fetch_add(1, Ordering::Relaxed);
                }
                let written = match args.format.format {
                    Format::Json => out.write_all(&ready.line).and_then(|()| out.write_all(b"\n")),
                    Format::Human => writeln!(out, "{}", show::alert_line(&alert, paint)),
                };
                // A reader that has seen enough ends the run.
                if written.is_err() {
                    closed.store(true, Ordering::Relaxed);
                }
            }
        },
    );
    bar.finish_and_clear();
    let flushed = stdout.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).flush();
    if bad > NAMED {
        eprintln!("error: {} more lines could not be read", bad - NAMED);
    }
    let wrong = ledger.imbalances();
    anyhow::ensure!(wrong.is_empty(), "the ledger does not balance: {}", wrong.join("; "));
    tracing::info!(
        events = ledger.events.slabbed.get(),
        alerts = ledger.detections.alerts.get(),
        bad_lines = bad,
        "replay done"
    );
    if flushed.is_err() && !closed.load(Ordering::Relaxed) {
        anyhow::bail!("cannot write to stdout");
    }
    let made = made.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let other = export.as_ref().is_some_and(|export| {
        let same = made.iter().any(|id| id == export.id());
        let verdict = if same { "the same verdict" } else { "another verdict" };
        eprintln!("{verdict}: the alert was {}, this run made {}", escape_str(export.id()), made.join(", "));
        !same
    });
    Ok(if bad > 0 {
        ExitCode::BadInput
    } else if bad_rules {
        ExitCode::BadSetup
    } else if other || failing.into_inner() > 0 {
        ExitCode::AssertionFailed
    } else {
        ExitCode::Ok
    })
}

/// The exported alert in a file, if it is one and not events. Only the beginning of events is looked at.
fn export(reader: &mut impl std::io::BufRead) -> anyhow::Result<Option<Export>> {
    let start = reader.fill_buf()?;
    if !export::is_export(&String::from_utf8_lossy(&start[..start.len().min(64)])) {
        return Ok(None);
    }
    let mut text = String::new();
    reader.take(MOST_EXPORT).read_to_string(&mut text)?;
    Ok(Some(Export::parse(&text)?))
}

/// No export is longer.
const MOST_EXPORT: u64 = 256 << 20;
