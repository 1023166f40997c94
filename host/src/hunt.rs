//! Rules over the recorded past: what they would have found on this host, through the same loader, guests and sequencer as live.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::correlate::{Finished, Found};
use crate::detection::Level;
use crate::generation::Interest;
use crate::kind::{Access, Catalogue, KINDS, KindId, time_text};
use crate::offline::Offline;
use crate::recorder::Recording;
use crate::slab::{Slab, Value};

/// Fields whose values are counted besides those that matched.
const ALWAYS: [&str; 4] = ["Image", "CommandLine", "ParentImage", "User"];

/// How far back is looked unless somebody says.
pub const DAY: Duration = Duration::from_hours(24);

/// Distinct values counted of a field; more are one number.
const DISTINCT: usize = 1_000;

/// Values told of a field.
const TOLD: usize = 5;

/// Longest value that is kept, bytes.
const LONGEST: usize = 512;

/// Hits that are kept one by one, to compare two sets and to show some.
const KEPT: usize = 100_000;

/// A value and how often a hit had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Often {
    pub value: String,
    pub count: u64,
}

/// What one rule found.
#[derive(Clone, Debug, Serialize)]
pub struct Hits {
    pub id: String,
    pub title: String,
    pub level: Level,
    pub file: String,
    pub hits: u64,
    /// RFC 3339, of the event.
    pub first: Option<String>,
    pub last: Option<String>,
    /// By the day of the event, UTC.
    pub per_day: BTreeMap<String, u64>,
    /// The most frequent values, by field.
    pub top: BTreeMap<String, Vec<Often>>,
}

/// A kind that the rules ask for and the recording does not have as a whole.
#[derive(Clone, Debug, Serialize)]
pub struct NotCollected {
    pub kind: &'static str,
    /// Percent of the recording in which it was collected as a whole, and in part: without the paths that no rule asked for then.
    pub whole: u64,
    pub in_part: u64,
}

/// One hit, to tell it from others and to show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hit {
    pub time: String,
    pub rule: String,
    pub image: String,
    pub command: String,
}

/// What a hunt found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    /// Events that were looked at: those of the kinds that the rules ask for.
    pub events: u64,
    /// First and last event in the recording, RFC 3339.
    pub from: Option<String>,
    pub to: Option<String>,
    pub rules: Vec<Hits>,
    pub not_collected: Vec<NotCollected>,
    /// What could not be read of the recording.
    pub problems: Vec<String>,
    /// Of the guests' answers, those that were refused: too many detections at once, say.
    pub refused: u64,
    /// Events that were hit, by what identifies them; at most [`KEPT`].
    #[serde(skip)]
    pub kept: HashMap<u64, Hit>,
}

/// What is gathered of one rule.
struct Gathered {
    hits: Hits,
    first: u64,
    last: u64,
    values: HashMap<String, HashMap<String, u64>>,
}

/// Runs a loaded set over a recording. `progress` is told how many of its bytes are behind.
pub fn run(offline: Offline, recording: &mut Recording, progress: &mut dyn FnMut(u64)) -> Findings {
    let interest = offline.generation.interest.clone();
    // Rules without a hit are told too.
    let analytics: Vec<_> = offline.generation.guests().flat_map(|g| g.plan.analytics.clone()).collect();
    let mut rules: HashMap<String, Gathered> = HashMap::new();
    for analytic in analytics.iter().filter(|a| a.deliver) {
        let hits = Hits {
            id: analytic.id.clone(),
            title: analytic.title.clone(),
            level: analytic.level,
            file: analytic.file.clone(),
            hits: 0,
            first: None,
            last: None,
            per_day: BTreeMap::new(),
            top: BTreeMap::new(),
        };
        rules.insert(analytic.id.clone(), Gathered { hits, first: u64::MAX, last: 0, values: HashMap::new() });
    }
    let gathered: Mutex<(HashMap<String, Gathered>, HashMap<u64, Hit>)> = Mutex::new((rules, HashMap::new()));
    let reader = Reader::new();
    let (events, ledger) = offline.run(
        |feeder| feeder.recording(recording, progress),
        |finished| {
            if !finished.found.is_empty() {
                let mut gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
                let (rules, kept) = &mut *gathered;
                gather(&finished, &reader, rules, kept);
            }
        },
    );
    let (rules, kept) = gathered.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut rules: Vec<Hits> = rules.into_values().map(Gathered::finish).collect();
    rules.sort_by(|a, b| (b.hits > 0, b.level, b.hits, &a.title).cmp(&(a.hits > 0, a.level, a.hits, &b.title)));
    Findings {
        events,
        from: recording.span.map(|(first, _)| time_text(first)),
        to: recording.span.map(|(_, last)| time_text(last)),
        rules,
        not_collected: not_collected(&interest, recording),
        problems: recording.problems.clone(),
        refused: ledger.guests().iter().map(|(_, account)| account.refused.get()).sum(),
        kept,
    }
}

fn gather(finished: &Finished, reader: &Reader, rules: &mut HashMap<String, Gathered>, kept: &mut HashMap<u64, Hit>) {
    for found in finished.found.iter().filter(|f| f.detection.analytic.deliver) {
        let analytic = &found.detection.analytic;
        let Some(rule) = rules.get_mut(&analytic.id) else { continue };
        let slab = &found.slab;
        let row = found.detection.row.map(|r| r as usize).filter(|r| *r < slab.len());
        let time = row.map_or(slab.watermark, |r| slab.rows[r].time);
        rule.add(found, slab, row, time, reader);
        if kept.len() < KEPT
            && let Some(row) = row
        {
            kept.entry(event_key(slab, row)).or_insert_with(|| Hit {
                time: time_text(time),
                rule: analytic.title.clone(),
                image: reader.text(slab, row, "Image"),
                command: reader.text(slab, row, "CommandLine"),
            });
        }
    }
}

/// What tells an event from others, whatever rule looks at it.
fn event_key(slab: &Slab, row: usize) -> u64 {
    let r = &slab.rows[row];
    let thread = match crate::alert::system_value(slab, row, "System.HostThreadID") {
        Value::Unsigned(thread) => thread,
        _ => 0,
    };
    let parts = [r.time.to_le_bytes(), u64::from(r.kind.0).to_le_bytes(), thread.to_le_bytes()].concat();
    xxhash_rust::xxh3::xxh3_64(&parts)
}

/// Fields as they are bound for guests.
struct Reader(Vec<(&'static str, Access)>);

impl Reader {
    fn new() -> Reader {
        let catalogue = Catalogue::default();
        Reader(ALWAYS.iter().map(|name| (*name, catalogue.resolve(None, name).access)).collect())
    }

    fn text(&self, slab: &Slab, row: usize, name: &str) -> String {
        let access = self.0.iter().find(|(n, _)| *n == name).map(|(_, access)| access);
        access.map(|access| text(&slab.value(row, access))).unwrap_or_default()
    }
}

fn text(value: &Value<'_>) -> String {
    match value {
        Value::Text(bytes) => cut(bytes),
        Value::Unsigned(v) => v.to_string(),
        Value::Signed(v) => v.to_string(),
        _ => String::new(),
    }
}

fn cut(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)]).into_owned()
}

impl Gathered {
    fn add(&mut self, found: &Found, slab: &Slab, row: Option<usize>, time: u64, reader: &Reader) {
        self.hits.hits += 1;
        (self.first, self.last) = (self.first.min(time), self.last.max(time));
        let day = time_text(time)[..10].to_owned();
        *self.hits.per_day.entry(day).or_default() += 1;
        // A field that matched in several selections counts once.
        let mut seen: HashSet<&str> = HashSet::new();
        for evidence in &found.detection.evidence {
            if !evidence.field.is_empty() && seen.insert(&evidence.field) {
                count(&mut self.values, &evidence.field, cut(&evidence.value));
            }
        }
        let Some(row) = row else { return };
        for (name, access) in reader.0.iter().filter(|(name, _)| !seen.contains(name)) {
            let value = text(&slab.value(row, access));
            if !value.is_empty() {
                count(&mut self.values, name, value);
            }
        }
    }

    fn finish(mut self) -> Hits {
        if self.hits.hits > 0 {
            self.hits.first = Some(time_text(self.first));
            self.hits.last = Some(time_text(self.last));
        }
        for (field, values) in self.values {
            let mut values: Vec<Often> = values.into_iter().map(|(value, count)| Often { value, count }).collect();
            values.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.value.cmp(&b.value)));
            values.truncate(TOLD);
            self.hits.top.insert(field, values);
        }
        self.hits
    }
}

fn count(values: &mut HashMap<String, HashMap<String, u64>>, field: &str, value: String) {
    if !values.contains_key(field) {
        values.insert(field.to_owned(), HashMap::new());
    }
    if let Some(values) = values.get_mut(field)
        && (values.len() < DISTINCT || values.contains_key(&value))
    {
        *values.entry(value).or_default() += 1;
    }
}

/// Kinds of which the recording does not have everything: what a rule would have found there is not known.
fn not_collected(interest: &[Interest], recording: &Recording) -> Vec<NotCollected> {
    if recording.blocks == 0 {
        return Vec::new();
    }
    let share = |name: &str| recording.collected.get(name).copied().unwrap_or_default() * 100 / recording.blocks;
    let wanted = KINDS.iter().enumerate().filter(|(at, _)| interest.get(*at).is_some_and(|i| *i != Interest::None));
    let wanted = wanted.filter(|(at, _)| !KindId(*at as u16).is_derived());
    let missing = wanted.filter_map(|(at, kind)| {
        let (whole, in_part) = (share(kind.name), share(&format!("{}?", kind.name)));
        // Where a rule asks for a part as well, the part may be all it needs.
        let enough = if interest[at] == Interest::Narrow { whole + in_part } else { whole };
        (enough < 100).then_some(NotCollected { kind: kind.name, whole, in_part })
    });
    missing.collect()
}

/// What a change gains and loses.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    pub old: Findings,
    pub new: Findings,
    pub both: usize,
    /// Events that only the new rules hit, and only the old ones; the first of each by time.
    pub gained: Vec<Hit>,
    pub lost: Vec<Hit>,
    pub gained_count: usize,
    pub lost_count: usize,
    /// There are more hits than are compared.
    pub cut: bool,
}

/// Hits shown of each side.
const SHOWN: usize = 20;

impl Difference {
    pub fn of(old: Findings, new: Findings) -> Difference {
        let only = |a: &Findings, b: &Findings| {
            let mut hits: Vec<Hit> =
                a.kept.iter().filter(|(key, _)| !b.kept.contains_key(*key)).map(|(_, hit)| hit.clone()).collect();
            hits.sort_by(|x, y| x.time.cmp(&y.time));
            let count = hits.len();
            hits.truncate(SHOWN);
            (hits, count)
        };
        let (gained, gained_count) = only(&new, &old);
        let (lost, lost_count) = only(&old, &new);
        let both = new.kept.keys().filter(|key| old.kept.contains_key(*key)).count();
        let cut = old.kept.len() >= KEPT || new.kept.len() >= KEPT;
        Difference { old, new, both, gained, lost, gained_count, lost_count, cut }
    }
}

/// A guest's analytic by its id.
pub fn file_of(offline: &Offline, rule: &str) -> Option<String> {
    let analytics = offline.generation.guests().flat_map(|g| &g.plan.analytics);
    let analytics: Vec<&Arc<crate::detection::Analytic>> = analytics.collect();
    let by_id = analytics.iter().find(|a| a.id == rule);
    by_id.or_else(|| analytics.iter().find(|a| a.title == rule)).map(|a| a.file.clone())
}
