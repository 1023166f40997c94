//! The model's JSON of an event, written from the cells; and back.
//!
//! Built only for an alert, `tail`, capture and replay. Bytes that are not UTF-8 are replaced in place and kept whole in
//! `_bytes` (path -> base64), so that a replay reads exactly what was seen live.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Field, SYSTEM};
use crate::process::{Container, Image, Ns, Process};
use crate::slab::{Cell, List, Slab, Value};

/// The event as one line of JSON: as read when it came from JSON, else in the seed's shape.
pub fn render(slab: &Slab, row: usize) -> String {
    let mut out = String::with_capacity(1024);
    render_into(slab, row, &mut out);
    out
}

/// Like [`render`], appended.
pub fn render_into(slab: &Slab, row: usize, out: &mut String) {
    let r = &slab.rows[row];
    if let Some(raw) = &r.raw {
        // A `Value` serialises without error into a string.
        let _ = write!(out, "{raw}");
        return;
    }
    let Some(kind) = r.kind.spec() else { return };
    let mut w = Writer { out, bytes: Vec::new(), path: String::new(), first: true };
    w.open(None);
    w.key("Timestamp");
    w.string(time_text(r.time - r.time % 1_000_000_000).as_bytes());
    w.key("EventType");
    w.string(kind.name.as_bytes());
    w.open(Some("System"));
    w.fields(slab, SYSTEM, &slab.cells[r.cells as usize..]);
    w.close();
    w.open(Some("EventData"));
    w.fields(slab, kind.fields, &slab.cells[r.cells as usize + SYSTEM.len()..]);
    let process = r.process.as_deref();
    w.open(Some("ProcInfo"));
    let image = process.map(|p| p.image.as_ref());
    w.optional("Name", image.and_then(|i| i.name.as_deref()));
    w.optional("CommandLine", image.and_then(|i| i.cmdline.as_deref()));
    w.key("CreateTime");
    match image.and_then(|i| i.create_time) {
        Some(t) => w.string(time_text(t).as_bytes()),
        None => w.out.push_str("null"),
    }
    w.optional("Exe", image.and_then(|i| i.exe.as_deref()));
    w.optional("Cwd", image.and_then(|i| i.cwd.as_deref()));
    w.optional("Username", image.and_then(|i| i.user.as_deref()));
    w.close();
    w.close();
    w.context(slab, row, process, r.partial);
    w.close_with_bytes();
}

/// RFC 3339 in UTC with nanoseconds.
pub fn time_text(ns: u64) -> String {
    let (days, mut secs) = ((ns / 1_000_000_000) / 86_400, (ns / 1_000_000_000) % 86_400);
    let (hour, minute) = (secs / 3600, secs / 60 % 60);
    secs %= 60;
    // Days to civil date: Howard Hinnant's algorithm, with the epoch shifted to 0000-03-01.
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + u64::from(month <= 2);
    let nanos = ns % 1_000_000_000;
    if nanos == 0 {
        return format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{secs:02}Z");
    }
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{secs:02}.{nanos:09}Z")
}

/// Appends `bytes` as a JSON string; `false` if it was not UTF-8 and had to be mended.
pub(crate) fn json_string(out: &mut String, bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Escaping DEL and C1 as well keeps terminal control sequences out of a raw line.
            c if c < ' ' || ('\u{7f}'..='\u{9f}').contains(&c) => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    matches!(text, std::borrow::Cow::Borrowed(_))
}

struct Writer<'o> {
    out: &'o mut String,
    /// Values that are not UTF-8: (path, base64).
    bytes: Vec<(String, String)>,
    path: String,
    first: bool,
}

impl Writer<'_> {
    fn key(&mut self, key: &str) {
        if !self.first {
            self.out.push(',');
        }
        self.first = false;
        json_string(self.out, key.as_bytes());
        self.out.push(':');
    }

    fn open(&mut self, key: Option<&str>) {
        if let Some(key) = key {
            self.key(key);
            if !self.path.is_empty() {
                self.path.push('.');
            }
            self.path.push_str(key);
        }
        self.out.push('{');
        self.first = true;
    }

    fn close(&mut self) {
        self.out.push('}');
        self.first = false;
        let parent = self.path.rfind('.').unwrap_or(0);
        self.path.truncate(parent);
    }

    fn close_with_bytes(&mut self) {
        if !self.bytes.is_empty() {
            self.key("_bytes");
            self.out.push('{');
            for (i, (path, text)) in std::mem::take(&mut self.bytes).iter().enumerate() {
                if i > 0 {
                    self.out.push(',');
                }
                json_string(self.out, path.as_bytes());
                let _ = write!(self.out, ":\"{text}\"");
            }
            self.out.push('}');
        }
        self.out.push('}');
    }

    fn string(&mut self, bytes: &[u8]) {
        json_string(self.out, bytes);
    }

    /// A text whose exact bytes matter: recorded in `_bytes` when it is not UTF-8.
    fn exact(&mut self, key: &str, bytes: &[u8]) {
        if !json_string(self.out, bytes) {
            self.bytes.push((format!("{}.{key}", self.path), STANDARD.encode(bytes)));
        }
    }

    fn optional(&mut self, key: &str, bytes: Option<&[u8]>) {
        self.key(key);
        match bytes {
            Some(b) => self.exact(key, b),
            None => self.out.push_str("null"),
        }
    }

    /// Fields in order; a dotted path opens an object that following fields of the same prefix share.
    fn fields(&mut self, slab: &Slab, fields: &[Field], cells: &[Cell]) {
        let mut open: Option<&str> = None;
        for (field, cell) in fields.iter().zip(cells) {
            let value = slab.cell_value(*cell);
            if matches!(value, Value::Absent) && !field.always {
                continue;
            }
            let (prefix, key) = match field.path.split_once('.') {
                Some((prefix, key)) => (Some(prefix), key),
                None => (None, field.path),
            };
            if prefix != open {
                if open.is_some() {
                    self.close();
                }
                if prefix.is_some() {
                    self.open(prefix);
                }
                open = prefix;
            }
            self.key(key);
            self.value(key, &value);
        }
        if open.is_some() {
            self.close();
        }
    }

    fn value(&mut self, key: &str, value: &Value<'_>) {
        match value {
            Value::Absent | Value::Null | Value::Unavailable => self.out.push_str("null"),
            Value::Unsigned(v) => {
                let _ = write!(self.out, "{v}");
            }
            Value::Signed(v) => {
                let _ = write!(self.out, "{v}");
            }
            Value::Float(v) => {
                let _ = write!(self.out, "{v}");
            }
            Value::Bool(v) => {
                let _ = write!(self.out, "{v}");
            }
            Value::Time(t) => self.string(time_text(*t).as_bytes()),
            Value::Text(t) => self.exact(key, t),
            // Made by a serialiser, so it is UTF-8.
            Value::List(List::Nested(text)) => self.out.push_str(&String::from_utf8_lossy(text)),
            Value::List(list) => {
                let mut items: Vec<Vec<u8>> = Vec::new();
                list.each(&mut |item| items.push(item.to_vec()));
                self.list(key, items.iter().map(Vec::as_slice));
            }
        }
    }

    fn list<'b>(&mut self, key: &str, items: impl Iterator<Item = &'b [u8]>) {
        self.out.push('[');
        for (i, item) in items.enumerate() {
            if i > 0 {
                self.out.push(',');
            }
            self.exact(&format!("{key}.{i}"), item);
        }
        self.out.push(']');
    }

    /// What the model has no place for: the process as executed, the ancestors, where the event comes from.
    fn context(&mut self, slab: &Slab, row: usize, process: Option<&Process>, partial: bool) {
        self.open(Some("context"));
        self.key("machine");
        self.string(slab.origin.machine.as_bytes());
        self.key("boot");
        self.string(slab.origin.boot.as_bytes());
        if let Some(kind) = slab.primary_of(row).and_then(|primary| slab.rows[primary].kind.spec()) {
            // With the time and the thread, which are the same, this names the event.
            self.key("derived_from");
            self.string(kind.name.as_bytes());
        }
        if partial {
            self.key("partial");
            self.out.push_str("true");
        }
        if let Some(p) = process {
            self.open(Some("process"));
            self.key("id");
            let _ = write!(self.out, "\"{:016x}\"", p.id);
            self.image(&p.image);
            // Not of the ancestors: theirs may be found out while this is written.
            self.some("sha256", p.image.sha256());
            self.close();
            if let Some(c) = &p.image.container {
                self.container(c);
            }
            self.key("ancestors");
            self.out.push('[');
            for (i, ancestor) in p.ancestors.iter().enumerate() {
                if i > 0 {
                    self.out.push(',');
                }
                let length = self.path.len();
                let _ = write!(self.path, ".ancestors.{i}");
                self.out.push('{');
                self.first = true;
                self.full(ancestor);
                self.out.push('}');
                self.path.truncate(length);
            }
            self.out.push(']');
            self.first = false;
        }
        self.close();
    }

    fn container(&mut self, c: &Container) {
        self.open(Some("container"));
        self.key("id");
        self.string(c.id.as_bytes());
        let texts = [
            ("runtime", &c.runtime),
            ("name", &c.name),
            ("image", &c.image),
            ("pod", &c.pod),
            ("namespace", &c.namespace),
        ];
        for (key, text) in texts {
            self.some(key, text.as_deref().map(str::as_bytes));
        }
        if !c.labels.is_empty() {
            self.key("labels");
            self.list("labels", c.labels.iter().map(std::convert::AsRef::as_ref));
        }
        self.close();
    }

    /// The attributes of an image that `ProcInfo` does not have.
    fn image(&mut self, i: &Image) {
        self.key("pid");
        let _ = write!(self.out, "{}", i.key.tgid);
        self.key("start");
        let _ = write!(self.out, "{}", i.key.start);
        self.some("executed", i.executed.as_deref());
        if let Some(argv) = &i.argv {
            self.key("argv");
            self.list("argv", argv.iter().map(std::convert::AsRef::as_ref));
        }
        self.number("euid", i.euid);
        self.number("login_uid", i.login_uid);
        self.some("login", i.login.as_deref());
        self.some("cgroup", i.cgroup.as_deref());
        if let Some(env) = &i.env {
            self.key("env");
            self.list("env", env.iter().map(std::convert::AsRef::as_ref));
        }
        self.some("tty", i.tty.as_deref());
        self.number("session", i.session);
        if let Some(caps) = i.caps {
            for (key, mask) in [("cap_effective", caps.effective), ("cap_permitted", caps.permitted)] {
                self.key(key);
                let _ = write!(self.out, "{mask}");
            }
        }
        if let Some(namespaces) = i.namespaces {
            self.open(Some("namespaces"));
            for (ns, name) in Ns::ALL {
                self.number(name, namespaces.get(ns));
            }
            self.close();
        }
        self.some("user_source", i.user_source.map(|s| s.name().as_bytes()));
    }

    fn full(&mut self, i: &Image) {
        self.image(i);
        self.some("name", i.name.as_deref());
        self.some("exe", i.exe.as_deref());
        self.some("cmdline", i.cmdline.as_deref());
        self.some("cwd", i.cwd.as_deref());
        self.some("user", i.user.as_deref());
        if let Some(t) = i.create_time {
            self.key("created");
            self.string(time_text(t).as_bytes());
        }
    }

    fn some(&mut self, key: &str, bytes: Option<&[u8]>) {
        if let Some(b) = bytes {
            self.key(key);
            self.exact(key, b);
        }
    }

    fn number(&mut self, key: &str, value: Option<u32>) {
        if let Some(v) = value {
            self.key(key);
            let _ = write!(self.out, "{v}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc3339() {
        assert_eq!(time_text(0), "1970-01-01T00:00:00Z");
        assert_eq!(time_text(1_739_344_299_322_765_542), "2025-02-12T07:11:39.322765542Z");
        assert_eq!(time_text(951_782_400_000_000_001), "2000-02-29T00:00:00.000000001Z");
    }

    #[test]
    fn control_characters_never_stand_raw() {
        let mut out = String::new();
        assert!(json_string(&mut out, "a\u{1b}[31m\u{9b}\"\\".as_bytes()));
        assert_eq!(out, r#""a\u001b[31m\u009b\"\\""#);
        assert!(!json_string(&mut out, b"\xff"));
    }
}
