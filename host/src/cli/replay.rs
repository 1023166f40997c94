//! `picket replay`: events from a file through the detectors.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::alert::{self, Desk};
use crate::detection::{Gravity, Level};
use crate::offline::Offline;
use crate::sensor::replay::Lines;
use crate::tune::Context;

use super::args::{ExitCode, Format, Global, ReplayArgs};
use super::terminal::{Paint, escape_str};
use super::{load, show};

/// Bad lines named on stderr; more are only counted.
const NAMED: usize = 20;

pub fn run(args: &ReplayArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let effective = global.effective(&args.load.sets.sets, args.load.flags())?;
    super::log(global, &effective.config);
    let inputs = load::inputs(effective.config)?;
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
    let reader = match load::open(&args.file) {
        Ok(reader) => reader,
        Err(e) => {
            eprintln!("error: {}", escape_str(&format!("{e:#}")));
            return Ok(ExitCode::BadInput);
        }
    };
    let context = inputs.config.tuning.context as usize;
    let mut desk = if args.modes { Desk::Modes(Context::new(context)) } else { Desk::Shown };
    let failing = AtomicUsize::new(0);
    let closed = AtomicBool::new(false);
    let ledger = offline.ledger.clone();
    let paint = Paint(global.color.stdout());
    let stdout = std::sync::Mutex::new(std::io::BufWriter::new(std::io::stdout()));
    let (bad, _) = offline.run(
        |feeder| {
            let mut lines = Lines::new(reader);
            let mut bad = 0;
            let mut say = |what: &dyn std::error::Error| {
                bad += 1;
                if bad <= NAMED {
                    eprintln!("error: {}", escape_str(&crate::text::chain(what)));
                }
            };
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
    Ok(if bad > 0 {
        ExitCode::BadInput
    } else if bad_rules {
        ExitCode::BadSetup
    } else if failing.into_inner() > 0 {
        ExitCode::AssertionFailed
    } else {
        ExitCode::Ok
    })
}
