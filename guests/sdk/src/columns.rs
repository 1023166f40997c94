//! Reading and building columns.

use crate::{Cells, Column, TextLists, Texts};

/// Values of [`Column::presence`].
mod presence {
    pub const ABSENT: u8 = 0;
    pub const PRESENT: u8 = 1;
    pub const NULL: u8 = 2;
}

impl Texts {
    /// How many distinct values there are.
    pub fn distinct(&self) -> usize {
        self.ends.len()
    }

    /// Distinct value number `i`.
    pub fn value(&self, i: usize) -> Option<&[u8]> {
        let end = *self.ends.get(i)? as usize;
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        self.arena.get(start..end)
    }

    /// Which distinct value row (or item) `row` holds.
    pub fn code(&self, row: usize) -> usize {
        if self.codes.is_empty() { row } else { self.codes.get(row).map_or(usize::MAX, |&c| c as usize) }
    }

    /// The value of row (or item) `row`, whether or not its column says that it is present.
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        self.value(self.code(row))
    }
}

/// The items of one row of a text list.
#[derive(Clone, Debug)]
pub struct TextItems<'c> {
    values: &'c Texts,
    range: std::ops::Range<usize>,
}

impl<'c> Iterator for TextItems<'c> {
    type Item = &'c [u8];

    fn next(&mut self) -> Option<&'c [u8]> {
        self.range.next().and_then(|i| self.values.get(i))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.range.size_hint()
    }
}

impl ExactSizeIterator for TextItems<'_> {}

impl TextLists {
    fn items(&self, row: usize) -> TextItems<'_> {
        let end = self.ends.get(row).map_or(0, |&e| e as usize);
        let start = if row == 0 { 0 } else { self.ends.get(row - 1).map_or(end, |&e| e as usize) };
        TextItems { values: &self.values, range: start..end }
    }
}

impl Column {
    /// Whether the row holds a value (which may be empty).
    pub fn is_present(&self, row: u32) -> bool {
        self.presence.is_empty() || self.presence.get(row as usize) == Some(&presence::PRESENT)
    }

    /// Whether the key is there and null.
    pub fn is_null(&self, row: u32) -> bool {
        self.presence.get(row as usize) == Some(&presence::NULL)
    }

    /// Whether the key is not there at all.
    pub fn is_absent(&self, row: u32) -> bool {
        self.presence.get(row as usize) == Some(&presence::ABSENT)
    }

    /// The bytes of a present row of a text column. They need not be UTF-8.
    pub fn text(&self, row: u32) -> Option<&[u8]> {
        match &self.cells {
            Cells::Text(texts) if self.is_present(row) => texts.get(row as usize),
            _ => None,
        }
    }

    /// The items of a present row of a text-list column; a text column gives its one value.
    pub fn items(&self, row: u32) -> Option<TextItems<'_>> {
        if !self.is_present(row) {
            return None;
        }
        match &self.cells {
            Cells::TextList(lists) => Some(lists.items(row as usize)),
            Cells::Text(texts) => Some(TextItems { values: texts, range: row as usize..row as usize + 1 }),
            _ => None,
        }
    }

    /// A present row of a number column, if it is not negative.
    pub fn unsigned(&self, row: u32) -> Option<u64> {
        match &self.cells {
            Cells::Unsigned(v) if self.is_present(row) => v.get(row as usize).copied(),
            Cells::Signed(v) if self.is_present(row) => v.get(row as usize).and_then(|&v| u64::try_from(v).ok()),
            _ => None,
        }
    }

    /// A present row of a number column, if it fits.
    pub fn signed(&self, row: u32) -> Option<i64> {
        match &self.cells {
            Cells::Signed(v) if self.is_present(row) => v.get(row as usize).copied(),
            Cells::Unsigned(v) if self.is_present(row) => v.get(row as usize).and_then(|&v| i64::try_from(v).ok()),
            _ => None,
        }
    }

    /// A present row of a float column.
    pub fn float(&self, row: u32) -> Option<f64> {
        match &self.cells {
            Cells::Float(v) if self.is_present(row) => v.get(row as usize).copied(),
            _ => None,
        }
    }

    /// A present row of a boolean column.
    pub fn boolean(&self, row: u32) -> Option<bool> {
        match &self.cells {
            Cells::Boolean(v) if self.is_present(row) => v.get(row as usize).map(|&b| b != 0),
            _ => None,
        }
    }
}

/// Builds a column of an enricher row by row, in order.
#[derive(Debug)]
pub struct ColumnBuilder {
    cells: Cells,
    presence: Vec<u8>,
    all_present: bool,
}

impl ColumnBuilder {
    /// A column of single texts.
    pub fn text() -> ColumnBuilder {
        ColumnBuilder::of(Cells::Text(no_texts()))
    }

    /// A column of lists of texts.
    pub fn text_list() -> ColumnBuilder {
        ColumnBuilder::of(Cells::TextList(TextLists { values: no_texts(), ends: Vec::new() }))
    }

    fn of(cells: Cells) -> ColumnBuilder {
        ColumnBuilder { cells, presence: Vec::new(), all_present: true }
    }

    /// The next row holds these texts; none at all is an absent row. Of a text column the first counts.
    pub fn push<'t>(&mut self, items: impl IntoIterator<Item = &'t [u8]>) {
        let mut any = false;
        match &mut self.cells {
            Cells::Text(texts) => {
                if let Some(first) = items.into_iter().next() {
                    any = true;
                    texts.arena.extend_from_slice(first);
                }
                texts.ends.push(texts.arena.len() as u32);
            }
            Cells::TextList(lists) => {
                for item in items {
                    any = true;
                    lists.values.arena.extend_from_slice(item);
                    lists.values.ends.push(lists.values.arena.len() as u32);
                }
                lists.ends.push(lists.values.ends.len() as u32);
            }
            _ => {}
        }
        self.all_present &= any;
        self.presence.push(if any { presence::PRESENT } else { presence::ABSENT });
    }

    /// The next row has no value.
    pub fn absent(&mut self) {
        self.push([]);
    }

    pub fn finish(self) -> Column {
        Column { cells: self.cells, presence: if self.all_present { Vec::new() } else { self.presence } }
    }
}

fn no_texts() -> Texts {
    Texts { arena: Vec::new(), ends: Vec::new(), codes: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_column_reads_by_code_and_honours_presence() {
        let column = Column {
            cells: Cells::Text(Texts { arena: "lsé".into(), ends: vec![2, 2, 4], codes: vec![2, 0, 1, 0] }),
            presence: vec![1, 1, 1, 2],
        };
        assert_eq!(column.text(0), Some("é".as_bytes()));
        assert_eq!(column.text(1), Some(&b"ls"[..]));
        assert_eq!(column.text(2), Some(&b""[..]), "empty is not absent");
        assert_eq!(column.text(3), None);
        assert!(column.is_null(3));
        assert_eq!(column.text(4), None);
        assert_eq!(column.unsigned(1), None);
    }

    #[test]
    fn what_is_built_is_read_back() {
        let mut lists = ColumnBuilder::text_list();
        lists.push([&b"a"[..], b"\xff"]);
        lists.absent();
        lists.push([&b""[..]]);
        let column = lists.finish();
        let row = |r| column.items(r).map(|items| items.map(<[u8]>::to_vec).collect::<Vec<_>>());
        assert_eq!(row(0), Some(vec![b"a".to_vec(), b"\xff".to_vec()]));
        assert_eq!(row(1), None);
        assert_eq!(row(2), Some(vec![Vec::new()]));

        let mut texts = ColumnBuilder::text();
        texts.push([&b"x"[..], b"not this"]);
        texts.push([&b"y"[..]]);
        let column = texts.finish();
        assert!(column.presence.is_empty(), "all present needs no presence");
        assert_eq!((column.text(0), column.text(1)), (Some(&b"x"[..]), Some(&b"y"[..])));
    }

    #[test]
    fn broken_columns_read_as_nothing() {
        let column =
            Column { cells: Cells::Text(Texts { arena: vec![], ends: vec![9], codes: vec![0, 7] }), presence: vec![] };
        assert_eq!(column.text(0), None);
        assert_eq!(column.text(1), None);
        assert_eq!(column.text(2), None);
    }
}
