//! Keeps the live generation in step with the files: the reload thread, and what the control socket answers.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::audit::{Asker, Audit, Loaded, Peer};
use crate::capture::{Capture, Limits};
use crate::config::{Config, ConfigError};
use crate::console;
use crate::control;
use crate::daemon::{Publish, SensorReport, Shared};
use crate::deliver::{Deliver, write_metrics};
use crate::detection::Gravity;
use crate::generation::Generation;
use crate::lane::Rejected;
use crate::notice;
use crate::privilege;
use crate::process::HashAccount;
use crate::recorder::Flusher;
use crate::reload::{Inputs, Loader};
use crate::roster::{self, Running};
use crate::sensor::ebpf::Noisy;
use crate::text::chain;
use crate::viewers::{ViewError, Viewer, Wish};
use crate::watch::{Event, FileSet, Snapshot, WatchOptions, Watcher};

/// How the config is made again: file, environment and flags as at the start.
pub type ReadConfig = Box<dyn FnMut() -> Result<Config, ConfigError> + Send>;

/// A wish to load now.
pub struct Ask {
    pub force: bool,
    pub by: Option<Asker>,
    pub reply: Option<SyncSender<Json>>,
}

/// What the last attempt came to; in `status`.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    pub settling: Option<String>,
    pub refused: Option<String>,
    pub reloads: u64,
    pub refusals: u64,
    pub rollbacks: u64,
}

/// The reload thread.
pub struct Reloader {
    pub loader: Loader,
    pub shared: Arc<Shared>,
    pub publish: SyncSender<Publish>,
    pub deliver: Option<Arc<Deliver>>,
    pub read_config: ReadConfig,
    pub config: Arc<Config>,
    /// The config file, watched too.
    pub config_file: Option<std::path::PathBuf>,
    pub attempts: Arc<Mutex<Attempts>>,
    pub asked: Receiver<Ask>,
    pub rejected: Receiver<Rejected>,
    /// The last end of an entry or exception that a set was loaded for.
    pub ended: Option<i64>,
    pub audit: Audit,
    /// Who wants the load that is under way.
    pub askers: Vec<Asker>,
}

/// How often the thread looks at what was asked.
const TURN: Duration = Duration::from_millis(50);

/// How long a new generation may take to be attached and published.
const PUBLISH: Duration = Duration::from_mins(1);

/// Files watched now, and what they held when they were last quiet.
struct Watched {
    watcher: Watcher,
    events: Receiver<Event>,
    sets: Vec<FileSet>,
    last: Option<Vec<Snapshot>>,
}

impl Reloader {
    /// The first set: what is bad is skipped and named. Returns the report, or why there is nothing to run.
    pub fn first(&mut self) -> Result<Json, String> {
        let inputs = Inputs::read(self.config.clone()).map_err(|e| chain(&e))?;
        self.build(&inputs, true)
    }

    /// Runs until whoever asks is gone.
    pub fn run(mut self) {
        let mut watched = match self.watch() {
            Ok(watched) => watched,
            Err(e) => {
                tracing::error!(error = %e, "files are not watched: reload by hand is not possible either");
                return;
            }
        };
        let mut waiting: Vec<Ask> = Vec::new();
        loop {
            match self.asked.recv_timeout(TURN) {
                Ok(ask) => {
                    waiting.push(ask);
                    watched.watcher.kick();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.due() {
                let report = self.reread(false);
                tracing::info!(outcome = %report["outcome"], "loaded again: an entry or an exception has expired, or is about to");
            }
            while let Ok(rejected) = self.rejected.try_recv() {
                self.roll_back(&rejected);
            }
            while let Ok(event) = watched.events.try_recv() {
                let report = match event {
                    Event::Settling { reason, .. } => {
                        let why = reason.map_or_else(|| "files keep changing".to_owned(), |r| r.to_string());
                        tracing::info!(%why, "settling; the live set stays");
                        self.note(|a| a.settling = Some(why));
                        continue;
                    }
                    Event::Unchanged if waiting.is_empty() => {
                        self.note(|a| a.settling = None);
                        continue;
                    }
                    Event::Unchanged => watched.last.clone(),
                    Event::Settled(snapshots) => Some(snapshots),
                };
                self.note(|a| a.settling = None);
                let force = waiting.iter().any(|a| a.force);
                self.askers = waiting.iter().filter_map(|a| a.by).collect();
                let report = match report {
                    Some(snapshots) => {
                        watched.last = Some(snapshots.clone());
                        self.load(snapshots, force)
                    }
                    None => self.reread(force),
                };
                self.askers.clear();
                for ask in waiting.drain(..).filter_map(|a| a.reply) {
                    // Whoever asked may have gone.
                    let _ = ask.try_send(report.clone());
                }
                if self.sets() != watched.sets {
                    match self.watch() {
                        Ok(next) => watched = next,
                        Err(e) => tracing::error!(error = %e, "the new directories are not watched"),
                    }
                }
            }
        }
    }

    /// Whether something in the live set has come to its end, or near it. A set that is refused is not tried twice for it.
    fn due(&mut self) -> bool {
        let next = self.shared.live.load().tuning.next;
        let due = next.filter(|at| *at <= (notice::now() / 1_000_000_000) as i64 && Some(*at) != self.ended);
        self.ended = due.or(self.ended);
        due.is_some()
    }

    fn sets(&self) -> Vec<FileSet> {
        let mut sets = Vec::from(Inputs::sets(&self.config));
        sets.push(FileSet::files(self.config_file.iter().cloned().collect()));
        sets
    }

    fn watch(&self) -> std::io::Result<Watched> {
        let r = &self.config.reload;
        let sets = self.sets();
        let options =
            WatchOptions { watch: r.watch, settle: r.settle.duration(), poll: r.poll.duration(), known: Vec::new() };
        let (watcher, events) = Watcher::start(sets.clone(), options)?;
        Ok(Watched { watcher, events, sets, last: None })
    }

    fn note(&self, f: impl FnOnce(&mut Attempts)) {
        f(&mut self.attempts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn load(&mut self, snapshots: Vec<Snapshot>, force: bool) -> Json {
        let outcome = self.read_config_again().and_then(|changed| {
            if changed {
                // The snapshots may be of other directories.
                return Inputs::read(self.config.clone()).map_err(|e| chain(&e));
            }
            Ok(Inputs::new(self.config.clone(), snapshots))
        });
        let outcome = outcome.and_then(|inputs| self.build(&inputs, force));
        self.report(outcome)
    }

    fn reread(&mut self, force: bool) -> Json {
        let outcome = self.read_config_again().and_then(|_| Inputs::read(self.config.clone()).map_err(|e| chain(&e)));
        let outcome = outcome.and_then(|inputs| self.build(&inputs, force));
        self.report(outcome)
    }

    /// Whether the config changed. A bad one keeps the last good one.
    fn read_config_again(&mut self) -> Result<bool, String> {
        let config = (self.read_config)().map_err(|e| format!("{e}; the config that runs stays"))?;
        if config == *self.config {
            return Ok(false);
        }
        if let Some(deliver) = &self.deliver {
            deliver.reconfigure(&config.endpoint).map_err(|e| chain(&e))?;
        }
        self.config = Arc::new(config);
        self.shared.config.store(self.config.clone());
        Ok(true)
    }

    fn report(&mut self, outcome: Result<Json, String>) -> Json {
        match outcome {
            Ok(report) => report,
            Err(why) => {
                let live = self.shared.live.load().number;
                tracing::error!(%why, live, "the new set was refused; the live one stays");
                self.audit.refused(live, &why, &self.askers);
                self.note(|a| {
                    a.refusals += 1;
                    a.refused = Some(why.clone());
                });
                json!({ "outcome": "refused", "generation": live, "why": why })
            }
        }
    }

    fn build(&mut self, inputs: &Inputs, force: bool) -> Result<Json, String> {
        let started = Instant::now();
        let live = self.shared.live.load_full();
        let next = self.loader.build(inputs, &live, force).map_err(|e| chain(&e))?;
        let same =
            next.digest == live.digest && next.stale == live.stale && next.collect == live.collect && live.number > 0;
        if !same {
            self.publish(next)?;
        }
        let now = self.shared.live.load_full();
        self.note(|a| {
            a.refused = None;
            a.reloads += u64::from(!same);
        });
        if !same {
            announce(&now, started);
            let loaded = Loaded { generation: now.number, rules: now.analytics(), inputs, tuning: &now.tuning };
            self.audit.loaded(&loaded, &self.askers);
            // Who asked may want to know what was counted until now.
            self.shared.hits.write();
        }
        Ok(json!({
            "outcome": if same { "unchanged" } else { "live" },
            "generation": now.number,
            "rules": now.analytics(),
            "stale": now.stale,
        }))
    }

    fn publish(&self, next: Generation) -> Result<(), String> {
        let (live, attached) = std::sync::mpsc::sync_channel(1);
        let publish = Publish { generation: Arc::new(next), live };
        self.publish.send(publish).map_err(|_| "collection has stopped".to_owned())?;
        let kinds = attached.recv_timeout(PUBLISH).map_err(|_| "the kernel side did not answer".to_owned())?;
        for kind in kinds.iter().filter(|k| k.rung.is_none()) {
            tracing::warn!(kind = kind.kind.name(), why = kind.degraded.as_deref(), "kind is not collected");
        }
        Ok(())
    }

    fn roll_back(&mut self, rejected: &Rejected) {
        let live = self.shared.live.load_full();
        // Several slabs may have told the same; the first was enough.
        let Some(next) = self.loader.roll_back(&live, rejected) else { return };
        tracing::error!(
            guest = %rejected.guest,
            why = %rejected.why,
            "rolled back: the new version trapped on rows that the version before handled"
        );
        match self.publish(next) {
            Ok(()) => self.note(|a| a.rollbacks += 1),
            Err(why) => tracing::error!(%why, "the rollback could not be published"),
        }
    }
}

fn announce(now: &Generation, started: Instant) {
    for stale in &now.stale {
        tracing::error!(
            file = %stale.file,
            why = %stale.why,
            live = stale.live.as_deref().map_or("nothing", |_| "its last good version"),
            "file refused"
        );
    }
    // About no file: a guest asks for what nothing feeds. Rules that never match must not be a number only.
    for d in now.diagnostics.iter().filter(|d| d.gravity == Gravity::Warning && d.file.is_empty()) {
        tracing::warn!(code = %d.code, "{}", d.message);
    }
    let warnings = now.diagnostics.iter().filter(|d| d.gravity == Gravity::Warning).count();
    let guests: Vec<&str> = now.guests().map(|g| g.name.as_str()).collect();
    tracing::info!(
        generation = now.number,
        rules = now.analytics(),
        guests = guests.join(","),
        stale = now.stale.len(),
        warnings,
        ms = started.elapsed().as_millis() as u64,
        "set is live"
    );
}

/// What the control socket and the metrics page say.
pub struct Front {
    pub shared: Arc<Shared>,
    pub deliver: Option<Arc<Deliver>>,
    pub attempts: Arc<Mutex<Attempts>>,
    pub ask: Mutex<SyncSender<Ask>>,
    /// Where events are recorded.
    pub recording: Option<Flusher>,
    pub started: Instant,
    pub console: console::Slot,
}

impl control::Daemon for Front {
    fn status(&self) -> Json {
        let g = self.shared.live.load_full();
        let sensor = self.shared.report();
        let a = self.attempts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let lanes: Vec<Json> = g
            .all_lanes()
            .map(|l| {
                json!({
                    "name": l.label,
                    "digest": l.guest.digest,
                    "analytics": l.guest.plan.analytics.len(),
                    "queued_slabs": l.queued(),
                    "on_probation": l.predecessor().is_some(),
                })
            })
            .collect();
        let degraded = !g.stale.is_empty() || a.refused.is_some() || sensor.kinds.iter().any(|k| k.rung.is_none());
        json!({
            "state": if degraded { "degraded" } else { "ok" },
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": self.started.elapsed().as_secs(),
            "generation": {
                "number": g.number, "digest": g.digest, "rules": g.analytics(), "guests": lanes, "stale": g.stale,
                "settling": a.settling, "refused": a.refused,
                "reloads": a.reloads, "refusals": a.refusals, "rollbacks": a.rollbacks,
                "diagnostics": g.diagnostics,
            },
            "sensor": {
                "kinds": kinds_json(&sensor), "missed": sensor.counters.missed, "read": sensor.counters.read,
                "throttled": noisy_json(&sensor), "too_many_paths": sensor.too_many_paths,
                "reload_cost": sensor.reload_cost,
                "processes": sensor.table, "names": sensor.names, "hashes": *self.shared.hashes,
                "suspect": sensor.suspect, "probes": sensor.probes,
                // Nanoseconds since the start: what rates are made of.
                "at_ns": sensor.at.map(|at| at.duration_since(self.started).as_nanos() as u64),
            },
            "privileges": privilege::report(),
            "now_ns": self.started.elapsed().as_nanos() as u64,
            "ledger": self.shared.ledger.to_json(),
            "slabs_in_flight": self.shared.gate.inside(),
            "viewers": self.shared.viewers.status(),
            "endpoints": self.deliver.as_ref().map(|d| d.status()),
            "spool": self.deliver.as_ref().map(|d| d.spool_status()),
        })
    }

    fn flush(&self) -> Json {
        self.recording.as_ref().inspect(|r| r.flush());
        json!({ "recorded": self.recording.is_some() })
    }

    fn rules(&self) -> Json {
        let g = self.shared.live.load_full();
        let kinds = self.shared.report().kinds;
        let rules = roster::of(&g, Some(&Running { hits: &self.shared.hits, kinds: &kinds }));
        let guests = self.shared.ledger.to_json()["guests"].take();
        json!({
            "running": true, "generation": g.number, "rules": rules, "guests": guests,
            "uncounted_hits": self.shared.hits.uncounted(), "unplaced_hits": self.shared.hits.unplaced(),
        })
    }

    fn reload(&self, force: bool, wait: bool, by: Option<Peer>) -> Json {
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        let ask = Ask { force, by: by.map(Asker::Control), reply: wait.then_some(reply) };
        if self.ask.lock().unwrap_or_else(PoisonError::into_inner).send(ask).is_err() {
            return json!({ "outcome": "refused", "why": "picket is stopping" });
        }
        if !wait {
            return json!({ "outcome": "asked" });
        }
        answer.recv().unwrap_or_else(|_| json!({ "outcome": "refused", "why": "picket is stopping" }))
    }

    fn capture(&self, path: &Path, limits: Limits) -> Json {
        let created = Capture::create(path, limits).map_err(|e| format!("cannot create {}: {e}", path.display()));
        match created.and_then(|c| self.shared.capture.start(c).map_err(str::to_owned)) {
            Ok(()) => json!({}),
            Err(why) => json!({ "error": why }),
        }
    }

    fn capturing(&self) -> bool {
        self.shared.capture.running()
    }

    fn capture_end(&self) -> Json {
        let (events, bytes) = self.shared.capture.stop().unwrap_or_default();
        json!({ "events": events, "bytes": bytes })
    }

    fn watch(&self, wish: &Wish) -> Result<(Json, Viewer), ViewError> {
        let viewer = self.shared.viewers.add(wish)?;
        let collected: Vec<&str> =
            self.shared.report().kinds.iter().filter(|k| k.rung.is_some()).map(|k| k.kind.name()).collect();
        Ok((json!({ "generation": self.shared.live.load().number, "collected": collected }), viewer))
    }

    fn console(&self) -> Json {
        self.console.link(&self.shared)
    }

    fn console_close(&self) -> Json {
        json!({ "was_open": self.console.close() })
    }

    fn metrics(&self, out: &mut String) {
        let mut text = control::text::Text::new(out);
        let live = self.shared.live.load_full();
        text.gauge("picket_generation", "number of the live generation");
        text.sample("picket_generation", &[], live.number as f64);
        text.gauge("picket_stale_files", "files whose newest version was refused: see picket status");
        text.sample("picket_stale_files", &[], live.stale.len() as f64);
        let events = &self.shared.ledger.events;
        text.counter("picket_events_total", "events read, by what became of them");
        for (what, count) in
            [("slabbed", &events.slabbed), ("unwanted", &events.unwanted), ("undecodable", &events.undecodable)]
        {
            text.sample("picket_events_total", &[("outcome", what)], count.get() as f64);
        }
        text.counter("picket_derived_rows_total", "rows made from events, beside them: audit records");
        text.sample("picket_derived_rows_total", &[], events.derived.get() as f64);
        text.counter("picket_guest_rows_total", "rows by guest; shed rows: raise dispatch.queue or guest replicas");
        for (name, a) in self.shared.ledger.guests() {
            for (what, count) in
                [("offered", &a.offered), ("handled", &a.handled), ("set_aside", &a.set_aside), ("shed", &a.shed)]
            {
                text.sample("picket_guest_rows_total", &[("guest", &name), ("outcome", what)], count.get() as f64);
            }
        }
        text.counter("picket_guest_refused_total", "answers of a guest that cannot be: see the log");
        for (name, a) in self.shared.ledger.guests() {
            text.sample("picket_guest_refused_total", &[("guest", &name)], a.refused.get() as f64);
        }
        text.counter("picket_guest_traps_total", "calls of a guest that trapped");
        for (name, a) in self.shared.ledger.guests() {
            text.sample("picket_guest_traps_total", &[("guest", &name)], a.traps.get() as f64);
        }
        text.counter(
            "picket_guest_memory_total",
            "what guests on @detection remember, by what became of it; failed and lost: see the log",
        );
        for (name, a) in self.shared.ledger.guests().iter().filter(|(_, a)| !a.memory.is_unused()) {
            let m = &a.memory;
            for (what, count) in [
                ("part_taken", &m.parts),
                ("part_failed", &m.failed),
                ("restored", &m.restored),
                ("lost", &m.lost),
                ("rows_lost", &m.rows_lost),
            ] {
                text.sample("picket_guest_memory_total", &[("guest", name), ("outcome", what)], count.get() as f64);
            }
        }
        let d = &self.shared.ledger.detections;
        text.counter("picket_detections_total", "detections by what became of them");
        for (what, count) in [
            ("alert", &d.alerts),
            ("internal", &d.internal),
            ("duplicate", &d.duplicates),
            ("off", &d.off),
            ("context", &d.context),
            ("shadow", &d.shadowed),
        ] {
            text.sample("picket_detections_total", &[("outcome", what)], count.get() as f64);
        }
        text.counter(
            "picket_context_forgotten_total",
            "hits of context that had to go, or had no process: raise tuning.context",
        );
        text.sample("picket_context_forgotten_total", &[], d.context_forgotten.get() as f64);
        let n = &self.shared.ledger.notices;
        text.counter("picket_notices_total", "alerts of the host's own: tampering, time not watched");
        for (what, count) in [("alert", &n.alerts), ("dropped", &n.dropped)] {
            text.sample("picket_notices_total", &[("outcome", what)], count.get() as f64);
        }
        let r = &self.shared.ledger.recorder;
        text.counter("picket_recorder_events_total", "events offered to the recorder by what became of them");
        for (what, count) in [("recorded", &r.recorded), ("shed", &r.shed), ("failed", &r.failed)] {
            text.sample("picket_recorder_events_total", &[("outcome", what)], count.get() as f64);
        }
        text.counter("picket_recorder_written_bytes_total", "bytes of the recording that were written");
        text.sample("picket_recorder_written_bytes_total", &[], r.bytes.get() as f64);
        text.counter(
            "picket_recorder_dropped_files_total",
            "files dropped to stay within recorder.max_bytes and max_age",
        );
        text.sample("picket_recorder_dropped_files_total", &[], r.dropped_files.get() as f64);
        let h = &self.shared.ledger.history;
        text.counter("picket_history_total", "alerts kept for whoever asks later, and files that had to go");
        for (what, count) in [("kept", &h.kept), ("failed", &h.failed), ("dropped-file", &h.dropped_files)] {
            text.sample("picket_history_total", &[("outcome", what)], count.get() as f64);
        }
        text.counter(
            "picket_viewer_lines_total",
            "lines for who watches; lost: the viewer was slow, narrow its filter",
        );
        for (what, count) in self.shared.viewers.counts() {
            text.sample("picket_viewer_lines_total", &[("outcome", what)], count as f64);
        }
        text.counter("picket_guest_cpu_seconds_total", "processor time of a guest's threads");
        for (name, a) in self.shared.ledger.guests() {
            text.sample("picket_guest_cpu_seconds_total", &[("guest", &name)], a.cpu_ns.get() as f64 / 1e9);
        }
        let report = self.shared.report();
        process_metrics(&report, &self.shared.hashes, &mut text);
        kernel_metrics(&report, &mut text);
        if let Some(deliver) = &self.deliver {
            write_metrics(&deliver.status(), &deliver.spool_status(), &mut text);
        }
    }

    fn ready(&self) -> Result<(), String> {
        match self.shared.live.load().number {
            0 => Err("no set is loaded yet".to_owned()),
            _ => Ok(()),
        }
    }
}

/// The kinds with their hooks and counts.
fn kinds_json(sensor: &SensorReport) -> Vec<Json> {
    sensor
        .kinds
        .iter()
        .map(|k| {
            let counts = sensor.counters.kinds.get(&k.kind).cloned().unwrap_or_default();
            json!({
                "kind": k.kind.name(),
                "rung": k.rung.map(picket_ebpf::Rung::name),
                "hook": k.hook,
                "limits": k.degraded,
                "run": counts.run,
                "submitted": counts.submitted,
                "filtered": counts.filtered,
                "dropped": counts.dropped,
                "canaries": counts.canary,
            })
        })
        .collect()
}

fn process_metrics(sensor: &SensorReport, hashes: &HashAccount, text: &mut control::text::Text<'_>) {
    let table = &sensor.table;
    text.gauge("picket_processes", "rows of the process table");
    for (state, count) in [("live", table.live), ("exited", table.lingering)] {
        text.sample("picket_processes", &[("state", state)], count as f64);
    }
    text.counter("picket_processes_dropped_total", "rows that had to go because the process table was full");
    for (state, count) in [("live", table.evicted), ("exited", table.forgotten)] {
        text.sample("picket_processes_dropped_total", &[("state", state)], count as f64);
    }
    text.counter("picket_lookups_total", "containers and their users: questions, and what became of them");
    let l = &table.lookups;
    for (outcome, count) in [
        ("asked", l.asked),
        ("described", l.described),
        ("undescribed", l.undescribed),
        ("put_off", l.put_off),
        ("evicted", l.evicted),
    ] {
        text.sample("picket_lookups_total", &[("outcome", outcome)], count as f64);
    }
    text.counter("picket_hashes_total", "hashes of executables; late: raise hashes.wait");
    for (outcome, count) in [
        ("hashed", &hashes.hashed),
        ("cached", &hashes.cached),
        ("gone", &hashes.gone),
        ("too_large", &hashes.too_large),
        ("remote", &hashes.remote),
        ("failed", &hashes.failed),
        ("late", &hashes.late),
        ("shed", &hashes.shed),
        ("evicted", &hashes.evicted),
    ] {
        text.sample("picket_hashes_total", &[("outcome", outcome)], count.get() as f64);
    }
}

/// Processes that make more records than they may.
fn noisy_json(sensor: &SensorReport) -> Vec<Json> {
    let json = |n: &Noisy| json!({ "pid": n.pid, "name": n.comm, "kind": n.kind.name(), "left_out": n.count });
    sensor.noisy.iter().map(json).collect()
}

fn kernel_metrics(sensor: &SensorReport, text: &mut control::text::Text<'_>) {
    let names = sensor.names;
    text.gauge("picket_dns_addresses", "addresses whose names are known from DNS responses");
    text.sample("picket_dns_addresses", &[], names.addresses as f64);
    text.counter("picket_dns_total", "the memory of names: responses learned, connections named, names evicted early");
    for (what, count) in [("learned", names.learned), ("named", names.named), ("evicted", names.evicted)] {
        text.sample("picket_dns_total", &[("outcome", what)], count as f64);
    }
    text.counter("picket_kernel_records_total", "records the kernel side submitted");
    for (kind, c) in &sensor.counters.kinds {
        text.sample("picket_kernel_records_total", &[("kind", kind.name())], c.submitted as f64);
    }
    text.counter(
        "picket_kernel_filtered_total",
        "operations left out on purpose; path, binary, cgroup, filesystem, throttled: see [collect]",
    );
    for (kind, c) in &sensor.counters.kinds {
        for (why, count) in &c.filtered {
            text.sample("picket_kernel_filtered_total", &[("kind", kind.name()), ("reason", why)], *count as f64);
        }
    }
    text.counter(
        "picket_kernel_dropped_total",
        "records lost in the kernel; headroom and full: raise sensor.ring_bytes",
    );
    for (kind, c) in &sensor.counters.kinds {
        for (why, count) in &c.dropped {
            text.sample("picket_kernel_dropped_total", &[("kind", kind.name()), ("reason", why)], *count as f64);
        }
    }
    text.counter("picket_kernel_missed_total", "runs of a program that the kernel skipped");
    for (program, count) in &sensor.counters.missed {
        text.sample("picket_kernel_missed_total", &[("program", program)], *count as f64);
    }
}
