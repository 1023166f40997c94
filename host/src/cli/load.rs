//! What the commands that load a set share: files to inputs, and what to say about them.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use crate::config::{Config, Rung};
use crate::detection::{Diagnostic, Gravity};
use crate::export::{self, Export};
use crate::history;
use crate::reload::{Inputs, SourceFile};
use crate::sensor::ebpf::EbpfOptions;

use super::show;
use super::terminal::Paint;

/// Reads the rules and guests a config names.
pub fn inputs(config: Config) -> anyhow::Result<Inputs> {
    let mut config = config;
    config.guests = found_guests(&config);
    Ok(Inputs::read(Arc::new(config))?)
}

/// The guests of the config; where its default directory is not there, the ones that came with this binary.
pub fn found_guests(config: &Config) -> Vec<PathBuf> {
    // A directory of that name may be anything: it counts when a component lies in it.
    let holds_one = |dir: &PathBuf| {
        std::fs::read_dir(dir).is_ok_and(|d| d.flatten().any(|e| e.path().extension().is_some_and(|x| x == "wasm")))
    };
    let default = config.guests.iter().all(|g| g.ends_with("guests"));
    if !default || config.guests.iter().any(holds_one) {
        return config.guests.clone();
    }
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.join("guests")));
    let shipped = [beside, Some(PathBuf::from("/usr/lib/picket/guests"))];
    match shipped.into_iter().flatten().find(|d| d.is_dir()) {
        Some(dir) => vec![dir],
        None => config.guests.clone(),
    }
}

/// Prints diagnostics on stderr, worst first; returns whether there was an error.
pub fn report(diagnostics: &[Diagnostic], files: &[SourceFile], paint: Paint, least: Gravity) -> bool {
    let mut sorted: Vec<&Diagnostic> = diagnostics.iter().filter(|d| d.gravity >= least).collect();
    sorted.sort_by(|a, b| b.gravity.cmp(&a.gravity).then_with(|| (&a.file, a.line).cmp(&(&b.file, b.line))));
    sorted.dedup();
    for d in &sorted {
        eprint!("{}", show::diagnostic(d, files, paint));
    }
    diagnostics.iter().any(|d| d.gravity == Gravity::Error)
}

/// Opens a file of events, `-` being stdin.
pub fn open(path: &Path) -> anyhow::Result<Box<dyn std::io::Read>> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(Box::new(file))
}

/// An alert that was named on the command line, and the export it was in, if it was.
pub struct Given {
    pub alert: serde_json::Value,
    pub export: Option<Export>,
}

/// The alert in a file (`-` is stdin), or the one of this host with this id; `None` = there is none.
pub fn alert(named: &str, config: &Config) -> anyhow::Result<Option<Given>> {
    let path = Path::new(named);
    if named != "-" && !path.is_file() {
        return Ok(history::find(&config.state_dir(), named)?.map(|alert| Given { alert, export: None }));
    }
    let mut text = String::new();
    open(path)?.read_to_string(&mut text).with_context(|| format!("cannot read {}", path.display()))?;
    if export::is_export(&text) {
        let export = Export::parse(&text)?;
        return Ok(Some(Given { alert: export.alert.clone(), export: Some(export) }));
    }
    let alert = serde_json::Deserializer::from_str(&text).into_iter::<serde_json::Value>().next();
    let alert = alert.transpose().with_context(|| format!("{} is not JSON", path.display()))?;
    Ok(alert.map(|alert| Given { alert, export: None }))
}

/// How the config wants the kernel side opened.
pub fn sensor_options(config: &Config) -> EbpfOptions {
    let s = &config.sensor;
    EbpfOptions {
        see_own: !s.self_exclude,
        btf: s.btf.clone(),
        ring_bytes: s.ring_bytes.map(crate::units::ByteSize::as_usize),
        rung: match s.rung {
            Rung::Auto => None,
            Rung::Kprobe => Some(crate::sensor::ebpf::Rung::Kprobe),
            Rung::Tracepoint => Some(crate::sensor::ebpf::Rung::Tracepoint),
        },
    }
}

/// Where compiled guests are kept; without it each start compiles them again. The runtime makes the directory itself, so
/// that only its owner can write to it.
pub fn cache_dir(config: &Config) -> Option<PathBuf> {
    let state = config.state_dir();
    std::fs::create_dir_all(&state).is_ok().then(|| state.join("cache"))
}
