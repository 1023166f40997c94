//! A slab: a contiguous run of events in host order, with their bytes and their processes pinned.
//!
//! Live records and replayed JSON are decoded into the same cells, so everything behind the builder
//! (projection, alerts, capture) reads one shape and cannot tell where an event came from.

use std::sync::{Arc, OnceLock};

use crate::guest::Enriched;
use crate::kind::{self, Access, KindId, Selection};
use crate::process::{Caps, Image, Process};

/// One decoded value of an event. Text and lists point into the slab that owns the cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Cell {
    /// The key is not there at all.
    #[default]
    Absent,
    /// The key is there and the hook could not fill it.
    Null,
    Unsigned(u64),
    Signed(i64),
    Bool(bool),
    /// Unix time in nanoseconds.
    Time(u64),
    Text(Span),
    /// A span of [`Slab::lists`].
    List(Span),
    /// JSON text: what is nested deeper than a field table. Written as it is, read as its leaves.
    Json(Span),
}

/// A run of bytes in the slab's arena (or of spans in its list table).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    pub at: u32,
    pub len: u32,
}

/// A value read from a row.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    Absent,
    Null,
    /// An enricher was late, trapped or shed.
    Unavailable,
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    /// Unix time in nanoseconds.
    Time(u64),
    Text(&'a [u8]),
    List(List<'a>),
}

/// A list of byte strings.
#[derive(Clone, Debug)]
pub enum List<'a> {
    Spans(&'a [u8], &'a [Span]),
    Owned(&'a [Box<[u8]>]),
    /// From JSON that no field table describes.
    Json(&'a [serde_json::Value]),
    /// The leaves of this JSON text.
    Nested(&'a [u8]),
    /// One attribute of each of these processes.
    Images(&'a [Arc<Image>], fn(&Image) -> Option<&[u8]>),
    /// The names of the capabilities in a mask.
    Caps(u64),
    /// Every leaf of a row as text.
    Leaves(&'a Slab, usize),
}

impl List<'_> {
    /// Calls `f` with each item as bytes; numbers and booleans of foreign JSON are rendered as text.
    pub fn each(&self, f: &mut dyn FnMut(&[u8])) {
        match self {
            List::Spans(arena, spans) => spans.iter().for_each(|s| f(&arena[s.range()])),
            List::Owned(items) => items.iter().for_each(|i| f(i)),
            List::Json(items) => items.iter().for_each(|i| match i {
                serde_json::Value::String(s) => f(s.as_bytes()),
                serde_json::Value::Null => {}
                other => f(other.to_string().as_bytes()),
            }),
            List::Nested(text) => kind::nested_leaves(text, f),
            List::Images(images, attribute) => images.iter().filter_map(|i| attribute(i)).for_each(f),
            List::Caps(mask) => Caps::names(*mask, f),
            List::Leaves(slab, row) => kind::leaves(slab, *row, f),
        }
    }
}

impl Span {
    pub fn range(self) -> std::ops::Range<usize> {
        self.at as usize..(self.at + self.len) as usize
    }
}

/// One event of a slab.
#[derive(Debug)]
pub struct Row {
    /// Host order; unique over the life of the process.
    pub seq: u64,
    /// Event time, unix nanoseconds.
    pub time: u64,
    pub kind: KindId,
    /// Index of the first cell: the system cells, then the cells of the kind.
    pub(crate) cells: u32,
    /// A repeat of the same write by the same process: not a new `file_event`.
    pub(crate) repeat: bool,
    /// Context may be incomplete: the process table had lost records when this event was read.
    pub partial: bool,
    pub process: Option<Arc<Process>>,
    /// The event as read, when it came from JSON.
    pub raw: Option<Box<serde_json::Value>>,
}

/// A contiguous run of events in host order.
#[derive(Debug, Default)]
pub struct Slab {
    /// Position in the order of slabs, from 0.
    pub number: u64,
    pub rows: Vec<Row>,
    pub(crate) arena: Vec<u8>,
    pub(crate) lists: Vec<Span>,
    pub(crate) cells: Vec<Cell>,
    /// Rows made from another row of this slab, ascending: (row, the row it is made from).
    pub(crate) derived: Vec<(u32, u32)>,
    /// One slot per enricher of the generation, filled once.
    pub(crate) enriched: Vec<OnceLock<Option<Enriched>>>,
    /// `file_event` takes every open (the model's behaviour) instead of changes only.
    pub(crate) every_open: bool,
    /// No later slab brings an event older than this (unix ns).
    pub watermark: u64,
    /// Nothing that follows belongs with what came before.
    pub ends: bool,
    /// Machine and boot the events come from; part of every alert id.
    pub origin: Arc<Origin>,
}

/// Where events come from: part of the identity of every alert made from them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Origin {
    pub machine: String,
    pub boot: String,
    pub hostname: String,
}

impl Slab {
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Bytes held by the arena: the size bound of an open slab.
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// Takes over from the slab before: same origin, same mode, never an older watermark.
    pub(crate) fn follow(&mut self, before: &Slab) {
        self.origin = before.origin.clone();
        self.every_open = before.every_open;
        self.watermark = before.watermark;
    }

    /// The row with this sequence number.
    pub fn row_of(&self, seq: u64) -> Option<usize> {
        self.rows.binary_search_by_key(&seq, |r| r.seq).ok()
    }

    /// The row that this one is made from, if it is no event of its own.
    pub fn primary_of(&self, row: usize) -> Option<usize> {
        let at = self.derived.binary_search_by_key(&row, |(derived, _)| *derived as usize).ok()?;
        Some(self.derived[at].1 as usize)
    }

    /// Indices of the rows that a subscription selects, appended to `rows`.
    pub fn select(&self, selection: &Selection, rows: &mut Vec<u32>) {
        rows.extend((0..self.rows.len()).filter(|&i| selection.admits(self, i)).map(|i| i as u32));
    }

    /// The value of a bound field in a row.
    pub fn value<'s>(&'s self, row: usize, access: &Access) -> Value<'s> {
        kind::read(self, row, access)
    }

    /// Rows with equal keys hold equal values for this field: lets a projection intern without hashing the bytes. Keys are
    /// good for one field of this slab only.
    pub fn dictionary_key(&self, row: usize, access: &Access) -> Option<u64> {
        let Access::Process(field) = access else { return None };
        Some(self.rows[row].process.as_ref().map_or(0, |process| kind::process_key(process, *field)))
    }

    pub(crate) fn cell_value(&self, cell: Cell) -> Value<'_> {
        match cell {
            Cell::Absent => Value::Absent,
            Cell::Null => Value::Null,
            Cell::Unsigned(v) => Value::Unsigned(v),
            Cell::Signed(v) => Value::Signed(v),
            Cell::Bool(v) => Value::Bool(v),
            Cell::Time(v) => Value::Time(v),
            Cell::Text(s) => Value::Text(&self.arena[s.range()]),
            Cell::List(s) => Value::List(List::Spans(&self.arena, &self.lists[s.range()])),
            Cell::Json(s) => Value::List(List::Nested(&self.arena[s.range()])),
        }
    }

    /// The cells of the row's own kind, one per field; empty for foreign JSON.
    pub(crate) fn own_cells(&self, row: usize) -> &[Cell] {
        let r = &self.rows[row];
        let from = r.cells as usize + kind::SYSTEM.len();
        &self.cells[from..from + r.kind.spec().map_or(0, |k| k.fields.len())]
    }

    /// Copies `bytes` into the arena.
    pub(crate) fn text(&mut self, bytes: &[u8]) -> Cell {
        let at = self.arena.len() as u32;
        self.arena.extend_from_slice(bytes);
        Cell::Text(Span { at, len: bytes.len() as u32 })
    }

    /// Writes formatted text into the arena.
    pub(crate) fn format(&mut self, text: std::fmt::Arguments<'_>) -> Cell {
        use std::io::Write as _;
        let at = self.arena.len() as u32;
        // Writing to a Vec cannot fail.
        let _ = self.arena.write_fmt(text);
        Cell::Text(Span { at, len: self.arena.len() as u32 - at })
    }

    /// Writes a value as JSON text.
    pub(crate) fn json(&mut self, value: &impl serde::Serialize) -> Cell {
        let at = self.arena.len() as u32;
        // Writing to a Vec cannot fail, and what is written here are lists and objects with text keys.
        let _ = serde_json::to_writer(&mut self.arena, value);
        Cell::Json(Span { at, len: self.arena.len() as u32 - at })
    }

    /// Copies a list of byte strings.
    pub(crate) fn list<'b>(&mut self, items: impl Iterator<Item = &'b [u8]>) -> Cell {
        let at = self.lists.len() as u32;
        for item in items {
            let start = self.arena.len() as u32;
            self.arena.extend_from_slice(item);
            self.lists.push(Span { at: start, len: item.len() as u32 });
        }
        Cell::List(Span { at, len: self.lists.len() as u32 - at })
    }

    /// The columns that an enricher added; `None` while it has not run, or if it was shed or trapped.
    pub fn enrichment(&self, slot: usize) -> Option<&Enriched> {
        self.enriched.get(slot)?.get()?.as_ref()
    }
}
