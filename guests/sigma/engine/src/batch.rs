//! Rows of events as columns: what [`crate::RuleSet::eval`] looks at. Mirrors the columns of the guest interface, and
//! borrows them.

use crate::number::Number;

/// Rows of one stream.
#[derive(Clone, Copy, Debug)]
pub struct BatchView<'a> {
    /// Number of rows.
    pub rows: usize,
    /// One column per entry of [`crate::Stream::fields`], in that order. A missing column is absent in every row.
    pub columns: &'a [ColumnView<'a>],
}

/// The values of one field.
#[derive(Clone, Copy, Debug)]
pub struct ColumnView<'a> {
    /// The values.
    pub cells: Cells<'a>,
    /// Per row: 0 absent, 1 present, 2 null, 3 unavailable (there is a value, but it could not be got in time). Empty =
    /// every row is present.
    pub presence: &'a [u8],
}

/// Values by type.
#[derive(Clone, Copy, Debug)]
pub enum Cells<'a> {
    /// One text per row.
    Text(Texts<'a>),
    /// Row `i` holds the values `ends[i-1]..ends[i]` of `values`.
    TextList {
        /// The values of all rows, one after the other.
        values: Texts<'a>,
        /// Per row, the number of values up to and with this row.
        ends: &'a [u32],
    },
    /// One number per row.
    Unsigned(&'a [u64]),
    /// One number per row.
    Signed(&'a [i64]),
    /// One number per row.
    Float(&'a [f64]),
    /// One truth value per row; not 0 = true.
    Boolean(&'a [u8]),
}

/// A dictionary of byte strings (any bytes, not only UTF-8) and the codes of the rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Texts<'a> {
    /// Distinct values, concatenated.
    pub arena: &'a [u8],
    /// Where each value ends in the arena, in bytes.
    pub ends: &'a [u32],
    /// Row `i` holds value `codes[i]`. Empty: row `i` holds value `i`.
    pub codes: &'a [u32],
}

/// One value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Bytes, mostly UTF-8.
    Text(&'a [u8]),
    /// An integer or a finite float.
    Number(Number),
    /// A truth value.
    Boolean(bool),
}

/// What a row holds in a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// The event has no such field.
    Absent,
    /// The field is there and says "nothing".
    Null,
    /// The field has a value that could not be got. Matches nothing, not even `null`.
    Unavailable,
    /// One value.
    One(Value<'a>),
    /// Any number of values; see [`Cells::TextList`].
    List(Texts<'a>, u32, u32),
}

impl<'a> Texts<'a> {
    /// The value with dictionary code `code`; empty if there is none.
    pub fn value(&self, code: usize) -> &'a [u8] {
        let from = if code == 0 { 0 } else { self.ends.get(code - 1).map_or(0, |e| *e as usize) };
        let to = self.ends.get(code).map_or(0, |e| *e as usize);
        self.arena.get(from..to).unwrap_or_default()
    }

    /// The code of row (or list element) `i`.
    pub fn code(&self, i: usize) -> usize {
        if self.codes.is_empty() { i } else { self.codes.get(i).map_or(usize::MAX, |c| *c as usize) }
    }
}

impl<'a> ColumnView<'a> {
    pub(crate) fn presence(&self, row: usize) -> u8 {
        if self.presence.is_empty() { 1 } else { self.presence.get(row).copied().unwrap_or(0) }
    }

    /// What `row` holds.
    pub fn cell(&self, row: usize) -> Cell<'a> {
        match self.presence(row) {
            1 => {}
            0 => return Cell::Absent,
            2 => return Cell::Null,
            _ => return Cell::Unavailable,
        }
        match self.cells {
            Cells::Text(texts) => Cell::One(Value::Text(texts.value(texts.code(row)))),
            Cells::TextList { values, ends } => {
                let from = if row == 0 { 0 } else { ends.get(row - 1).copied().unwrap_or(0) };
                Cell::List(values, from, ends.get(row).copied().unwrap_or(from))
            }
            Cells::Unsigned(v) => number(v.get(row).map(|n| Number::Integer((*n).into()))),
            Cells::Signed(v) => number(v.get(row).map(|n| Number::Integer((*n).into()))),
            Cells::Float(v) => number(v.get(row).filter(|f| f.is_finite()).map(|f| Number::Float(*f))),
            Cells::Boolean(v) => v.get(row).map_or(Cell::Absent, |b| Cell::One(Value::Boolean(*b != 0))),
        }
    }
}

fn number(n: Option<Number>) -> Cell<'static> {
    n.map_or(Cell::Absent, |n| Cell::One(Value::Number(n)))
}

impl<'a> Cell<'a> {
    /// The values in it: none, one, or those of the list.
    pub fn values(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let (one, list) = match *self {
            Self::One(v) => (Some(v), None),
            Self::List(texts, from, to) => (None, Some((texts, from, to))),
            _ => (None, None),
        };
        let elements = list
            .into_iter()
            .flat_map(|(texts, from, to)| (from..to).map(move |i| Value::Text(texts.value(texts.code(i as usize)))));
        one.into_iter().chain(elements)
    }
}

impl Value<'_> {
    /// Writes the value as text over `out`: numbers in decimal, truth values as `true` and `false`.
    pub fn text_into(&self, out: &mut Vec<u8>) {
        use std::io::Write as _;
        out.clear();
        // Writing to a Vec cannot fail.
        let _ = match self {
            Value::Text(t) => out.write_all(t),
            Value::Number(Number::Integer(i)) => write!(out, "{i}"),
            Value::Number(Number::Float(f)) => write!(out, "{f}"),
            Value::Boolean(b) => write!(out, "{b}"),
        };
    }
}
