//! The compiled engine against an evaluator without any index, on random rules and events: hits must be equal, whatever
//! the batch size and the form of the columns.

mod common;

use common::{Event, Random, matches, with_batch};
use picket_sigma::{File, Options, Scratch, compile};
use serde_json::{Value, json};

#[derive(Debug)]
enum Check {
    /// Modifier (`""`, contains, startswith, endswith), cased, Sigma text.
    Text(&'static str, bool, String),
    Number(i64),
    Compare(&'static str, i64),
    Null,
    Exists(bool),
    Regex(&'static str),
    Cidr(&'static str, Inside),
    Same(&'static str),
}

#[derive(Debug)]
struct Item {
    field: &'static str,
    checks: Vec<Check>,
    all: bool,
    negated: bool,
}

#[derive(Debug)]
enum Term {
    Selection(usize),
    Not(Box<Term>),
    And(Box<Term>, Box<Term>),
    Or(Box<Term>, Box<Term>),
}

#[derive(Debug)]
struct Rule {
    /// Each a list of maps.
    selections: Vec<Vec<Vec<Item>>>,
    condition: Term,
}

const TEXT_FIELDS: &[&str] = &["Image", "CommandLine", "User", "Args"];
const WORDS: &[&str] = &[
    "a", "ab", "abc", "/nc", "/bin/nc", "nc", "Ä", "ä", "-e", " -E ", "b*c", "*b", "?c", "a?", "*", "", "/", "NC",
    "x/nc", "\\*", "7", "10", "K",
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
];
const REGEXES: &[&str] = &["ab+c", "^/bin", "(?i)NC$", "nc|abc", "-[eE]\\s", ".{8,}", "x?", "(a|b)c"];
type Inside = fn(&str) -> bool;
const CIDRS: &[(&str, Inside)] =
    &[("10.0.0.0/8", |t| t == "10.1.2.3"), ("fe80::/10", |t| t == "fe80::1"), ("11.0.0.0/8", |_| false)];

fn random_rule(r: &mut Random) -> Rule {
    let selections = (0..=r.below(3))
        .map(|_| (0..=r.below(2)).map(|_| (0..=r.below(2)).map(|i| random_item(r, i)).collect()).collect())
        .collect::<Vec<_>>();
    let condition = random_term(r, selections.len(), 3);
    Rule { selections, condition }
}

/// Items of one map must have different keys; the even ones have text fields, the odd ones numbers.
fn random_item(r: &mut Random, place: usize) -> Item {
    let negated = r.one_in(6);
    if place == 1 {
        let check = if r.one_in(2) {
            Check::Number(r.below(12) as i64)
        } else {
            Check::Compare(r.pick(&["lt", "lte", "gt", "gte"]), r.below(12) as i64)
        };
        return Item { field: "Port", checks: vec![check], all: false, negated };
    }
    let field = r.pick(TEXT_FIELDS);
    let count = 1 + r.below(3);
    let (cased, affix) = (r.one_in(4), r.pick(&["", "contains", "startswith", "endswith"]));
    let checks = match r.below(10) {
        0 => vec![Check::Null],
        1 => vec![Check::Exists(r.one_in(2))],
        2 => (0..count).map(|_| Check::Regex(r.pick(REGEXES))).collect(),
        3 => {
            let (network, inside) = r.pick(CIDRS);
            vec![Check::Cidr(network, inside)]
        }
        4 => vec![Check::Same(r.pick(TEXT_FIELDS))],
        5 => vec![Check::Number(7)],
        _ => (0..count).map(|_| Check::Text(affix, cased, r.pick(WORDS).to_owned())).collect(),
    };
    let exists = matches!(checks[0], Check::Exists(_));
    Item { field, all: checks.len() > 1 && r.one_in(2), negated: negated && !exists, checks }
}

fn random_term(r: &mut Random, selections: usize, depth: usize) -> Term {
    let inner = |r: &mut Random| Box::new(random_term(r, selections, depth - 1));
    match if depth == 0 { 9 } else { r.below(8) } {
        0 | 1 => Term::Not(inner(r)),
        2 | 3 => Term::And(inner(r), inner(r)),
        4 => Term::Or(inner(r), inner(r)),
        _ => Term::Selection(r.below(selections)),
    }
}

fn yaml(rule: &Rule, number: usize) -> String {
    let mut detection = serde_json::Map::new();
    for (i, maps) in rule.selections.iter().enumerate() {
        let maps: Vec<Value> = maps
            .iter()
            .map(|items| Value::Object(items.iter().map(|item| (key(item), values(item))).collect()))
            .collect();
        detection.insert(format!("s{i}"), Value::Array(maps));
    }
    detection.insert("condition".into(), Value::String(condition(&rule.condition)));
    // JSON is YAML.
    json!({"title": "t", "id": format!("00000000-0000-0000-0000-{number:012}"), "logsource": {"product": "test"},
        "detection": detection})
    .to_string()
}

fn key(item: &Item) -> String {
    let mut key = item.field.to_owned();
    match &item.checks[0] {
        Check::Text(affix, cased, _) => {
            if !affix.is_empty() {
                key = format!("{key}|{affix}");
            }
            if *cased {
                key.push_str("|cased");
            }
        }
        Check::Compare(op, _) => key = format!("{key}|{op}"),
        Check::Exists(_) => key.push_str("|exists"),
        Check::Regex(_) => key.push_str("|re"),
        Check::Cidr(..) => key.push_str("|cidr"),
        Check::Same(_) => key.push_str("|fieldref"),
        Check::Number(_) | Check::Null => {}
    }
    if item.all {
        key.push_str("|all");
    }
    if item.negated {
        key.push_str("|neq");
    }
    key
}

fn values(item: &Item) -> Value {
    let mut values: Vec<Value> = item
        .checks
        .iter()
        .map(|c| match c {
            Check::Text(_, _, t) => json!(t),
            Check::Number(n) | Check::Compare(_, n) => json!(n),
            Check::Null => Value::Null,
            Check::Exists(b) => json!(b),
            Check::Regex(t) | Check::Cidr(t, _) | Check::Same(t) => json!(t),
        })
        .collect();
    if values.len() == 1 { values.remove(0) } else { Value::Array(values) }
}

fn condition(term: &Term) -> String {
    match term {
        Term::Selection(i) => format!("s{i}"),
        Term::Not(t) => format!("not ({})", condition(t)),
        Term::And(a, b) => format!("({}) and ({})", condition(a), condition(b)),
        Term::Or(a, b) => format!("({}) or ({})", condition(a), condition(b)),
    }
}

fn random_event(r: &mut Random) -> Event {
    let mut event = Event::new();
    for field in ["Image", "CommandLine", "User", "ExecutedImage"] {
        match r.below(10) {
            0 => {}
            1 => drop(event.insert(field.into(), Value::Null)),
            2 => drop(event.insert(field.into(), json!({"unavailable": true}))),
            _ => drop(event.insert(field.into(), json!(r.pick(TEXTS)))),
        }
    }
    if !r.one_in(6) {
        let args: Vec<&str> = (0..r.below(4)).map(|_| r.pick(TEXTS)).collect();
        event.insert("Args".into(), json!(args));
    }
    if !r.one_in(6) {
        event.insert("Port".into(), json!(r.below(12)));
    }
    event
}

// ---- the definition

fn holds(rule: &Rule, term: &Term, event: &Event, positive: bool) -> bool {
    match term {
        Term::Not(t) => !holds(rule, t, event, !positive),
        Term::And(a, b) => holds(rule, a, event, positive) && holds(rule, b, event, positive),
        Term::Or(a, b) => holds(rule, a, event, positive) || holds(rule, b, event, positive),
        Term::Selection(i) => {
            rule.selections[*i].iter().any(|map| map.iter().all(|item| item_holds(item, event, positive)))
        }
    }
}

fn item_holds(item: &Item, event: &Event, positive: bool) -> bool {
    let positive = positive != item.negated;
    let on = |field: &str| {
        let check = |c: &Check| check_holds(c, event, field);
        if item.all { item.checks.iter().all(check) } else { item.checks.iter().any(check) }
    };
    let by_value = !item.checks.iter().any(|c| matches!(c, Check::Null | Check::Exists(_)));
    let either = on(item.field) || (item.field == "Image" && positive && by_value && on("ExecutedImage"));
    either != item.negated
}

fn texts(event: &Event, field: &str) -> Vec<String> {
    match event.get(field) {
        Some(Value::String(s)) => vec![s.clone()],
        Some(Value::Number(n)) => vec![n.to_string()],
        Some(Value::Array(items)) => items.iter().map(|i| i.as_str().unwrap().to_owned()).collect(),
        _ => vec![],
    }
}

fn check_holds(check: &Check, event: &Event, field: &str) -> bool {
    let texts = texts(event, field);
    match check {
        Check::Null => matches!(event.get(field), None | Some(Value::Null)),
        Check::Exists(wanted) => match event.get(field) {
            Some(Value::Object(_)) => false,
            value => value.is_some() == *wanted,
        },
        Check::Text(affix, cased, pattern) => texts.iter().any(|t| {
            let fold = |s: &str| if *cased { s.to_owned() } else { s.chars().flat_map(char::to_lowercase).collect() };
            let mut pattern = pattern_of(&fold(pattern));
            if matches!(*affix, "contains" | "endswith") {
                pattern.insert(0, Part::Many);
            }
            if matches!(*affix, "contains" | "startswith") {
                pattern.push(Part::Many);
            }
            wildcard(&pattern, &fold(t).chars().collect::<Vec<_>>())
        }),
        Check::Number(n) => texts.iter().any(|t| t.parse::<f64>().is_ok_and(|t| t.total_cmp(&(*n as f64)).is_eq())),
        Check::Compare(op, n) => texts.iter().any(|t| {
            t.parse::<f64>().is_ok_and(|t| {
                let n = *n as f64;
                match *op {
                    "lt" => t < n,
                    "lte" => t <= n,
                    "gt" => t > n,
                    _ => t >= n,
                }
            })
        }),
        Check::Regex(pattern) => {
            let regex = regex::Regex::new(pattern).unwrap();
            texts.iter().any(|t| regex.is_match(t))
        }
        Check::Cidr(_, inside) => texts.iter().any(|t| inside(t)),
        Check::Same(other) => {
            let others = self::texts(event, other);
            texts.iter().any(|a| others.iter().any(|b| a.to_lowercase() == b.to_lowercase()))
        }
    }
}

enum Part {
    One,
    Many,
    Char(char),
}

fn pattern_of(text: &str) -> Vec<Part> {
    let chars: Vec<char> = text.chars().collect();
    let mut parts = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        let escaped = chars[i] == '\\' && chars.get(i + 1).is_some_and(|c| "*?\\".contains(*c));
        i += usize::from(escaped);
        parts.push(match chars[i] {
            '*' if !escaped => Part::Many,
            '?' if !escaped => Part::One,
            c => Part::Char(c),
        });
        i += 1;
    }
    parts
}

fn wildcard(pattern: &[Part], text: &[char]) -> bool {
    match (pattern.first(), text.first()) {
        (None, None) => true,
        (Some(Part::Many), _) => wildcard(&pattern[1..], text) || (!text.is_empty() && wildcard(pattern, &text[1..])),
        (Some(Part::One), Some(_)) => wildcard(&pattern[1..], &text[1..]),
        (Some(Part::Char(p)), Some(t)) if p == t => wildcard(&pattern[1..], &text[1..]),
        _ => false,
    }
}

#[test]
fn the_index_finds_what_the_definition_finds() {
    let mut r = Random(0x2545_f491_4f6c_dd1d);
    let mut scratch = Scratch::default();
    let (mut checked, mut hit) = (0_u32, 0_u32);
    for round in 0..120 {
        let rules: Vec<Rule> = (0..30).map(|_| random_rule(&mut r)).collect();
        let texts: Vec<String> = rules.iter().enumerate().map(|(i, rule)| yaml(rule, i)).collect();
        let names: Vec<String> = (0..rules.len()).map(|i| format!("{i}.yml")).collect();
        let files: Vec<File<'_>> =
            texts.iter().zip(&names).map(|(t, name)| File { name, content: t.as_bytes() }).collect();
        let set = compile(&files, &Options::default());
        assert_eq!(set.rules.len(), rules.len(), "{:#?}", set.diagnostics);
        let events: Vec<Event> = (0..40).map(|_| random_event(&mut r)).collect();
        let expected: Vec<Vec<u32>> = events
            .iter()
            .map(|e| {
                (0..).zip(&rules).filter(|(_, rule)| holds(rule, &rule.condition, e, true)).map(|(i, _)| i).collect()
            })
            .collect();
        for (size, dictionary) in [(40, true), (40, false), (7, true), (1, false)] {
            for (chunk, expected) in events.chunks(size).zip(expected.chunks(size)) {
                let found = matches(&set, 0, chunk, dictionary, &mut scratch);
                for ((event, found), expected) in chunk.iter().zip(&found).zip(expected) {
                    checked += rules.len() as u32;
                    hit += found.len() as u32;
                    let differs = (0..rules.len() as u32).find(|i| found.contains(i) != expected.contains(i));
                    if let Some(i) = differs {
                        panic!("round {round}, batch {size}: {event:?}\n{}", texts[i as usize]);
                    }
                }
            }
        }
        // The explanation takes another way to the same answer.
        with_batch(&set, 0, &events, true, |batch| {
            for (row, expected) in expected.iter().enumerate() {
                for rule in 0..rules.len() as u32 {
                    let nodes = set.explain(rule, batch, row);
                    assert_eq!(nodes[0].holds, expected.contains(&rule), "round {round}: {}", texts[rule as usize]);
                    assert!((1..).zip(&nodes[1..]).all(|(i, n)| n.parent < i), "parents come first");
                    assert!(expected.contains(&rule) || set.evidence(rule, batch, row).is_empty());
                }
            }
        });
    }
    assert!(hit * 20 > checked && hit * 2 < checked, "{hit} of {checked} make a poor test");
}
