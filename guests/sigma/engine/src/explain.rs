//! Why a rule matched, or did not.

use crate::batch::{BatchView, Cell, Value};
use crate::diagnostic::brief;
use crate::evidence::{self, Evidence, Row};
use crate::fold::fold;
use crate::number::Number;
use crate::ruleset::RuleSet;
use crate::test::{Buffers, Probe};
use crate::tree::{Atom, Kind, Role, Tree};
use rustc_hash::FxHashMap;

/// Nodes of one explanation.
const MAX_NODES: usize = 10_000;

/// A value of an event, owned.
#[derive(Clone, Debug, PartialEq)]
pub enum Actual {
    /// Not there; also for nodes that are not about a field.
    Absent,
    /// Null.
    Null,
    /// Not got in time.
    Unavailable,
    /// A text.
    Text(Vec<u8>),
    /// Several.
    TextList(Vec<Vec<u8>>),
    /// An integer from 0.
    Unsigned(u64),
    /// An integer below 0.
    Signed(i64),
    /// Any other number.
    Float(f64),
    /// A truth value.
    Boolean(bool),
}

/// A node of an explanation.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Index of the parent; the root's own index is 0.
    pub parent: u32,
    /// The condition, `not`, the name of a selection, or the key of an item.
    pub label: String,
    /// The field that was looked at; empty for nodes that combine others.
    pub field: String,
    /// `op: value of the rule`; empty for nodes that combine others.
    pub pattern: String,
    /// What the event has there.
    pub actual: Actual,
    /// Whether it holds.
    pub holds: bool,
    /// Why, in words.
    pub reason: String,
    /// Line in the rule's file.
    pub line: u32,
}

/// A row being looked at, with everything needed for it.
struct View<'a> {
    set: &'a RuleSet,
    stream: usize,
    batch: &'a BatchView<'a>,
    row: usize,
    buffers: Buffers,
    /// Folded texts by column: lists of a thousand values would fold the same text a thousand times.
    folded: FxHashMap<u32, Vec<u8>>,
}

impl RuleSet {
    /// What made `rule` match in `row` of a batch of its stream: at most 64 comparisons, in the order of the rule. Empty if
    /// it does not match, or only because of what is *not* there. For a row that was just evaluated [`RuleSet::detect`] has
    /// the same for less.
    pub fn evidence(&self, rule: u32, batch: &BatchView<'_>, row: usize) -> Vec<Evidence> {
        let (Some(tree), Some(mut view)) = (self.trees.get(rule as usize), self.view(rule, batch, row)) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        if view.holds(tree) {
            let fields = &self.streams[view.stream].fields;
            evidence::walk(&mut view, tree, fields, &mut |comparison| found.push(comparison.into()));
        }
        found
    }

    /// The whole condition of `rule` with what each part of it says about `row`, parents before children.
    pub fn explain(&self, rule: u32, batch: &BatchView<'_>, row: usize) -> Vec<Node> {
        let (Some(tree), Some(mut view)) = (self.trees.get(rule as usize), self.view(rule, batch, row)) else {
            return Vec::new();
        };
        let mut nodes = Vec::new();
        view.explain(tree, 0, &mut nodes);
        nodes
    }

    fn view<'a>(&'a self, rule: u32, batch: &'a BatchView<'a>, row: usize) -> Option<View<'a>> {
        let stream = self.rules.get(rule as usize)?.stream as usize;
        Some(View { set: self, stream, batch, row, buffers: Buffers::default(), folded: FxHashMap::default() })
    }
}

impl<'a> Row<'a> for View<'a> {
    fn cell(&self, column: u32) -> Cell<'a> {
        self.batch.columns.get(column as usize).map_or(Cell::Absent, |c| c.cell(self.row))
    }

    fn atom(&self, atom: u32) -> &'a Atom {
        &self.set.streams[self.stream].program.atoms[atom as usize]
    }

    fn answer(&mut self, atom: u32) -> bool {
        let atom = self.atom(atom);
        match self.cell(atom.column) {
            Cell::One(value @ Value::Text(text)) if atom.test.is_about_value() => {
                let folded = self.folded.entry(atom.column).or_insert_with(|| fold(text));
                atom.test.matches(&mut Probe::folded_already(value, text, folded))
            }
            cell => atom.test.holds(&cell, &self.cell(atom.other), &mut self.buffers),
        }
    }

    fn buffers(&mut self) -> &mut Buffers {
        &mut self.buffers
    }
}

impl<'a> View<'a> {
    fn field(&self, column: u32) -> &'a str {
        self.set.streams[self.stream].fields.get(column as usize).map_or("", String::as_str)
    }

    fn explain(&mut self, tree: &Tree, parent: u32, nodes: &mut Vec<Node>) {
        if nodes.len() >= MAX_NODES {
            return;
        }
        let here = nodes.len() as u32;
        let holds = self.holds(tree);
        let mut node = Node {
            parent,
            label: tree.label.to_string(),
            field: String::new(),
            pattern: String::new(),
            actual: Actual::Absent,
            holds,
            reason: String::new(),
            line: tree.line,
        };
        if let Kind::Atom { atom, op, pattern } = &tree.kind {
            let atom = self.atom(*atom);
            let cell = self.cell(atom.column);
            self.field(atom.column).clone_into(&mut node.field);
            node.pattern = format!("{op}: {pattern}");
            node.actual = actual(&cell);
            node.reason = self.reason(atom, op, holds);
            nodes.push(node);
            return;
        }
        let children: &[Tree] = match &tree.kind {
            Kind::All(trees) | Kind::Any(trees) => trees,
            Kind::Not(tree) => std::slice::from_ref(tree),
            Kind::Atom { .. } => &[],
        };
        let held = children.iter().filter(|t| self.holds(t)).count();
        let alternates =
            tree.role == Role::Item && children.iter().all(|c| c.role == Role::Column) && children.len() > 1;
        node.reason = match &tree.kind {
            Kind::Not(_) => if holds { "what it negates does not hold" } else { "what it negates holds" }.to_owned(),
            Kind::Any(_) if alternates => self.alternate(children),
            Kind::All(_) => format!("{held} of {} hold, all are needed", children.len()),
            _ => format!("{held} of {} hold, one is needed", children.len()),
        };
        nodes.push(node);
        for child in children {
            self.explain(child, here, nodes);
        }
    }

    /// Which of an item's columns matched: the field itself comes first, then its alternates.
    fn alternate(&mut self, columns: &[Tree]) -> String {
        let Some(at) = columns.iter().position(|c| self.holds(c)) else {
            return "neither the field nor its alternate matches".to_owned();
        };
        let (matched, field) = (&columns[at].label, &columns[0].label);
        if at == 0 {
            return format!("matched by {field}");
        }
        let resolved = first_atom(&columns[0]).map(|a| self.cell(self.atom(a).column));
        let resolved = resolved.map_or_else(|| "not known".to_owned(), |cell| in_words(&cell));
        if matched.ends_with(EXECUTED) {
            format!("matched the executed path, resolved is {resolved}")
        } else {
            format!("matched by {matched}, {field} is {resolved}")
        }
    }

    /// Why an atom holds or not, beginning with the kind of the reason.
    fn reason(&mut self, atom: &Atom, op: &str, holds: bool) -> String {
        let cell = self.cell(atom.column);
        let text = match cell {
            Cell::Absent => return self.absent(atom.column),
            Cell::Null => "field null: it is there and says nothing",
            Cell::Unavailable => "value unavailable: it could not be got, so nothing matches",
            Cell::List(_, from, to) if from == to => "value mismatch: the field holds an empty list",
            Cell::List(..) if holds => return format!("a value of the list passes '{op}'"),
            Cell::One(_) if holds => return format!("the value passes '{op}'"),
            Cell::One(_) | Cell::List(..) => {
                let other = self.cell(atom.other);
                if atom.other != atom.column && matches!(other, Cell::Absent) {
                    let field = self.field(atom.other);
                    return format!("value mismatch: to be compared with '{field}', and {}", self.absent(atom.other));
                }
                let loose = atom.test.ignoring_case();
                if loose.is_some_and(|test| test.holds(&cell, &other, &mut self.buffers)) {
                    return format!("case mismatch: the value would pass '{op}' if case did not matter");
                }
                let whose =
                    if matches!(cell, Cell::One(_)) { "the value does not" } else { "no value of the list does" };
                return format!("value mismatch: {whose} pass '{op}'");
            }
        };
        text.to_owned()
    }

    fn absent(&self, column: u32) -> String {
        match self.set.unbound.get(&(self.stream as u32, column)) {
            Some(missing) if missing.note.is_empty() => {
                "never produced on this host: nothing fills the field".to_owned()
            }
            Some(missing) => format!("never produced on this host: {}", missing.note),
            None => "field absent: the event has no such field".to_owned(),
        }
    }
}

/// How alternates are called that hold the path as executed.
const EXECUTED: &str = "ExecutedImage";

/// Any atom of a column's tree: all of them ask about the same field.
fn first_atom(tree: &Tree) -> Option<u32> {
    match &tree.kind {
        Kind::All(trees) | Kind::Any(trees) => trees.iter().find_map(first_atom),
        Kind::Not(tree) => first_atom(tree),
        Kind::Atom { atom, .. } => Some(*atom),
    }
}

fn in_words(cell: &Cell<'_>) -> String {
    match cell.values().next() {
        Some(value) => {
            let mut text = Vec::new();
            value.text_into(&mut text);
            brief(&String::from_utf8_lossy(&text))
        }
        None => "absent".to_owned(),
    }
}

fn actual(cell: &Cell<'_>) -> Actual {
    match cell {
        Cell::Absent => Actual::Absent,
        Cell::Null => Actual::Null,
        Cell::Unavailable => Actual::Unavailable,
        Cell::One(Value::Text(t)) => Actual::Text(t.to_vec()),
        Cell::One(Value::Boolean(b)) => Actual::Boolean(*b),
        Cell::One(Value::Number(Number::Float(f))) => Actual::Float(*f),
        Cell::One(Value::Number(Number::Integer(i))) => match (u64::try_from(*i), i64::try_from(*i)) {
            (Ok(u), _) => Actual::Unsigned(u),
            (_, Ok(i)) => Actual::Signed(i),
            _ => Actual::Float(*i as f64),
        },
        Cell::List(..) => {
            let values = cell.values().filter_map(|v| if let Value::Text(t) = v { Some(t.to_vec()) } else { None });
            Actual::TextList(values.collect())
        }
    }
}
