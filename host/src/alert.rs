//! A detection becomes an alert: the native format, flat and additive only.
//!
//! The id is a hash over where the event comes from, what found it and which event it was: a replay, a retry and a restart
//! make the same id, so a receiver can drop repeats.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::correlate::{self, Finished, Found};
use crate::detection::{Analytic, Detection, Level};
use crate::guest::Guest;
use crate::kind::{self, Access, Catalogue};
use crate::ledger::Ledger;
use crate::pipeline::Flight;
use crate::process::{self, Image, Process};
use crate::slab::{Slab, Value};
use crate::text::hex;
use crate::tune::{Context, ContextHit, Mode, Relation, Verdict};

/// Version of the format; fields are only ever added.
pub(crate) const FORMAT: u32 = 1;

/// What is said about an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    New,
    /// Of a rule in shadow: kept, and neither printed nor delivered.
    Shadow,
    /// A time that was not watched: see `gap`.
    Gap,
}

/// A time that was not watched, or not completely.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Gap {
    /// RFC 3339.
    pub from: String,
    /// RFC 3339.
    pub to: String,
    pub seconds: f64,
    pub cause: Cause,
    /// The cause in words.
    pub why: String,
    /// Records that were lost, where they could be counted.
    pub lost: Option<u64>,
}

/// Why a time was not watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// Picket was stopped.
    Stop,
    /// Picket was replaced by another version.
    Upgrade,
    /// Picket was killed or crashed.
    Crash,
    /// Collection ended by itself: the kernel side or a thread failed.
    Failure,
    /// The host booted.
    Boot,
    /// The record of the run before is damaged.
    Unknown,
    /// Records of processes were lost: the ring was full.
    Loss,
}

impl Cause {
    pub fn name(self) -> &'static str {
        match self {
            Cause::Stop => "stop",
            Cause::Upgrade => "upgrade",
            Cause::Crash => "crash",
            Cause::Failure => "failure",
            Cause::Boot => "boot",
            Cause::Unknown => "unknown",
            Cause::Loss => "loss",
        }
    }
}

/// The native alert, one JSON object a line.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Alert {
    /// Version of this format; fields are only ever added.
    pub v: u32,
    /// Stable: the same detection of the same event always has this id.
    pub id: String,
    /// Alerts of one rule about one program on one host share it.
    pub episode: String,
    /// What happened to the episode.
    pub activity: Activity,
    /// Level of the rule, or the one the guest gave.
    pub severity: Level,
    /// Detections this alert stands for.
    pub count: u64,
    /// Time of the first event, RFC 3339.
    pub first: String,
    /// Time of the last event, RFC 3339.
    pub last: String,
    /// Title of the rule.
    pub title: String,
    /// One line for a human: what, by whom, where.
    pub message: String,
    /// The rule.
    pub rule: Rule,
    /// Where it happened.
    pub host: Host,
    /// Who did it.
    pub user: User,
    /// The process that did it.
    pub process: Option<ProcessInfo>,
    /// The container the process is in, as far as it is known; null outside of one.
    pub container: Option<Container>,
    /// Why the rule matched, item by item.
    pub matched: Vec<Matched>,
    /// Fields the guest added.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub fields: serde_json::Map<String, serde_json::Value>,
    /// What this one was made from, oldest first.
    pub related: Vec<Related>,
    /// What low-value rules found before in the same process tree, oldest first; the newest 20.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<ContextHit>,
    /// The event in the model's shape; as read when it was replayed.
    #[schemars(with = "serde_json::Value")]
    pub event: Option<Box<RawValue>>,
    /// Only of the activity `gap`: the time that was not watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// Who made this alert.
    pub picket: About,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Rule {
    pub id: String,
    pub title: String,
    /// SHA-256 of the rule's file.
    pub digest: String,
    pub file: String,
    pub level: Level,
    pub status: Option<String>,
    /// What becomes of what the rule finds: see docs/tuning.md.
    pub mode: Mode,
    pub author: Option<String>,
    pub license: Option<String>,
    pub tags: Vec<String>,
    pub references: Vec<String>,
    pub falsepositives: Vec<String>,
    pub runbook: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Host {
    /// Machine id.
    pub id: String,
    pub name: String,
    pub ips: Vec<String>,
    pub labels: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct User {
    /// Real user id of the event.
    pub id: Option<u64>,
    /// Name of the effective user.
    pub name: Option<String>,
    pub effective: Option<u64>,
    /// Whose list of users the name is from, `host` or `container`; null for a number.
    pub source: Option<String>,
    /// Name of the user who logged in.
    pub login: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct ProcessInfo {
    /// On the host.
    pub pid: u32,
    pub name: Option<String>,
    /// Resolved.
    pub exe: Option<String>,
    /// As executed.
    pub executed: Option<String>,
    pub cmdline: Option<String>,
    pub argv: Option<Vec<String>>,
    pub cwd: Option<String>,
    /// Leaf name of the control group.
    pub cgroup: Option<String>,
    /// Of the executable; only known when a rule or another guest asks for hashes.
    pub sha256: Option<String>,
    /// Start, RFC 3339.
    pub started: Option<String>,
    /// Nearest first.
    pub ancestors: Vec<Ancestor>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Ancestor {
    pub pid: u32,
    pub exe: Option<String>,
    pub cmdline: Option<String>,
    pub user: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Container {
    pub id: String,
    /// docker, podman, containerd or cri-o.
    pub runtime: Option<String>,
    /// This and what follows is null until the runtime has told it, which takes a moment for the first events of a container.
    pub name: Option<String>,
    pub image: Option<String>,
    /// Kubernetes namespace of the pod.
    pub namespace: Option<String>,
    pub pod: Option<String>,
    pub labels: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Matched {
    pub selection: String,
    pub field: String,
    pub op: String,
    pub pattern: String,
    pub value: String,
}

/// A detection that another was made from.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Related {
    /// Its number on this host.
    pub seq: u64,
    /// Id of its alert, had it been delivered or not. This and what follows is null if it is too long ago.
    pub id: Option<String>,
    /// Id of its rule.
    pub rule: Option<String>,
    /// Time of its event, RFC 3339.
    pub time: Option<String>,
}

impl Related {
    fn of(related: &correlate::Related) -> Related {
        let known = related.known.as_ref();
        Related {
            seq: related.seq,
            id: known.map(|k| k.id.to_string()),
            rule: known.map(|k| k.rule.to_string()),
            time: known.map(|k| kind::time_text(k.time)),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct About {
    pub version: String,
    pub generation: u64,
    pub guest: String,
    /// SHA-256 of the guest's component, config and files.
    pub guest_digest: String,
    /// Kernel hook the event was taken at.
    pub hook: Option<String>,
    /// Context may be incomplete: lifecycle records had been lost.
    pub partial: bool,
}

/// JSON Schema of the native alert.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Alert).to_value()
}

/// The event in `text`: one JSON object, or the `event` of an alert.
pub fn event_in(text: &str) -> Option<serde_json::Value> {
    let first = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>().next()?.ok()?;
    let object = first.as_object()?;
    if object.contains_key("rule") && object.contains_key("picket") {
        return object.get("event").filter(|e| e.is_object()).cloned();
    }
    Some(first)
}

/// An alert ready for the spool: identity, level, and its one line.
#[derive(Clone, Debug)]
pub struct Ready {
    pub id: String,
    /// Only for the history: neither printed nor delivered.
    pub quiet: bool,
    pub level: Level,
    pub line: Arc<[u8]>,
}

/// What is done with the modes of rules.
pub enum Desk {
    /// Every rule that is not off makes alerts, which say its mode: who replays events wants to see what matches.
    Shown,
    /// As they say. Holds the hits of rules that are only context.
    Modes(Context),
}

/// What becomes of a detection.
pub fn verdict(flight: &Flight, found: &Found) -> Verdict {
    let analytic = &found.detection.analytic;
    flight.generation.tuning.of(&found.guest.name, analytic, found.detection.level.unwrap_or(analytic.level))
}

/// The alerts of what was found, in its order; what is only for other detectors makes none.
pub fn of(finished: &Finished, ledger: &Ledger, desk: &mut Desk) -> Vec<(Alert, Ready)> {
    let account = &ledger.detections;
    let mut alerts: Vec<(Alert, Ready)> = Vec::new();
    for found in &finished.found {
        let analytic = &found.detection.analytic;
        if !analytic.deliver {
            account.internal.add(1);
            continue;
        }
        let verdict = verdict(&finished.flight, found);
        if verdict.mode == Mode::Off {
            account.off.add(1);
            continue;
        }
        if let (Mode::Context, Desk::Modes(context)) = (verdict.mode, &mut *desk) {
            account.context.add(1);
            account.context_forgotten.add(u64::from(note(context, found, &verdict)));
            continue;
        }
        let mut alert = make(&finished.flight, found, &verdict);
        if let Desk::Modes(context) = desk {
            if verdict.mode == Mode::Shadow {
                alert.activity = Activity::Shadow;
            }
            alert.context = process_of(found).map(|p| context.of(p)).unwrap_or_default();
        }
        match alert.ready() {
            Ok(ready) => {
                if ready.quiet {
                    account.shadowed.add(1);
                } else {
                    account.alerts.add(1);
                }
                alerts.push((alert, ready));
            }
            // Every part of an alert is text, numbers and JSON that was just written.
            Err(e) => tracing::error!(id = %alert.id, error = %e, "an alert could not be written as JSON"),
        }
    }
    alerts
}

/// Keeps what a rule found as context; whether an older hit had to go. What no process is behind belongs to no tree.
fn note(context: &mut Context, found: &Found, verdict: &Verdict) -> bool {
    let Some(process) = process_of(found) else { return true };
    let analytic = &found.detection.analytic;
    let time = found.detection.row.map_or(found.slab.watermark, |r| found.slab.rows[r as usize].time);
    let hit = ContextHit {
        id: found.id.to_string(),
        rule: analytic.id.clone(),
        title: analytic.title.clone(),
        level: verdict.level.or(found.detection.level).unwrap_or(analytic.level),
        time: kind::time_text(time),
        pid: process.image.key.tgid,
        relation: Relation::Same,
    };
    context.add(process, hit)
}

fn process_of(found: &Found) -> Option<&Process> {
    found.slab.rows.get(found.detection.row? as usize)?.process.as_deref()
}

/// Makes the alert of a detection.
pub fn make(flight: &Flight, found: &Found, verdict: &Verdict) -> Alert {
    let Found { guest, slab, detection, id, related } = found;
    let analytic = &detection.analytic;
    let row = detection.row.map(|r| r as usize).filter(|r| *r < slab.len());
    let process = row.and_then(|r| slab.rows[r].process.as_deref());
    // Of everything it was made from, where it was made from anything.
    let times = related.iter().filter_map(|r| Some(r.known.as_ref()?.time));
    let time = row.map_or(slab.watermark, |r| slab.rows[r].time);
    let (first, last) = (times.clone().min().unwrap_or(time), times.max().unwrap_or(time));
    let level = verdict.level.or(detection.level).unwrap_or(analytic.level);
    let system = |name: &str| row.map(|r| system_value(slab, r, name));
    let number = |name: &str| match system(name) {
        Some(Value::Unsigned(v)) => Some(v),
        _ => None,
    };
    let image = process.map(|p| p.image.as_ref());
    let origin = &slab.origin;
    Alert {
        v: FORMAT,
        id: id.to_string(),
        episode: digest(&[
            origin.machine.as_bytes(),
            guest.name.as_bytes(),
            analytic.key().as_bytes(),
            detection.key.as_bytes(),
            image.and_then(|i| i.exe.as_deref()).unwrap_or_default(),
        ]),
        activity: Activity::New,
        severity: level,
        count: 1,
        first: kind::time_text(first),
        last: kind::time_text(last),
        title: analytic.title.clone(),
        message: message(analytic, image),
        rule: rule(analytic, verdict.mode),
        host: Host {
            id: origin.machine.clone(),
            name: match system("System.MainHostname") {
                Some(Value::Text(t)) => lossy(t),
                _ => origin.hostname.clone(),
            },
            ips: Vec::new(),
            labels: serde_json::Map::new(),
        },
        user: User {
            id: number("System.UserID"),
            name: image.and_then(|i| i.user.as_deref()).map(lossy),
            effective: number("System.EffectiveUserID"),
            source: image.and_then(|i| i.user_source).map(|s| s.name().to_owned()),
            login: image.and_then(|i| i.login.as_deref()).map(lossy),
        },
        process: process.map(process_info),
        container: image.and_then(|i| i.container.as_deref()).map(container),
        matched: detection
            .evidence
            .iter()
            .map(|e| {
                // Sigma's guest writes `endswith: /nc`.
                let (op, pattern) = e.pattern.split_once(": ").unwrap_or(("", &e.pattern));
                Matched {
                    selection: e.selection.clone(),
                    field: e.field.clone(),
                    op: op.to_owned(),
                    pattern: pattern.to_owned(),
                    value: lossy(&e.value),
                }
            })
            .collect(),
        fields: detection.fields.iter().map(|(k, v)| (k.clone(), v.as_str().into())).collect(),
        related: related.iter().map(Related::of).collect(),
        context: Vec::new(),
        // What `render` writes is JSON; a row without an event has none.
        event: row.and_then(|r| RawValue::from_string(kind::render(slab, r)).ok()),
        gap: None,
        picket: About {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: flight.generation.number,
            guest: guest.name.clone(),
            guest_digest: guest.digest.clone(),
            hook: match system("System.Hook") {
                Some(Value::Text(t)) => Some(lossy(t)),
                _ => None,
            },
            partial: row.is_some_and(|r| slab.rows[r].partial),
        },
    }
}

impl Alert {
    /// Serialises the alert; its line never holds a raw control character.
    pub fn ready(&self) -> Result<Ready, serde_json::Error> {
        let line = escape_controls(serde_json::to_string(self)?);
        Ok(Ready {
            id: self.id.clone(),
            quiet: self.activity == Activity::Shadow,
            level: self.severity,
            line: line.into_bytes().into(),
        })
    }
}

/// JSON may carry DEL and C1 controls raw; a terminal would obey them.
pub(crate) fn escape_controls(line: String) -> String {
    let control = |c: char| ('\u{7f}'..='\u{9f}').contains(&c);
    if !line.contains(control) {
        return line;
    }
    let mut out = String::with_capacity(line.len() + 16);
    for c in line.chars() {
        if control(c) {
            // Inside a string: JSON has no such character outside of one.
            out.push_str(&format!("\\u{:04x}", c as u32));
        } else {
            out.push(c);
        }
    }
    out
}

/// Id of the alert that a detection is. One that was made from others is known by the first of these: a window that is counted
/// again, after a crash say, is the same alert.
pub(crate) fn identity(slab: &Slab, guest: &Guest, detection: &Detection, related: &[correlate::Related]) -> String {
    let row = detection.row.map(|r| r as usize).filter(|r| *r < slab.len());
    let origin = &slab.origin;
    let mut event: Vec<Vec<u8>> = Vec::new();
    if let Some(first) = related.first() {
        event.push(b"@detection".to_vec());
        event.push(first.known.as_ref().map_or_else(|| first.seq.to_string(), |k| k.id.to_string()).into_bytes());
    } else if let Some(r) = row {
        let kind = text_of(&slab.value(r, &Access::Kind));
        let thread = system_value(slab, r, "System.HostThreadID");
        if kind.is_empty() || matches!(thread, Value::Absent | Value::Null) {
            // Foreign JSON has no identity but its text and its place in the file.
            event.push(kind::render(slab, r).into_bytes());
            event.push(slab.rows[r].seq.to_string().into_bytes());
        } else {
            event.push(kind);
            event.push(slab.rows[r].time.to_string().into_bytes());
            event.push(text_of(&thread));
        }
    } else {
        event.push(slab.watermark.to_string().into_bytes());
    }
    let mut parts: Vec<&[u8]> = vec![
        origin.machine.as_bytes(),
        origin.boot.as_bytes(),
        guest.name.as_bytes(),
        detection.analytic.key().as_bytes(),
        detection.key.as_bytes(),
    ];
    parts.extend(event.iter().map(Vec::as_slice));
    digest(&parts)
}

/// 128 bits of SHA-256 over length-prefixed parts, hex.
pub(crate) fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex(&hash.finalize()[..16])
}

fn text_of(value: &Value<'_>) -> Vec<u8> {
    match value {
        Value::Text(t) => t.to_vec(),
        Value::Unsigned(v) => v.to_string().into_bytes(),
        Value::Signed(v) => v.to_string().into_bytes(),
        _ => Vec::new(),
    }
}

pub(crate) fn system_value<'s>(slab: &'s Slab, row: usize, name: &str) -> Value<'s> {
    let access = Catalogue::default().resolve(None, name).access;
    slab.value(row, &access)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Longest command line in the message; the whole one is in `process`.
const MESSAGE_COMMAND: usize = 200;

fn message(analytic: &Analytic, image: Option<&Image>) -> String {
    let Some(image) = image else { return analytic.title.clone() };
    let what = image.cmdline.as_deref().or(image.exe.as_deref()).or(image.name.as_deref()).unwrap_or_default();
    let what: String = lossy(what).chars().take(MESSAGE_COMMAND).collect();
    let who = image.user.as_deref().map(lossy).unwrap_or_default();
    match (what.is_empty(), who.is_empty()) {
        (true, _) => analytic.title.clone(),
        (false, true) => format!("{}: {what}", analytic.title),
        (false, false) => format!("{}: {what} (user {who})", analytic.title),
    }
}

fn rule(analytic: &Analytic, mode: Mode) -> Rule {
    let text = |key: &str| analytic.metadata.get(key).and_then(|v| v.as_str()).map(str::to_owned);
    let list = |key: &str| match analytic.metadata.get(key) {
        Some(serde_json::Value::Array(items)) => items.iter().filter_map(|v| v.as_str()).map(str::to_owned).collect(),
        Some(serde_json::Value::String(one)) => vec![one.clone()],
        _ => Vec::new(),
    };
    Rule {
        id: analytic.id.clone(),
        title: analytic.title.clone(),
        digest: analytic.digest.clone(),
        file: analytic.file.clone(),
        level: analytic.level,
        status: text("status"),
        mode,
        author: text("author"),
        license: text("license"),
        tags: list("tags"),
        references: list("references"),
        falsepositives: list("falsepositives"),
        runbook: text("runbook"),
    }
}

fn container(c: &process::Container) -> Container {
    let text = |t: &Option<Box<str>>| t.as_deref().map(str::to_owned);
    let label = |l: &[u8]| {
        let text = lossy(l);
        let (key, value) = text.split_once('=').unwrap_or((&text, ""));
        (key.to_owned(), value.into())
    };
    Container {
        id: c.id.to_string(),
        runtime: text(&c.runtime),
        name: text(&c.name),
        image: text(&c.image),
        namespace: text(&c.namespace),
        pod: text(&c.pod),
        labels: c.labels.iter().map(|l| label(l)).collect(),
    }
}

fn process_info(p: &Process) -> ProcessInfo {
    let text = |b: &Option<Arc<[u8]>>| b.as_deref().map(lossy);
    let i = &p.image;
    ProcessInfo {
        pid: i.key.tgid,
        name: text(&i.name),
        exe: text(&i.exe),
        executed: text(&i.executed),
        cmdline: text(&i.cmdline),
        argv: i.argv.as_deref().map(|a| a.iter().map(|b| lossy(b)).collect()),
        cwd: text(&i.cwd),
        cgroup: text(&i.cgroup),
        sha256: i.sha256().map(lossy),
        started: i.create_time.map(kind::time_text),
        ancestors: p
            .ancestors
            .iter()
            .map(|a| Ancestor { pid: a.key.tgid, exe: text(&a.exe), cmdline: text(&a.cmdline), user: text(&a.user) })
            .collect(),
    }
}
