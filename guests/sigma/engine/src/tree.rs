//! The detection of one rule, lowered onto the atoms of its stream: once as a [`Tree`] that can explain itself, once as
//! the bare [`Expr`] that is evaluated.

use crate::condition::Condition;
use crate::diagnostic::{Finding, Place};
use crate::item::{Body, Item, Selection, Wanted};
use crate::rule::Rule;
use crate::test::Test;
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use std::hash::BuildHasher as _;
use std::sync::Arc;

/// Nodes of one rule: conditions name a selection as often as they like, so a small file could make a huge tree.
const MAX_NODES: usize = 100_000;

/// A test on a column of a stream. Rules that ask the same share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Atom {
    pub column: u32,
    pub test: Test,
    /// The other column of a field reference; otherwise the same.
    pub other: u32,
}

/// What a node of a [`Tree`] stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Condition,
    Selection,
    Item,
    /// An item on one of its field's columns, where alternates are allowed.
    Column,
    Value,
}

/// Large sets have hundreds of thousands, so their texts are shared: few are different, but for the patterns.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub role: Role,
    pub label: Arc<str>,
    pub line: u32,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    All(Box<[Tree]>),
    Any(Box<[Tree]>),
    Not(Box<Tree>),
    Atom { atom: u32, op: Arc<str>, pattern: Arc<str> },
}

/// A condition over atoms, without anything else.
#[derive(Clone, Debug)]
pub(crate) enum Expr {
    All(Box<[Expr]>),
    Any(Box<[Expr]>),
    Not(Box<Expr>),
    Atom(u32),
}

impl Tree {
    pub fn expr(&self) -> Expr {
        let list = |trees: &[Tree]| trees.iter().map(Tree::expr).collect::<Box<[_]>>();
        match &self.kind {
            Kind::All(trees) | Kind::Any(trees) if trees.len() == 1 => trees[0].expr(),
            Kind::All(trees) => Expr::All(list(trees)),
            Kind::Any(trees) => Expr::Any(list(trees)),
            Kind::Not(tree) => Expr::Not(Box::new(tree.expr())),
            Kind::Atom { atom, .. } => Expr::Atom(*atom),
        }
    }
}

/// Where a rule names a field, for what `bind` has to say about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Use {
    pub column: u32,
    pub rule: u32,
    pub place: Place,
    /// It is in the file of this filter.
    pub filter: Option<u32>,
    /// It is in the file of this pipeline.
    pub pipeline: Option<u32>,
}

/// The atoms and columns of a stream while its rules are lowered.
#[derive(Default)]
pub(crate) struct Lowering<'o> {
    pub alternates: &'o [(String, String)],
    pub fields: Vec<String>,
    columns: FxHashMap<String, u32>,
    labels: FxHashSet<Arc<str>>,
    pub atoms: Vec<Atom>,
    /// Atom by hash, and by the hashes after it where two collide. A map of atoms would hold each twice.
    known: FxHashMap<u64, u32>,
    pub uses: Vec<Use>,
    nodes: usize,
    rule: u32,
    /// The filter that the current selection came with.
    filter: Option<u32>,
    /// The pipeline that added it.
    pipeline: Option<u32>,
}

impl<'o> Lowering<'o> {
    pub fn new(alternates: &'o [(String, String)]) -> Self {
        Self { alternates, ..Self::default() }
    }

    /// Lowers one rule. An error leaves atoms behind that nobody uses, which does no harm.
    pub fn rule(&mut self, rule: &Rule, index: u32) -> Result<Tree, Finding> {
        self.nodes = 0;
        self.rule = index;
        let uses = self.uses.len();
        let lowered = self.condition(rule, &rule.condition, true).map(|tree| Tree {
            role: Role::Condition,
            label: self.label(&rule.condition_text),
            line: rule.condition_place.line,
            kind: match tree.role {
                Role::Condition => tree.kind,
                _ => Kind::All([tree].into()),
            },
        });
        // A selection that the condition names twice is one use.
        let mut seen = std::collections::HashSet::new();
        let fresh: Vec<Use> =
            self.uses.drain(uses..).filter(|u| seen.insert((u.column, u.place, u.filter, u.pipeline))).collect();
        let Some(tree) = lowered else {
            let message = format!("the rule needs more than {MAX_NODES} comparisons");
            return Err(Finding::error(rule.condition_place, "rule-too-complex", message));
        };
        self.uses.extend(fresh);
        Ok(tree)
    }

    /// Takes over a rule that `whole` has lowered.
    pub fn adopt(&mut self, tree: &mut Tree, whole: &Self) {
        match &mut tree.kind {
            Kind::All(trees) | Kind::Any(trees) => trees.iter_mut().for_each(|t| self.adopt(t, whole)),
            Kind::Not(tree) => self.adopt(tree, whole),
            Kind::Atom { atom, .. } => {
                let Atom { column, test, other } = &whole.atoms[*atom as usize];
                let column = self.column(&whole.fields[*column as usize]);
                let other = self.column(&whole.fields[*other as usize]);
                *atom = self.atom(column, test, other);
            }
        }
    }

    /// Takes over a use in a rule that was taken over.
    pub fn adopt_use(&mut self, u: Use, whole: &Self) {
        let column = self.column(&whole.fields[u.column as usize]);
        self.uses.push(Use { column, ..u });
    }

    /// What is needed afterwards. The rest is given back at once: indices are built next, and need room.
    pub fn finish(mut self) -> (Vec<Atom>, Vec<Use>) {
        self.atoms.shrink_to_fit();
        self.uses.shrink_to_fit();
        (self.atoms, self.uses)
    }

    fn condition(&mut self, rule: &Rule, condition: &Condition, positive: bool) -> Option<Tree> {
        let mut list =
            |terms: &[Condition]| terms.iter().map(|t| self.condition(rule, t, positive)).collect::<Option<Box<_>>>();
        let (label, kind) = match condition {
            Condition::All(terms) => ("and", Kind::All(list(terms)?)),
            Condition::Any(terms) => ("or", Kind::Any(list(terms)?)),
            Condition::Not(term) => ("not", Kind::Not(Box::new(self.condition(rule, term, !positive)?))),
            Condition::Named(label, term) => {
                let inner = self.condition(rule, term, positive)?;
                let kind = match inner.role {
                    Role::Condition => inner.kind,
                    _ => Kind::All([inner].into()),
                };
                (label.as_str(), kind)
            }
            Condition::Selection(i) => return self.selection(&rule.selections[*i], positive),
            Condition::Of { text, all, members } => {
                let trees = members.iter().map(|i| self.selection(&rule.selections[*i], positive));
                let trees = trees.collect::<Option<Box<_>>>()?;
                (text.as_str(), if *all { Kind::All(trees) } else { Kind::Any(trees) })
            }
        };
        self.count(1)?;
        Some(Tree { role: Role::Condition, label: self.label(label), line: rule.condition_place.line, kind })
    }

    fn selection(&mut self, selection: &Selection, positive: bool) -> Option<Tree> {
        self.filter = selection.filter;
        self.pipeline = selection.pipeline;
        let body = self.body(&selection.body, selection.place.line, positive)?;
        let kind = match body.role {
            Role::Selection => body.kind,
            _ => Kind::All([body].into()),
        };
        Some(Tree { role: Role::Selection, label: self.label(&selection.name), line: selection.place.line, kind })
    }

    fn body(&mut self, body: &Body, line: u32, positive: bool) -> Option<Tree> {
        self.count(1)?;
        let (label, kind) = match body {
            Body::Item(item) => return self.item(item, positive),
            Body::All(parts) => ("all of", Kind::All(self.bodies(parts, line, positive)?)),
            Body::Any(parts) => ("one of", Kind::Any(self.bodies(parts, line, positive)?)),
        };
        Some(Tree { role: Role::Selection, label: self.label(label), line, kind })
    }

    fn bodies(&mut self, parts: &[Body], line: u32, positive: bool) -> Option<Box<[Tree]>> {
        parts.iter().map(|p| self.body(p, line, positive)).collect()
    }

    fn item(&mut self, item: &Item, positive: bool) -> Option<Tree> {
        let positive = positive != item.negated;
        let field = item.field.as_deref().unwrap_or(crate::KEYWORDS);
        let main = self.column(field);
        self.take_note(main, item.place);
        let mut columns = vec![(field, main)];
        // `Image: null` asks about the resolved image; that there was no path as executed says nothing about it.
        let by_value = |w: &Wanted| !w.tests.iter().any(|t| matches!(t, Test::Exists | Test::Missing | Test::Null));
        if positive && item.values.iter().all(by_value) {
            let alternates = self.alternates;
            for (_, other) in alternates.iter().filter(|(f, o)| f == field && o != field) {
                columns.push((other, self.column(other)));
            }
        }
        let label = self.label(&item.label);
        let mut trees = Vec::with_capacity(columns.len());
        for (name, column) in columns {
            let values = item.values.iter().map(|w| self.wanted(w, column, &label)).collect::<Option<Box<_>>>()?;
            let kind = if item.all { Kind::All(values) } else { Kind::Any(values) };
            self.count(1)?;
            trees.push(Tree { role: Role::Column, label: self.label(name), line: item.place.line, kind });
        }
        let mut kind = if trees.len() == 1 { trees.remove(0).kind } else { Kind::Any(trees.into()) };
        let tree = |kind| Tree { role: Role::Item, label: label.clone(), line: item.place.line, kind };
        if item.negated {
            kind = Kind::Not(Box::new(tree(kind)));
        }
        Some(tree(kind))
    }

    fn wanted(&mut self, wanted: &Wanted, column: u32, label: &Arc<str>) -> Option<Tree> {
        let other = match &wanted.other {
            Some(field) => {
                let other = self.column(field);
                self.take_note(other, wanted.place);
                other
            }
            None => column,
        };
        self.count(wanted.tests.len())?;
        let line = wanted.place.line;
        let mut atoms: Vec<Tree> = Vec::with_capacity(wanted.tests.len());
        for test in &wanted.tests {
            let atom = self.atom(column, test, other);
            let kind = Kind::Atom { atom, op: wanted.op.clone(), pattern: wanted.pattern.clone() };
            atoms.push(Tree { role: Role::Value, label: label.clone(), line, kind });
        }
        if atoms.len() == 1 {
            return atoms.pop();
        }
        Some(Tree { role: Role::Value, label: label.clone(), line, kind: Kind::Any(atoms.into()) })
    }

    /// The rule uses a column here.
    fn take_note(&mut self, column: u32, place: Place) {
        let (rule, filter, pipeline) = (self.rule, self.filter, self.pipeline);
        self.uses.push(Use { column, rule, place, filter, pipeline });
    }

    fn column(&mut self, field: &str) -> u32 {
        if let Some(column) = self.columns.get(field) {
            return *column;
        }
        let column = self.fields.len() as u32;
        self.fields.push(field.to_owned());
        self.columns.insert(field.to_owned(), column);
        column
    }

    fn label(&mut self, text: &str) -> Arc<str> {
        if let Some(label) = self.labels.get(text) {
            return label.clone();
        }
        let label: Arc<str> = text.into();
        self.labels.insert(label.clone());
        label
    }

    fn atom(&mut self, column: u32, test: &Test, other: u32) -> u32 {
        let mut hash = FxBuildHasher.hash_one((column, test, other));
        while let Some(known) = self.known.get(&hash) {
            let atom = &self.atoms[*known as usize];
            if (atom.column, &atom.test, atom.other) == (column, test, other) {
                return *known;
            }
            hash = hash.wrapping_add(1);
        }
        let index = self.atoms.len() as u32;
        self.atoms.push(Atom { column, test: test.clone(), other });
        self.known.insert(hash, index);
        index
    }

    fn count(&mut self, nodes: usize) -> Option<()> {
        self.nodes += nodes;
        (self.nodes <= MAX_NODES).then_some(())
    }
}
