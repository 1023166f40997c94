//! Events of a quiet time: what rules find in them is a false positive.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::Serialize;

use crate::detection::Level;
use crate::offline::Offline;
use crate::sensor::replay::Lines;
use crate::text::chain;

/// Hits that are told; the others are counted.
const MAX_TOLD: usize = 1_000;

/// Why a baseline cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    #[error("cannot read {}", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} holds no file of events: NAME.ndjson, NAME.jsonl or NAME.json, one event a line", .0.display())]
    Empty(PathBuf),
}

/// What the rules found.
#[derive(Debug, Default, Serialize)]
pub struct Baseline {
    /// The least level that counts.
    pub level: Option<Level>,
    pub events: u64,
    /// Hits of that level or a higher one.
    pub count: u64,
    /// The first of them.
    pub hits: Vec<Hit>,
    /// Lines that are no events, the first of them.
    pub bad: Vec<String>,
    pub bad_lines: u64,
}

/// One of them.
#[derive(Clone, Debug, Serialize)]
pub struct Hit {
    pub rule: String,
    pub title: String,
    pub level: Level,
    pub rule_file: String,
    pub rule_line: u32,
    /// File and line of the event; of a correlation the last one it was made from.
    pub file: String,
    pub line: u64,
}

/// From this place in host order on, lines and places are this far apart.
struct Run {
    place: u64,
    file: usize,
    line: u64,
}

/// Runs the events below `path` through a loaded set. What correlations remember of one file they forget before the next.
pub fn baseline(offline: Offline, path: &Path, least: Level) -> Result<Baseline, BaselineError> {
    let files = files(path)?;
    let found: Mutex<Vec<(Hit, u64)>> = Mutex::default();
    let count = std::sync::atomic::AtomicU64::new(0);
    let mut result = Baseline { level: Some(least), ..Baseline::default() };
    let mut runs: Vec<Run> = Vec::new();
    let (fed, _) = offline.run(
        |feeder| {
            for (number, path) in files.iter().enumerate() {
                let file = File::open(path).map_err(|source| BaselineError::Read { path: path.clone(), source })?;
                let mut lines = Lines::new(file);
                let bad = |result: &mut Baseline, why: &dyn std::error::Error| {
                    result.bad_lines += 1;
                    if result.bad.len() < MAX_TOLD {
                        result.bad.push(format!("{}: {}", path.display(), chain(why)));
                    }
                };
                loop {
                    match lines.read().map_err(|source| BaselineError::Read { path: path.clone(), source })? {
                        None => break,
                        Some(Err(e)) => bad(&mut result, &e),
                        Some(Ok(input)) => {
                            let crate::sensor::Input::Line { number: line, .. } = input else { continue };
                            match feeder.add(&input) {
                                Err(e) => bad(&mut result, &e),
                                Ok(place) => {
                                    result.events += 1;
                                    let goes_on = runs.last().is_some_and(|r| {
                                        r.file == number && place.wrapping_sub(r.place) == line.wrapping_sub(r.line)
                                    });
                                    if !goes_on {
                                        runs.push(Run { place, file: number, line });
                                    }
                                }
                            }
                        }
                    }
                }
                feeder.end();
            }
            Ok(())
        },
        |finished| {
            for hit in finished.found.iter().filter(|f| f.detection.analytic.deliver) {
                let (analytic, row) = (&hit.detection.analytic, hit.detection.row.unwrap_or_default() as usize);
                let level = hit.detection.level.unwrap_or(analytic.level);
                if level < least {
                    continue;
                }
                count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let mut found = super::lock(&found);
                if found.len() >= MAX_TOLD {
                    continue;
                }
                let place = hit.slab.rows.get(row).map_or(0, |r| r.seq);
                let hit = Hit {
                    rule: analytic.id.clone(),
                    title: analytic.title.clone(),
                    level,
                    rule_file: analytic.file.clone(),
                    rule_line: analytic.line,
                    file: String::new(),
                    line: 0,
                };
                found.push((hit, place));
            }
        },
    );
    fed?;
    result.count = count.into_inner();
    let located = super::into_inner(found).into_iter().map(|(hit, place)| {
        let before = runs.partition_point(|r| r.place <= place).checked_sub(1).and_then(|i| runs.get(i));
        let (file, line) =
            before.map_or((String::new(), 0), |r| (files[r.file].display().to_string(), r.line + (place - r.place)));
        Hit { file, line, ..hit }
    });
    result.hits = located.collect();
    Ok(result)
}

/// The files of events below a directory, by name; or the one file.
fn files(path: &Path) -> Result<Vec<PathBuf>, BaselineError> {
    let unreadable = |path: &Path, source| BaselineError::Read { path: path.to_path_buf(), source };
    let meta = std::fs::metadata(path).map_err(|e| unreadable(path, e))?;
    if !meta.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut found = Vec::new();
    let mut open = vec![path.to_path_buf()];
    while let Some(directory) = open.pop() {
        let entries = std::fs::read_dir(&directory).map_err(|e| unreadable(&directory, e))?;
        for entry in entries {
            let entry = entry.map_err(|e| unreadable(&directory, e))?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(|e| unreadable(&directory, e))?);
            let is_events = path.extension().is_some_and(|e| ["ndjson", "jsonl", "json"].iter().any(|x| e == *x));
            // A link to a directory could lead in a circle.
            if kind.is_dir() {
                open.push(path);
            } else if is_events {
                found.push(path);
            }
        }
    }
    found.sort();
    if found.is_empty() { Err(BaselineError::Empty(path.to_path_buf())) } else { Ok(found) }
}
