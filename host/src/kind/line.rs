//! An event on one line, for who watches: `picket tail` and the console.
//!
//! What the line says besides who did it is a template in the kind's own file. It is a run of words with the kind's fields in
//! braces; a word of which a field is not there is left out, so one template serves addresses of every family.
//! `{a|b}` is the first that is there, `{a?}` is not there when it is 0, `{a[1..]}` is a list without its first item.
//! A template and not a function: a test can read it, and nobody writes a second decoder in it.

use serde::Serialize;

use super::json::time_text;
use crate::slab::{Slab, Value};

/// Longest text of a line's part, bytes; what is longer is cut and ends with `…`.
const LONGEST: usize = 1024;

/// An event as people read it. Its texts come from attackers, as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Place among the host's events.
    pub seq: u64,
    /// RFC 3339.
    pub time: String,
    pub kind: &'static str,
    /// What people call the kind.
    pub short: &'static str,
    /// Its pod, else the name or id of its container.
    pub container: Option<String>,
    pub user: Option<String>,
    pub pid: Option<u32>,
    /// Path of the executable, else the name of the process.
    pub process: Option<String>,
    pub about: String,
    /// Whether it succeeded, where the event says so.
    pub ok: Option<bool>,
}

impl Line {
    /// The line of a row; none of JSON that no table describes.
    pub fn of(slab: &Slab, row: usize) -> Option<Line> {
        let r = slab.rows.get(row)?;
        let kind = r.kind.spec()?;
        let image = r.process.as_ref().map(|p| &p.image);
        let text = |bytes: &[u8]| {
            let mut out = String::new();
            push(&mut out, bytes);
            out
        };
        let container = image.and_then(|i| i.container.as_deref()).map(|c| {
            let pod = c.namespace.as_ref().zip(c.pod.as_ref()).map(|(namespace, pod)| format!("{namespace}/{pod}"));
            pod.unwrap_or_else(|| c.name.as_deref().unwrap_or(c.id.get(..12).unwrap_or(&c.id)).to_owned())
        });
        Some(Line {
            seq: r.seq,
            time: time_text(r.time),
            kind: kind.name,
            short: kind.short,
            container,
            user: image.and_then(|i| i.user.as_deref()).map(text),
            pid: image.map(|i| i.key.tgid),
            process: image.and_then(|i| i.exe.as_deref().or(i.name.as_deref())).map(text),
            about: about(slab, row, kind.line),
            ok: match field(slab, row, "Success") {
                Some(Value::Bool(ok)) => Some(ok),
                _ => None,
            },
        })
    }
}

/// A row's own field by its path.
fn field<'s>(slab: &'s Slab, row: usize, path: &str) -> Option<Value<'s>> {
    let at = slab.rows[row].kind.spec()?.fields.iter().position(|f| f.path == path)?;
    Some(slab.cell_value(*slab.own_cells(row).get(at)?))
}

fn about(slab: &Slab, row: usize, template: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for form in template.split(' ') {
        word.clear();
        if fill(slab, row, form, &mut word).is_none() {
            continue;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&word);
    }
    out
}

/// Writes one word; `None` when a field of it is not there.
fn fill(slab: &Slab, row: usize, form: &str, out: &mut String) -> Option<()> {
    let mut rest = form;
    while let Some((before, after)) = rest.split_once('{') {
        let (inside, after) = after.split_once('}')?;
        out.push_str(before);
        inside.split('|').find_map(|name| write(slab, row, name, out))?;
        rest = after;
    }
    out.push_str(rest);
    Some(())
}

fn write(slab: &Slab, row: usize, name: &str, out: &mut String) -> Option<()> {
    let path = name.trim_end_matches('?').trim_end_matches("[1..]");
    let value = field(slab, row, path)?;
    let zero = match &value {
        Value::Unsigned(v) => *v == 0,
        Value::Signed(v) => *v == 0,
        Value::Text(t) => *t == b"0",
        _ => false,
    };
    if zero && name.ends_with('?') {
        return None;
    }
    match value {
        Value::Absent | Value::Null | Value::Unavailable => return None,
        Value::Unsigned(v) => out.push_str(&v.to_string()),
        Value::Signed(v) => out.push_str(&v.to_string()),
        Value::Float(v) => out.push_str(&v.to_string()),
        Value::Bool(v) => out.push_str(if v { "true" } else { "false" }),
        Value::Time(t) => out.push_str(&time_text(t)),
        Value::Text(t) => {
            if t.is_empty() {
                return None;
            }
            push(out, t);
        }
        Value::List(list) => {
            let (mut joined, mut at) = (Vec::new(), 0);
            let skip = usize::from(name.ends_with("[1..]"));
            list.each(&mut |item| {
                at += 1;
                if at <= skip || joined.len() > LONGEST {
                    return;
                }
                if at > skip + 1 {
                    joined.push(b' ');
                }
                joined.extend_from_slice(item);
            });
            if joined.is_empty() {
                return None;
            }
            push(out, &joined);
        }
    }
    Some(())
}

/// Appends text, cut at [`LONGEST`].
fn push(out: &mut String, bytes: &[u8]) {
    out.push_str(&String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)]));
    if bytes.len() > LONGEST {
        out.push('…');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind::{Decoder, KINDS};

    /// The fields that a template names, with what their braces say besides.
    fn fields(template: &str) -> impl Iterator<Item = &str> {
        template.split('{').skip(1).filter_map(|rest| rest.split_once('}')).flat_map(|(inside, _)| inside.split('|'))
    }

    fn line(kind: &str, data: &serde_json::Value) -> Line {
        let (mut slab, mut decoder) = (Slab::default(), Decoder::default());
        let event = json!({ "System": { "EventName": kind, "HostProcessID": 7 }, "EventData": data });
        decoder.value(1, event, &mut slab).unwrap();
        Line::of(&slab, 0).unwrap()
    }

    fn kind_with(path: &str) -> &'static str {
        KINDS.iter().find(|k| k.fields.iter().any(|f| f.path == path)).unwrap().name
    }

    #[test]
    fn every_template_names_fields_of_its_kind() {
        for kind in KINDS {
            assert!((1..=8).contains(&kind.short.len()), "{kind:?}: {}", kind.short);
            assert!(fields(kind.line).count() > 0, "{kind:?}");
            for name in fields(kind.line) {
                let path = name.trim_end_matches('?').trim_end_matches("[1..]");
                assert!(kind.fields.iter().any(|f| f.path == path), "{kind:?} has no `{path}`");
            }
            for word in kind.line.split(' ') {
                assert_eq!(word.matches('{').count(), word.matches('}').count(), "{kind:?}: {word}");
            }
        }
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        let exec =
            line(kind_with("argv"), &json!({ "argv": ["curl", "-s", "http://x/"], "pathname": "/usr/bin/curl" }));
        assert_eq!(exec.about, "-s http://x/");
        assert_eq!(line(kind_with("argv"), &json!({ "argv": ["true"] })).about, "");
        let connect = kind_with("Initiated");
        let v4 = json!({ "remote_addr": { "sa_family": "AF_INET", "sin_addr": "10.0.0.1", "sin_port": "443" }, "Success": false });
        let v4 = line(connect, &v4);
        assert_eq!((v4.about.as_str(), v4.ok), ("10.0.0.1:443", Some(false)));
        let unix = json!({ "remote_addr": { "sa_family": "AF_UNIX", "sun_path": "/run/x" } });
        assert_eq!(line(connect, &unix).about, "/run/x");
        let exit = |signal: u32| line(kind_with("exit_code"), &json!({ "exit_code": 3, "signal_code": signal })).about;
        assert_eq!((exit(0).as_str(), exit(9).as_str()), ("code=3", "code=3 signal=9"));
    }

    #[test]
    fn a_long_text_is_cut() {
        let long = line(kind_with("argv"), &json!({ "argv": ["x", "a".repeat(100_000), "b"] }));
        assert_eq!(long.about.chars().count(), LONGEST + 1);
        assert!(long.about.ends_with('…'));
    }
}
