//! A block: some thousand rows in host order, the processes behind them, and where to find each kind. It is read or skipped as a whole,
//! and within it the kinds that nobody asks for are never unpacked.
//!
//! ```text
//! "PKTB"  u32 length of the head  u32 length of the sections  u64 xxh3 of the head        little endian
//! head      what the block holds (JSON), so that a reader can skip it
//! sections  one zstd frame each, with its checksum: the processes, then one for each kind
//! ```

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::RecorderError;
use super::bytes::{Damaged, In, Out};
use super::processes::{self, Processes};
use super::section::{Head, ReadSection, Section};
use crate::collect;
use crate::generation::{Generation, Interest};
use crate::kind::{KINDS, KindId, SYSTEM};
use crate::process::Process;
use crate::slab::{Origin, Row, Slab};

const MAGIC: [u8; 4] = *b"PKTB";
/// Of what stands before the head.
pub const FRAME: usize = 20;
/// No head or sections that Picket writes are longer.
const MOST_HEAD: u32 = 1 << 20;
const MOST_SECTIONS: u32 = 256 << 20;
/// Unpacked, of one section.
const MOST_UNPACKED: u64 = 256 << 20;

/// Compression: a level at which writing costs about as much as making the columns.
const ZSTD_LEVEL: i32 = 3;

/// What a block holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    pub rows: u32,
    /// Event times, Unix ns; the rows are in host order, which is not quite that of times.
    pub first: u64,
    pub last: u64,
    /// Length of the packed processes.
    processes: u32,
    sections: Vec<Part>,
    /// Kinds that were collected then, by name; those of which not everything was, as `NAME?`.
    pub collected: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Part {
    kind: String,
    rows: u32,
    packed: u32,
}

/// A block that is being filled.
#[derive(Default)]
pub struct Open {
    rows: u32,
    first: u64,
    last: u64,
    processes: Processes,
    sections: BTreeMap<KindId, Section>,
}

impl Open {
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Bytes held, about.
    pub fn size(&self) -> usize {
        self.processes.size() + self.sections.values().map(Section::size).sum::<usize>()
    }

    /// Adds the events of a slab. What was made from another row is left out: it is made again.
    pub fn add(&mut self, slab: &Slab) -> u64 {
        let mut added = 0;
        for (at, row) in slab.rows.iter().enumerate() {
            // JSON of a foreign kind has no columns; a live host has none of it.
            let Some(kind) = row.kind.spec().filter(|_| slab.primary_of(at).is_none()) else { continue };
            let head = Head {
                position: self.rows,
                time: row.time,
                repeat: row.repeat,
                partial: row.partial,
                process: self.processes.number(row.process.as_ref()) as u32,
            };
            let cells = row.cells as usize..row.cells as usize + SYSTEM.len() + kind.fields.len();
            self.sections.entry(row.kind).or_default().add(head, slab, &slab.cells[cells]);
            if self.rows == 0 {
                (self.first, self.last) = (row.time, row.time);
            }
            (self.first, self.last) = (self.first.min(row.time), self.last.max(row.time));
            self.rows += 1;
            added += 1;
        }
        added
    }

    /// The block as it goes into the file.
    pub fn write(&self, collected: &[String]) -> io::Result<(Summary, Vec<u8>)> {
        let mut out = Out::default();
        self.processes.write(&mut out);
        let mut sections = pack(&out.0)?;
        let mut summary = Summary {
            rows: self.rows,
            first: self.first,
            last: self.last,
            processes: sections.len() as u32,
            sections: Vec::new(),
            collected: collected.to_vec(),
        };
        for (kind, section) in &self.sections {
            let Some(kind) = kind.spec() else { continue };
            out.0.clear();
            section.write(&mut out);
            let packed = pack(&out.0)?;
            let (rows, length) = (section.rows() as u32, packed.len() as u32);
            summary.sections.push(Part { kind: kind.name.to_owned(), rows, packed: length });
            sections.extend_from_slice(&packed);
        }
        let head = serde_json::to_vec(&summary)?;
        let mut block = Vec::with_capacity(FRAME + head.len() + sections.len());
        block.extend_from_slice(&MAGIC);
        block.extend_from_slice(&(head.len() as u32).to_le_bytes());
        block.extend_from_slice(&(sections.len() as u32).to_le_bytes());
        block.extend_from_slice(&xxh3_64(&head).to_le_bytes());
        block.extend_from_slice(&head);
        block.extend_from_slice(&sections);
        Ok((summary, block))
    }
}

/// The kinds that a generation collects, for [`Summary::collected`].
pub fn collected(generation: &Generation) -> Vec<String> {
    let in_part = |at: usize| collect::leaves_out_paths(generation, KindId(at as u16));
    let named = generation.interest.iter().zip(KINDS).enumerate().filter_map(|(at, (interest, kind))| match interest {
        Interest::None => None,
        Interest::All if !in_part(at) => Some(kind.name.to_owned()),
        Interest::All | Interest::Narrow => Some(format!("{}?", kind.name)),
    });
    named.collect()
}

fn pack(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
    encoder.include_checksum(true)?;
    io::copy(&mut &bytes[..], &mut encoder)?;
    encoder.finish()
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>, Damaged> {
    let decoder = zstd::Decoder::with_buffer(packed).map_err(|_| Damaged)?;
    let mut bytes = Vec::new();
    let read = decoder.take(MOST_UNPACKED + 1).read_to_end(&mut bytes).map_err(|_| Damaged)?;
    if read as u64 > MOST_UNPACKED { Err(Damaged) } else { Ok(bytes) }
}

/// How the columns of a file belong to the fields of this version: a field that was added since is absent, one that is gone is skipped.
#[derive(Clone, Debug, Default)]
pub struct Columns(BTreeMap<String, Vec<Option<usize>>>);

/// The columns of each kind, in order, by the path of their fields: in the head of a file.
pub fn columns() -> BTreeMap<String, Vec<String>> {
    let of = |kind: &crate::kind::Kind| {
        let system = SYSTEM.iter().map(|f| format!("System.{}", f.path));
        system.chain(kind.fields.iter().map(|f| format!("EventData.{}", f.path))).collect()
    };
    KINDS.iter().map(|kind| (kind.name.to_owned(), of(kind))).collect()
}

impl Columns {
    /// Of a file with these columns.
    pub fn of(written: &BTreeMap<String, Vec<String>>) -> Columns {
        let now = columns();
        let place = |kind: &String, path: &String| now.get(kind)?.iter().position(|p| p == path);
        let places = |(kind, paths): (&String, &Vec<String>)| {
            (kind.clone(), paths.iter().map(|path| place(kind, path)).collect::<Vec<_>>())
        };
        Columns(written.iter().map(places).collect())
    }
}

/// The head of the next block; `None` at the end of what was written as a whole.
pub fn next(file: &mut impl Read) -> Result<Option<(Summary, u32)>, RecorderError> {
    let mut frame = [0; FRAME];
    if !fill(file, &mut frame)? {
        return Ok(None);
    }
    let word = |at: usize| u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
    let (head, sections) = (word(4), word(8));
    if frame[..4] != MAGIC || head > MOST_HEAD || sections > MOST_SECTIONS {
        return Err(RecorderError::Damaged);
    }
    let mut text = vec![0; head as usize];
    if !fill(file, &mut text)? {
        return Ok(None);
    }
    if xxh3_64(&text).to_le_bytes() != frame[12..20] {
        return Err(RecorderError::Damaged);
    }
    let summary: Summary = serde_json::from_slice(&text).map_err(|_| RecorderError::Damaged)?;
    Ok(Some((summary, sections)))
}

/// Fills a buffer; `false` if the file ends before: a crash cut what was written last.
pub fn fill(file: &mut impl Read, buffer: &mut [u8]) -> Result<bool, RecorderError> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(RecorderError::Read(e)),
    }
}

/// A block as it was read, of the kinds that were asked for.
#[derive(Debug)]
pub struct Block {
    pub origin: Arc<Origin>,
    processes: Vec<Arc<Process>>,
    sections: Vec<(KindId, ReadSection)>,
    /// In host order: (section, row).
    order: Vec<(u32, u32)>,
}

impl Block {
    /// Reads the sections of a block.
    pub fn read(
        summary: &Summary,
        packed: &[u8],
        columns: &Columns,
        origin: Arc<Origin>,
        wanted: &dyn Fn(KindId) -> bool,
    ) -> Result<Block, Damaged> {
        let mut rest = packed;
        let mut take = |length: u32| {
            let (taken, after) = rest.split_at_checked(length as usize).ok_or(Damaged)?;
            rest = after;
            Ok(taken)
        };
        let people = take(summary.processes)?;
        let mut sections = Vec::new();
        for part in &summary.sections {
            let packed = take(part.packed)?;
            // A kind that this version does not know has no reader.
            let Some(kind) = KindId::by_name(&part.kind).filter(|kind| wanted(*kind)) else { continue };
            let Some(keep) = columns.0.get(&part.kind) else { continue };
            let width = SYSTEM.len() + kind.spec().map_or(0, |k| k.fields.len());
            sections.push((kind, ReadSection::read(&mut In(&unpack(packed)?), keep, width)?));
        }
        let processes = if sections.is_empty() { Vec::new() } else { processes::read(&mut In(&unpack(people)?))? };
        let mut order: Vec<(u32, u32)> = Vec::new();
        for (number, (_, section)) in sections.iter().enumerate() {
            if section.heads.iter().any(|h| h.process as usize > processes.len()) {
                return Err(Damaged);
            }
            order.extend((0..section.heads.len()).map(|row| (number as u32, row as u32)));
        }
        order.sort_unstable_by_key(|(section, row)| sections[*section as usize].1.heads[*row as usize].position);
        Ok(Block { origin, processes, sections, order })
    }

    /// Of which nothing was asked for.
    pub fn empty(origin: Arc<Origin>) -> Block {
        Block { origin, processes: Vec::new(), sections: Vec::new(), order: Vec::new() }
    }

    pub fn rows(&self) -> usize {
        self.order.len()
    }

    /// When a row happened, Unix ns.
    pub fn time(&self, row: usize) -> u64 {
        self.head(row).time
    }

    pub fn kind(&self, row: usize) -> KindId {
        self.sections[self.order[row].0 as usize].0
    }

    pub fn process(&self, row: usize) -> Option<&Arc<Process>> {
        (self.head(row).process as usize).checked_sub(1).map(|at| &self.processes[at])
    }

    fn head(&self, row: usize) -> Head {
        let (section, row) = self.order[row];
        self.sections[section as usize].1.heads[row as usize]
    }

    /// Appends a row to `slab`, which is known by `slab_number`, with `seq` as its place in host order.
    pub fn put(&mut self, row: usize, seq: u64, slab: &mut Slab, slab_number: u64) {
        let head = self.head(row);
        let process = self.process(row).cloned();
        let (section, own) = self.order[row];
        let (kind, section) = &mut self.sections[section as usize];
        let cells = slab.cells.len() as u32;
        section.put(own as usize, slab, slab_number);
        slab.origin = self.origin.clone();
        slab.rows.push(Row {
            seq,
            time: head.time,
            kind: *kind,
            cells,
            repeat: head.repeat,
            partial: head.partial,
            process,
            raw: None,
        });
    }
}
