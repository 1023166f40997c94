//! Projection: the selected rows of a slab as columns.
//!
//! Text is dictionary-encoded: the guest looks at each distinct value once. Measured, that is worth more than the hashing it costs, except
//! where nearly all values differ; such a column is sent plain for a while.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::bindings::types::{Batch, Cells, Column, TextLists, Texts, Turn};
use crate::kind::{self, Bound, Selection, Shape};
use crate::slab::{Slab, Value};

/// Values of `column.presence`.
pub(super) mod presence {
    pub const ABSENT: u8 = 0;
    pub const PRESENT: u8 = 1;
    pub const NULL: u8 = 2;
    pub const UNAVAILABLE: u8 = 3;
}

/// Longer values are not looked for in the dictionary: they are rarely equal.
const LONG: usize = 512;

/// Batches for which a column of distinct values is sent plain before the dictionary is tried again.
const PLAIN_FOR: u8 = 15;

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
                fill(slab, rows, field, column, &mut self.interner, plain);
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

fn empty_column() -> Column {
    Column { cells: Cells::Boolean(Vec::new()), presence: Vec::new() }
}

/// Fills one column, reusing its buffers where the shape is the same as before.
fn fill(slab: &Slab, rows: &[u32], field: &Bound, column: &mut Column, interner: &mut Interner, plain: &mut u8) {
    let access = &field.access;
    let value = |row: u32| slab.value(row as usize, access);
    column.presence.clear();
    let mut all_present = true;
    let mut note = |column_presence: &mut Vec<u8>, p: u8| {
        all_present &= p == presence::PRESENT;
        column_presence.push(p);
    };
    match field.shape {
        Shape::Text => {
            let mut texts = reuse_texts(&mut column.cells);
            let keyed = rows.iter().map(|&r| (slab.dictionary_key(r as usize, access), value(r)));
            text_column(rows.len(), keyed, &mut texts, interner, plain, |p| note(&mut column.presence, p));
            column.cells = Cells::Text(texts);
        }
        Shape::TextList => {
            let mut lists = reuse_lists(&mut column.cells);
            list_column(rows.iter().map(|&r| value(r)), &mut lists, interner, |p| note(&mut column.presence, p));
            column.cells = Cells::TextList(lists);
        }
        Shape::Dynamic => {
            let values: Vec<Value<'_>> = rows.iter().map(|&r| value(r)).collect();
            if values.iter().any(|v| matches!(v, Value::List(_))) {
                let mut lists = reuse_lists(&mut column.cells);
                list_column(values.into_iter(), &mut lists, interner, |p| note(&mut column.presence, p));
                column.cells = Cells::TextList(lists);
            } else {
                let mut texts = reuse_texts(&mut column.cells);
                let keyed = values.into_iter().map(|v| (None, v));
                text_column(rows.len(), keyed, &mut texts, interner, plain, |p| note(&mut column.presence, p));
                column.cells = Cells::Text(texts);
            }
        }
        Shape::Unsigned => {
            let out = rows.iter().map(|&r| scalar(&value(r), unsigned, |p| note(&mut column.presence, p))).collect();
            column.cells = Cells::Unsigned(out);
        }
        Shape::Signed => {
            let out = rows.iter().map(|&r| scalar(&value(r), signed, |p| note(&mut column.presence, p))).collect();
            column.cells = Cells::Signed(out);
        }
        Shape::Float => {
            let out = rows.iter().map(|&r| scalar(&value(r), float, |p| note(&mut column.presence, p))).collect();
            column.cells = Cells::Float(out);
        }
        Shape::Boolean => {
            let out = rows.iter().map(|&r| scalar(&value(r), boolean, |p| note(&mut column.presence, p))).collect();
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
    values: impl Iterator<Item = (Option<u64>, Value<'s>)>,
    texts: &mut Texts,
    interner: &mut Interner,
    plain: &mut u8,
    mut note: impl FnMut(u8),
) {
    let mut scratch = Vec::new();
    if *plain > 0 {
        *plain -= 1;
        for (_, value) in values {
            let (p, text) = as_text(&value, &mut scratch);
            note(p);
            push(texts, text);
        }
        return;
    }
    interner.clear(rows);
    // Neighbouring rows are often of one process: equal keys hold equal values, and nothing is hashed.
    let mut last: Option<(u64, u8, u32)> = None;
    for (key, value) in values {
        if let (Some(key), Some((last_key, p, code))) = (key, last)
            && key == last_key
        {
            note(p);
            texts.codes.push(code);
            continue;
        }
        let (p, text) = as_text(&value, &mut scratch);
        let code = interner.intern(texts, text);
        note(p);
        texts.codes.push(code);
        last = key.map(|k| (k, p, code));
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

fn push(texts: &mut Texts, text: &[u8]) {
    texts.arena.extend_from_slice(text);
    texts.ends.push(texts.arena.len() as u32);
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

/// Finds equal values of one column. Hashes are keyed: event strings come from attackers, and equal hashes would cost a scan each.
struct Interner {
    seed: u64,
    /// Open addressing: (hash, code + 1); 0 = free.
    table: Vec<(u32, u32)>,
    held: usize,
}

impl Interner {
    fn new() -> Interner {
        use std::hash::{BuildHasher as _, RandomState};
        Interner { seed: RandomState::new().hash_one(0_u8), table: Vec::new(), held: 0 }
    }

    fn clear(&mut self, expected: usize) {
        self.table.clear();
        self.table.resize((2 * expected).next_power_of_two().max(16), (0, 0));
        self.held = 0;
    }

    /// The code of `text` in `texts`, which gets it if it is new.
    fn intern(&mut self, texts: &mut Texts, text: &[u8]) -> u32 {
        let code = texts.ends.len() as u32;
        if text.len() > LONG {
            push(texts, text);
            return code;
        }
        let hash = xxh3_64_with_seed(text, self.seed) as u32;
        let mask = self.table.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.table[at] {
                (_, 0) => break,
                (h, c) if h == hash => {
                    let known = (c - 1) as usize;
                    let start = if known == 0 { 0 } else { texts.ends[known - 1] as usize };
                    if texts.arena[start..texts.ends[known] as usize] == *text {
                        return known as u32;
                    }
                }
                _ => {}
            }
            at = (at + 1) & mask;
        }
        self.table[at] = (hash, code + 1);
        self.held += 1;
        push(texts, text);
        if self.held * 2 > self.table.len() {
            self.grow();
        }
        code
    }

    fn grow(&mut self) {
        let mut table = vec![(0, 0); self.table.len() * 2];
        let mask = table.len() - 1;
        for &(hash, code) in self.table.iter().filter(|(_, code)| *code != 0) {
            let mut at = hash as usize & mask;
            while table[at].1 != 0 {
                at = (at + 1) & mask;
            }
            table[at] = (hash, code);
        }
        self.table = table;
    }
}
