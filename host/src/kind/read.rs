//! Reads a bound field from a row.

use std::sync::Arc;

use serde_json::Value as Json;

use super::{Access, ProcessField, SYSTEM};
use crate::process::{Container, Image, Process};
use crate::slab::{List, Row, Slab, Value};

/// The value of `access` in `row`.
pub fn read<'s>(slab: &'s Slab, row: usize, access: &Access) -> Value<'s> {
    let r = &slab.rows[row];
    match access {
        Access::System(i) => {
            let value = slab.cell_value(slab.cells[r.cells as usize + *i as usize]);
            if matches!(value, Value::Absent) && r.kind.spec().is_none() {
                dynamic(r, &format!("System.{}", SYSTEM[*i as usize].path))
            } else {
                value
            }
        }
        Access::Cells(per_kind) => match per_kind.get(r.kind.0 as usize) {
            Some(cells) => cells
                .iter()
                .map(|&i| slab.cell_value(slab.cells[r.cells as usize + SYSTEM.len() + i as usize]))
                .find(|v| !matches!(v, Value::Absent))
                .unwrap_or(Value::Absent),
            None => Value::Absent,
        },
        Access::Process(field) => match &r.process {
            Some(p) => process(p, *field),
            None => Value::Absent,
        },
        Access::Values => Value::List(List::Leaves(slab, row)),
        Access::Kind => match r.kind.spec() {
            Some(k) => Value::Text(k.name.as_bytes()),
            None => foreign_name(r).map_or(Value::Absent, |n| Value::Text(n.as_bytes())),
        },
        Access::ProcessId => r.process.as_ref().map_or(Value::Absent, |p| Value::Unsigned(p.id)),
        Access::Enriched { slot, output } => match slab.enrichment(*slot as usize) {
            Some(columns) => columns.value(*output as usize, row),
            None => Value::Unavailable,
        },
        Access::Dynamic(path) => dynamic(r, path),
        Access::Never => Value::Absent,
    }
}

/// The kind name in foreign JSON.
pub(super) fn foreign_name(row: &Row) -> Option<&str> {
    let raw = row.raw.as_ref()?;
    raw.pointer("/System/EventName").or_else(|| raw.get("EventType"))?.as_str()
}

fn dynamic<'s>(row: &'s Row, path: &str) -> Value<'s> {
    let Some(raw) = &row.raw else { return Value::Absent };
    find(raw, path).map_or(Value::Absent, from_json)
}

/// A flat key wins over descending along the dots.
pub(crate) fn find<'j>(json: &'j Json, path: &str) -> Option<&'j Json> {
    let object = json.as_object()?;
    if let Some(v) = object.get(path) {
        return Some(v);
    }
    path.match_indices('.')
        .find_map(|(dot, _)| object.get(&path[..dot]).and_then(|inner| find(inner, &path[dot + 1..])))
}

pub(super) fn from_json(json: &Json) -> Value<'_> {
    match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => match (n.as_u64(), n.as_i64()) {
            (Some(u), _) => Value::Unsigned(u),
            (None, Some(i)) => Value::Signed(i),
            (None, None) => Value::Float(n.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(s) => Value::Text(s.as_bytes()),
        Json::Array(items) => Value::List(List::Json(items)),
        Json::Object(_) => Value::Absent,
    }
}

fn text(bytes: Option<&[u8]>) -> Value<'_> {
    bytes.map_or(Value::Absent, Value::Text)
}

fn number(value: Option<u32>) -> Value<'static> {
    value.map_or(Value::Absent, |v| Value::Unsigned(u64::from(v)))
}

/// Processes with equal keys have equal values of the field: where its text is, if many processes share that, else whose it
/// is. Good while all of them are alive.
pub(crate) fn process_key(p: &Process, field: ProcessField) -> u64 {
    fn at<T: ?Sized>(shared: Option<&Arc<T>>) -> u64 {
        shared.map_or(0, |shared| Arc::as_ptr(shared).cast::<u8>() as u64)
    }
    let image = if field.is_of_parent() { p.ancestors.first() } else { Some(&p.image) };
    match field {
        ProcessField::Exe | ProcessField::ParentExe => at(image.and_then(|i| i.exe.as_ref())),
        ProcessField::Executed | ProcessField::ParentExecuted => at(image.and_then(|i| i.executed.as_ref())),
        ProcessField::Cwd | ProcessField::ParentCwd => at(image.and_then(|i| i.cwd.as_ref())),
        ProcessField::Username | ProcessField::ParentUser => at(image.and_then(|i| i.user.as_ref())),
        _ if field.is_of_parent() => at(image),
        _ => p.id,
    }
}

fn process(p: &Process, field: ProcessField) -> Value<'_> {
    let parent = p.ancestors.first().map(std::convert::AsRef::as_ref);
    let container = p.image.container.as_deref();
    let contained =
        |f: fn(&Container) -> &Option<Box<str>>| text(container.and_then(|c| f(c).as_deref()).map(str::as_bytes));
    let of_parent = |f: fn(&Image) -> Option<&[u8]>| text(parent.and_then(f));
    match field {
        ProcessField::Name => text(p.image.name.as_deref()),
        ProcessField::CommandLine => text(p.image.cmdline.as_deref()),
        ProcessField::CreateTime => p.image.create_time.map_or(Value::Absent, Value::Time),
        ProcessField::Exe => text(p.image.exe.as_deref()),
        ProcessField::Cwd => text(p.image.cwd.as_deref()),
        ProcessField::Username => text(p.image.user.as_deref()),
        ProcessField::Executed => text(p.image.executed.as_deref()),
        ProcessField::Argv => p.image.argv.as_deref().map_or(Value::Absent, |a| Value::List(List::Owned(a))),
        ProcessField::Login => text(p.image.login.as_deref()),
        ProcessField::Cgroup => text(p.image.cgroup.as_deref()),
        ProcessField::Env => p.image.env.as_deref().map_or(Value::Absent, |e| Value::List(List::Owned(e))),
        ProcessField::Tty => text(p.image.tty.as_deref()),
        ProcessField::Session => number(p.image.session),
        ProcessField::Caps => p.image.caps.map_or(Value::Absent, |c| Value::List(List::Caps(c.effective))),
        ProcessField::CapEffective => p.image.caps.map_or(Value::Absent, |c| Value::Unsigned(c.effective)),
        ProcessField::CapPermitted => p.image.caps.map_or(Value::Absent, |c| Value::Unsigned(c.permitted)),
        ProcessField::Namespace(ns) => number(p.image.namespaces.and_then(|n| n.get(ns))),
        ProcessField::ParentExe => of_parent(|i| i.exe.as_deref()),
        ProcessField::ParentExecuted => of_parent(|i| i.executed.as_deref()),
        ProcessField::ParentCommandLine => of_parent(|i| i.cmdline.as_deref()),
        ProcessField::ParentName => of_parent(|i| i.name.as_deref()),
        ProcessField::ParentCwd => of_parent(|i| i.cwd.as_deref()),
        ProcessField::ParentUser => of_parent(|i| i.user.as_deref()),
        ProcessField::UserSource => text(p.image.user_source.map(|s| s.name().as_bytes())),
        // Unavailable when nobody has got to it.
        ProcessField::Hashes | ProcessField::Sha256 if p.image.sha256.get().is_none() => Value::Unavailable,
        ProcessField::Hashes => text(p.image.hashes()),
        ProcessField::Sha256 => text(p.image.sha256()),
        ProcessField::ContainerId => text(container.map(|c| c.id.as_bytes())),
        ProcessField::ContainerRuntime => contained(|c| &c.runtime),
        ProcessField::ContainerName => contained(|c| &c.name),
        ProcessField::ContainerImage => contained(|c| &c.image),
        ProcessField::PodName => contained(|c| &c.pod),
        ProcessField::PodNamespace => contained(|c| &c.namespace),
        ProcessField::ContainerLabels => container.map_or(Value::Absent, |c| Value::List(List::Owned(&c.labels))),
        ProcessField::AncestorExes => ancestors(p, |i| i.exe.as_deref()),
        ProcessField::AncestorExecuted => ancestors(p, |i| i.executed.as_deref()),
        ProcessField::AncestorCommandLines => ancestors(p, |i| i.cmdline.as_deref()),
        ProcessField::AncestorNames => ancestors(p, |i| i.name.as_deref()),
        ProcessField::AncestorUsers => ancestors(p, |i| i.user.as_deref()),
    }
}

fn ancestors(p: &Process, f: fn(&Image) -> Option<&[u8]>) -> Value<'_> {
    Value::List(List::Images(&p.ancestors, f))
}

/// Every leaf of a row as text, for keyword rules: the JSON's own leaves where there is one, else the cells and the process.
pub(crate) fn leaves(slab: &Slab, row: usize, f: &mut dyn FnMut(&[u8])) {
    let r = &slab.rows[row];
    if r.kind.is_derived() {
        // The record alone: what else is known about its process stands in no audit log.
        return slab.own_cells(row).iter().for_each(|c| scalar(&slab.cell_value(*c), f));
    }
    if let Some(raw) = &r.raw {
        json_leaves(raw, f);
        return;
    }
    let count = SYSTEM.len() + r.kind.spec().map_or(0, |k| k.fields.len());
    for i in 0..count {
        scalar(&slab.cell_value(slab.cells[r.cells as usize + i]), f);
    }
    if let Some(p) = &r.process {
        // The names of capabilities only spell out a number: no keyword should find them.
        for (field, ..) in ProcessField::TABLE.iter().filter(|(f, ..)| *f != ProcessField::Caps) {
            scalar(&process(p, *field), f);
        }
    }
}

fn scalar(value: &Value<'_>, f: &mut dyn FnMut(&[u8])) {
    match value {
        Value::Absent | Value::Null | Value::Unavailable => {}
        Value::Unsigned(v) => f(v.to_string().as_bytes()),
        Value::Signed(v) => f(v.to_string().as_bytes()),
        Value::Float(v) => f(v.to_string().as_bytes()),
        Value::Bool(v) => f(if *v { b"true" } else { b"false" }),
        Value::Time(t) => f(super::time_text(*t).as_bytes()),
        Value::Text(t) => f(t),
        Value::List(l) => l.each(f),
    }
}

/// Every leaf of JSON text.
pub(crate) fn nested_leaves(text: &[u8], f: &mut dyn FnMut(&[u8])) {
    if let Ok(json) = serde_json::from_slice(text) {
        json_leaves(&json, f);
    }
}

fn json_leaves(json: &Json, f: &mut dyn FnMut(&[u8])) {
    match json {
        Json::Object(o) => o.values().for_each(|v| json_leaves(v, f)),
        Json::Array(a) => a.iter().for_each(|v| json_leaves(v, f)),
        other => scalar(&from_json(other), f),
    }
}
