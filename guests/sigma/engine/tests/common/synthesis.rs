//! Events made up from a rule's own detection: one that satisfies it for every alternative that it offers, and for each of
//! them the near misses, in which one literal is another.

use super::Event;
use super::model::{Check, Item, Rule, Term, matches};
use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::{Value, json};
use std::collections::{HashSet, VecDeque};

/// What one alternative of a rule asks of an event.
pub struct Alternative {
    /// The definition says that it matches.
    pub event: Event,
    /// One literal changed; whether each still matches is for the definition to say, since another literal of the rule may
    /// hold.
    pub near: Vec<Event>,
}

/// Ways through the choices of one rule that are looked at.
const MAX_WAYS: usize = 20_000;

/// What can be made up for a rule, until each of its literals has been in an event, and how many of the ways to satisfy it
/// contradict themselves.
pub fn alternatives(rule: &Rule) -> (Vec<Alternative>, usize) {
    let (mut found, mut failed) = (Vec::new(), 0);
    let mut covered = HashSet::new();
    // Ways with fewer choices that are not the first come first.
    let mut ways = VecDeque::from([Vec::new()]);
    for _ in 0..MAX_WAYS {
        let Some(way) = ways.pop_front() else { break };
        let mut solver = Solver { rule, way: &way, points: Vec::new(), needs: Vec::new() };
        let condition = solver.choose(rule.conditions.len());
        solver.term(&rule.conditions[condition], true);
        let Solver { points, needs, .. } = solver;
        for (point, options) in points.iter().enumerate().skip(way.len()) {
            for option in 1..*options {
                let mut next = way.clone();
                next.resize(point, 0);
                next.push(option);
                ways.push_back(next);
            }
        }
        let fresh = needs.iter().filter(|(_, check)| covered.insert(std::ptr::from_ref(*check))).count();
        if fresh == 0 && !needs.is_empty() {
            continue;
        }
        let event = build(&needs, None);
        if !matches(rule, &event) {
            failed += 1;
            continue;
        }
        let near = (0..needs.len()).map(|i| build(&needs, Some(i))).filter(|near| *near != event);
        found.push(Alternative { near: near.collect(), event });
    }
    (found, failed)
}

struct Solver<'r> {
    rule: &'r Rule,
    /// The options taken at the first choices; then it is always the first.
    way: &'r [usize],
    /// Options of every choice met.
    points: Vec<usize>,
    needs: Vec<(&'r Item, &'r Check)>,
}

impl<'r> Solver<'r> {
    fn choose(&mut self, options: usize) -> usize {
        self.points.push(options);
        self.way.get(self.points.len() - 1).copied().unwrap_or(0)
    }

    /// What must not hold is left to an event that says nothing about it.
    fn term(&mut self, term: &'r Term, wanted: bool) {
        match (term, wanted) {
            (Term::Not(t), _) => self.term(t, !wanted),
            (Term::And(a, b), true) | (Term::Or(a, b), false) => {
                self.term(a, wanted);
                self.term(b, wanted);
            }
            (Term::Or(a, b), true) | (Term::And(a, b), false) => {
                let term = [a, b][self.choose(2)];
                self.term(term, wanted);
            }
            (Term::Of(true, _, members), true) => members.iter().for_each(|i| self.selection(*i)),
            (Term::Of(false, _, members), true) => {
                let member = self.choose(members.len());
                self.selection(members[member]);
            }
            (Term::Selection(i), true) => self.selection(*i),
            (Term::Of(..) | Term::Selection(_), false) => {}
        }
    }

    fn selection(&mut self, number: usize) {
        let maps = &self.rule.selections[number];
        let map = self.choose(maps.len());
        for item in &maps[map] {
            if item.negated {
                continue;
            }
            if item.all {
                self.needs.extend(item.checks.iter().map(|c| (item, c)));
            } else {
                let check = self.choose(item.checks.len());
                self.needs.push((item, &item.checks[check]));
            }
        }
    }
}

#[derive(Default)]
struct Field {
    name: String,
    whole: Option<Value>,
    before: String,
    middle: Vec<String>,
    after: String,
}

fn build(needs: &[(&Item, &Check)], changed: Option<usize>) -> Event {
    let mut fields: Vec<Field> = Vec::new();
    for (i, (item, check)) in needs.iter().enumerate() {
        let name = if item.field.is_empty() { "Message" } else { &item.field };
        let at = fields.iter().position(|f| f.name == name).unwrap_or_else(|| {
            fields.push(Field { name: name.to_owned(), ..Field::default() });
            fields.len() - 1
        });
        let field = &mut fields[at];
        let change = |text: String| if changed == Some(i) { other_literal(&text) } else { text };
        match check {
            Check::Text(sigma) => {
                let text = change(instance(sigma));
                match item.affix.as_str() {
                    "startswith" => field.before = text,
                    "endswith" => field.after = text,
                    "" if !item.field.is_empty() => field.whole = Some(json!(text)),
                    _ => field.middle.push(text),
                }
            }
            Check::Number(n) if item.field.is_empty() || !item.affix.is_empty() => {
                field.middle.push(change(n.to_string()));
            }
            Check::Number(n) => field.whole = Some(json!(if changed == Some(i) { *n + 1.0 } else { *n } as i64)),
            Check::Compare(op, n) => {
                let more = op.starts_with('g') != (changed == Some(i));
                field.whole = Some(json!(if more { *n + 1.0 } else { *n - 1.0 } as i64));
            }
            Check::Regex(pattern, _) => {
                let hir = regex_syntax::parse(pattern).unwrap();
                let mut text = String::new();
                sample(&hir, &mut text);
                let text = change(text);
                if pattern.starts_with('^') { field.before = text } else { field.middle.push(text) }
            }
            Check::Cidr(network) => {
                let address = network.split('/').next().unwrap_or_default();
                field.whole = Some(json!(if changed == Some(i) { "203.0.113.77" } else { address }));
            }
            Check::Exists(there) => field.whole = (*there != (changed == Some(i))).then(|| json!("x")),
            Check::Null => field.whole = (changed == Some(i)).then(|| json!("x")),
            Check::Same(_) => {}
        }
    }
    let mut event = Event::new();
    for field in fields {
        let Field { name, whole, before, middle, after } = field;
        let parts = middle.join(" ");
        let value = whole.unwrap_or_else(|| {
            let gap = if parts.is_empty() || after.is_empty() { "" } else { " " };
            json!(format!("{before}{parts}{gap}{after}"))
        });
        if value != json!("") {
            event.insert(name, value);
        }
    }
    event
}

/// A text that a Sigma string matches: nothing for `*`, one letter for `?`.
fn instance(sigma: &str) -> String {
    let mut text = String::new();
    let mut chars = sigma.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(chars.next_if(|n| "*?\\".contains(*n)).unwrap_or('\\')),
            '*' => {}
            '?' => text.push('q'),
            c => text.push(c),
        }
    }
    text
}

/// The middle character is another one.
fn other_literal(text: &str) -> String {
    let middle = text.chars().count() / 2;
    text.chars().enumerate().map(|(i, c)| if i == middle { if c == '~' { '^' } else { '~' } } else { c }).collect()
}

/// The shortest text that a regex matches, of its first alternatives.
fn sample(hir: &Hir, out: &mut String) {
    match hir.kind() {
        HirKind::Literal(literal) => out.push_str(&String::from_utf8_lossy(&literal.0)),
        HirKind::Class(Class::Unicode(class)) => {
            let all = || class.iter().flat_map(|r| r.start()..=r.end()).take(200);
            out.extend(all().find(char::is_ascii_graphic).or_else(|| all().find(|c| *c == ' ')).or(all().next()));
        }
        HirKind::Repetition(repetition) => (0..repetition.min).for_each(|_| sample(&repetition.sub, out)),
        HirKind::Capture(capture) => sample(&capture.sub, out),
        HirKind::Concat(parts) => parts.iter().for_each(|p| sample(p, out)),
        HirKind::Alternation(parts) => sample(&parts[0], out),
        HirKind::Empty | HirKind::Look(_) | HirKind::Class(Class::Bytes(_)) => {}
    }
}
