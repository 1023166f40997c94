//! Which rules can match no event of this host, and why: a rule that is loaded and silent looks like protection.
//!
//! Only what is certain is said. An atom is taken to hold and not to hold as it likes, unless its field has no values here
//! or its value is of another system; a rule is named if its condition cannot hold even so.

use crate::batch::{Cell, Value};
use crate::diagnostic::{Diagnostic, Finding, Place, brief};
use crate::pattern::Shape;
use crate::ruleset::{Missing, RuleSet};
use crate::test::{Buffers, Test};
use crate::tree::{Atom, Kind, Tree};
use std::collections::BTreeSet;

/// Fields that hold the path of a program.
const PROGRAM_FIELDS: &[&str] =
    &["Image", "ExecutedImage", "ParentImage", "ParentExecutedImage", "SourceImage", "TargetImage"];

/// Programs that a rule for Linux names although only another system has them.
const FOREIGN_PROGRAMS: &[&str] =
    &["esxcli", "esxcfg-advcfg", "esxcfg-firewall", "esxcfg-info", "vim-cmd", "vim-cmd2", "vmkfstools", "vsish"];

/// What an atom can be.
#[derive(Clone, Copy)]
struct Can {
    hold: bool,
    fail: bool,
}

/// The fields and values that keep a rule from matching.
#[derive(Default)]
struct Lacks<'a> {
    fields: BTreeSet<&'a str>,
    notes: BTreeSet<&'a str>,
    values: BTreeSet<(&'a str, String)>,
    foreign: BTreeSet<String>,
}

/// A stream with what is known about it.
struct View<'a> {
    set: &'a RuleSet,
    stream: usize,
    linux: bool,
}

impl RuleSet {
    /// What to tell the authors of the rules in `stream` that no event of this host can match. To be asked after
    /// [`RuleSet::unbind`] was told about every field.
    pub fn unreachable(&self, stream: usize) -> Vec<Diagnostic> {
        self.silences.without(self.never_match(stream))
    }

    /// What [`RuleSet::unreachable`] would say if it were not silenced. A silence hides what is said, and changes nothing
    /// about which rules can match.
    pub fn unreachable_in_silence(&self, stream: usize) -> Vec<Diagnostic> {
        self.silences.only(self.never_match(stream))
    }

    fn never_match(&self, stream: usize) -> Vec<Diagnostic> {
        let Some(of) = self.streams.get(stream) else { return Vec::new() };
        let view = View { set: self, stream, linux: of.source.product.as_deref() == Some("linux") };
        let mut found = Vec::new();
        for number in &of.rules {
            let (Some(rule), Some(tree)) = (self.rules.get(*number as usize), self.trees.get(*number as usize)) else {
                continue;
            };
            if view.can(tree).hold {
                continue;
            }
            let mut lacks = Lacks::default();
            view.lacks(tree, true, &mut lacks);
            let place = Place { line: rule.line, column: 1, length: 1 };
            found.push(lacks.finding(place).in_file(&rule.file));
        }
        found
    }
}

impl<'a> View<'a> {
    fn can(&self, tree: &Tree) -> Can {
        match &tree.kind {
            Kind::All(parts) => {
                let parts = || parts.iter().map(|p| self.can(p));
                Can { hold: parts().all(|p| p.hold), fail: parts().any(|p| p.fail) }
            }
            Kind::Any(parts) => {
                let parts = || parts.iter().map(|p| self.can(p));
                Can { hold: parts().any(|p| p.hold), fail: parts().all(|p| p.fail) }
            }
            Kind::Not(part) => {
                let part = self.can(part);
                Can { hold: part.fail, fail: part.hold }
            }
            Kind::Atom { atom, .. } => self.atom(*atom),
        }
    }

    fn atom(&self, atom: u32) -> Can {
        let atom = self.parts(atom);
        let absent = |column| self.missing(column).is_some();
        if absent(atom.column) || absent(atom.other) {
            let hold = matches!(atom.test, Test::Missing | Test::Null);
            return Can { hold, fail: !hold };
        }
        Can { hold: !self.is_foreign(atom) && self.has_value(atom), fail: true }
    }

    /// Collects what keeps `tree` from being `wanted`, which it cannot be.
    fn lacks(&self, tree: &Tree, wanted: bool, lacks: &mut Lacks<'a>) {
        let cannot = |part: &Tree| {
            let can = self.can(part);
            !(if wanted { can.hold } else { can.fail })
        };
        match &tree.kind {
            Kind::Not(part) => self.lacks(part, !wanted, lacks),
            Kind::All(parts) | Kind::Any(parts) => {
                parts.iter().filter(|p| cannot(p)).for_each(|p| self.lacks(p, wanted, lacks));
            }
            Kind::Atom { atom, pattern, .. } => {
                let atom = self.parts(*atom);
                let missing = [atom.column, atom.other].into_iter().filter_map(|c| Some((c, self.missing(c)?)));
                let mut any = false;
                for (column, missing) in missing {
                    any = true;
                    lacks.fields.insert(self.field(column));
                    if !missing.note.is_empty() {
                        lacks.notes.insert(&missing.note);
                    }
                }
                if !any && wanted && !self.has_value(atom) {
                    lacks.values.insert((self.field(atom.column), pattern.to_string()));
                } else if !any && wanted {
                    lacks.foreign.insert(pattern.to_string());
                }
            }
        }
    }

    fn parts(&self, atom: u32) -> &'a Atom {
        &self.set.streams[self.stream].program.atoms[atom as usize]
    }

    fn field(&self, column: u32) -> &'a str {
        self.set.streams[self.stream].fields.get(column as usize).map_or("", String::as_str)
    }

    fn missing(&self, column: u32) -> Option<&'a Missing> {
        self.set.unbound.get(&(self.stream as u32, column))
    }

    /// Whether a value that the column can have here passes.
    fn has_value(&self, atom: &Atom) -> bool {
        let Some(values) = self.set.closed.get(&(self.stream as u32, atom.column)) else { return true };
        let mut buffers = Buffers::default();
        let mut passes = |v: &String| {
            let cell = Cell::One(Value::Text(v.as_bytes()));
            atom.test.holds(&cell, &Cell::Absent, &mut buffers)
        };
        !atom.test.is_about_value() || values.iter().any(&mut passes)
    }

    /// Whether the atom asks for a program that no Linux has.
    fn is_foreign(&self, atom: &Atom) -> bool {
        let Test::Text(text) = &atom.test else { return false };
        if !self.linux || !PROGRAM_FIELDS.contains(&self.field(atom.column)) {
            return false;
        }
        // Folded, or as written where the rule is cased.
        let (literal, to_the_end) = match &text.shape {
            Shape::Equals(l) | Shape::Suffix(l) => (&**l, true),
            Shape::Prefix(l) => (&**l, false),
            Shape::Contains(l) => (l.bytes(), false),
            Shape::Any | Shape::Wildcards(_) => return false,
        };
        let name = literal.rsplit(|b| *b == b'/').next().unwrap_or_default();
        let foreign = FOREIGN_PROGRAMS.iter().any(|p| p.as_bytes() == name);
        is_windows_path(literal) || (to_the_end && name.len() < literal.len() && foreign)
    }
}

/// `\bash`, `C:\Windows`: a backslash where Linux has a slash. A name may hold one, but no program's does.
fn is_windows_path(literal: &[u8]) -> bool {
    !literal.contains(&b'/') && literal.windows(2).any(|two| two[0] == b'\\' && two[1].is_ascii_alphanumeric())
}

impl Lacks<'_> {
    fn finding(self, place: Place) -> Finding {
        let list = |all: &mut dyn Iterator<Item = &str>| all.map(|f| format!("'{}'", brief(f))).collect::<Vec<_>>();
        if self.fields.is_empty() && !self.values.is_empty() {
            let never = self.values.iter().map(|(f, v)| format!("'{}' is never '{}'", brief(f), brief(v)));
            let never = never.collect::<Vec<_>>().join(", ");
            let message = format!("no event of this host can match this rule: {never} here");
            return Finding::warning(place, "needs-value", message);
        }
        if self.fields.is_empty() {
            let values = list(&mut self.foreign.iter().map(String::as_str)).join(", ");
            let message = format!("no Linux host can match this rule: {values} is of another system");
            return Finding::warning(place, "not-of-linux", message)
                .help("run it where such events come from, or leave it out here");
        }
        let fields = list(&mut self.fields.into_iter()).join(", ");
        let message = format!("no event of this host can match this rule: it needs {fields}, which nothing here fills");
        Finding::warning(place, "needs-field", message).help(self.notes.into_iter().collect::<Vec<_>>().join("; "))
    }
}
