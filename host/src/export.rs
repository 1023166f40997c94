//! An alert as a file: what was seen, the rule that saw it, and what it said. Whoever has the file and the guests gets the same
//! verdict, on any machine.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::config::Config;
use crate::kind;
use crate::offline::{Offline, OfflineError};
use crate::process::{Key, Process};
use crate::recorder::{Block, Recording};
use crate::reload::{Inputs, SourceFile};
use crate::sensor::Input;
use crate::slab::Slab;

/// The version of the format.
const FORMAT: u32 = 1;

/// Events of the process tree around the alert, at most, and how far from it, nanoseconds.
const AROUND: usize = 500;
pub const NEAR: u64 = 300_000_000_000;

/// An exported alert.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Export {
    /// The version of this format.
    pub picket_export: u32,
    /// As it was made.
    pub alert: Json,
    /// The rule's file, and the filters of its set.
    pub rules: Vec<RuleFile>,
    /// The rule's file is not the one that made the alert any more.
    pub rule_changed: bool,
    /// What the verdict is made from, oldest first: the alert's own event and, of a correlation, those of the rules it is made from.
    pub events: Vec<Json>,
    /// What the same process, its ancestors and descendants did besides.
    pub around: Vec<Json>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RuleFile {
    pub name: String,
    pub digest: String,
    pub content: String,
}

/// Why an alert cannot be exported, or an export not be used.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("the alert was made by the host itself: there is no rule to run again")]
    NoRule,
    #[error("no rule of the config has the id `{rule}`: name its files with --set rules=[\"...\"]")]
    NoSuchRule { rule: String },
    #[error("the alert has no event, and nothing that it was made from is recorded any more")]
    NoEvent,
    #[error("not an exported alert")]
    NotAnExport(#[source] serde_json::Error),
    #[error("an exported alert of format {found}; this version reads {FORMAT}")]
    Version { found: u32 },
    #[error("the rules cannot be loaded")]
    Load(#[from] OfflineError),
}

/// Whether a text is an exported alert, and not events.
pub fn is_export(text: &str) -> bool {
    text.trim_start().starts_with("{\"picket_export\":")
}

impl Export {
    pub fn parse(text: &str) -> Result<Export, ExportError> {
        let export: Export = serde_json::from_str(text).map_err(ExportError::NotAnExport)?;
        if export.picket_export != FORMAT {
            return Err(ExportError::Version { found: export.picket_export });
        }
        Ok(export)
    }

    /// Gathers what an alert was made from. `inputs` are the rules and guests of the config, `recording` the time around it.
    pub fn of(alert: &Json, mut inputs: Inputs, recording: &mut Recording) -> Result<Export, ExportError> {
        let text = |path: &str| alert.pointer(path).and_then(Json::as_str).unwrap_or_default();
        let (rule, digest) = (text("/rule/id"), text("/rule/digest"));
        if digest.is_empty() {
            return Err(ExportError::NoRule);
        }
        let file = rule_file(&inputs.rules, rule, digest);
        let file = file.ok_or_else(|| ExportError::NoSuchRule { rule: rule.to_owned() })?;
        let rule_changed = file.digest != digest;
        let name = file.name.clone();
        inputs.rules.retain(|f| f.name == name || is_filter(&f.content));
        let rules = inputs.rules.iter().map(|f| RuleFile {
            name: f.name.clone(),
            digest: f.digest.clone(),
            content: String::from_utf8_lossy(&f.content).into_owned(),
        });
        let rules = rules.collect();
        let tree = Tree::of(alert);
        let mut around = Vec::new();
        let matched = matched(Offline::load(&inputs, false, None)?, recording, |block, row| {
            if around.len() < AROUND
                && block.process(row).is_some_and(|p| tree.holds(p))
                && let Ok(event) = serde_json::from_str::<Json>(&line(block, row))
            {
                around.push(event);
            }
        });
        let own = alert.get("event").filter(|e| e.is_object());
        let correlated = alert.pointer("/related").and_then(Json::as_array).is_some_and(|r| !r.is_empty());
        let events = match own {
            Some(event) if !correlated => vec![event.clone()],
            _ => matched,
        };
        if events.is_empty() {
            return Err(ExportError::NoEvent);
        }
        let around = around.into_iter().filter(|event| !events.contains(event)).collect();
        Ok(Export { picket_export: FORMAT, alert: alert.clone(), rules, rule_changed, events, around })
    }

    /// The inputs of a run that makes the verdict again: the rules of the file, the guests of the config.
    pub fn inputs(&self, config: Config) -> Result<Inputs, crate::watch::WatchError> {
        let config = Config { rules: Vec::new(), ..config };
        let mut inputs = Inputs::read(Arc::new(config))?;
        inputs.rules = self.rules.iter().map(|f| SourceFile::given(&f.name, f.content.as_bytes())).collect();
        Ok(inputs)
    }

    /// The id that the alert had.
    pub fn id(&self) -> &str {
        self.alert.get("id").and_then(Json::as_str).unwrap_or_default()
    }
}

/// The file that held a rule when it made an alert; else the one that holds it now.
pub fn rule_file<'f>(files: &'f [SourceFile], rule: &str, digest: &str) -> Option<&'f SourceFile> {
    let with_id = |f: &&SourceFile| {
        let text = String::from_utf8_lossy(&f.content);
        text.lines().any(|l| l.strip_prefix("id:").is_some_and(|id| id.trim().trim_matches(['"', '\'']) == rule))
    };
    files.iter().find(|f| f.digest == digest).or_else(|| files.iter().find(with_id))
}

pub fn is_filter(content: &[u8]) -> bool {
    content.split(|b| *b == b'\n').any(|line| line.starts_with(b"filter:"))
}

/// The events of a recording on which some rule of the set, or a part of one, holds; `each` sees every event.
fn matched(offline: Offline, recording: &mut Recording, mut each: impl FnMut(&mut Block, usize)) -> Vec<Json> {
    let found: Mutex<BTreeSet<(u64, String)>> = Mutex::default();
    offline.run(
        |feeder| {
            // Every kind: what is around need not be what the rule is about.
            while let Some(mut block) = recording.next(&|_| true) {
                for row in 0..block.rows() {
                    if !recording.covers(block.time(row)) {
                        continue;
                    }
                    each(&mut block, row);
                    if feeder.wants(block.kind(row)) {
                        feeder.recorded(&mut block, row);
                    }
                }
            }
        },
        |finished| {
            let mut found_events = found.lock().unwrap_or_else(PoisonError::into_inner);
            for found in finished.found.iter().filter(|_| !finished.correlated) {
                let row = found.detection.row.map(|r| r as usize).filter(|r| *r < found.slab.len());
                if let Some(row) = row {
                    let row = found.slab.primary_of(row).unwrap_or(row);
                    found_events.insert((found.slab.rows[row].seq, kind::render(&found.slab, row)));
                }
            }
        },
    );
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.into_iter().filter_map(|(_, line)| serde_json::from_str(&line).ok()).collect()
}

/// A row of a recording as JSON.
fn line(block: &mut Block, row: usize) -> String {
    let mut slab = Slab::default();
    block.put(row, 1, &mut slab, u64::MAX - 1);
    kind::render(&slab, 0)
}

/// The process of an alert, and its ancestors.
struct Tree {
    own: Key,
    ancestors: Vec<Key>,
}

impl Tree {
    fn of(alert: &Json) -> Tree {
        let key = |of: Option<&Json>| {
            let number = |name: &str| of.and_then(|o| o.get(name)).and_then(Json::as_u64).unwrap_or_default();
            Key { tgid: number("pid") as u32, start: number("start") }
        };
        let context = alert.pointer("/event/context");
        let ancestors = context.and_then(|c| c.get("ancestors")).and_then(Json::as_array);
        let ancestors = ancestors.into_iter().flatten().map(|a| key(Some(a)));
        // What every process descends from says nothing.
        Tree { own: key(context.and_then(|c| c.get("process"))), ancestors: ancestors.filter(|k| k.tgid > 2).collect() }
    }

    /// Whether a process is the alert's own, one of its ancestors, or a descendant.
    fn holds(&self, process: &Process) -> bool {
        let key = process.image.key;
        self.own.tgid != 0
            && (key == self.own
                || self.ancestors.contains(&key)
                || process.ancestors.iter().any(|ancestor| ancestor.key == self.own))
    }
}

/// Feeds the events of an export.
pub fn feed(export: &Export, feeder: &mut crate::offline::Feeder) -> Result<(), crate::kind::DecodeError> {
    for (at, event) in export.events.iter().enumerate() {
        feeder.add(&Input::Line { number: at as u64 + 1, text: &event.to_string() })?;
    }
    Ok(())
}
