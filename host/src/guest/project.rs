//! Projection: the selected rows of a slab as columns.
//!
//! Text is dictionary-encoded: the guest looks at each distinct value once. Measured, that is worth more than the hashing it costs, except
//! where nearly all values differ; such a column is sent plain for a while.

use super::bindings::types::{Batch, Cells, Column, TextLists, Texts, Turn};
use super::interner::{Interner, push};
use crate::kind::{self, Access, Bound, Selection, Shape};
use crate::slab::{Slab, Value};

/// Values of `column.presence`.
pub(super) mod presence {
    pub const ABSENT: u8 = 0;
    pub const PRESENT: u8 = 1;
    pub const NULL: u8 = 2;
    pub const UNAVAILABLE: u8 = 3;
}

/// Batches for which a column of distinct values is sent plain before the dictionary is tried again.
const PLAIN_FOR: u8 = 15;

/// Processes whose values are remembered while a column is filled.
const RECENT: usize = 64;

/// One subscription as the projection needs it.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    /// Number in the guest's plan.
    pub subscription: u32,
    pub selection: Selection,
    pub fields: Vec<Bound>,
}

/// Turns the rows of slabs into turns. Keeps its buffers between slabs.
pub(super) struct Projector {
    streams: Vec<Stream>,
    /// Per stream, the selected rows of the current slab, ascending.
    rows: Vec<Vec<u32>>,
    /// Per stream, the batch whose buffers are reused, and how long each column is still sent plain.
    buffers: Vec<(Option<Batch>, Vec<u8>)>,
    interner: Interner,
}

impl Projector {
    pub fn new(streams: Vec<Stream>) -> Projector {
        let buffers = streams.iter().map(|s| (None, vec![0; s.fields.len()])).collect();
        let rows = vec![Vec::new(); streams.len()];
        Projector { streams, rows, buffers, interner: Interner::new() }
    }

    /// Selects rows. How many different ones there are.
    pub fn select(&mut self, slab: &Slab) -> u32 {
        for (stream, rows) in self.streams.iter().zip(&mut self.rows) {
            rows.clear();
            slab.select(&stream.selection, rows);
        }
        match self.rows.as_slice() {
            [one] => one.len() as u32,
            _ => self.distinct().len() as u32,
        }
    }

    /// The selected rows, each once, ascending.
    pub fn distinct(&self) -> Vec<u32> {
        let mut all: Vec<u32> = self.rows.iter().flatten().copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The selected rows, or only one of them, as columns; and the rows of each batch.
    pub fn turn(&mut self, slab: &Slab, only: Option<u32>) -> (Turn, Vec<Vec<u32>>) {
        let (mut batches, mut taken) = (Vec::new(), Vec::new());
        for (i, stream) in self.streams.iter().enumerate() {
            let one;
            let rows: &[u32] = match only {
                None => &self.rows[i],
                Some(row) if self.rows[i].binary_search(&row).is_ok() => {
                    one = [row];
                    &one
                }
                Some(_) => &[],
            };
            if rows.is_empty() {
                continue;
            }
            let (buffer, plain) = &mut self.buffers[i];
            let mut batch = buffer.take().unwrap_or_else(|| Batch {
                subscription: stream.subscription,
                rows: 0,
                seqs: Vec::new(),
                times: Vec::new(),
                columns: stream.fields.iter().map(|_| empty_column()).collect(),
            });
            batch.rows = rows.len() as u32;
            batch.seqs.clear();
            batch.seqs.extend(rows.iter().map(|&r| slab.rows[r as usize].seq));
            batch.times.clear();
            batch.times.extend(rows.iter().map(|&r| slab.rows[r as usize].time));
            for ((column, field), plain) in batch.columns.iter_mut().zip(&stream.fields).zip(plain) {
                let cells = EventCells { slab, rows, access: &field.access };
                fill(&cells, field.shape, column, &mut self.interner, plain);
            }
            batches.push(batch);
            taken.push(rows.to_vec());
        }
        (Turn { batches, watermark: slab.watermark }, taken)
    }

    /// Takes the buffers of a turn back.
    pub fn recycle(&mut self, turn: Turn) {
        for batch in turn.batches {
            if let Some(i) = self.streams.iter().position(|s| s.subscription == batch.subscription) {
                self.buffers[i].0 = Some(batch);
            }
        }
    }
}

/// The values of one column, row by row.
pub(super) trait CellSource<'s> {
    fn len(&self) -> usize;
    fn value(&self, row: usize) -> Value<'s>;
    /// Rows with equal keys hold equal values.
    fn key(&self, row: usize) -> Option<u64>;
}

/// A field of rows of a slab.
struct EventCells<'s> {
    slab: &'s Slab,
    rows: &'s [u32],
    access: &'s Access,
}

impl<'s> CellSource<'s> for EventCells<'s> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn value(&self, row: usize) -> Value<'s> {
        self.slab.value(self.rows[row] as usize, self.access)
    }

    fn key(&self, row: usize) -> Option<u64> {
        self.slab.dictionary_key(self.rows[row] as usize, self.access)
    }
}

pub(super) fn empty_column() -> Column {
    Column { cells: Cells::Boolean(Vec::new()), presence: Vec::new() }
}

/// Fills one column, reusing its buffers where the shape is the same as before.
pub(super) fn fill<'s>(
    from: &impl CellSource<'s>,
    shape: Shape,
    column: &mut Column,
    interner: &mut Interner,
    plain: &mut u8,
) {
    let rows = 0..from.len();
    let value = |row: usize| from.value(row);
    column.presence.clear();
    let mut all_present = true;
    let mut note = |column_presence: &mut Vec<u8>, p: u8| {
        all_present &= p == presence::PRESENT;
        column_presence.push(p);
    };
    match shape {
        Shape::Text => {
            let mut texts = reuse_texts(&mut column.cells);
            let key = |row: usize| from.key(row);
            text_column(rows.len(), key, value, &mut texts, interner, plain, |p| note(&mut column.presence, p));
            column.cells = Cells::Text(texts);
        }
        Shape::TextList => {
            let mut lists = reuse_lists(&mut column.cells);
            list_column(rows.map(value), &mut lists, interner, |p| note(&mut column.presence, p));
            column.cells = Cells::TextList(lists);
        }
        Shape::Dynamic => {
            if rows.clone().map(value).any(|v| matches!(v, Value::List(_))) {
                let mut lists = reuse_lists(&mut column.cells);
                list_column(rows.map(value), &mut lists, interner, |p| note(&mut column.presence, p));
                column.cells = Cells::TextList(lists);
            } else {
                let mut texts = reuse_texts(&mut column.cells);
                text_column(
                    rows.len(),
                    |_| None,
                    value,
                    &mut texts,
                    interner,
                    plain,
                    |p| note(&mut column.presence, p),
                );
                column.cells = Cells::Text(texts);
            }
        }
        Shape::Unsigned => {
            let out = rows.map(|r| scalar(&value(r), unsigned, |p| note(&mut column.presence, p))).collect();
            column.cells = Cells::Unsigned(out);
        }
        Shape::Signed => {
            let out = rows.map(|r| scalar(&value(r), signed, |p| note(&mut column.presence, p))).collect();
            column.cells = Cells::Signed(out);
        }
        Shape::Float => {
            let out = rows.map(|r| scalar(&value(r), float, |p| note(&mut column.presence, p))).collect();
            column.cells = Cells::Float(out);
        }
        Shape::Boolean => {
            let out = rows.map(|r| scalar(&value(r), boolean, |p| note(&mut column.presence, p))).collect();
            column.cells = Cells::Boolean(out);
        }
    }
    if all_present {
        // An empty list says so.
        column.presence.clear();
    }
}

fn reuse_texts(cells: &mut Cells) -> Texts {
    match std::mem::replace(cells, Cells::Boolean(Vec::new())) {
        Cells::Text(texts) | Cells::TextList(TextLists { values: texts, .. }) => cleared(texts),
        _ => Texts { arena: Vec::new(), ends: Vec::new(), codes: Vec::new() },
    }
}

fn reuse_lists(cells: &mut Cells) -> TextLists {
    let mut ends = match cells {
        Cells::TextList(lists) => std::mem::take(&mut lists.ends),
        _ => Vec::new(),
    };
    ends.clear();
    TextLists { values: reuse_texts(cells), ends }
}

fn cleared(mut texts: Texts) -> Texts {
    texts.arena.clear();
    texts.ends.clear();
    texts.codes.clear();
    texts
}

/// Presence of a value, and its text where it is a scalar. Lists in a column of single texts are joined, as command lines are.
fn as_text<'v>(value: &'v Value<'v>, scratch: &'v mut Vec<u8>) -> (u8, &'v [u8]) {
    use std::io::Write as _;
    scratch.clear();
    // Writing to a Vec cannot fail.
    let _ = match value {
        Value::Absent => return (presence::ABSENT, &[]),
        Value::Null => return (presence::NULL, &[]),
        Value::Unavailable => return (presence::UNAVAILABLE, &[]),
        Value::Text(t) => return (presence::PRESENT, t),
        Value::Bool(b) => return (presence::PRESENT, if *b { b"true" } else { b"false" }),
        Value::Unsigned(v) => write!(scratch, "{v}"),
        Value::Signed(v) => write!(scratch, "{v}"),
        Value::Float(v) => write!(scratch, "{v}"),
        Value::Time(t) => scratch.write_all(kind::time_text(*t).as_bytes()),
        Value::List(list) => {
            let mut first = true;
            list.each(&mut |item| {
                if !std::mem::take(&mut first) {
                    scratch.push(b' ');
                }
                scratch.extend_from_slice(item);
            });
            Ok(())
        }
    };
    (presence::PRESENT, scratch)
}

fn text_column<'s>(
    rows: usize,
    key: impl Fn(usize) -> Option<u64>,
    value: impl Fn(usize) -> Value<'s>,
    texts: &mut Texts,
    interner: &mut Interner,
    plain: &mut u8,
    mut note: impl FnMut(u8),
) {
    let mut scratch = Vec::new();
    if *plain > 0 {
        *plain -= 1;
        for row in 0..rows {
            let value = value(row);
            let (p, text) = as_text(&value, &mut scratch);
            note(p);
            push(texts, text);
        }
        return;
    }
    interner.clear(rows);
    // Rows nearby are often of one program, or of one parent: equal keys hold equal values, and nothing is read or hashed.
    let mut recent: [Option<(u64, u8, u32)>; RECENT] = [None; RECENT];
    for row in 0..rows {
        let key = key(row);
        let place = key.map(|key| (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % RECENT);
        if let (Some(key), Some(place)) = (key, place)
            && let Some((known, p, code)) = recent[place]
            && key == known
        {
            note(p);
            texts.codes.push(code);
            continue;
        }
        let value = value(row);
        let (p, text) = as_text(&value, &mut scratch);
        let code = interner.intern(texts, text);
        note(p);
        texts.codes.push(code);
        if let (Some(key), Some(place)) = (key, place) {
            recent[place] = Some((key, p, code));
        }
    }
    let distinct = texts.ends.len();
    if distinct == rows {
        // Each row took the next code: that is what no codes mean.
        texts.codes.clear();
    }
    if rows >= 16 && distinct * 10 > rows * 9 {
        *plain = PLAIN_FOR;
    }
}

fn list_column<'s>(
    values: impl Iterator<Item = Value<'s>>,
    lists: &mut TextLists,
    interner: &mut Interner,
    mut note: impl FnMut(u8),
) {
    let mut scratch = Vec::new();
    let TextLists { values: texts, ends } = lists;
    interner.clear(values.size_hint().0);
    for value in values {
        if let Value::List(list) = &value {
            note(presence::PRESENT);
            list.each(&mut |item| {
                let code = interner.intern(texts, item);
                texts.codes.push(code);
            });
        } else {
            let (p, text) = as_text(&value, &mut scratch);
            note(p);
            if p == presence::PRESENT {
                let code = interner.intern(texts, text);
                texts.codes.push(code);
            }
        }
        ends.push(texts.codes.len() as u32);
    }
}

/// One cell of a typed column. What does not fit the column's type is absent: never a wrong number.
fn scalar<T: Default>(value: &Value<'_>, convert: fn(&Value<'_>) -> Option<T>, mut note: impl FnMut(u8)) -> T {
    let converted = convert(value);
    note(match (&converted, value) {
        (Some(_), _) => presence::PRESENT,
        (None, Value::Null) => presence::NULL,
        (None, Value::Unavailable) => presence::UNAVAILABLE,
        (None, _) => presence::ABSENT,
    });
    converted.unwrap_or_default()
}

fn parsed<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn unsigned(value: &Value<'_>) -> Option<u64> {
    match value {
        Value::Unsigned(v) | Value::Time(v) => Some(*v),
        Value::Signed(v) => u64::try_from(*v).ok(),
        Value::Bool(v) => Some(u64::from(*v)),
        Value::Text(t) => parsed(t),
        _ => None,
    }
}

fn signed(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Signed(v) => Some(*v),
        Value::Unsigned(v) | Value::Time(v) => i64::try_from(*v).ok(),
        Value::Bool(v) => Some(i64::from(*v)),
        Value::Text(t) => parsed(t),
        _ => None,
    }
}

fn float(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Float(v) => Some(*v),
        Value::Unsigned(v) | Value::Time(v) => Some(*v as f64),
        Value::Signed(v) => Some(*v as f64),
        Value::Bool(v) => Some(f64::from(u8::from(*v))),
        Value::Text(t) => parsed(t),
        _ => None,
    }
}

fn boolean(value: &Value<'_>) -> Option<u8> {
    match value {
        Value::Bool(v) => Some(u8::from(*v)),
        Value::Unsigned(v @ (0 | 1)) => Some(*v as u8),
        Value::Signed(v @ (0 | 1)) => Some(*v as u8),
        Value::Text(t) => parsed::<bool>(t).map(u8::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::interner::LONG;
    use super::super::tests::{foreign, slab};
    use super::*;
    use crate::kind::{Catalogue, Source};

    fn projector(fields: &[&str]) -> Projector {
        let catalogue = Catalogue { any_json: true, ..Catalogue::default() };
        let selection = Selection::new(&Source::default(), &[]).unwrap();
        let fields = fields.iter().map(|f| catalogue.resolve(Some(&selection), f)).collect();
        Projector::new(vec![Stream { subscription: 3, selection, fields }])
    }

    /// The one text column of a slab: its codes, and each row's value.
    fn column(projector: &mut Projector, slab: &Slab) -> (Vec<u32>, Vec<String>) {
        projector.select(slab);
        let (turn, _) = projector.turn(slab, None);
        let Cells::Text(texts) = &turn.batches[0].columns[0].cells else { panic!("{turn:?}") };
        let value = |i: usize| {
            let start = if i == 0 { 0 } else { texts.ends[i - 1] as usize };
            String::from_utf8_lossy(&texts.arena[start..texts.ends[i] as usize]).into_owned()
        };
        let values = (0..slab.len()).map(|i| value(texts.codes.get(i).map_or(i, |c| *c as usize))).collect();
        let codes = texts.codes.clone();
        projector.recycle(turn);
        (codes, values)
    }

    #[test]
    fn equal_values_are_sent_once_and_distinct_ones_without_codes() {
        let mut projector = projector(&["CommandLine"]);
        let (codes, values) = column(&mut projector, &slab(&["ls", "id", "ls", "", "id"]));
        assert_eq!(codes, [0, 1, 0, 2, 1]);
        assert_eq!(values, ["ls", "id", "ls", "", "id"]);
        let (codes, values) = column(&mut projector, &slab(&["a", "b"]));
        assert_eq!((codes, values), (vec![], vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn a_column_of_distinct_values_is_plain_for_a_while() {
        let mut projector = projector(&["CommandLine"]);
        let lines: Vec<String> = (0..32).map(|i| format!("line {i}")).collect();
        let distinct: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(column(&mut projector, &slab(&distinct)).0, Vec::<u32>::new());
        for _ in 0..PLAIN_FOR {
            let (codes, values) = column(&mut projector, &slab(&["ls", "ls"]));
            assert_eq!((codes, values), (vec![], vec!["ls".to_owned(); 2]));
        }
        assert_eq!(column(&mut projector, &slab(&["ls", "ls"])).0, [0, 0]);
    }

    #[test]
    fn long_values_and_many_items_keep_their_place() {
        let long = "x".repeat(LONG + 1);
        let (codes, values) = column(&mut projector(&["CommandLine"]), &slab(&[&long, "a", &long, "a"]));
        assert_eq!(codes, [0, 1, 2, 1]);
        assert_eq!(values, [&long, "a", &long, "a"]);

        // Far more distinct items than rows: the table grows, and codes still name their values.
        let items: Vec<String> = (0..500).map(|i| format!("item {i}")).collect();
        let slab = foreign(&[serde_json::json!({ "list": items }), serde_json::json!({ "list": items })]);
        let mut projector = projector(&["list"]);
        projector.select(&slab);
        let (turn, _) = projector.turn(&slab, None);
        let Cells::TextList(lists) = &turn.batches[0].columns[0].cells else { panic!("a list") };
        assert_eq!(lists.ends, [500, 1_000]);
        assert_eq!(lists.values.ends.len(), 500);
        assert_eq!(lists.values.codes[..500], lists.values.codes[500..]);
        assert!(lists.values.codes[..500].iter().copied().eq(0..500));
    }

    #[test]
    fn a_dynamic_column_changes_shape_with_its_rows() {
        let mut projector = projector(&["x"]);
        let mut shapes = Vec::new();
        for value in
            [serde_json::json!(["a", "b"]), serde_json::json!("a"), serde_json::json!([]), serde_json::json!(1)]
        {
            let slab = foreign(&[serde_json::json!({ "x": value })]);
            projector.select(&slab);
            let (turn, rows) = projector.turn(&slab, None);
            assert_eq!((turn.batches[0].subscription, rows), (3, vec![vec![0]]));
            shapes.push(match &turn.batches[0].columns[0].cells {
                Cells::Text(texts) => format!("text {:?}", String::from_utf8_lossy(&texts.arena)),
                Cells::TextList(lists) => format!("list of {:?}", lists.ends),
                other => format!("{other:?}"),
            });
            projector.recycle(turn);
        }
        assert_eq!(shapes, ["list of [2]", "text \"a\"", "list of [0]", "text \"1\""]);
    }

    #[test]
    fn one_row_can_be_taken_alone() {
        let mut projector = projector(&["CommandLine"]);
        let slab = slab(&["a", "b", "c"]);
        assert_eq!(projector.select(&slab), 3);
        let (turn, rows) = projector.turn(&slab, Some(1));
        assert_eq!((turn.batches[0].rows, &turn.batches[0].seqs, rows), (1, &vec![101], vec![vec![1]]));
        let (turn, rows) = projector.turn(&slab, Some(7));
        assert!(turn.batches.is_empty() && rows.is_empty());
    }

    #[test]
    fn what_does_not_fit_a_column_is_absent_and_never_wrong() {
        assert_eq!(unsigned(&Value::Signed(-1)), None);
        assert_eq!(unsigned(&Value::Text(b"12")), Some(12));
        assert_eq!(unsigned(&Value::Text(b"12 ")), None);
        assert_eq!(unsigned(&Value::Float(1.0)), None);
        assert_eq!(signed(&Value::Unsigned(u64::MAX)), None);
        assert_eq!(signed(&Value::Text(b"-3")), Some(-3));
        assert_eq!(float(&Value::Signed(-2)), Some(-2.0));
        assert_eq!(boolean(&Value::Unsigned(2)), None);
        assert_eq!(boolean(&Value::Text(b"true")), Some(1));
        assert_eq!(boolean(&Value::Text(b"\xff")), None);
        let mut scratch = Vec::new();
        assert_eq!(as_text(&Value::Bool(false), &mut scratch), (presence::PRESENT, &b"false"[..]));
        let items: [Box<[u8]>; 2] = [b"a"[..].into(), b"b"[..].into()];
        let list = Value::List(crate::slab::List::Owned(&items));
        assert_eq!(as_text(&list, &mut scratch), (presence::PRESENT, &b"a b"[..]));
        assert_eq!(as_text(&Value::Unavailable, &mut scratch), (presence::UNAVAILABLE, &b""[..]));
    }
}
