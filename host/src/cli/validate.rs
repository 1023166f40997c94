//! `picket validate`: loads rules, guests and config as a start would, runs nothing, says everything.

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::detection::Gravity;
use crate::offline::Offline;
use crate::ruletest;

use super::args::{ExitCode, Format, Global, ValidateArgs};
use super::terminal::{Paint, escape_str};
use super::{load, print};

pub fn run(args: &ValidateArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let (configs, paths): (Vec<&PathBuf>, Vec<&PathBuf>) =
        args.paths.iter().partition(|p| p.extension().is_some_and(|e| e == "toml"));
    let mut global = global.clone();
    if let Some(config) = configs.first() {
        global.config = Some((*config).clone());
    }
    let mut config = global.effective(&[], Vec::new())?.config;
    super::log(&global, &config);
    if !paths.is_empty() {
        narrow(&mut config, &paths);
    }
    let inputs = load::inputs(config)?;
    let cache = load::cache_dir(&inputs.config);
    let loaded = Offline::load(&inputs, false, cache.clone()).and_then(|offline| {
        let hidden = ruletest::hidden_by_filters(&inputs, &offline.generation, cache.as_ref())?;
        Ok((offline, hidden))
    });
    let (offline, hidden) = match loaded {
        Ok(loaded) => loaded,
        Err(e) => {
            eprintln!("error: {}", escape_str(&crate::text::chain(&e)));
            return Ok(ExitCode::BadSetup);
        }
    };
    let generation = &offline.generation;
    let diagnostics: Vec<_> = generation.diagnostics.iter().cloned().chain(hidden).collect();
    let errors = diagnostics.iter().filter(|d| d.gravity == Gravity::Error).count();
    let warnings = diagnostics.iter().filter(|d| d.gravity == Gravity::Warning).count();
    let guests: Vec<&str> = generation.guests().map(|g| g.name.as_str()).collect();
    match args.format.format {
        Format::Json => {
            let report = serde_json::json!({
                "rules": generation.analytics(),
                "guests": guests,
                "diagnostics": diagnostics,
                "refused": generation.stale,
            });
            print(format!("{report}\n").as_bytes())?;
        }
        Format::Human => {
            load::report(&diagnostics, &inputs.texts(), Paint(global.color.stderr()), Gravity::Hint);
            let summary = format!(
                "{} rules and {} guests ({}) can be loaded; {errors} errors, {warnings} warnings\n",
                generation.analytics(),
                guests.len(),
                guests.join(", ")
            );
            print(summary.as_bytes())?;
        }
    }
    Ok(if errors > 0 || !generation.stale.is_empty() { ExitCode::BadSetup } else { ExitCode::Ok })
}

/// Only the given paths: `.wasm` files (and directories that hold some) are guests, the rest are rules.
pub fn narrow(config: &mut Config, paths: &[&PathBuf]) {
    let is_guest = |p: &Path| {
        let wasm = |p: &Path| p.extension().is_some_and(|e| e == "wasm");
        wasm(p) || std::fs::read_dir(p).is_ok_and(|dir| dir.flatten().any(|e| wasm(&e.path())))
    };
    let (guests, rules): (Vec<&PathBuf>, Vec<&PathBuf>) = paths.iter().partition(|p| is_guest(p));
    config.rules = rules.into_iter().cloned().collect();
    if !guests.is_empty() {
        config.guests = guests.into_iter().cloned().collect();
    }
}
