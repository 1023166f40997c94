//! What a rule means, said without any cleverness: rules as a tree, evaluated event by event.

use super::Event;
use serde_json::Value;
use std::net::IpAddr;

#[derive(Debug, Clone)]
pub enum Check {
    /// Sigma text.
    Text(String),
    Number(f64),
    /// lt, lte, gt, gte.
    Compare(String, f64),
    Null,
    Exists(bool),
    /// The pattern, and its flags in Sigma's letters.
    Regex(String, String),
    Cidr(String),
    /// The other field.
    Same(String),
}

#[derive(Debug, Clone)]
pub struct Item {
    /// Empty = keywords.
    pub field: String,
    /// `""`, contains, startswith, endswith.
    pub affix: String,
    pub cased: bool,
    pub checks: Vec<Check>,
    pub all: bool,
    pub negated: bool,
}

#[derive(Debug, Clone)]
pub enum Term {
    Selection(usize),
    /// `all of`, the pattern as written, and whom it names.
    Of(bool, String, Vec<usize>),
    Not(Box<Term>),
    And(Box<Term>, Box<Term>),
    Or(Box<Term>, Box<Term>),
}

#[derive(Debug, Clone)]
pub struct Rule {
    /// Each a list of maps.
    pub selections: Vec<Vec<Vec<Item>>>,
    /// Any of them.
    pub conditions: Vec<Term>,
}

pub fn matches(rule: &Rule, event: &Event) -> bool {
    rule.conditions.iter().any(|c| holds(rule, c, event, true))
}

fn holds(rule: &Rule, term: &Term, event: &Event, positive: bool) -> bool {
    let selection = |i: usize| rule.selections[i].iter().any(|map| map.iter().all(|i| item_holds(i, event, positive)));
    match term {
        Term::Not(t) => !holds(rule, t, event, !positive),
        Term::And(a, b) => holds(rule, a, event, positive) && holds(rule, b, event, positive),
        Term::Or(a, b) => holds(rule, a, event, positive) || holds(rule, b, event, positive),
        Term::Selection(i) => selection(*i),
        Term::Of(true, _, members) => members.iter().all(|i| selection(*i)),
        Term::Of(false, _, members) => members.iter().any(|i| selection(*i)),
    }
}

fn item_holds(item: &Item, event: &Event, positive: bool) -> bool {
    let positive = positive != item.negated;
    let on = |field: &str| {
        let check = |c: &Check| check_holds(c, item, event, field);
        if item.all { item.checks.iter().all(check) } else { item.checks.iter().any(check) }
    };
    let by_value = !item.checks.iter().any(|c| matches!(c, Check::Null | Check::Exists(_)));
    let either = on(&item.field) || (item.field == "Image" && positive && by_value && on("ExecutedImage"));
    either != item.negated
}

/// One value of an event: its text, and the number that it is, if it is one rather than only reading as one.
struct Leaf {
    text: String,
    number: Option<f64>,
}

impl Leaf {
    /// The number that it is or reads as.
    fn as_number(&self) -> Option<f64> {
        self.number.or_else(|| self.text.parse().ok())
    }
}

fn leaves(event: &Event, field: &str) -> Vec<Leaf> {
    if field.is_empty() {
        return event.keys().flat_map(|field| leaves(event, field)).map(|l| Leaf { number: None, ..l }).collect();
    }
    let text = |s: &str| Leaf { text: s.to_owned(), number: None };
    match event.get(field) {
        Some(Value::String(s)) => vec![text(s)],
        Some(Value::Number(n)) => vec![Leaf { text: n.to_string(), number: n.as_f64() }],
        Some(Value::Bool(b)) => vec![text(&b.to_string())],
        Some(Value::Array(items)) => items.iter().map(|i| text(i.as_str().unwrap())).collect(),
        _ => vec![],
    }
}

fn folded(text: &str, cased: bool) -> String {
    if cased { text.to_owned() } else { text.chars().flat_map(char::to_lowercase).collect() }
}

fn check_holds(check: &Check, item: &Item, event: &Event, field: &str) -> bool {
    let leaves = leaves(event, field);
    match check {
        Check::Null => matches!(event.get(field), None | Some(Value::Null)),
        Check::Exists(wanted) => match event.get(field) {
            Some(Value::Object(_)) => false,
            value => value.is_some() == *wanted,
        },
        Check::Text(sigma) => leaves.iter().any(|leaf| text_holds(sigma, item, leaf)),
        Check::Number(n) if field.is_empty() || !item.affix.is_empty() || item.cased => {
            leaves.iter().any(|leaf| text_holds(&n.to_string(), item, leaf))
        }
        Check::Number(n) => leaves.iter().any(|leaf| leaf.as_number().is_some_and(|l| l.total_cmp(n).is_eq())),
        Check::Compare(op, n) => leaves.iter().any(|leaf| {
            leaf.as_number().is_some_and(|l| match op.as_str() {
                "lt" => l < *n,
                "lte" => l <= *n,
                "gt" => l > *n,
                _ => l >= *n,
            })
        }),
        Check::Regex(pattern, flags) => {
            let regex = regex::RegexBuilder::new(pattern)
                .case_insensitive(flags.contains('i'))
                .multi_line(flags.contains('m'))
                .dot_matches_new_line(flags.contains('s'))
                .build()
                .unwrap();
            leaves.iter().any(|leaf| regex.is_match(&leaf.text))
        }
        Check::Cidr(network) => leaves.iter().any(|leaf| inside(network, &leaf.text)),
        Check::Same(other) => {
            let others = self::leaves(event, other);
            leaves.iter().any(|a| others.iter().any(|b| same(item, a, b)))
        }
    }
}

fn text_holds(sigma: &str, item: &Item, leaf: &Leaf) -> bool {
    let keyword = item.field.is_empty();
    let mut pattern = pattern_of(&folded(sigma, item.cased));
    let literal: Option<String> = pattern.iter().map(|p| if let Part::Char(c) = p { Some(*c) } else { None }).collect();
    if keyword || matches!(item.affix.as_str(), "contains" | "endswith") {
        pattern.insert(0, Part::Many);
    }
    if keyword || matches!(item.affix.as_str(), "contains" | "startswith") {
        pattern.push(Part::Many);
    }
    // A plain text that reads as a number equals a number of that value.
    let by_number = !keyword && item.affix.is_empty();
    let wanted = literal.filter(|_| by_number).and_then(|l| Leaf { text: l, number: None }.as_number());
    wanted.zip(leaf.number).is_some_and(|(w, n)| w.total_cmp(&n).is_eq())
        || wildcard(&pattern, &folded(&leaf.text, item.cased).chars().collect::<Vec<_>>())
}

fn same(item: &Item, a: &Leaf, b: &Leaf) -> bool {
    if let (Some(a), Some(b), "") = (a.number, b.number, item.affix.as_str()) {
        return a.total_cmp(&b).is_eq();
    }
    let (a, b) = (folded(&a.text, item.cased), folded(&b.text, item.cased));
    match item.affix.as_str() {
        "contains" => a.contains(&b),
        "startswith" => a.starts_with(&b),
        "endswith" => a.ends_with(&b),
        _ => a == b,
    }
}

fn inside(network: &str, address: &str) -> bool {
    let bits = |a: IpAddr| match a {
        IpAddr::V4(a) => (u128::from(a.to_bits()) << 96, 32),
        IpAddr::V6(a) => (a.to_bits(), 128),
    };
    let (base, length) = network.split_once('/').unwrap_or((network, ""));
    let (Ok(base), Ok(address)) = (base.parse::<IpAddr>(), address.parse::<IpAddr>()) else { return false };
    let ((a, all), (b, _)) = (bits(base), bits(address));
    let length = length.parse().unwrap_or(all);
    base.is_ipv4() == address.is_ipv4() && (length == 0 || (a ^ b) >> (128 - length) == 0)
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

/// Which prefixes of the text the pattern so far matches, one part after the other.
fn wildcard(pattern: &[Part], text: &[char]) -> bool {
    let mut ends = vec![false; text.len() + 1];
    ends[0] = true;
    for part in pattern {
        let mut next = vec![false; text.len() + 1];
        for i in (0..=text.len()).filter(|i| ends[*i]) {
            match part {
                Part::Many => {
                    next[i..].fill(true);
                    break;
                }
                Part::One if i < text.len() => next[i + 1] = true,
                Part::Char(c) if text.get(i) == Some(c) => next[i + 1] = true,
                _ => {}
            }
        }
        ends = next;
    }
    ends[text.len()]
}
