//! The one decoder: kernel records and JSON lines become rows of a slab.
//!
//! A record is decoded by its kind; JSON by the same kind's field table. What JSON carries beyond the table stays readable
//! by path, because the row keeps the JSON it came from.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use picket_ebpf::Record;
use rustc_hash::FxHashMap;
use serde_json::Value as Json;

use super::read::find;
use super::system::at;
use super::{Field, KINDS, Kind, KindId, LOSS, Loss, SYSTEM, Type};
use crate::process::{ANCESTORS, Caps, Container, Image, Key, Namespaces, Process, UserSource};
use crate::slab::{Cell, Origin, Row, Slab};

/// Why an input did not become an event.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("line {line}: not JSON: {source}")]
    Syntax { line: u64, source: serde_json::Error },
    #[error("line {line}: an event is a JSON object, this is {found}")]
    NotAnObject { line: u64, found: &'static str },
    #[error("line {line}: {path} is not an RFC 3339 time: {value}")]
    Time { line: u64, path: &'static str, value: String },
    #[error("kernel record is malformed")]
    Malformed(#[source] picket_ebpf::Malformed),
    #[error("kernel record of kind {kind}: {why}")]
    Record { kind: u16, why: &'static str },
}

const SYSTEM_FIELDS: usize = 20;

/// No kind has more fields than this.
pub(super) const MOST_FIELDS: usize = 64;

/// Distinct processes a replay keeps; on reaching it the cache starts anew (ids do not change, they are content hashes).
const PROCESSES: usize = 8192;

/// Decodes inputs into slabs and keeps what spans events.
#[derive(Default)]
pub struct Decoder {
    processes: FxHashMap<u64, Arc<Process>>,
    origin: Arc<Origin>,
    last_time: u64,
    seq: u64,
}

impl Decoder {
    pub fn new(origin: Arc<Origin>) -> Decoder {
        Decoder { origin, ..Decoder::default() }
    }

    pub fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// The place that the next event gets.
    pub fn next_place(&self) -> u64 {
        self.seq + 1
    }

    pub(crate) fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// Appends an event read from JSON. `line` is for messages and for the identity of events that have none.
    pub fn json(&mut self, line: u64, text: &str, slab: &mut Slab) -> Result<(), DecodeError> {
        let json: Json = serde_json::from_str(text).map_err(|source| DecodeError::Syntax { line, source })?;
        self.value(line, json, slab)
    }

    /// Appends an event that is already parsed JSON.
    pub fn value(&mut self, line: u64, json: Json, slab: &mut Slab) -> Result<(), DecodeError> {
        if !json.is_object() {
            let found = match json {
                Json::Array(_) => "an array",
                Json::String(_) => "a string",
                Json::Null => "null",
                Json::Bool(_) => "a boolean",
                _ => "a number",
            };
            return Err(DecodeError::NotAnObject { line, found });
        }
        let name = json.pointer("/System/EventName").or_else(|| json.get("EventType")).and_then(Json::as_str);
        let kind = name.and_then(KindId::by_name).filter(|_| json.get("EventData").is_some());
        let bytes = json.get("_bytes");
        let time = self.event_time(line, &json)?;
        let cells = slab.cells.len() as u32;
        let system = json.get("System");
        decode_fields(slab, SYSTEM, system, "System", bytes);
        if let Some(kind) = kind.and_then(KindId::spec) {
            decode_fields(slab, kind.fields, json.get("EventData"), "EventData", bytes);
            let from = cells as usize + SYSTEM.len();
            derive(kind, slab, from);
        }
        let process = self.process(kind, &json, bytes);
        if let (Some(machine), Some(boot)) = (text_at(&json, "context.machine"), text_at(&json, "context.boot"))
            && (machine != self.origin.machine || boot != self.origin.boot)
        {
            self.origin = Arc::new(Origin {
                machine: machine.to_owned(),
                boot: boot.to_owned(),
                hostname: text_at(&json, "System.MainHostname").unwrap_or_default().to_owned(),
            });
        }
        slab.origin = self.origin.clone();
        let partial = find(&json, "context.partial").and_then(Json::as_bool).unwrap_or(false);
        let seq = self.next_seq();
        slab.rows.push(Row {
            seq,
            time,
            kind: kind.unwrap_or(KindId::FOREIGN),
            cells,
            repeat: false,
            partial,
            process,
            raw: Some(Box::new(json)),
        });
        Ok(())
    }

    /// Appends an event read from a kernel record. `offset` is the realtime clock minus the boot clock, nanoseconds.
    pub fn record(
        &mut self,
        record: &Record<'_>,
        offset: u64,
        process: Option<Arc<Process>>,
        partial: bool,
        slab: &mut Slab,
    ) -> Result<(), DecodeError> {
        let number = record.kind().id();
        let id = KindId::by_record(number).ok_or(DecodeError::Record { kind: number, why: "no kind decodes it" })?;
        let kind = KINDS[id.0 as usize];
        let h = record.header();
        let cells = slab.cells.len();
        let time = h.time + offset;
        let hostname = self.origin.hostname.clone();
        slab.cells.resize(cells + SYSTEM.len() + kind.fields.len(), Cell::Absent);
        let mut system = [Cell::Absent; SYSTEM_FIELDS];
        system[at::TIMESTAMP] = Cell::Time(time);
        system[at::EVENT_ID] = Cell::Unsigned(u64::from(kind.event_id));
        system[at::EVENT_NAME] = slab.text(kind.name.as_bytes());
        system[at::THREAD_START] = Cell::Time(h.thread_start + offset);
        system[at::CPU] = Cell::Unsigned(u64::from(h.cpu));
        system[at::PID] = Cell::Unsigned(u64::from(h.ns_pid));
        system[at::TID] = Cell::Unsigned(u64::from(h.ns_tid));
        system[at::PPID] = Cell::Unsigned(u64::from(h.ns_ppid));
        system[at::HOST_PID] = Cell::Unsigned(u64::from(h.pid));
        system[at::HOST_TID] = Cell::Unsigned(u64::from(h.tid));
        system[at::HOST_PPID] = Cell::Unsigned(u64::from(h.ppid));
        system[at::UID] = Cell::Unsigned(u64::from(h.uid));
        system[at::MOUNT_NS] = Cell::Unsigned(u64::from(h.mnt_ns));
        system[at::COMM] = slab.text(h.comm());
        system[at::NODENAME] = slab.text(h.nodename());
        system[at::CGROUP] = Cell::Unsigned(h.cgroup_id);
        system[at::MAIN_HOSTNAME] = slab.text(hostname.as_bytes());
        if let Some(hook) = record.hook() {
            system[at::HOOK] = slab.text(hook.name().as_bytes());
        }
        system[at::EUID] = Cell::Unsigned(u64::from(h.euid));
        if h.login_uid != u32::MAX {
            system[at::LOGIN_UID] = Cell::Unsigned(u64::from(h.login_uid));
        }
        slab.cells[cells..cells + SYSTEM_FIELDS].copy_from_slice(&system);
        let mut own = [Cell::Absent; MOST_FIELDS];
        let own = &mut own[..kind.fields.len()];
        (kind.decode)(record, slab, own);
        (kind.derive)(slab, own);
        slab.cells[cells + SYSTEM_FIELDS..].copy_from_slice(own);
        slab.origin = self.origin.clone();
        let seq = self.next_seq();
        slab.rows.push(Row { seq, time, kind: id, cells: cells as u32, repeat: false, partial, process, raw: None });
        Ok(())
    }

    /// Appends what was lost, as the host counted it at `time` (unix ns). No process is behind it.
    pub(crate) fn loss(&mut self, loss: &Loss, time: u64, slab: &mut Slab) {
        let Some(id) = KindId::by_name(LOSS.name) else { return };
        let cells = slab.cells.len();
        slab.cells.resize(cells + SYSTEM_FIELDS + LOSS.fields.len(), Cell::Absent);
        let name = slab.text(LOSS.name.as_bytes());
        let hostname = slab.text(self.origin.hostname.as_bytes());
        let values = [
            (at::TIMESTAMP, Cell::Time(time)),
            (at::EVENT_ID, Cell::Unsigned(u64::from(LOSS.event_id))),
            (at::EVENT_NAME, name),
            (at::MAIN_HOSTNAME, hostname),
        ];
        for (place, value) in values {
            slab.cells[cells + place] = value;
        }
        let mut own = [Cell::Absent; MOST_FIELDS];
        let own = &mut own[..LOSS.fields.len()];
        loss.fill(slab, own);
        slab.cells[cells + SYSTEM_FIELDS..].copy_from_slice(own);
        slab.origin = self.origin.clone();
        let seq = self.next_seq();
        let cells = cells as u32;
        slab.rows.push(Row { seq, time, kind: id, cells, repeat: false, partial: false, process: None, raw: None });
    }

    fn event_time(&mut self, line: u64, json: &Json) -> Result<u64, DecodeError> {
        for (path, pointer) in [("System.Timestamp", "/System/Timestamp"), ("Timestamp", "/Timestamp")] {
            let Some(value) = json.pointer(pointer) else { continue };
            match parse_time(value) {
                Some(t) => {
                    self.last_time = t;
                    return Ok(t);
                }
                // A foreign JSON may use the name for something else; only the model's own field must parse.
                None if path == "System.Timestamp" => {
                    return Err(DecodeError::Time { line, path, value: value.to_string() });
                }
                None => {}
            }
        }
        Ok(self.last_time)
    }

    /// The process embedded in the JSON; never looked up on this host.
    fn process(&mut self, kind: Option<KindId>, json: &Json, bytes: Option<&Json>) -> Option<Arc<Process>> {
        let data = json.get("EventData")?;
        let info = data.get("ProcInfo");
        let context = json.get("context");
        let exec =
            kind.and_then(KindId::spec).is_some_and(|k| k.sources.iter().any(|s| s.category == "process_creation"));
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        let part = |key: &str| context.and_then(|c| c.get(key));
        for part in [info, part("process"), part("ancestors"), part("container"), bytes] {
            hasher.update(part.map(Json::to_string).unwrap_or_default().as_bytes());
            hasher.update(&[0]);
        }
        if exec {
            for key in ["pathname", "cmdpath", "argv"] {
                hasher.update(data.get(key).map(Json::to_string).unwrap_or_default().as_bytes());
            }
        }
        hasher.update(json.pointer("/System/HostProcessID").map(Json::to_string).unwrap_or_default().as_bytes());
        let hash = hasher.digest();
        if let Some(p) = self.processes.get(&hash) {
            return Some(p.clone());
        }
        let reader = Embedded { bytes };
        let own = context.and_then(|c| c.get("process"));
        let mut image = reader.image(own, "context.process");
        let at = |key: &str| reader.text(info, "EventData.ProcInfo", key);
        image.name = at("Name").or_else(|| reader.text(json.get("System"), "System", "ProcessName"));
        image.cmdline = at("CommandLine");
        image.exe = at("Exe");
        image.cwd = at("Cwd");
        image.user = at("Username");
        image.create_time = info.and_then(|i| i.get("CreateTime")).and_then(parse_time);
        image.container = part("container").and_then(container).map(Arc::new);
        if image.key.tgid == 0 {
            image.key.tgid = json.pointer("/System/HostProcessID").and_then(Json::as_u64).unwrap_or_default() as u32;
        }
        if exec {
            // The event itself says what runs now, whatever the tracker of the capturing host knew.
            if image.argv.is_none() {
                image.argv = reader.list(Some(data), "EventData", "argv");
            }
            if image.exe.is_none() {
                image.exe = reader.text(Some(data), "EventData", "pathname");
            }
            if image.executed.is_none() {
                image.executed = reader.text(Some(data), "EventData", "cmdpath");
            }
            if image.cmdline.is_none() {
                image.cmdline = image.argv.as_deref().map(join);
            }
        }
        let ancestors = context
            .and_then(|c| c.get("ancestors"))
            .and_then(Json::as_array)
            .map(|list| {
                let item = |(i, a): (usize, &Json)| Arc::new(reader.full(a, &format!("context.ancestors.{i}")));
                list.iter().take(ANCESTORS).enumerate().map(item).collect()
            })
            .unwrap_or_default();
        let id = own
            .and_then(|o| o.get("id"))
            .and_then(Json::as_str)
            .and_then(|t| u64::from_str_radix(t, 16).ok())
            .unwrap_or(hash);
        let process = Arc::new(Process { id, image: Arc::new(image), ancestors });
        if self.processes.len() >= PROCESSES {
            self.processes.clear();
        }
        self.processes.insert(hash, process.clone());
        Some(process)
    }
}

/// Lets a kind derive cells from its other cells.
fn derive(kind: &Kind, slab: &mut Slab, from: usize) {
    let mut own = [Cell::Absent; MOST_FIELDS];
    let own = &mut own[..kind.fields.len()];
    own.copy_from_slice(&slab.cells[from..]);
    (kind.derive)(slab, own);
    slab.cells[from..].copy_from_slice(own);
}

/// Arguments joined by spaces: what Sigma calls `CommandLine`.
pub(crate) fn join(argv: &[Box<[u8]>]) -> Arc<[u8]> {
    argv.join(&b' ').into()
}

/// The container embedded in the JSON.
fn container(json: &Json) -> Option<Container> {
    let text = |key: &str| json.get(key).and_then(Json::as_str).map(Into::into);
    let labels = json.get("labels").and_then(Json::as_array).into_iter().flatten();
    Some(Container {
        id: text("id")?,
        runtime: text("runtime"),
        name: text("name"),
        image: text("image"),
        pod: text("pod"),
        namespace: text("namespace"),
        labels: labels.filter_map(|l| Some(l.as_str()?.as_bytes().into())).collect(),
    })
}

fn text_at<'j>(json: &'j Json, path: &str) -> Option<&'j str> {
    find(json, path)?.as_str()
}

fn parse_time(value: &Json) -> Option<u64> {
    let t: jiff::Timestamp = value.as_str()?.parse().ok()?;
    u64::try_from(t.as_nanosecond()).ok()
}

/// Appends one cell per field, read from `object`.
fn decode_fields(slab: &mut Slab, fields: &[Field], object: Option<&Json>, prefix: &str, bytes: Option<&Json>) {
    for field in fields {
        let value = object.and_then(|o| find(o, field.path));
        let cell = match value {
            Some(nested @ (Json::Array(_) | Json::Object(_))) if field.ty == Type::Json => slab.json(nested),
            None | Some(Json::Object(_)) => Cell::Absent,
            Some(Json::Null) => Cell::Null,
            Some(Json::Bool(b)) => Cell::Bool(*b),
            Some(Json::Number(n)) => match (n.as_u64(), n.as_i64()) {
                (Some(u), _) if field.ty == Type::Signed => i64::try_from(u).map_or(Cell::Unsigned(u), Cell::Signed),
                (Some(u), _) => Cell::Unsigned(u),
                (None, Some(i)) => Cell::Signed(i),
                (None, None) => slab.format(format_args!("{n}")),
            },
            Some(text @ Json::String(s)) => match (field.ty, parse_time(text)) {
                (Type::Time, Some(t)) => Cell::Time(t),
                _ => match exact(bytes, || format!("{prefix}.{}", field.path)) {
                    Some(b) => slab.text(&b),
                    None => slab.text(s.as_bytes()),
                },
            },
            Some(Json::Array(items)) => {
                let items: Vec<Vec<u8>> = items
                    .iter()
                    .enumerate()
                    .map(|(i, item)| item_bytes(item, exact(bytes, || format!("{prefix}.{}.{i}", field.path))))
                    .collect();
                slab.list(items.iter().map(Vec::as_slice))
            }
        };
        slab.cells.push(cell);
    }
}

fn item_bytes(item: &Json, exact: Option<Vec<u8>>) -> Vec<u8> {
    match (exact, item) {
        (Some(b), _) => b,
        (None, Json::String(s)) => s.as_bytes().to_vec(),
        (None, other) => other.to_string().into_bytes(),
    }
}

/// The bytes behind a mended string, if `_bytes` has them.
fn exact(bytes: Option<&Json>, path: impl FnOnce() -> String) -> Option<Vec<u8>> {
    STANDARD.decode(bytes?.get(path())?.as_str()?).ok()
}

/// Reads process attributes embedded in an event.
struct Embedded<'j> {
    bytes: Option<&'j Json>,
}

impl Embedded<'_> {
    fn text(&self, object: Option<&Json>, path: &str, key: &str) -> Option<Arc<[u8]>> {
        match object?.get(key)? {
            Json::Null => None,
            Json::String(s) => {
                Some(exact(self.bytes, || format!("{path}.{key}")).map_or_else(|| s.as_bytes().into(), Arc::from))
            }
            other => Some(other.to_string().into_bytes().into()),
        }
    }

    fn list(&self, object: Option<&Json>, path: &str, key: &str) -> Option<Arc<[Box<[u8]>]>> {
        let items = object?.get(key)?.as_array()?;
        let item = |(i, v)| item_bytes(v, exact(self.bytes, || format!("{path}.{key}.{i}"))).into_boxed_slice();
        Some(items.iter().enumerate().map(item).collect())
    }

    fn image(&self, object: Option<&Json>, path: &str) -> Image {
        let number = |key: &str| object.and_then(|o| o.get(key)).and_then(Json::as_u64);
        Image {
            key: Key { tgid: number("pid").unwrap_or_default() as u32, start: number("start").unwrap_or_default() },
            executed: self.text(object, path, "executed"),
            argv: self.list(object, path, "argv"),
            euid: number("euid").map(|v| v as u32),
            login_uid: number("login_uid").map(|v| v as u32),
            login: self.text(object, path, "login"),
            cgroup: self.text(object, path, "cgroup"),
            env: self.list(object, path, "env"),
            tty: self.text(object, path, "tty"),
            session: number("session").map(|v| v as u32),
            caps: self.caps(object, path),
            namespaces: object
                .and_then(|o| o.get("namespaces"))
                .map(|of| Namespaces::new(|_, name| of.get(name).and_then(Json::as_u64).map(|inode| inode as u32))),
            user_source: object.and_then(|o| o.get("user_source")?.as_str()).and_then(UserSource::from_name),
            ..Image::default()
        }
        // What is not in the event was not known: nothing is hashed in a replay.
        .with_sha256(self.text(object, path, "sha256").as_deref())
    }

    /// As numbers, as Picket writes them, or by name, as people do.
    fn caps(&self, object: Option<&Json>, path: &str) -> Option<Caps> {
        let number = |key: &str| object.and_then(|o| o.get(key)).and_then(Json::as_u64);
        let named = || self.list(object, path, "caps").map(|names| Caps::mask(names.iter().map(AsRef::as_ref)));
        let effective = number("cap_effective").or_else(named)?;
        Some(Caps { effective, permitted: number("cap_permitted").unwrap_or(effective) })
    }

    fn full(&self, object: &Json, path: &str) -> Image {
        let mut image = self.image(Some(object), path);
        let at = |key| self.text(Some(object), path, key);
        image.name = at("name");
        image.exe = at("exe");
        image.cmdline = at("cmdline");
        image.cwd = at("cwd");
        image.user = at("user");
        image.create_time = object.get("created").and_then(parse_time);
        image
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_fit_the_stack_buffers() {
        assert_eq!(SYSTEM.len(), SYSTEM_FIELDS);
        assert!(KINDS.iter().all(|k| k.fields.len() <= MOST_FIELDS));
    }

    #[test]
    fn what_was_lost_and_a_process_read_as_they_were_written() {
        let origin = Arc::new(Origin { machine: "m".into(), boot: "b".into(), hostname: "h".into() });
        let (mut decoder, mut slab) = (Decoder::new(origin), Slab::default());
        let loss = Loss { what: "something".into(), reason: "full", count: 7 };
        decoder.loss(&loss, 1_700_000_000_000_000_001, &mut slab);
        let text = |t: &[u8]| Some(Arc::from(t));
        let image = Image {
            key: Key { tgid: 7, start: 9 },
            env: Some(Arc::new([b"LD_PRELOAD=/tmp/\xff.so"[..].into()])),
            tty: text(b"pts3"),
            session: Some(5),
            caps: Some(Caps { effective: 1 << 21, permitted: 3 << 20 }),
            namespaces: Some(Namespaces::new(|_, name| Some(name.len() as u32))),
            ..Image::default()
        };
        slab.rows[0].process =
            Some(Arc::new(Process { id: 1, image: Arc::new(image.clone()), ancestors: Box::default() }));
        let line = crate::kind::render(&slab, 0);
        decoder.json(1, &line, &mut slab).unwrap();
        let again = slab.rows[1].process.as_ref().unwrap();
        // What is not in a capture stays unknown in its replay.
        assert_eq!(*again.image, image.with_sha256(None), "{line}");
        let cells = |row| slab.own_cells(row).iter().map(|&c| format!("{:?}", slab.cell_value(c))).collect::<Vec<_>>();
        assert_eq!(cells(0), cells(1), "{line}");
        assert_eq!((slab.rows[0].time, slab.rows[0].kind), (slab.rows[1].time, slab.rows[1].kind));
    }

    #[test]
    fn capabilities_are_read_by_name_too() {
        let mut slab = Slab::default();
        let line = r#"{"EventType":"x","EventData":{},"context":{"process":{"caps":["cap_sys_admin","cap_bpf"]}}}"#;
        Decoder::default().json(1, line, &mut slab).unwrap();
        let caps = slab.rows[0].process.as_ref().unwrap().image.caps;
        assert_eq!(caps, Some(Caps { effective: 1 << 21 | 1 << 39, permitted: 1 << 21 | 1 << 39 }));
    }
}
