//! A rule from one event: it looks at what the event says about itself that will be the same the next time (programs, words of the
//! command line, files, addresses), and not at what will not (times, numbers of processes).

use std::sync::Arc;

use serde_json::Value as Json;

use super::{AUTHOR, Draft, DraftError, Stamp, modeline};
use crate::kind::{self, Catalogue, Decoder, Kind, Selection, Source, Type};
use crate::slab::{Origin, Slab, Value};

/// Words of the command line that are asked for.
const MAX_WORDS: usize = 4;
/// Conditions besides those on the programs.
const MAX_OWN: usize = 3;
/// A longer value is not asked for as a whole.
const MAX_VALUE: usize = 200;

/// One condition, and what the event would have to say instead to miss it.
struct Item {
    field: String,
    modifiers: &'static str,
    values: Vec<String>,
    /// Fields to change, all of which the condition may look at.
    fields: Vec<String>,
    instead: String,
}

/// Drafts a rule that matches this event, with the event as its test, and with a near miss for each of its conditions.
pub fn from_event(event: &Json, stamp: &Stamp) -> Result<Draft, DraftError> {
    let mut slab = Slab::default();
    let mut decoder = Decoder::new(Arc::new(Origin::default()));
    decoder.value(1, event.clone(), &mut slab).map_err(DraftError::Event)?;
    let id = slab.rows.first().map(|r| r.kind).ok_or(DraftError::UnknownKind)?;
    let kind = id.spec().ok_or(DraftError::UnknownKind)?;
    if id.is_derived() {
        return Err(DraftError::Derived(kind.name));
    }
    let category = category(kind, &slab);
    let source = Source { category: Some(category.into()), product: Some("linux".into()), ..Source::default() };
    let selection = Selection::new(&source, &[]);
    let view = View { slab: &slab, selection: selection.as_ref() };
    let mut items = programs(&view);
    items.extend(own(kind, &view));
    let category = if items.is_empty() { GENERAL } else { category };
    let name = name(kind, &view);
    Ok(Draft { rule: rule(kind, category, &items, &view, stamp), test: test(kind, event, &items), name })
}

/// The log source of every event, told apart by `EventName`.
const GENERAL: &str = "ebpf";

/// The narrowest log source that the event belongs to.
fn category(kind: &'static Kind, slab: &Slab) -> &'static str {
    let admits = |category: &str| {
        let source = Source { category: Some(category.into()), product: Some("linux".into()), ..Source::default() };
        Selection::new(&source, &[]).is_some_and(|s| !s.lacks_path() && s.admits(slab, 0))
    };
    kind.sources.iter().map(|s| s.category).find(|c| admits(c)).unwrap_or(GENERAL)
}

/// The event as rules see it.
struct View<'a> {
    slab: &'a Slab,
    selection: Option<&'a Selection>,
}

impl View<'_> {
    /// The value of a field as text, if it can be written into a rule: not empty, not too long, nothing unprintable.
    fn text(&self, field: &str) -> Option<String> {
        let bound = Catalogue::default().resolve(self.selection, field);
        let mut text = None;
        match self.slab.value(0, &bound.access) {
            Value::Text(bytes) => text = std::str::from_utf8(bytes).ok().map(str::to_owned),
            Value::Unsigned(number) => text = Some(number.to_string()),
            Value::Signed(number) => text = Some(number.to_string()),
            Value::Bool(truth) => text = Some(truth.to_string()),
            Value::List(list) => list.each(&mut |item| {
                let first = std::str::from_utf8(item).ok().map(str::to_owned);
                text = text.take().or(first);
            }),
            _ => {}
        }
        text.filter(|t| !t.trim().is_empty() && t.len() <= 16 * MAX_VALUE && !t.chars().any(char::is_control))
    }

    fn value(&self, field: &str) -> Option<String> {
        self.text(field).filter(|t| t.len() <= MAX_VALUE)
    }
}

/// What is asked about the program, its command line and its parent.
fn programs(view: &View<'_>) -> Vec<Item> {
    let mut items = Vec::new();
    let executed = ["Image", "ExecutedImage", "EventData.pathname", "EventData.cmdpath"];
    let parents = ["ParentImage", "ParentExecutedImage"];
    for (field, fields) in [("Image", &executed[..]), ("ParentImage", &parents[..])] {
        let Some(path) = view.value(field) else { continue };
        let (modifiers, value) = match path.rsplit_once('/') {
            Some((_, name)) if !name.is_empty() => ("|endswith", format!("/{name}")),
            _ => ("", path),
        };
        // The raw paths are those of an executed program only; of another kind they are what the event is about.
        let starts = view.value("EventData.cmdpath").is_some();
        let fields =
            fields.iter().filter(|f| starts || !f.starts_with("EventData.")).map(|f| (*f).to_owned()).collect();
        items.push(Item {
            field: field.to_owned(),
            modifiers,
            values: vec![value],
            fields,
            instead: "/near/miss".to_owned(),
        });
    }
    let line = view.text("CommandLine").unwrap_or_default();
    let mut words = line.split_whitespace();
    let program = words.next().unwrap_or_default().to_owned();
    let mut telling: Vec<&str> = Vec::new();
    for word in words.map(|w| w.trim_matches(['"', '\'', ';', ','])) {
        let says = word.len() >= 2 && word.len() <= MAX_VALUE && word.contains(char::is_alphabetic);
        // A word that the program's own name holds is missed by no change of the rest.
        if says && !telling.contains(&word) && !program.to_lowercase().contains(&word.to_lowercase()) {
            telling.push(word);
        }
    }
    // The longest say most; in the order in which they stand.
    let mut longest = telling.clone();
    longest.sort_by_key(|w| std::cmp::Reverse(w.len()));
    longest.truncate(MAX_WORDS);
    telling.retain(|w| longest.contains(w));
    if !telling.is_empty() {
        items.push(Item {
            field: "CommandLine".to_owned(),
            modifiers: if telling.len() > 1 { "|contains|all" } else { "|contains" },
            values: telling.into_iter().map(str::to_owned).collect(),
            fields: vec!["CommandLine".to_owned()],
            instead: program,
        });
    }
    items
}

/// What is asked about the event itself. An executed program is known by the above.
fn own(kind: &Kind, view: &View<'_>) -> Vec<Item> {
    if view.value("EventData.cmdpath").is_some() {
        return Vec::new();
    }
    let passing = |name: &str| {
        let name = name.to_lowercase();
        // Of one process, one boot or one connection.
        let parts = [
            "pid",
            "tid",
            "time",
            "inode",
            "dev",
            "fd",
            "source",
            "local_addr",
            "uid",
            "start",
            "hash",
            "addr",
            "size",
            "id",
        ];
        parts.iter().any(|p| name.rsplit(['.', '_']).next().is_some_and(|last| last.contains(p)) || name.starts_with(p))
            || name.contains("local_addr")
    };
    let name_of =
        |f: &kind::Field| f.sigma.first().map_or_else(|| format!("EventData.{}", f.path), |s| (*s).to_owned());
    let usable = |f: &&kind::Field| f.ty != Type::Json && f.ty != Type::Time && f.ty != Type::Bool;
    let known = kind.fields.iter().filter(|f| !f.sigma.is_empty() && !f.sigma[0].starts_with("Source"));
    let texts = kind.fields.iter().filter(|f| f.sigma.is_empty() && matches!(f.ty, Type::Text | Type::TextList));
    let numbers = kind.fields.iter().filter(|f| f.sigma.is_empty() && matches!(f.ty, Type::Unsigned | Type::Signed));
    let unknown = texts.chain(numbers).filter(|f| !passing(f.path));
    let mut items: Vec<Item> = Vec::new();
    for field in known.chain(unknown).filter(usable) {
        let name = name_of(field);
        let told = |items: &[Item]| items.iter().any(|i| i.field == name);
        if items.len() >= MAX_OWN || told(&items) {
            continue;
        }
        let Some(value) = view.value(&name) else { continue };
        let instead = match value.parse::<u64>() {
            Ok(number) => (number ^ 1).to_string(),
            _ if value.parse::<std::net::Ipv4Addr>().is_ok() => other(&value, "192.0.2.1", "192.0.2.2"),
            _ if value.parse::<std::net::Ipv6Addr>().is_ok() => other(&value, "2001:db8::1", "2001:db8::2"),
            _ => other(&value, "/near/miss", "/near/miss/2"),
        };
        items.push(Item { fields: vec![name.clone()], field: name, modifiers: "", values: vec![value], instead });
    }
    items
}

fn other(value: &str, one: &str, two: &str) -> String {
    if value == one { two } else { one }.to_owned()
}

/// A name for the files, of letters that are safe in one.
fn name(kind: &Kind, view: &View<'_>) -> String {
    let image = view.value("Image").unwrap_or_default();
    let program = image.rsplit('/').next().unwrap_or_default();
    let text = format!("draft_{}_{program}", kind.name).to_lowercase();
    let safe: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(80).collect();
    safe.trim_end_matches('_').to_owned()
}

/// As YAML takes it, whatever it holds: a JSON text is one of YAML's.
fn quoted(text: &str) -> String {
    ascii(&Json::from(text).to_string())
}

/// JSON in ASCII: in a file of YAML some characters may not stand, and on a terminal some should not.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if (' '..='~').contains(&c) {
            out.push(c);
        } else {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        }
    }
    out
}

/// A value of a rule that means just this text.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn rule(kind: &Kind, category: &str, items: &[Item], view: &View<'_>, stamp: &Stamp) -> String {
    let image = view.value("Image").unwrap_or_default();
    let program: String = image.rsplit('/').next().unwrap_or_default().chars().take(60).collect();
    let by = if program.is_empty() { String::new() } else { format!(" ({program})") };
    let mut text = modeline("rule");
    text.push_str(&format!(
        "title: {}\n",
        quoted(&format!("Draft: {}{by}", kind.doc.chars().take(120).collect::<String>()))
    ));
    text.push_str(&format!("id: {}\nstatus: experimental\n", stamp.ids[0]));
    text.push_str("description: >-\n  Drafted from one event. Say what is behind it, take out what is only an accident of it, and raise or lower the level.\n");
    text.push_str(&format!("author: {AUTHOR}\ndate: {}\n", stamp.date));
    text.push_str(&format!("logsource: {{ category: {category}, product: linux }}\ndetection:\n  selection:\n"));
    if category == GENERAL {
        text.push_str(&format!("    EventName: {}\n", kind.name));
    }
    for item in items {
        let values: Vec<String> = item.values.iter().map(|v| quoted(&literal(v))).collect();
        let values = if let [one] = &values[..] { one.clone() } else { format!("[{}]", values.join(", ")) };
        text.push_str(&format!("    {}{}: {values}\n", item.field, item.modifiers));
    }
    text.push_str("  condition: selection\nfalsepositives: [Not known yet]\nlevel: medium\n");
    text
}

fn test(kind: &Kind, event: &Json, items: &[Item]) -> String {
    let mut text = modeline("test");
    text.push_str("tests:\n");
    let mut case = |name: &str, expect: &str, event: &Json| {
        let miss = if expect == "match" { "" } else { "    near_miss: true\n" };
        let line = ascii(&event.to_string());
        text.push_str(&format!(
            "  - name: {}\n    expect: {expect}\n{miss}    ndjson: |\n      {line}\n",
            quoted(name)
        ));
    };
    case("the event it was drafted from", "match", event);
    for item in items {
        let mut other = event.clone();
        for (i, field) in item.fields.iter().enumerate() {
            kind::alter(kind, &mut other, field, &item.instead, i == 0);
        }
        case(&format!("another {}", item.field), "no-match", &other);
    }
    text
}
