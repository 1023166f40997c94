//! Conditions that contradict themselves, so that the rule never matches.
//!
//! What is said is certain as far as the rule itself goes: for every way to fulfil the condition, two parts of it that must
//! hold together cannot. What is too large to look at, or not understood (regexes, other fields), is taken to hold.

use crate::batch::Value;
use crate::condition::Condition;
use crate::diagnostic::{Diagnostic, Finding, Place, brief};
use crate::filter::FilterMeta;
use crate::fold::fold;
use crate::item::{Body, Item, Selection};
use crate::pattern::Shape;
use crate::rule::Rule;
use crate::test::{Casing, Comparison, Exact, Probe, Test, Text};
use std::borrow::Cow;
use std::collections::HashMap;

/// Pairs of comparisons that are looked at in one rule.
const MAX_WORK: usize = 200_000;

/// Two parts of a rule that cannot hold together.
#[derive(Debug)]
pub(crate) struct Conflict {
    /// Where, and in which filter.
    place: Place,
    filter: Option<u32>,
    message: String,
}

impl Conflict {
    pub fn diagnostic(self, rule: &Rule, filters: &[FilterMeta]) -> Diagnostic {
        let filter = self.filter.and_then(|f| filters.get(f as usize));
        let message = match filter {
            Some(_) => format!("'{}' never matches: {}", brief(&rule.meta.title), self.message),
            None => format!("the rule never matches: {}", self.message),
        };
        let file = filter.map_or(&rule.meta.file, |f| &f.file);
        Finding::warning(self.place, "never-matches", message).in_file(file)
    }
}

/// The first contradiction of `rule`, if it can be fulfilled in no way.
pub(crate) fn find(rule: &Rule) -> Option<Conflict> {
    let mut search = Search { rule, facts: Vec::new(), by_field: HashMap::new(), work: MAX_WORK };
    search.conflict(&[Goal::Condition(&rule.condition, true)])
}

/// Something that has to hold, or must not.
#[derive(Clone, Copy)]
enum Goal<'r> {
    Condition(&'r Condition, bool),
    Body(&'r Body, &'r Selection, bool),
}

/// One of the tests holds for the field; or, if not wanted, none of them does.
struct Fact<'r> {
    tests: Vec<&'r Test>,
    wanted: bool,
    item: &'r Item,
    selection: &'r Selection,
}

struct Search<'r> {
    rule: &'r Rule,
    facts: Vec<Fact<'r>>,
    by_field: HashMap<&'r str, Vec<usize>>,
    work: usize,
}

impl<'r> Search<'r> {
    /// Why not all of `goals` can be, given the facts so far. Leaves the facts as they were.
    fn conflict(&mut self, goals: &[Goal<'r>]) -> Option<Conflict> {
        let known = self.facts.len();
        let mut choices = Vec::new();
        let mut found = None;
        let mut open = goals.to_vec();
        while let Some(goal) = open.pop() {
            match self.split(goal, &mut choices) {
                Split::Into(more) => open.extend(more),
                Split::Item(item, selection, wanted) => found = found.or_else(|| self.learn(item, selection, wanted)),
            }
        }
        for choice in choices {
            if found.is_some() {
                break;
            }
            // Every way must be closed; the first is the one told.
            let mut ways = choice.into_iter().map(|goal| self.conflict(&[goal]));
            found = ways.next().flatten().filter(|_| ways.all(|way| way.is_some()));
        }
        for fact in self.facts.drain(known..) {
            if let Some(numbers) = self.by_field.get_mut(field(fact.item)) {
                numbers.pop();
            }
        }
        found
    }

    fn split(&self, goal: Goal<'r>, choices: &mut Vec<Vec<Goal<'r>>>) -> Split<'r> {
        let (parts, together) = match goal {
            Goal::Condition(Condition::Not(term), wanted) => return Split::Into(vec![Goal::Condition(term, !wanted)]),
            Goal::Condition(Condition::Named(_, term), wanted) => {
                return Split::Into(vec![Goal::Condition(term, wanted)]);
            }
            Goal::Condition(Condition::Selection(i), wanted) => return Split::Into(vec![self.selection(*i, wanted)]),
            Goal::Condition(Condition::All(terms), wanted) => {
                (terms.iter().map(|t| Goal::Condition(t, wanted)).collect::<Vec<_>>(), wanted)
            }
            Goal::Condition(Condition::Any(terms), wanted) => {
                (terms.iter().map(|t| Goal::Condition(t, wanted)).collect(), !wanted)
            }
            Goal::Condition(Condition::Of { all, members, .. }, wanted) => {
                (members.iter().map(|i| self.selection(*i, wanted)).collect(), *all == wanted)
            }
            Goal::Body(Body::Item(item), selection, wanted) => return Split::Item(item, selection, wanted),
            Goal::Body(Body::All(parts), s, wanted) => {
                (parts.iter().map(|p| Goal::Body(p, s, wanted)).collect(), wanted)
            }
            Goal::Body(Body::Any(parts), s, wanted) => {
                (parts.iter().map(|p| Goal::Body(p, s, wanted)).collect(), !wanted)
            }
        };
        if together || parts.len() == 1 {
            return Split::Into(parts);
        }
        choices.push(parts);
        Split::Into(Vec::new())
    }

    fn selection(&self, index: usize, wanted: bool) -> Goal<'r> {
        let selection = &self.rule.selections[index];
        Goal::Body(&selection.body, selection, wanted)
    }

    /// Takes an item as a fact, and looks whether it goes with the others.
    fn learn(&mut self, item: &'r Item, selection: &'r Selection, wanted: bool) -> Option<Conflict> {
        // A condition may name a large selection a thousand times.
        spend(&mut self.work, 1 + item.values.iter().map(|v| v.tests.len()).sum::<usize>())?;
        let wanted = wanted != item.negated;
        let groups: Vec<Vec<&Test>> = match (item.all, wanted) {
            (true, true) => item.values.iter().map(|v| v.tests.iter().collect()).collect(),
            // "Not all of them" says nothing about any of them.
            (true, false) if item.values.len() > 1 => return None,
            _ => vec![item.values.iter().flat_map(|v| &v.tests).collect()],
        };
        for tests in groups {
            self.by_field.entry(field(item)).or_default().push(self.facts.len());
            self.facts.push(Fact { tests, wanted, item, selection });
        }
        self.closed(field(item))
    }

    /// Whether the facts about `field` leave no value for it.
    fn closed(&mut self, field: &str) -> Option<Conflict> {
        let numbers = self.by_field.get(field)?;
        for &number in numbers {
            let fact = &self.facts[number];
            if !fact.wanted {
                continue;
            }
            let mut against: Option<usize> = None;
            let mut several = false;
            let mut open = false;
            for test in &fact.tests {
                let mut killer = None;
                for &other in numbers.iter().filter(|o| **o != number) {
                    let fact = &self.facts[other];
                    spend(&mut self.work, fact.tests.len())?;
                    let kills = if fact.wanted {
                        // Keywords look at many values at once, and each may be found in another.
                        field != crate::KEYWORDS && !fact.tests.iter().any(|t| compatible(test, t))
                    } else {
                        fact.tests.iter().any(|t| implies(test, t))
                    };
                    if kills {
                        killer = Some(other);
                        break;
                    }
                }
                match killer {
                    None => {
                        open = true;
                        break;
                    }
                    Some(k) => {
                        several |= against.is_some_and(|a| a != k);
                        against = Some(k);
                    }
                }
            }
            if let (false, Some(other)) = (open, against) {
                return Some(self.told(number, other, several));
            }
        }
        None
    }

    fn told(&self, fact: usize, other: usize, several: bool) -> Conflict {
        // The later one is where the reader looks.
        let (first, second) = (&self.facts[fact], &self.facts[other]);
        let shown = |f: &Fact<'_>| {
            let values: Vec<String> =
                f.item.values.iter().take(3).map(|v| format!("'{}'", brief(&v.pattern))).collect();
            let more = if f.item.values.len() > 3 { ", ..." } else { "" };
            format!("'{}: {}{more}' of '{}'", brief(&f.item.label), values.join(", "), brief(&f.selection.name))
        };
        let message = match (second.wanted, several) {
            (_, true) => format!("all values of {} are excluded, the last by {}", shown(first), shown(second)),
            (false, _) => format!("{} is excluded by {}", shown(first), shown(second)),
            (true, _) => format!("{} and {} need two values of one field", shown(first), shown(second)),
        };
        Conflict { place: second.item.place, filter: second.selection.filter, message }
    }
}

/// Takes `cost` from what is left; None = there is not enough, and nothing more will be found.
fn spend(work: &mut usize, cost: usize) -> Option<()> {
    let left = work.checked_sub(cost);
    *work = left.unwrap_or(0);
    left.map(|_| ())
}

enum Split<'r> {
    Into(Vec<Goal<'r>>),
    Item(&'r Item, &'r Selection, bool),
}

fn field(item: &Item) -> &str {
    item.field.as_deref().unwrap_or(crate::KEYWORDS)
}

/// A text test in the form that another one is compared in.
struct Literal<'a> {
    shape: &'a Shape,
    bytes: Option<Cow<'a, [u8]>>,
}

impl<'a> Literal<'a> {
    fn new(text: &'a Text, folded: bool) -> Self {
        let bytes: Option<&[u8]> = match &text.shape {
            Shape::Equals(l) | Shape::Prefix(l) | Shape::Suffix(l) => Some(l),
            Shape::Contains(l) => Some(l.bytes()),
            Shape::Any | Shape::Wildcards(_) => None,
        };
        let bytes = bytes.map(|b| if folded && text.casing == Casing::Exact { fold(b).into() } else { b.into() });
        Self { shape: &text.shape, bytes }
    }
}

/// Both tests may hold for one value. True unless it is certain that they cannot.
fn compatible(a: &Test, b: &Test) -> bool {
    match (a, b) {
        (Test::Null, other) | (other, Test::Null) => matches!(other, Test::Null | Test::Missing | Test::Exists),
        (Test::Missing, other) | (other, Test::Missing) => matches!(other, Test::Missing),
        (Test::Text(a), Test::Text(b)) => texts_overlap(a, b),
        (Test::Number(a), Test::Number(b)) => a == b,
        (Test::Compare(own, Exact(bound)), Test::Compare(other, Exact(limit))) => {
            use Comparison::{Greater, GreaterOrEqual, Less, LessOrEqual};
            let order = bound.compare(**limit);
            let apart = match (own, other) {
                (Greater, Less | LessOrEqual) | (GreaterOrEqual, Less) => order.is_ge(),
                (GreaterOrEqual, LessOrEqual) => order.is_gt(),
                (Less, Greater | GreaterOrEqual) | (LessOrEqual, Greater) => order.is_le(),
                (LessOrEqual, GreaterOrEqual) => order.is_lt(),
                _ => false,
            };
            !apart
        }
        (Test::Number(Exact(n)), other @ Test::Compare(..)) | (other @ Test::Compare(..), Test::Number(Exact(n))) => {
            other.matches(&mut Probe::folded_already(Value::Number(**n), b"", b""))
        }
        (Test::Text(t), other @ (Test::Compare(..) | Test::Number(_) | Test::Network(_)))
        | (other @ (Test::Compare(..) | Test::Number(_) | Test::Network(_)), Test::Text(t)) => match &t.shape {
            Shape::Equals(l) => holds_for(other, l),
            _ => true,
        },
        (Test::Time(p, Comparison::Equal, a), Test::Time(q, Comparison::Equal, b)) => p != q || a == b,
        _ => true,
    }
}

fn holds_for(test: &Test, text: &[u8]) -> bool {
    test.matches(&mut Probe::folded_already(Value::Text(text), text, text))
}

fn texts_overlap(one: &Text, two: &Text) -> bool {
    if one.number.is_some() || two.number.is_some() {
        // Digits also equal a number that is written in another way.
        return !matches!((&one.shape, &two.shape), (Shape::Equals(_), Shape::Equals(_))) || one.number == two.number;
    }
    let folded = one.casing == Casing::Folded || two.casing == Casing::Folded;
    let fits = |literal: &[u8], text: &Text| match (&text.shape, Literal::new(text, folded).bytes.as_deref()) {
        (Shape::Equals(_), Some(own)) => literal == own,
        (Shape::Prefix(_), Some(own)) => literal.starts_with(own),
        (Shape::Suffix(_), Some(own)) => literal.ends_with(own),
        (Shape::Contains(_), Some(own)) => memchr::memmem::find(literal, own).is_some(),
        (Shape::Wildcards(w), _) if folded == (text.casing == Casing::Folded) => w.matches(literal),
        _ => true,
    };
    let (first, second) = (Literal::new(one, folded), Literal::new(two, folded));
    match (first.shape, second.shape, first.bytes.as_deref(), second.bytes.as_deref()) {
        (Shape::Equals(_), _, Some(literal), _) => fits(literal, two),
        (_, Shape::Equals(_), _, Some(literal)) => fits(literal, one),
        (Shape::Prefix(_), Shape::Prefix(_), Some(start), Some(other)) => {
            start.starts_with(other) || other.starts_with(start)
        }
        (Shape::Suffix(_), Shape::Suffix(_), Some(end), Some(other)) => end.ends_with(other) || other.ends_with(end),
        _ => true,
    }
}

/// Where `a` holds, `b` does. False unless that is certain.
fn implies(a: &Test, b: &Test) -> bool {
    if a == b {
        return true;
    }
    match (a, b) {
        (Test::Null | Test::Missing, Test::Exists) | (Test::Exists, _) => false,
        (_, Test::Exists) | (Test::Missing, Test::Null) => true,
        (Test::Text(a), Test::Text(b)) => text_implies(a, b),
        (Test::Number(Exact(n)), Test::Compare(..)) => {
            b.matches(&mut Probe::folded_already(Value::Number(**n), b"", b""))
        }
        (Test::Compare(own, Exact(bound)), Test::Compare(other, Exact(limit))) => {
            use Comparison::{Greater, GreaterOrEqual, Less, LessOrEqual};
            let order = bound.compare(**limit);
            match (own, other) {
                (Greater | GreaterOrEqual, Greater) => order.is_gt(),
                (Greater | GreaterOrEqual, GreaterOrEqual) => order.is_ge(),
                (Less | LessOrEqual, Less) => order.is_lt(),
                (Less | LessOrEqual, LessOrEqual) => order.is_le(),
                _ => false,
            }
        }
        (Test::Text(t), Test::Network(_)) => matches!(&t.shape, Shape::Equals(l) if holds_for(b, l)),
        _ => false,
    }
}

fn text_implies(one: &Text, two: &Text) -> bool {
    if matches!(two.shape, Shape::Any) {
        return true;
    }
    // `'14'` also equals the number 14.0; and who ignores case finds more than who does not.
    if one.number.is_some() || (two.casing == Casing::Exact && one.casing == Casing::Folded) {
        return false;
    }
    let folded = two.casing == Casing::Folded;
    let (first, second) = (Literal::new(one, folded), Literal::new(two, folded));
    let Some(literal) = first.bytes.as_deref() else { return false };
    match (first.shape, second.shape, second.bytes.as_deref()) {
        (Shape::Equals(_), Shape::Wildcards(w), _) => w.matches(literal),
        (Shape::Equals(_), Shape::Equals(_), Some(needle)) => literal == needle,
        (Shape::Equals(_) | Shape::Prefix(_), Shape::Prefix(_), Some(needle)) => literal.starts_with(needle),
        (Shape::Equals(_) | Shape::Suffix(_), Shape::Suffix(_), Some(needle)) => literal.ends_with(needle),
        (_, Shape::Contains(_), Some(needle)) => memchr::memmem::find(literal, needle).is_some(),
        _ => false,
    }
}
