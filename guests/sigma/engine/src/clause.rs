//! What every event that a rule can match has in common, said so simply that a host, or its kernel side, can look for it
//! before a row is made.
//!
//! A [`Clause`] is a *necessary* condition: found by boolean analysis of the condition, and weakened wherever the host's
//! plain comparison of bytes could see less than the rule does. An event that does not meet it matches no rule of the
//! stream; one that meets it need not match any.

use crate::literal::bits;
use crate::pattern::Shape;
use crate::test::{Casing, Test};
use crate::tree::{Atom, Expr};
use std::collections::BTreeSet;

/// How a value of a [`Clause`] is compared; the case of ASCII letters is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// Equal.
    Equals,
    /// The field starts with the value.
    Prefix,
    /// The field ends with the value.
    Suffix,
    /// The value is somewhere in the field.
    Contains,
}

/// The field must compare with one of the values. See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// A column of the stream.
    pub field: String,
    /// The comparison.
    pub op: Op,
    /// Sorted, never empty.
    pub any_of: Vec<Vec<u8>>,
}

/// Values of one clause; more are no filter, but a second engine.
const MAX_VALUES: usize = 256;
/// Bytes of one value. A longer one is cut, which only weakens it.
const MAX_VALUE_BYTES: usize = 255;
/// `k`s of one value: each doubles it.
const MAX_KAYS: usize = 3;
/// Names of kinds that rules may share a stream by; rules that ask for more are for no kind in particular.
const MAX_NAMES: usize = 8;

/// Fields that hold the kind, and those that hold the path an event is about.
const NAME_FIELDS: &[&str] = &["EventName", "System.EventName"];
const PATH_FIELDS: &[&str] = &["TargetFilename", "EventData.pathname", "pathname"];

/// The clauses of one rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Need {
    name: Option<Set>,
    path: Option<Set>,
}

/// Rules with equal groups go well together: their clauses are of one form.
pub(crate) type Group = (Option<(u32, BTreeSet<Vec<u8>>)>, Option<(u32, Op)>);

/// A column of which one of the values must be found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Set {
    column: u32,
    op: Op,
    values: BTreeSet<Vec<u8>>,
}

impl Need {
    /// What `expr` needs.
    pub fn of(expr: &Expr, atoms: &[Atom], fields: &[String]) -> Self {
        let among = |names: &'static [&'static str]| {
            move |column: u32| fields.get(column as usize).is_some_and(|f| names.contains(&f.as_str()))
        };
        let name = necessary(expr, true, atoms, &among(NAME_FIELDS));
        Self {
            // Hosts compare names as a whole.
            name: name.filter(|set| set.op == Op::Equals && set.values.len() <= MAX_NAMES),
            path: necessary(expr, true, atoms, &among(PATH_FIELDS)),
        }
    }

    pub fn group(&self) -> Group {
        let name = self.name.as_ref().map(|set| (set.column, set.values.clone()));
        (name, self.path.as_ref().map(|set| (set.column, set.op)))
    }

    /// What events have to meet that one of several rules could match.
    pub fn clauses(needs: &[Self], fields: &[String]) -> Vec<Clause> {
        let all = |part: fn(&Self) -> &Option<Set>| {
            let mut sets = needs.iter().map(|need| part(need).clone());
            let first = sets.next()??;
            sets.try_fold(first, |a, b| either(a, b?))
        };
        let clause = |set: Set| {
            let field = fields.get(set.column as usize)?.clone();
            Some(Clause { field, op: set.op, any_of: set.values.into_iter().collect() })
        };
        [all(|n| &n.name), all(|n| &n.path)].into_iter().flatten().filter_map(clause).collect()
    }
}

impl Set {
    /// How much it says about a path, in bits.
    fn says(&self) -> f64 {
        let places = match self.op {
            Op::Equals => 0.0,
            Op::Prefix | Op::Suffix => 2.0,
            Op::Contains => 5.5,
        };
        let worst = self.values.iter().map(|v| bits(v)).fold(f64::INFINITY, f64::min);
        worst - places - (self.values.len() as f64).log2()
    }
}

/// The best set for one of the `wanted` columns without which `expr` cannot be `truth`.
fn necessary(expr: &Expr, truth: bool, atoms: &[Atom], wanted: &impl Fn(u32) -> bool) -> Option<Set> {
    match (expr, truth) {
        (Expr::Not(inner), _) => necessary(inner, !truth, atoms, wanted),
        (Expr::All(parts), true) | (Expr::Any(parts), false) => {
            let sets = parts.iter().filter_map(|p| necessary(p, truth, atoms, wanted));
            sets.max_by(|a, b| a.says().total_cmp(&b.says()))
        }
        (Expr::Any(parts), true) | (Expr::All(parts), false) => {
            let mut sets = parts.iter().map(|p| necessary(p, truth, atoms, wanted));
            let first = sets.next()??;
            sets.try_fold(first, |a, b| either(a, b?))
        }
        (Expr::Atom(atom), true) => {
            let atom = &atoms[*atom as usize];
            wanted(atom.column).then(|| values(&atom.test)).flatten().map(|(op, values)| Set {
                column: atom.column,
                op,
                values,
            })
        }
        (Expr::Atom(_), false) => None,
    }
}

/// Where one of two is needed: the comparison that both imply.
fn either(mut a: Set, b: Set) -> Option<Set> {
    if a.column != b.column {
        return None;
    }
    a.op = match (a.op, b.op) {
        (x, y) if x == y => x,
        (Op::Equals, affix @ (Op::Prefix | Op::Suffix)) | (affix @ (Op::Prefix | Op::Suffix), Op::Equals) => affix,
        _ => Op::Contains,
    };
    a.values.extend(b.values);
    (a.values.len() <= MAX_VALUES).then_some(a)
}

/// What a text that passes the test must look like.
fn values(test: &Test) -> Option<(Op, BTreeSet<Vec<u8>>)> {
    match test {
        // `'7'` also equals the number 7.0.
        Test::Text(text) if text.number.is_none() => {
            let (op, literal) = literal(&text.shape)?;
            let (op, values) = match text.casing {
                Casing::Exact => bounded(op, literal),
                Casing::Folded => ascii(op, literal)?,
            };
            Some((op, values))
        }
        Test::Regex(regex) if !regex.required.is_empty() => {
            let mut all = BTreeSet::new();
            for literal in &regex.required {
                all.extend(ascii(Op::Contains, literal)?.1);
            }
            Some((Op::Contains, all))
        }
        _ => None,
    }
    .filter(|(op, values)| values.len() <= MAX_VALUES && (*op == Op::Equals || values.iter().all(|v| !v.is_empty())))
}

fn literal(shape: &Shape) -> Option<(Op, &[u8])> {
    match shape {
        Shape::Any => None,
        Shape::Equals(l) => Some((Op::Equals, l)),
        Shape::Prefix(l) => Some((Op::Prefix, l)),
        Shape::Suffix(l) => Some((Op::Suffix, l)),
        Shape::Contains(l) => Some((Op::Contains, l.bytes())),
        Shape::Wildcards(w) => {
            let longest = || w.literals().max_by_key(|l| l.len()).map(|l| (Op::Contains, l));
            let affix = w.first().map(|l| (Op::Prefix, l)).or_else(|| w.last().map(|l| (Op::Suffix, l)));
            // A short end says less than a long middle, but a host can do more with it.
            affix.filter(|(_, l)| l.len() > 1).or_else(longest)
        }
    }
}

fn bounded(op: Op, literal: &[u8]) -> (Op, BTreeSet<Vec<u8>>) {
    let (op, literal) = shorten(op, literal, MAX_VALUE_BYTES);
    (op, BTreeSet::from([literal.to_vec()]))
}

/// The part of `literal` that a cut to `length` bytes leaves.
fn shorten(op: Op, literal: &[u8], length: usize) -> (Op, &[u8]) {
    match op {
        _ if literal.len() <= length => (op, literal),
        Op::Suffix => (op, &literal[literal.len() - length..]),
        Op::Contains => (op, &literal[..length]),
        Op::Equals | Op::Prefix => (Op::Prefix, &literal[..length]),
    }
}

/// Values that compare, with the case of ASCII ignored, at least with every text whose folded form compares with the
/// folded `literal`. Two letters of ASCII have a capital outside it: KELVIN SIGN folds to `k`, so each `k` is tried as
/// both; and U+0130 folds to `i` and a combining dot, so an `i` is certain only where the next byte is. (The test below
/// looks at every character.)
fn ascii(op: Op, literal: &[u8]) -> Option<(Op, BTreeSet<Vec<u8>>)> {
    let (op, part) = shorten(op, literal, MAX_VALUE_BYTES);
    let (op, part) = match part.iter().position(|b| !b.is_ascii()) {
        None => (op, part),
        Some(first) => {
            let last = part.iter().rposition(|b| !b.is_ascii()).unwrap_or(first);
            let (head, tail) = (&part[..first], &part[last + 1..]);
            match op {
                Op::Equals | Op::Prefix if !head.is_empty() => (Op::Prefix, head),
                Op::Equals | Op::Suffix if !tail.is_empty() => (Op::Suffix, tail),
                _ => (Op::Contains, part.split(|b| !b.is_ascii()).max_by_key(|p| p.len())?),
            }
        }
    };
    let (op, part) = few_kays(op, part);
    let part = match part {
        [start @ .., b'i'] if matches!(op, Op::Prefix | Op::Contains) => start,
        whole => whole,
    };
    let mut all: Vec<Vec<u8>> = vec![Vec::new()];
    for &byte in part {
        let signs = if byte == b'k' { all.clone() } else { Vec::new() };
        for value in &mut all {
            value.push(byte);
        }
        all.extend(signs.into_iter().map(|value| [value.as_slice(), "\u{212A}".as_bytes()].concat()));
    }
    (op == Op::Equals || !part.is_empty()).then(|| (op, all.into_iter().collect()))
}

/// Cuts what has more than [`MAX_KAYS`] of them.
fn few_kays(op: Op, literal: &[u8]) -> (Op, &[u8]) {
    let mut places = literal.iter().enumerate().filter(|(_, b)| **b == b'k').map(|(i, _)| i);
    let many = places.clone().count();
    if many <= MAX_KAYS {
        return (op, literal);
    }
    match op {
        Op::Suffix => places.nth(many - MAX_KAYS - 1).map_or((op, literal), |at| (op, &literal[at + 1..])),
        _ => places.nth(MAX_KAYS).map_or((op, literal), |at| shorten(op, literal, at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::fold;

    fn folded(op: Op, literal: &str) -> (Op, Vec<String>) {
        let (op, values) = ascii(op, literal.as_bytes()).unwrap();
        (op, values.into_iter().map(|v| String::from_utf8(v).unwrap()).collect())
    }

    #[test]
    fn only_two_characters_outside_ascii_fold_into_it() {
        let strange: Vec<(char, String)> = ('\u{80}'..=char::MAX)
            .map(|c| (c, String::from_utf8(fold(c.encode_utf8(&mut [0; 4]).as_bytes())).unwrap()))
            .filter(|(_, low)| low.bytes().any(|b| b.is_ascii()))
            .collect();
        assert_eq!(strange, [('\u{130}', "i\u{307}".to_owned()), ('\u{212A}', "k".to_owned())]);
    }

    #[test]
    fn literals_become_what_bytes_can_be_compared_with() {
        assert_eq!(folded(Op::Equals, "/etc/shadow"), (Op::Equals, vec!["/etc/shadow".into()]));
        assert_eq!(folded(Op::Suffix, "/kc"), (Op::Suffix, vec!["/kc".into(), "/\u{212A}c".into()]));
        assert_eq!(folded(Op::Contains, "/etc/init/i"), (Op::Contains, vec!["/etc/init/".into()]));
        assert_eq!(folded(Op::Suffix, "/i"), (Op::Suffix, vec!["/i".into()]));
        assert_eq!(folded(Op::Equals, "/tmp/ä/x"), (Op::Prefix, vec!["/tmp/".into()]));
        assert_eq!(folded(Op::Equals, "ä/x"), (Op::Suffix, vec!["/x".into()]));
        assert_eq!(folded(Op::Suffix, "/ä/x"), (Op::Suffix, vec!["/x".into()]));
        assert_eq!(folded(Op::Contains, "ä/xy/ö/z"), (Op::Contains, vec!["/xy/".into()]));
        assert_eq!(folded(Op::Equals, "kkkk").0, Op::Prefix);
        assert_eq!(folded(Op::Suffix, "akkkk").1.len(), 8);
        assert_eq!(folded(Op::Equals, &"a".repeat(300)).1[0].len(), MAX_VALUE_BYTES);
        assert!(ascii(Op::Contains, "ä".as_bytes()).is_none());
        assert!(ascii(Op::Prefix, b"i").is_none());
    }
}
