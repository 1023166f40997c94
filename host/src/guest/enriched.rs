//! The columns an enricher added to a slab, and values that outlive a call.

use super::bindings::types::{self, Cells, Column, Texts};
use super::project::presence;
use crate::kind::Shape;
use crate::slab::{List, Value};

/// A value on its own.
#[derive(Clone, Debug, PartialEq)]
pub enum OwnedValue {
    Absent,
    Null,
    Unavailable,
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(Box<[u8]>),
    List(Box<[Box<[u8]>]>),
}

impl OwnedValue {
    pub fn as_value(&self) -> Value<'_> {
        match self {
            OwnedValue::Absent => Value::Absent,
            OwnedValue::Null => Value::Null,
            OwnedValue::Unavailable => Value::Unavailable,
            OwnedValue::Unsigned(v) => Value::Unsigned(*v),
            OwnedValue::Signed(v) => Value::Signed(*v),
            OwnedValue::Float(v) => Value::Float(*v),
            OwnedValue::Bool(v) => Value::Bool(*v),
            OwnedValue::Text(t) => Value::Text(t),
            OwnedValue::List(items) => Value::List(List::Owned(items)),
        }
    }
}

impl From<types::Value> for OwnedValue {
    fn from(value: types::Value) -> OwnedValue {
        match value {
            types::Value::Absent => OwnedValue::Absent,
            types::Value::Null => OwnedValue::Null,
            types::Value::Unavailable => OwnedValue::Unavailable,
            types::Value::Text(t) => OwnedValue::Text(t.into()),
            types::Value::TextList(items) => OwnedValue::List(items.into_iter().map(Into::into).collect()),
            types::Value::Unsigned(v) => OwnedValue::Unsigned(v),
            types::Value::Signed(v) => OwnedValue::Signed(v),
            types::Value::Float(v) => OwnedValue::Float(v),
            types::Value::Boolean(v) => OwnedValue::Bool(v),
        }
    }
}

/// What an enricher found in one slab. Most rows have nothing, so only the others are held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Enriched {
    /// Per output, the rows that are not absent, ascending.
    outputs: Vec<Vec<(u32, OwnedValue)>>,
    /// Held by the values, about.
    bytes: usize,
}

impl Enriched {
    pub(super) fn new(outputs: usize) -> Enriched {
        Enriched { outputs: vec![Vec::new(); outputs], bytes: 0 }
    }

    /// The value of an output in a row of the slab; absent where the enricher was not asked or found nothing.
    pub fn value(&self, output: usize, row: usize) -> Value<'_> {
        let Some(cells) = self.outputs.get(output) else { return Value::Absent };
        match cells.binary_search_by_key(&(row as u32), |(r, _)| *r) {
            Ok(i) => cells[i].1.as_value(),
            Err(_) => Value::Absent,
        }
    }

    /// Every output of this row is unavailable: the enricher trapped on it.
    pub(super) fn unavailable(&mut self, row: u32) {
        for cells in &mut self.outputs {
            insert(cells, row, OwnedValue::Unavailable);
        }
    }

    /// Takes the answer to one turn. `rows`: slab rows per batch; `shapes`: one per output.
    /// An answer of the wrong size or shape is refused as a whole, before anything of it counts; so is one that brings the slab above
    /// `limit` bytes: codes let a small answer stand for a very large one.
    pub(super) fn take(
        &mut self,
        rows: &[Vec<u32>],
        shapes: &[Shape],
        reply: &[Vec<Column>],
        limit: usize,
    ) -> Result<(), String> {
        if reply.len() != rows.len() {
            return Err(format!("{} batches answered to {}", reply.len(), rows.len()));
        }
        for (rows, columns) in rows.iter().zip(reply) {
            if columns.len() != shapes.len() {
                return Err(format!("{} columns for {} outputs", columns.len(), shapes.len()));
            }
            for (column, shape) in columns.iter().zip(shapes) {
                check(column, *shape, rows.len())?;
            }
        }
        let sizes = rows
            .iter()
            .zip(reply)
            .flat_map(|(rows, columns)| columns.iter().flat_map(|column| (0..rows.len()).map(|i| size(column, i))));
        let bytes = sizes.fold(self.bytes, usize::saturating_add);
        if bytes > limit {
            return Err(format!("more than {limit} bytes of values"));
        }
        self.bytes = bytes;
        for (rows, columns) in rows.iter().zip(reply) {
            for (column, cells) in columns.iter().zip(&mut self.outputs) {
                for (i, &row) in rows.iter().enumerate() {
                    let value = read(column, i);
                    if value != OwnedValue::Absent {
                        insert(cells, row, value);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Rows come mostly in order; of two subscriptions that select one row, the first answer counts.
fn insert(cells: &mut Vec<(u32, OwnedValue)>, row: u32, value: OwnedValue) {
    match cells.last() {
        Some((last, _)) if *last >= row => {
            if let Err(at) = cells.binary_search_by_key(&row, |(r, _)| *r) {
                cells.insert(at, (row, value));
            }
        }
        _ => cells.push((row, value)),
    }
}

fn check(column: &Column, shape: Shape, rows: usize) -> Result<(), String> {
    let presence = &column.presence;
    if !presence.is_empty() && presence.len() != rows {
        return Err(format!("presence of {} rows for {rows}", presence.len()));
    }
    if let Some(p) = presence.iter().find(|p| **p > presence::UNAVAILABLE) {
        return Err(format!("presence {p} means nothing"));
    }
    let (cells, is) = match &column.cells {
        Cells::Text(texts) => (check_texts(texts)?, Shape::Text),
        Cells::TextList(lists) => {
            let items = check_texts(&lists.values)?;
            ascending(&lists.ends, items, "list ends")?;
            (lists.ends.len(), Shape::TextList)
        }
        Cells::Unsigned(v) => (v.len(), Shape::Unsigned),
        Cells::Signed(v) => (v.len(), Shape::Signed),
        Cells::Float(v) => (v.len(), Shape::Float),
        Cells::Boolean(v) => (v.len(), Shape::Boolean),
    };
    if cells != rows {
        return Err(format!("{cells} cells for {rows} rows"));
    }
    if is != shape && shape != Shape::Dynamic {
        return Err(format!("a column of {is:?} for an output of {shape:?}"));
    }
    Ok(())
}

/// How many rows or items the texts have.
fn check_texts(texts: &Texts) -> Result<usize, String> {
    ascending(&texts.ends, texts.arena.len(), "text ends")?;
    if texts.codes.is_empty() {
        return Ok(texts.ends.len());
    }
    match texts.codes.iter().find(|c| **c as usize >= texts.ends.len()) {
        Some(code) => Err(format!("code {code} of {} values", texts.ends.len())),
        None => Ok(texts.codes.len()),
    }
}

fn ascending(ends: &[u32], limit: usize, what: &str) -> Result<(), String> {
    if ends.is_sorted() && ends.last().is_none_or(|e| *e as usize <= limit) {
        Ok(())
    } else {
        Err(format!("{what} descend or pass {limit}"))
    }
}

/// Bytes that row `i` of a checked column takes as a value.
fn size(column: &Column, i: usize) -> usize {
    const VALUE: usize = size_of::<OwnedValue>();
    match &column.cells {
        Cells::Text(texts) => VALUE + text(texts, i).len(),
        Cells::TextList(lists) => {
            let start = if i == 0 { 0 } else { lists.ends[i - 1] };
            (start..lists.ends[i]).map(|item| VALUE + text(&lists.values, item as usize).len()).sum::<usize>() + VALUE
        }
        _ => VALUE,
    }
}

/// Row `i` of a checked column.
fn read(column: &Column, i: usize) -> OwnedValue {
    match column.presence.get(i).copied().unwrap_or(presence::PRESENT) {
        presence::ABSENT => return OwnedValue::Absent,
        presence::NULL => return OwnedValue::Null,
        presence::UNAVAILABLE => return OwnedValue::Unavailable,
        _ => {}
    }
    match &column.cells {
        Cells::Text(texts) => OwnedValue::Text(text(texts, i).into()),
        Cells::TextList(lists) => {
            let start = if i == 0 { 0 } else { lists.ends[i - 1] };
            OwnedValue::List((start..lists.ends[i]).map(|item| text(&lists.values, item as usize).into()).collect())
        }
        Cells::Unsigned(v) => OwnedValue::Unsigned(v[i]),
        Cells::Signed(v) => OwnedValue::Signed(v[i]),
        Cells::Float(v) => OwnedValue::Float(v[i]),
        Cells::Boolean(v) => OwnedValue::Bool(v[i] != 0),
    }
}

fn text(texts: &Texts, i: usize) -> &[u8] {
    let code = if texts.codes.is_empty() { i } else { texts.codes[i] as usize };
    let start = if code == 0 { 0 } else { texts.ends[code - 1] as usize };
    &texts.arena[start..texts.ends[code] as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    fn texts(arena: &str, ends: &[u32], codes: &[u32]) -> Texts {
        Texts { arena: arena.into(), ends: ends.to_vec(), codes: codes.to_vec() }
    }

    fn column(cells: Cells, presence: &[u8]) -> Column {
        Column { cells, presence: presence.to_vec() }
    }

    #[test]
    fn answers_are_read_by_slab_row() {
        let mut enriched = Enriched::new(1);
        let reply = column(Cells::Text(texts("ab", &[1, 2], &[1, 0, 1])), &[1, 0, 3]);
        enriched.take(&[vec![2, 5, 7]], &[Shape::Text], &[vec![reply]], LIMIT).unwrap();
        enriched.unavailable(1);
        assert!(matches!(enriched.value(0, 2), Value::Text(b"b")));
        assert!(matches!(enriched.value(0, 5), Value::Absent));
        assert!(matches!(enriched.value(0, 7), Value::Unavailable));
        assert!(matches!(enriched.value(0, 1), Value::Unavailable));
        assert!(matches!(enriched.value(0, 0), Value::Absent));
        assert!(matches!(enriched.value(9, 2), Value::Absent));
    }

    #[test]
    fn lists_keep_empty_items() {
        let mut enriched = Enriched::new(1);
        let values = texts("xy", &[1, 1, 2], &[]);
        let reply = column(Cells::TextList(types::TextLists { values, ends: vec![0, 3] }), &[]);
        enriched.take(&[vec![0, 1]], &[Shape::TextList], &[vec![reply]], LIMIT).unwrap();
        let items = |row| match enriched.value(0, row) {
            Value::List(list) => {
                let mut items = Vec::new();
                list.each(&mut |i| items.push(i.to_vec()));
                items
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(items(0), Vec::<Vec<u8>>::new());
        assert_eq!(items(1), [&b"x"[..], b"", b"y"]);
    }

    #[test]
    fn codes_do_not_make_a_small_answer_large() {
        let mut enriched = Enriched::new(1);
        let values = texts(&"v".repeat(1 << 10), &[1 << 10], &[0; 2_000]);
        let reply = column(Cells::TextList(types::TextLists { values, ends: vec![1_000, 2_000] }), &[]);
        let refused = enriched.take(&[vec![0, 1]], &[Shape::TextList], &[vec![reply]], LIMIT).unwrap_err();
        assert_eq!(refused, "more than 1048576 bytes of values");
        let half = || column(Cells::Text(texts(&"v".repeat(600 << 10), &[600 << 10], &[])), &[]);
        enriched.take(&[vec![0]], &[Shape::Text], &[vec![half()]], LIMIT).unwrap();
        assert!(
            enriched.take(&[vec![1]], &[Shape::Text], &[vec![half()]], LIMIT).is_err(),
            "the bound is that of the slab"
        );
    }

    #[test]
    fn wrong_answers_are_refused_whole() {
        let good = || column(Cells::Text(texts("ab", &[1, 2], &[])), &[]);
        let bad = [
            column(Cells::Text(texts("ab", &[1, 3], &[])), &[]),
            column(Cells::Text(texts("ab", &[2, 1], &[])), &[]),
            column(Cells::Text(texts("ab", &[1, 2], &[0, 2])), &[]),
            column(Cells::Text(texts("ab", &[1], &[])), &[]),
            column(Cells::Text(texts("ab", &[1, 2], &[])), &[1]),
            column(Cells::Text(texts("ab", &[1, 2], &[])), &[1, 4]),
            column(Cells::Unsigned(vec![1, 2]), &[]),
            column(Cells::TextList(types::TextLists { values: texts("ab", &[1, 2], &[]), ends: vec![1, 3] }), &[]),
            column(Cells::TextList(types::TextLists { values: texts("ab", &[1, 2], &[]), ends: vec![2, 1] }), &[]),
        ];
        let mut enriched = Enriched::new(2);
        for bad in bad {
            let reply = [vec![good(), bad.clone()]];
            assert!(enriched.take(&[vec![0, 1]], &[Shape::Text, Shape::Text], &reply, LIMIT).is_err(), "{bad:?}");
        }
        assert!(enriched.take(&[vec![0, 1]], &[Shape::Text, Shape::Text], &[vec![good()]], LIMIT).is_err());
        assert!(enriched.take(&[vec![0, 1]], &[Shape::Text, Shape::Text], &[], LIMIT).is_err());
        assert_eq!(enriched, Enriched::new(2));
    }
}
