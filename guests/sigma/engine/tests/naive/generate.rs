//! Random rules and events, and rules as YAML.

use crate::common::model::{Check, Item, Rule, Term};
use crate::common::{Event, Random};
use serde_json::{Map, Value, json};

const TEXT_FIELDS: &[&str] = &["Image", "CommandLine", "User", "Args"];
const NUMBER_FIELDS: &[&str] = &["Port", "Delta", "Score"];
const ALL_FIELDS: &[&str] = &["Image", "CommandLine", "User", "Args", "Port", "Delta", "Score", "Flag"];
const WORDS: &[&str] = &[
    "a", "ab", "abc", "/nc", "/bin/nc", "nc", "Ä", "ä", "-e", " -E ", "b*c", "*b", "?c", "a?", "*", "", "/", "NC",
    "x/nc", "\\*", "7", "10", "K", "\\\\*", "a\\", "true", "7.0", "*a*b*", "??", "İ",
];
const TEXTS: &[&str] = &[
    "/bin/nc",
    "/BIN/NC",
    "/usr/bin/nc.openbsd",
    "nc -e",
    "abc",
    "ABC",
    "aabbcc",
    "ä",
    "Ä-e",
    "b*c",
    "bxc",
    "",
    "x/nc",
    "abcabc -E nc",
    "10.1.2.3",
    "7",
    "10",
    "\u{212A}",
    "7.0",
    "fe80::1",
    "*",
    "a\\b",
    "a\nc",
    "true",
    "i\u{307}",
];
const NUMBER_WORDS: &[&str] = &["7", "7.0", "1*", "?", "10", "x"];
const REGEXES: &[&str] =
    &["ab+c", "^/bin", "(?i)NC$", "nc|abc", "-[eE]\\s", ".{8,}", "x?", "(a|b)c", "^c$", "a.c", "ABC|K", "^/?A"];
const CIDRS: &[&str] = &["10.0.0.0/8", "10.1.2.2/31", "fe80::/10", "11.0.0.0/8", "::/0"];

/// One name begins so that `them` leaves it out.
const NAMES: &[&str] = &["s0", "t1", "_s2", "s3"];
const PATTERNS: &[&str] = &["them", "s*", "_*", "*1", "s3", "*s*"];

pub fn rule(r: &mut Random) -> Rule {
    let selections = (0..=r.below(4)).take(NAMES.len());
    let selections: Vec<_> = selections.map(|_| (0..=r.below(2)).map(|_| map(r)).collect()).collect();
    let conditions = (0..if r.one_in(8) { 2 } else { 1 }).map(|_| term(r, selections.len(), 3)).collect();
    Rule { selections, conditions }
}

/// Items of one map must have different keys: one of each kind at most.
fn map(r: &mut Random) -> Vec<Item> {
    let mut items = vec![if r.one_in(8) { keywords(r) } else { text_item(r) }];
    if r.one_in(3) {
        items.push(number_item(r));
    }
    items
}

fn item(field: &str, checks: Vec<Check>) -> Item {
    Item { field: field.to_owned(), affix: String::new(), cased: false, checks, all: false, negated: false }
}

fn keywords(r: &mut Random) -> Item {
    let count = 1 + r.below(3);
    let (regex, cased, all) = (r.one_in(6), r.one_in(4), r.one_in(3));
    let checks = (0..count).map(|_| match r.below(8) {
        _ if regex => random_regex(r, ""),
        0 => Check::Number(r.below(12) as f64),
        _ => Check::Text(r.pick(WORDS).to_owned()),
    });
    Item {
        checks: checks.collect(),
        cased: cased && !regex,
        all: all && count > 1,
        negated: r.one_in(8),
        ..item("", vec![])
    }
}

/// All values of an item have the flags in common.
fn random_regex(r: &mut Random, flags: &str) -> Check {
    let found = r.pick(REGEXES);
    Check::Regex(found.to_owned(), flags.to_owned())
}

fn number_item(r: &mut Random) -> Item {
    let field = r.pick(&["Port", "Delta", "Score", "Flag"]);
    let number = |r: &mut Random| (r.below(24) as f64 - 8.0) / if r.one_in(3) { 2.0 } else { 1.0 };
    let mut found = item(field, vec![]);
    match r.below(6) {
        0 | 1 => found.checks = (0..=r.below(3)).map(|_| Check::Number(number(r))).collect(),
        2 => found.checks = vec![Check::Compare(r.pick(&["lt", "lte", "gt", "gte"]).to_owned(), number(r))],
        3 => {
            r.pick(&["", "contains", "startswith", "endswith"]).clone_into(&mut found.affix);
            found.checks = (0..=r.below(2)).map(|_| Check::Text(r.pick(NUMBER_WORDS).to_owned())).collect();
        }
        4 => found.checks = vec![Check::Same(r.pick(NUMBER_FIELDS).to_owned())],
        _ => found.checks = vec![Check::Text(r.pick(&["true", "FALSE", "1", "0", "t*"]).to_owned())],
    }
    found.negated = r.one_in(6);
    found
}

fn text_item(r: &mut Random) -> Item {
    let field = r.pick(TEXT_FIELDS);
    let count = 1 + r.below(3);
    let (cased, affix) = (r.one_in(4), r.pick(&["", "contains", "startswith", "endswith"]));
    let mut found = item(field, vec![]);
    match r.below(11) {
        0 => found.checks = vec![Check::Null],
        1 => found.checks = vec![Check::Exists(r.one_in(2))],
        2 => {
            let flags = r.pick(&["", "", "i", "m", "s", "ims"]);
            found.checks = (0..count).map(|_| random_regex(r, flags)).collect();
        }
        3 => {
            found.checks = (0..count).map(|_| Check::Cidr(r.pick(CIDRS).to_owned())).collect();
        }
        4 => {
            (found.affix, found.cased) = (affix.to_owned(), cased);
            found.checks = (0..=r.below(2)).map(|_| Check::Same(r.pick(ALL_FIELDS).to_owned())).collect();
        }
        5 => found.checks = vec![Check::Number(7.0)],
        6 => {
            // What the specification does not foresee, and the engine takes as any other list.
            found.checks = (0..count).map(|_| Check::Text(r.pick(WORDS).to_owned())).collect();
            found.checks.push(if r.one_in(2) { Check::Null } else { Check::Number(10.0) });
        }
        _ => {
            (found.affix, found.cased) = (affix.to_owned(), cased);
            found.checks = (0..count).map(|_| Check::Text(r.pick(WORDS).to_owned())).collect();
        }
    }
    found.all = found.checks.len() > 1 && r.one_in(2);
    found.negated = r.one_in(6) && !matches!(found.checks[0], Check::Exists(_));
    found
}

fn term(r: &mut Random, selections: usize, depth: usize) -> Term {
    let inner = |r: &mut Random| Box::new(term(r, selections, depth - 1));
    match if depth == 0 { 9 } else { r.below(9) } {
        0 | 1 => Term::Not(inner(r)),
        2 | 3 => Term::And(inner(r), inner(r)),
        4 => Term::Or(inner(r), inner(r)),
        5 => {
            let pattern = r.pick(PATTERNS);
            let members: Vec<usize> = (0..selections).filter(|i| names(pattern, NAMES[*i])).collect();
            match members.len() {
                // A pattern that names nobody is refused.
                0 => Term::Selection(r.below(selections)),
                _ => Term::Of(r.one_in(2), pattern.to_owned(), members),
            }
        }
        _ => Term::Selection(r.below(selections)),
    }
}

fn names(pattern: &str, name: &str) -> bool {
    if name.starts_with('_') && !pattern.starts_with('_') {
        return false;
    }
    match pattern {
        "them" => true,
        "*s*" => name.contains('s'),
        _ => match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
            (Some(end), _) => name.ends_with(end),
            (_, Some(start)) => name.starts_with(start),
            _ => name == pattern,
        },
    }
}

pub fn id(number: usize) -> String {
    format!("00000000-0000-0000-0000-{number:012}")
}

/// JSON is YAML.
pub fn yaml(rule: &Rule, number: usize) -> String {
    let (id, source) = (id(number), json!({"product": "test"}));
    json!({"title": "t", "id": id, "logsource": source, "detection": detection(rule)}).to_string()
}

/// A filter with the detection of `rule`, of the rules with these numbers.
pub fn filter(rule: &Rule, number: usize, of: &[u32]) -> String {
    let mut filter = detection(rule);
    filter["condition"] = json!(condition(&rule.conditions[0]));
    filter.insert("rules".into(), of.iter().map(|r| id(*r as usize)).collect());
    json!({"title": "f", "id": id(number), "logsource": {"product": "test"}, "filter": filter}).to_string()
}

fn detection(rule: &Rule) -> Map<String, Value> {
    let mut detection = Map::new();
    let pair = |item| (key(item), one_or_list(values(item)));
    for (name, maps) in NAMES.iter().zip(&rule.selections) {
        let mut list = Vec::new();
        for items in maps {
            // Plain keywords stand in the list itself, unless that would change how they go together.
            match items.as_slice() {
                [item] if key(item).is_empty() => list.extend(values(item)),
                _ => list.push(Value::Object(items.iter().map(pair).collect())),
            }
        }
        detection.insert((*name).to_owned(), Value::Array(list));
    }
    let conditions = rule.conditions.iter().map(|c| Value::String(condition(c))).collect();
    detection.insert("condition".into(), one_or_list(conditions));
    detection
}

fn one_or_list(mut values: Vec<Value>) -> Value {
    if values.len() == 1 { values.remove(0) } else { Value::Array(values) }
}

fn key(item: &Item) -> String {
    let mut key = item.field.clone();
    let mut modify = |modifier: &str| key = format!("{key}|{modifier}");
    match &item.checks[0] {
        Check::Compare(op, _) => modify(op),
        Check::Exists(_) => modify("exists"),
        Check::Regex(_, flags) => {
            modify("re");
            flags.chars().for_each(|flag| modify(&flag.to_string()));
        }
        Check::Cidr(..) => modify("cidr"),
        Check::Same(_) => modify("fieldref"),
        Check::Text(_) | Check::Number(_) | Check::Null => {}
    }
    if !item.affix.is_empty() {
        modify(&item.affix);
    }
    for (there, modifier) in [(item.cased, "cased"), (item.all, "all"), (item.negated, "neq")] {
        if there {
            modify(modifier);
        }
    }
    key
}

fn values(item: &Item) -> Vec<Value> {
    let value = |c: &Check| match c {
        Check::Text(t) | Check::Regex(t, _) | Check::Cidr(t) | Check::Same(t) => json!(t),
        Check::Number(n) | Check::Compare(_, n) => whole_or_float(*n),
        Check::Null => Value::Null,
        Check::Exists(b) => json!(b),
    };
    item.checks.iter().map(value).collect()
}

fn whole_or_float(n: f64) -> Value {
    if n.fract() == 0.0 { json!(n as i64) } else { json!(n) }
}

fn condition(term: &Term) -> String {
    match term {
        Term::Selection(i) => NAMES[*i].to_owned(),
        Term::Of(true, pattern, _) => format!("all of {pattern}"),
        Term::Of(false, pattern, members) => format!("{} of {pattern}", if members.len() > 1 { "1" } else { "any" }),
        Term::Not(t) => format!("not ({})", condition(t)),
        Term::And(a, b) => format!("({}) and ({})", condition(a), condition(b)),
        Term::Or(a, b) => format!("({}) or ({})", condition(a), condition(b)),
    }
}

type Make = fn(&mut Random) -> Value;

pub fn event(r: &mut Random) -> Event {
    let mut event = Event::new();
    for field in ["Image", "CommandLine", "User", "ExecutedImage"] {
        if let Some(value) = cell(r, |r| json!(r.pick(TEXTS))) {
            event.insert(field.into(), value);
        }
    }
    if let Some(args) = cell(r, |r| (0..r.below(4)).map(|_| r.pick(TEXTS)).collect()) {
        event.insert("Args".into(), args);
    }
    let numbers: [(&str, Make); 4] = [
        ("Port", |r| json!(r.below(16))),
        ("Delta", |r| json!(r.below(16) as i64 - 8)),
        // Never a whole number, which a float column would show as text in another way than JSON does.
        ("Score", |r| json!(r.below(16) as f64 - 7.5)),
        ("Flag", |r| json!(r.one_in(2))),
    ];
    for (field, make) in numbers {
        if let Some(value) = cell(r, make) {
            event.insert(field.into(), value);
        }
    }
    event
}

/// Most fields have a value; each of the other ways to have none occurs, too.
fn cell(r: &mut Random, value: impl FnOnce(&mut Random) -> Value) -> Option<Value> {
    match r.below(12) {
        0 => None,
        1 => Some(Value::Null),
        2 => Some(json!({"unavailable": true})),
        _ => Some(value(r)),
    }
}
