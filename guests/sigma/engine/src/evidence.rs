//! The comparisons that made a rule match.

use crate::batch::{Cell, Value};
use crate::test::Buffers;
use crate::tree::{Atom, Kind, Role, Tree};

/// Pieces of evidence of one match; more would only bury the reader.
const MAX_EVIDENCE: usize = 64;

/// One comparison that made a rule match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Name of the selection.
    pub selection: String,
    /// The field whose value matched: the alternate, if it was that.
    pub field: String,
    /// The modifiers: `endswith`, `re|i`, `equals`, `keyword`.
    pub op: String,
    /// The value of the rule, as it stands there.
    pub pattern: String,
    /// The value of the event that matched; empty where the comparison asked for absence.
    pub value: Vec<u8>,
}

/// The same, borrowed from the rule and the event: most of it is copied only once, to where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison<'a> {
    /// See [`Evidence::selection`].
    pub selection: &'a str,
    /// See [`Evidence::field`].
    pub field: &'a str,
    /// See [`Evidence::op`].
    pub op: &'a str,
    /// See [`Evidence::pattern`].
    pub pattern: &'a str,
    /// See [`Evidence::value`].
    pub value: &'a [u8],
}

impl From<Comparison<'_>> for Evidence {
    fn from(c: Comparison<'_>) -> Self {
        Self {
            selection: c.selection.to_owned(),
            field: c.field.to_owned(),
            op: c.op.to_owned(),
            pattern: c.pattern.to_owned(),
            value: c.value.to_vec(),
        }
    }
}

/// A row of which is known, or can be found out, which atoms hold.
pub(crate) trait Row<'a> {
    fn cell(&self, column: u32) -> Cell<'a>;
    fn atom(&self, atom: u32) -> &'a Atom;
    /// Whether it holds.
    fn answer(&mut self, atom: u32) -> bool;
    fn buffers(&mut self) -> &mut Buffers;

    fn holds(&mut self, tree: &Tree) -> bool {
        match &tree.kind {
            Kind::All(trees) => trees.iter().all(|t| self.holds(t)),
            Kind::Any(trees) => trees.iter().any(|t| self.holds(t)),
            Kind::Not(tree) => !self.holds(tree),
            Kind::Atom { atom, .. } => self.answer(*atom),
        }
    }
}

/// Tells `found` the comparisons of `tree`, which holds in `row`. `fields` = names of the columns.
pub(crate) fn walk<'a>(row: &mut impl Row<'a>, tree: &Tree, fields: &[String], found: &mut impl FnMut(Comparison<'_>)) {
    Walk { row, fields, found, left: MAX_EVIDENCE, text: Vec::new() }.tree(tree, "");
}

struct Walk<'w, R, F> {
    row: &'w mut R,
    fields: &'w [String],
    found: &'w mut F,
    /// How many more are told.
    left: usize,
    /// Of a value that is none.
    text: Vec<u8>,
}

impl<'a, R: Row<'a>, F: FnMut(Comparison<'_>)> Walk<'_, R, F> {
    fn tree(&mut self, tree: &Tree, selection: &str) {
        // The label of a list of maps is no name.
        let named = tree.role == Role::Selection && selection.is_empty();
        let selection = if named { &tree.label } else { selection };
        match &tree.kind {
            Kind::All(trees) => trees.iter().for_each(|t| self.tree(t, selection)),
            Kind::Any(trees) => {
                for tree in trees {
                    if self.left == 0 {
                        return;
                    }
                    if self.row.holds(tree) {
                        self.tree(tree, selection);
                    }
                }
            }
            Kind::Atom { atom, op, pattern } if self.left > 0 => {
                self.left -= 1;
                let atom = self.row.atom(*atom);
                let value = match self.matching(atom) {
                    Some(Value::Text(text)) => text,
                    Some(other) => {
                        other.text_into(&mut self.text);
                        &self.text
                    }
                    None => &[],
                };
                let field = self.fields.get(atom.column as usize).map_or("", String::as_str);
                (self.found)(Comparison { selection, field, op, pattern, value });
            }
            Kind::Not(_) | Kind::Atom { .. } => {}
        }
    }

    /// The value of the cell that makes the atom hold.
    fn matching(&mut self, atom: &Atom) -> Option<Value<'a>> {
        let cell = self.row.cell(atom.column);
        if atom.test.is_about_value()
            && let Cell::One(value) = cell
        {
            return Some(value);
        }
        let other = self.row.cell(atom.other);
        cell.values().find(|v| atom.test.holds(&Cell::One(*v), &other, self.row.buffers()))
    }
}
