//! Files become generations. The one loader behind start, reload, validate, test and explain.
//!
//! A file that is bad keeps its own last good version and is named as stale; at cold start it is skipped. What did not
//! change keeps its running lane. Nothing here touches what is live: a generation is built aside, and published or refused.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::collect;
use crate::config::{Auditd, Config};
use crate::detection::{Diagnostic, Gravity};
use crate::generation::{Generation, Stale};
use crate::guest::{self, Component, File, Guest, Limits, LoadError, Loaded, Runtime, Setup, World};
use crate::kind::{Catalogue, Opens};
use crate::lane::{self, Exits, Lane, Rejected, Start};
use crate::ledger::Ledger;
use crate::queue::{Queue, WhenFull};
use crate::text::{chain, hex};
use crate::tune::exception::Exception;
use crate::tune::{self, Tuning};
use crate::watch::{self, FileError, FileSet, Problem, Snapshot, WatchError};

/// One rule or guest file as it was read.
pub type SourceFile = watch::File;

/// Everything a generation is made of.
#[derive(Clone)]
pub struct Inputs {
    pub config: Arc<Config>,
    pub rules: Vec<SourceFile>,
    pub guests: Vec<SourceFile>,
    /// Files of modes.
    pub tuning: Vec<SourceFile>,
    /// Lists of values.
    pub lists: Vec<SourceFile>,
    /// When they were read, Unix seconds: what expires is measured by it.
    pub now: i64,
    /// Findings from reading: files that could not be read.
    pub unread: Vec<Diagnostic>,
}

impl Inputs {
    /// The files a config names, in the order [`Inputs::new`] takes their snapshots.
    pub fn sets(config: &Config) -> [FileSet; 4] {
        [
            FileSet::rules_and_tests(config.rules.clone()),
            FileSet::guests(config.guests.clone()),
            FileSet::tuning(config.tuning.paths.clone()),
            FileSet::lists(config.tuning.lists.clone()),
        ]
    }

    /// Reads the files that a config names.
    pub fn read(config: Arc<Config>) -> Result<Inputs, WatchError> {
        let snapshots = Inputs::sets(&config).iter().map(Snapshot::read).collect::<Result<Vec<_>, _>>()?;
        Ok(Inputs::new(config, snapshots))
    }

    /// All that is text, for who shows a place in it.
    pub fn texts(&self) -> Vec<SourceFile> {
        self.rules.iter().chain(&self.tuning).chain(&self.lists).cloned().collect()
    }

    /// Inputs from files that were read, as many snapshots as there are [`Inputs::sets`].
    pub fn new(config: Arc<Config>, snapshots: Vec<Snapshot>) -> Inputs {
        let mut snapshots = snapshots.into_iter();
        let mut next = || snapshots.next().unwrap_or_default();
        let (mut rules, guests, mut tuning, mut lists) = (next(), next(), next(), next());
        // Nobody has to tune.
        let absent = |e: &FileError, roots: &[PathBuf]| e.problem == Problem::Missing && roots.contains(&e.path);
        tuning.errors.retain(|e| !absent(e, &config.tuning.paths));
        lists.errors.retain(|e| !absent(e, &config.tuning.lists));
        let all = [&rules, &guests, &tuning, &lists];
        let errors = all.into_iter().flat_map(|s| &s.errors);
        let unread = errors.map(|e| file_fault("unreadable", &e.name, &chain(e))).collect();
        let (modes, filters): (Vec<_>, Vec<_>) =
            tuning.files.into_iter().partition(|f| f.path.extension().is_some_and(|e| e == "toml"));
        // A directory of tuning may be named as one of rules, too, as `picket test tuning` does.
        let place = |f: &SourceFile| std::path::absolute(&f.path).unwrap_or_else(|_| f.path.clone());
        let known: HashSet<PathBuf> =
            if filters.is_empty() { HashSet::new() } else { rules.files.iter().map(place).collect() };
        rules.files.extend(filters.into_iter().filter(|f| !known.contains(&place(f))));
        let now = jiff::Timestamp::now().as_second();
        Inputs { config, rules: rules.files, guests: guests.files, tuning: modes, lists: lists.files, now, unread }
    }
}

/// How guests are loaded: live, or to answer for a file.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    pub when_full: WhenFull,
    /// For hashers in guests; fixed in replay and test, so that these are repeatable.
    pub seed: (u64, u64),
    /// Rules apply whatever their log source; fields are looked up in the JSON itself.
    pub any_json: bool,
}

/// Why a set is not published.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{} of {} rules would be gone, more than reload.max_shrink allows; `picket reload --force` loads it all the same", .before - .after, .before)]
    MassChange { before: usize, after: usize },
    #[error("strict = true, and {}", faults(.0))]
    Strict(Vec<Stale>),
    #[error("no guest could be loaded: {}", faults(.0))]
    NoGuest(Vec<Stale>),
    #[error("cannot start a guest's thread")]
    Thread(#[source] std::io::Error),
}

fn faults(stale: &[Stale]) -> String {
    match stale {
        [] => "no guest was given: `picket run --guests DIR`, or `guests = [...]` in the config".to_owned(),
        [one] => format!("{}: {}", one.file, one.why),
        [one, rest @ ..] => format!("{}: {} (and {} more)", one.file, one.why, rest.len()),
    }
}

/// Builds generations and remembers the last good version of every file.
pub struct Loader {
    runtime: Arc<Runtime>,
    ledger: Arc<Ledger>,
    exits: Exits,
    mode: Mode,
    /// Last good version of each rule file, by guest and file.
    good: HashMap<(String, String), File>,
    /// Last good component of each guest.
    components: HashMap<String, Arc<Component>>,
    /// Inputs of guests that had to be rolled back: not tried again until they change.
    rejected: HashMap<String, (String, String)>,
}

/// A guest to be loaded, with everything that decides what it does.
struct Candidate {
    name: String,
    component: Arc<Component>,
    setup: Setup,
    /// What else decides what it sees: its slot and the columns enrichers offer.
    surroundings: String,
    /// Over all of the above.
    digest: String,
}

/// A guest at work: its instances on events, and the one on `@detection`.
#[derive(Default)]
struct Lanes {
    events: Option<Arc<Lane>>,
    correlator: Option<Arc<Lane>>,
}

impl Lanes {
    fn of(generation: &Generation, name: &str) -> Lanes {
        let events = generation.lanes().find(|l| l.guest.name == name).cloned();
        let correlator = generation.correlators.iter().find(|l| l.guest.name == name).cloned();
        Lanes { events, correlator }
    }

    /// Both were made from the same.
    fn any(&self) -> Option<&Arc<Lane>> {
        self.events.as_ref().or(self.correlator.as_ref())
    }

    fn digest(&self) -> Option<String> {
        self.any().map(|l| l.guest.digest.clone())
    }
}

impl Loader {
    pub fn new(runtime: Arc<Runtime>, ledger: Arc<Ledger>, exits: Exits, mode: Mode) -> Loader {
        Loader {
            runtime,
            ledger,
            exits,
            mode,
            good: HashMap::new(),
            components: HashMap::new(),
            rejected: HashMap::new(),
        }
    }

    /// Builds the next generation beside `previous`.
    pub fn build(&mut self, inputs: &Inputs, previous: &Generation, force: bool) -> Result<Generation, Refused> {
        let mut stale = Vec::new();
        let mut diagnostics = inputs.unread.clone();
        let (exceptions, standing) = standing(inputs, &mut diagnostics);
        let inputs = standing.as_ref().unwrap_or(inputs);
        // For what it says; each guest that takes rules reads the values again.
        lists(inputs, &mut diagnostics);
        let components = self.compile(inputs, &mut stale, &mut diagnostics);
        let mut next = Generation { number: previous.number + 1, ..Generation::empty() };
        let audit = match inputs.config.auditd {
            Auditd::Off => None,
            Auditd::Changes => Some(Opens::Changes),
            Auditd::EveryOpen => Some(Opens::Every),
        };
        next.catalogue = Catalogue { any_json: self.mode.any_json, audit, ..Catalogue::default() };
        // Enrichers first: detectors may ask for their columns.
        for component in components.iter().filter(|c| c.world == World::Enricher) {
            let slot = next.enrichers.len() as u16;
            let loaded = self.lane(inputs, component, &next, slot, previous, &mut stale, &mut diagnostics)?;
            if let Some(lane) = loaded.events {
                next.catalogue.enrich.extend(lane.guest.plan.outputs.iter().cloned());
                next.enrichers.push(lane);
            }
        }
        for component in components.iter().filter(|c| c.world == World::Detector) {
            let loaded = self.lane(inputs, component, &next, 0, previous, &mut stale, &mut diagnostics)?;
            next.detectors.extend(loaded.events);
            next.correlators.extend(loaded.correlator);
        }
        if next.all_lanes().next().is_none() && (!stale.is_empty() || inputs.guests.is_empty()) {
            return Err(Refused::NoGuest(stale));
        }
        if inputs.config.strict && !stale.is_empty() {
            return Err(Refused::Strict(stale));
        }
        next.rules = rules(&next);
        diagnostics.extend(unheard(&next));
        let (before, after) = (previous.analytics(), next.analytics());
        let lost = before.saturating_sub(after) as f64;
        if !force && before > 0 && lost > before as f64 * inputs.config.reload.max_shrink {
            return Err(Refused::MassChange { before, after });
        }
        next.collect = inputs.config.collect.clone();
        let tuning = self.tuning(inputs, exceptions, &next, &mut stale, &mut diagnostics);
        next.tuning = Arc::new(tuning);
        if inputs.config.strict && !stale.is_empty() {
            return Err(Refused::Strict(stale));
        }
        settle(&mut next);
        next.stale = stale;
        (next.diagnostics, next.silenced) = unsilenced(diagnostics);
        Ok(next)
    }

    /// The generation after one whose guest has to go back: the same, with the version before.
    pub fn roll_back(&mut self, current: &Generation, rejected: &Rejected) -> Option<Generation> {
        let lane = current.lanes().find(|l| l.guest.name == rejected.guest && l.inputs == rejected.inputs)?;
        let before = lane.predecessor()?;
        self.rejected.insert(rejected.guest.clone(), (rejected.inputs.clone(), rejected.why.clone()));
        let swap = |lanes: &[Arc<Lane>]| {
            lanes.iter().map(|l| if Arc::ptr_eq(l, lane) { before.clone() } else { l.clone() }).collect()
        };
        let mut next = Generation {
            number: current.number + 1,
            enrichers: swap(&current.enrichers),
            detectors: swap(&current.detectors),
            // What it remembers would be lost by going back.
            correlators: current.correlators.clone(),
            catalogue: current.catalogue.clone(),
            diagnostics: current.diagnostics.clone(),
            silenced: current.silenced.clone(),
            stale: current.stale.clone(),
            collect: current.collect.clone(),
            tuning: current.tuning.clone(),
            rules: BTreeMap::new(),
            ..Generation::empty()
        };
        next.stale.push(Stale {
            file: format!("guest {}", rejected.guest),
            live: Some(before.guest.digest.clone()),
            refused: rejected.inputs.clone(),
            why: format!("it trapped on rows that the version before handled: {}", rejected.why),
        });
        next.rules = rules(&next);
        settle(&mut next);
        Some(next)
    }

    /// What the files of modes say. One with an error keeps its last good version; where there is none, what is right in it counts.
    fn tuning(
        &mut self,
        inputs: &Inputs,
        exceptions: Vec<Exception>,
        next: &Generation,
        stale: &mut Vec<Stale>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Tuning {
        let mut entries = Vec::new();
        for file in &inputs.tuning {
            let said = diagnostics.len();
            let text = String::from_utf8_lossy(&file.content);
            let mut read = tune::read(&file.name, &text, diagnostics);
            let key = (TUNING.to_owned(), file.name.clone());
            if let Some(error) = diagnostics.get(said) {
                let last = self.good.get(&key);
                stale.push(Stale {
                    file: file.name.clone(),
                    live: last.map(|f| digest([&*f.content])),
                    refused: digest([&*file.content]),
                    why: format!("{}:{}: {}", error.line, error.column, error.message),
                });
                if let Some(last) = last {
                    read = tune::read(&file.name, &String::from_utf8_lossy(&last.content), &mut Vec::new());
                }
            } else {
                self.good.insert(key, File { name: file.name.clone(), content: file.content.clone() });
            }
            entries.extend(read);
        }
        if entries.len() > tune::MAX_ENTRIES {
            let why = format!("tuning has {} entries; those after {} are left out", entries.len(), tune::MAX_ENTRIES);
            diagnostics.push(file_fault("too-much-tuning", "", &why));
            entries.truncate(tune::MAX_ENTRIES);
        }
        let paths: HashMap<&str, &Path> = inputs.rules.iter().map(|f| (f.name.as_str(), f.path.as_path())).collect();
        let analytics = next.guests().flat_map(|g| g.plan.analytics.iter().map(move |a| (g, a)));
        let rules: Vec<tune::Rule<'_>> = analytics
            .map(|(guest, analytic)| tune::Rule {
                guest: &guest.name,
                analytic,
                path: paths.get(analytic.file.as_str()).copied(),
            })
            .collect();
        Tuning::new(inputs.config.tuning.live_from, entries, exceptions, &rules, inputs.now, diagnostics)
    }

    /// Compiles every guest file; a bad one keeps its last good component.
    fn compile(
        &mut self,
        inputs: &Inputs,
        stale: &mut Vec<Stale>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Vec<Arc<Component>> {
        let mut found = Vec::new();
        let mut names = HashSet::new();
        for file in &inputs.guests {
            let name = file.path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
            if !inputs.config.guest(&name).enabled {
                continue;
            }
            let compiled = if names.insert(name.clone()) {
                match self.components.get(&name) {
                    Some(known) if known.digest == file.digest => Ok(known.clone()),
                    _ => self.runtime.compile(&name, &file.path, &file.content).map_err(|e| chain(&e)),
                }
            } else {
                Err(format!("another file is called {name}, too: two guests of one name"))
            };
            match compiled {
                Ok(component) => found.push(component),
                Err(why) => {
                    let last = self.components.get(&name).cloned();
                    diagnostics.push(file_fault("bad-guest", &file.name, &why));
                    stale.push(Stale {
                        file: file.name.clone(),
                        live: last.as_ref().map(|c| c.digest.clone()),
                        refused: file.digest.clone(),
                        why,
                    });
                    found.extend(last);
                }
            }
        }
        found
    }

    /// Loads one guest, or takes over its running lane when nothing that it depends on changed.
    #[allow(clippy::too_many_arguments, reason = "what one guest's loading reads and what it adds to")]
    fn lane(
        &mut self,
        inputs: &Inputs,
        component: &Arc<Component>,
        next: &Generation,
        slot: u16,
        previous: &Generation,
        stale: &mut Vec<Stale>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<Lanes, Refused> {
        let name = &component.name;
        let running = Lanes::of(previous, name);
        let mut candidate = self.candidate(inputs, component, &next.catalogue, slot);
        if let Some((digest, why)) = self.rejected.get(name)
            && *digest == candidate.digest
            && running.any().is_some()
        {
            stale.push(Stale {
                file: format!("guest {name}"),
                live: running.digest(),
                refused: digest.clone(),
                why: format!("it trapped on rows that the version before handled: {why}"),
            });
            return Ok(running);
        }
        if let Some(lane) = running.any().filter(|l| l.inputs == candidate.digest) {
            diagnostics.extend(lane.diagnostics.iter().cloned());
            return Ok(running);
        }
        let mut said = Vec::new();
        let mut loaded = self.load(&candidate, next, slot, &mut said);
        let bad = files_with_errors(&candidate, &said);
        if !bad.is_empty() {
            // Put each bad file's last good version in its place (or leave it out) and load that set.
            let first = std::mem::take(&mut said);
            self.replace(&mut candidate, &bad, &first, stale);
            if running.any().is_some_and(|l| l.inputs == candidate.digest) {
                diagnostics.extend(first);
                return Ok(running);
            }
            if candidate.setup.files.len() + bad.len() > 0 {
                loaded = self.load(&candidate, next, slot, &mut said);
            }
            diagnostics.extend(first.into_iter().filter(|d| d.gravity == Gravity::Error));
        }
        diagnostics.extend(said.iter().cloned());
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(why) => {
                diagnostics.push(file_fault("guest-refused", &format!("guest {name}"), &why));
                stale.push(Stale {
                    file: format!("guest {name}"),
                    live: running.digest(),
                    refused: candidate.digest.clone(),
                    why,
                });
                return Ok(running);
            }
        };
        self.components.insert(name.clone(), component.clone());
        for file in candidate.setup.files.iter() {
            self.good.insert((name.clone(), file.name.clone()), file.clone());
        }
        let dispatch = &inputs.config.dispatch;
        let capacity = dispatch.queue as usize;
        let start = |guest: Arc<Guest>, predecessor| {
            let (inputs, queue) = (candidate.digest.clone(), Queue::new(capacity, self.mode.when_full));
            let account = self.ledger.guest(&lane::label(&guest));
            let snapshot = dispatch.snapshot.duration();
            let start = Start { guest, inputs, diagnostics: said.clone(), queue, predecessor, snapshot };
            Lane::start(start, account, &self.exits).map_err(Refused::Thread)
        };
        let mut lanes = Lanes::default();
        // A guest that only looks at what others found gets no events.
        if loaded.correlator.is_none() || !loaded.guest.plan.subscriptions.is_empty() {
            // A version that never handled a slab proves nothing: what it would have replaced stays the fallback.
            let predecessor = running.events.map(|r| r.predecessor().unwrap_or(r));
            lanes.events = Some(start(loaded.guest, predecessor)?);
        }
        if let Some(correlator) = loaded.correlator {
            lanes.correlator = Some(start(correlator, running.correlator)?);
        }
        Ok(lanes)
    }

    fn candidate(&self, inputs: &Inputs, component: &Arc<Component>, catalogue: &Catalogue, slot: u16) -> Candidate {
        let config = inputs.config.guest(&component.name);
        let mut own = serde_json::Value::Object(config.config.clone());
        if self.mode.any_json && config.rules == Some(true) {
            own["all_log_sources"] = true.into();
        }
        if config.rules == Some(true) && !inputs.lists.is_empty() {
            // A list in the config wins, and is what is seen there.
            let mut values = serde_json::to_value(lists(inputs, &mut Vec::new())).unwrap_or_default();
            if let (Some(all), Some(given)) = (values.as_object_mut(), own["placeholders"].as_object()) {
                all.extend(given.clone());
            }
            own["placeholders"] = values;
        }
        let files: Vec<File> = if config.rules == Some(true) {
            let file = |f: &SourceFile| File { name: f.name.clone(), content: f.content.clone() };
            inputs.rules.iter().filter(|f| !crate::ruletest::is_test(&f.name)).map(file).collect()
        } else {
            Vec::new()
        };
        let setup = Setup {
            name: component.name.clone(),
            config: own,
            files: files.into(),
            seed: self.mode.seed,
            replicas: config.replicas.unwrap_or(1),
            limits: Limits {
                memory_bytes: config.memory.as_usize(),
                call_cpu: config.cpu.duration(),
                ..Limits::default()
            },
        };
        let surroundings = format!("{slot} {:?} {} {:?}", catalogue.enrich, catalogue.any_json, catalogue.audit);
        let (name, component) = (component.name.clone(), component.clone());
        let mut candidate = Candidate { name, component, setup, surroundings, digest: String::new() };
        candidate.rehash();
        candidate
    }

    fn load(
        &self,
        candidate: &Candidate,
        next: &Generation,
        slot: u16,
        said: &mut Vec<Diagnostic>,
    ) -> Result<Loaded, String> {
        let loaded = guest::load(&self.runtime, &candidate.component, candidate.setup.clone(), &next.catalogue, slot);
        match loaded {
            Ok(loaded) => {
                said.extend(loaded.diagnostics.iter().cloned());
                Ok(loaded)
            }
            Err(LoadError { source, diagnostics }) => {
                said.extend(diagnostics);
                Err(chain(&source))
            }
        }
    }

    /// Replaces bad files by their last good version, or leaves them out.
    fn replace(&self, candidate: &mut Candidate, bad: &[String], said: &[Diagnostic], stale: &mut Vec<Stale>) {
        let mut files = Vec::with_capacity(candidate.setup.files.len());
        for file in candidate.setup.files.iter() {
            if !bad.contains(&file.name) {
                files.push(file.clone());
                continue;
            }
            let last = self.good.get(&(candidate.name.clone(), file.name.clone()));
            let why = said
                .iter()
                .find(|d| d.gravity == Gravity::Error && d.file == file.name)
                .map(|d| format!("{}:{}: {}", d.line, d.column, d.message))
                .unwrap_or_default();
            stale.push(Stale {
                file: file.name.clone(),
                live: last.map(|f| digest([&*f.content])),
                refused: digest([&*file.content]),
                why,
            });
            files.extend(last.cloned());
        }
        candidate.setup.files = files.into();
        candidate.rehash();
    }
}

impl Candidate {
    /// Brings the digest up to date; it covers everything that decides what the guest does.
    fn rehash(&mut self) {
        let s = &self.setup;
        let settings = format!("{} {:?} {} {:?}", s.config, s.seed, s.replicas, s.limits);
        let mut parts: Vec<&[u8]> =
            vec![self.surroundings.as_bytes(), self.component.digest.as_bytes(), settings.as_bytes()];
        for file in s.files.iter() {
            parts.push(file.name.as_bytes());
            parts.push(&file.content);
        }
        self.digest = digest(parts);
    }
}

/// What stands for the name of a guest where the last good versions of files of modes are kept.
const TUNING: &str = "@tuning";

/// The exceptions, and the inputs without those that have expired, if any has.
fn standing(inputs: &Inputs, said: &mut Vec<Diagnostic>) -> (Vec<Exception>, Option<Inputs>) {
    let mut exceptions = Vec::new();
    let mut changed: Option<Inputs> = None;
    for (number, file) in inputs.rules.iter().enumerate().filter(|(_, f)| !crate::ruletest::is_test(&f.name)) {
        let (found, content) = tune::exception::read(&file.name, &file.content, inputs.now, said);
        exceptions.extend(found);
        if let Cow::Owned(content) = content {
            changed.get_or_insert_with(|| inputs.clone()).rules[number].content = content.into();
        }
    }
    (exceptions, changed)
}

/// The values of the lists.
fn lists(inputs: &Inputs, said: &mut Vec<Diagnostic>) -> tune::lists::Lists {
    let mut lists = tune::lists::Lists::new();
    let mut room = tune::lists::MAX_VALUES;
    for file in &inputs.lists {
        tune::lists::read(&file.name, &file.content, &mut room, &mut lists, said);
    }
    lists
}

fn files_with_errors(candidate: &Candidate, said: &[Diagnostic]) -> Vec<String> {
    let mut bad: Vec<String> = said
        .iter()
        .filter(|d| d.gravity == Gravity::Error && candidate.setup.files.iter().any(|f| f.name == d.file))
        .map(|d| d.file.clone())
        .collect();
    bad.sort();
    bad.dedup();
    bad
}

fn file_fault(code: &str, file: &str, why: &str) -> Diagnostic {
    Diagnostic {
        gravity: Gravity::Error,
        code: code.to_owned(),
        message: why.to_owned(),
        help: String::new(),
        file: file.to_owned(),
        line: 0,
        column: 0,
        length: 0,
    }
}

/// Before the code of a diagnostic that its author has silenced.
const SILENCED: &str = "silenced/";

/// What is to be told, and what a guest says only for the record.
fn unsilenced(diagnostics: Vec<Diagnostic>) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
    let (mut silenced, told): (Vec<_>, Vec<_>) = diagnostics.into_iter().partition(|d| d.code.starts_with(SILENCED));
    for d in &mut silenced {
        d.code.drain(..SILENCED.len());
    }
    (told, silenced)
}

/// Rules that are live, by file.
fn rules(generation: &Generation) -> BTreeMap<String, usize> {
    let mut rules = BTreeMap::new();
    for analytic in generation.guests().flat_map(|g| &g.plan.analytics) {
        *rules.entry(analytic.file.clone()).or_default() += 1;
    }
    rules
}

/// Guests whose detections are meant for others, where nobody looks at detections.
fn unheard(generation: &Generation) -> Vec<Diagnostic> {
    let internal = |g: &Guest| g.plan.analytics.iter().filter(|a| !a.deliver).count();
    let guests = generation.guests().filter(|_| generation.correlators.is_empty());
    let said = guests.filter_map(|guest| {
        let count = internal(guest);
        (count > 0).then(|| Diagnostic {
            gravity: Gravity::Warning,
            help: "load the guest or the rules that correlate them".to_owned(),
            ..file_fault(
                "detections-unheard",
                "",
                &format!(
                    "guest {}: {count} of its rules make no alerts of their own, and no guest subscribes to @detection: what they find goes nowhere",
                    guest.name
                ),
            )
        })
    });
    said.collect()
}

/// What follows from the lanes: what they ask for, and the digest.
fn settle(next: &mut Generation) {
    next.interest = Generation::interest_of(next.lanes());
    next.hashes = Generation::wants_hashes(next.all_lanes());
    next.paths = collect::paths_of(next.lanes(), &next.catalogue);
    next.digest = digest(next.all_lanes().map(|l| l.inputs.as_bytes()).chain([next.tuning.digest.as_bytes()]));
}

fn digest<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())
}
