//! The rows of one kind in a block, column by column: what is alike stands together, and a hunt reads only the kinds it wants.

use super::bytes::{Damaged, In, Out, ReadTexts, Texts};
use crate::slab::{Cell, Slab, Span};

/// How a cell begins in a column.
mod tag {
    pub const ABSENT: u8 = 0;
    pub const NULL: u8 = 1;
    pub const UNSIGNED: u8 = 2;
    pub const SIGNED: u8 = 3;
    pub const FALSE: u8 = 4;
    pub const TRUE: u8 = 5;
    /// As nanoseconds after the row's time, or before.
    pub const TIME: u8 = 6;
    pub const TEXT: u8 = 7;
    pub const LIST: u8 = 8;
    pub const JSON: u8 = 9;
}

/// How a column is written.
mod column {
    /// Every row has the same cell: it stands there once.
    pub const CONSTANT: u8 = 0;
    pub const EACH: u8 = 1;
}

mod flag {
    pub const REPEAT: u8 = 1;
    pub const PARTIAL: u8 = 2;
}

/// What a row is beyond its cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// In the block, from 0.
    pub position: u32,
    pub time: u64,
    pub repeat: bool,
    pub partial: bool,
    /// From 1; 0 = no process.
    pub process: u32,
}

/// Rows of one kind in an open block.
#[derive(Default)]
pub struct Section {
    texts: Texts,
    heads: Vec<Head>,
    columns: Vec<Column>,
    cell: Out,
}

#[derive(Default)]
struct Column {
    each: Out,
    /// The first cell, while all are like it.
    first: Vec<u8>,
    varies: bool,
}

impl Section {
    pub fn rows(&self) -> usize {
        self.heads.len()
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.texts.size() + self.columns.iter().map(|c| c.each.0.len()).sum::<usize>()
    }

    /// Adds a row of `slab` with these cells.
    pub fn add(&mut self, head: Head, slab: &Slab, cells: &[Cell]) {
        self.columns.resize_with(cells.len().max(self.columns.len()), Column::default);
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            self.cell.0.clear();
            encode(*cell, head.time, slab, &mut self.texts, &mut self.cell);
            if self.heads.is_empty() {
                column.first.clone_from(&self.cell.0);
            }
            if !column.varies && column.first != self.cell.0 {
                column.varies = true;
                // So many were like the first.
                for _ in 0..self.heads.len() {
                    column.each.0.extend_from_slice(&column.first);
                }
            }
            if column.varies {
                column.each.0.extend_from_slice(&self.cell.0);
            }
        }
        self.heads.push(head);
    }

    pub fn write(&self, out: &mut Out) {
        self.texts.write(out);
        out.number(self.heads.len() as u64);
        let mut before = 0;
        for head in &self.heads {
            out.number(u64::from(head.position - before));
            before = head.position;
        }
        let mut before = 0u64;
        for head in &self.heads {
            out.signed(head.time.wrapping_sub(before) as i64);
            before = head.time;
        }
        for head in &self.heads {
            out.byte((u8::from(head.repeat) * flag::REPEAT) | (u8::from(head.partial) * flag::PARTIAL));
        }
        self.heads.iter().for_each(|head| out.number(u64::from(head.process)));
        out.number(self.columns.len() as u64);
        for column in &self.columns {
            let (how, bytes) =
                if column.varies { (column::EACH, &column.each.0) } else { (column::CONSTANT, &column.first) };
            out.byte(how);
            out.bytes(bytes);
        }
    }
}

fn encode(cell: Cell, time: u64, slab: &Slab, texts: &mut Texts, out: &mut Out) {
    let mut text = |span: Span, out: &mut Out| {
        let number = texts.number(&slab.arena[span.range()]);
        out.number(number);
    };
    match cell {
        Cell::Absent => out.byte(tag::ABSENT),
        Cell::Null => out.byte(tag::NULL),
        Cell::Bool(value) => out.byte(if value { tag::TRUE } else { tag::FALSE }),
        Cell::Unsigned(value) => {
            out.byte(tag::UNSIGNED);
            out.number(value);
        }
        Cell::Signed(value) => {
            out.byte(tag::SIGNED);
            out.signed(value);
        }
        Cell::Time(value) => {
            out.byte(tag::TIME);
            out.signed(value.wrapping_sub(time) as i64);
        }
        Cell::Text(span) => {
            out.byte(tag::TEXT);
            text(span, out);
        }
        Cell::Json(span) => {
            out.byte(tag::JSON);
            text(span, out);
        }
        Cell::List(items) => {
            out.byte(tag::LIST);
            out.number(u64::from(items.len));
            slab.lists[items.range()].iter().for_each(|item| text(*item, out));
        }
    }
}

/// A cell as it was read: texts by number.
#[derive(Clone, Copy, Debug)]
enum Stored {
    Plain(Cell),
    Text(u32),
    Json(u32),
    /// Numbers in [`ReadSection::items`].
    List(Span),
}

/// Rows of one kind as they were read.
#[derive(Debug, Default)]
pub struct ReadSection {
    texts: ReadTexts,
    pub heads: Vec<Head>,
    width: usize,
    /// Row by row.
    cells: Vec<Stored>,
    items: Vec<u32>,
    /// Where in the slab with this number each text was put already.
    placed: Vec<(u64, Span)>,
}

/// No kind has so many columns.
const MOST_COLUMNS: usize = 256;

/// Items of lists in a section: more than a block can hold.
const MOST_ITEMS: usize = 16 << 20;

impl ReadSection {
    /// Reads what [`Section::write`] wrote. `keep` says for each column as it was written which one it is now; none = not any more.
    /// `width` columns are known now.
    pub fn read(input: &mut In<'_>, keep: &[Option<usize>], width: usize) -> Result<ReadSection, Damaged> {
        let texts = ReadTexts::read(input)?;
        let rows = input.count()?;
        let mut heads = vec![Head::default(); rows];
        let mut at = 0u64;
        for head in &mut heads {
            at += input.number()?;
            head.position = u32::try_from(at).map_err(|_| Damaged)?;
        }
        let mut time = 0u64;
        for head in &mut heads {
            time = time.wrapping_add(input.signed()? as u64);
            head.time = time;
        }
        for head in &mut heads {
            let flags = input.byte()?;
            (head.repeat, head.partial) = (flags & flag::REPEAT != 0, flags & flag::PARTIAL != 0);
        }
        for head in &mut heads {
            head.process = u32::try_from(input.number()?).map_err(|_| Damaged)?;
        }
        let columns = input.count()?;
        if columns > MOST_COLUMNS {
            return Err(Damaged);
        }
        let placed = vec![(u64::MAX, Span::default()); texts.len()];
        let cells = vec![Stored::Plain(Cell::Absent); rows * width];
        let mut section = ReadSection { texts, heads, width, cells, items: Vec::new(), placed };
        for number in 0..columns {
            let how = input.byte()?;
            let mut bytes = In(input.bytes()?);
            let Some(place) = keep.get(number).copied().flatten().filter(|place| *place < width) else { continue };
            match how {
                column::CONSTANT if rows > 0 => {
                    let start = bytes;
                    for row in 0..rows {
                        // Times are relative to each row's.
                        let mut again = start;
                        let cell = section.decode(&mut again, row)?;
                        section.cells[row * width + place] = cell;
                        if !matches!(cell, Stored::Plain(Cell::Time(_)) | Stored::List(_)) {
                            (row + 1..rows).for_each(|row| section.cells[row * width + place] = cell);
                            break;
                        }
                    }
                }
                column::EACH => {
                    for row in 0..rows {
                        section.cells[row * width + place] = section.decode(&mut bytes, row)?;
                    }
                }
                _ => {}
            }
        }
        Ok(section)
    }

    fn decode(&mut self, bytes: &mut In<'_>, row: usize) -> Result<Stored, Damaged> {
        let texts = self.texts.len() as u64;
        let text = |bytes: &mut In<'_>| {
            let number = bytes.number()?;
            if number < texts { Ok(number as u32) } else { Err(Damaged) }
        };
        Ok(match bytes.byte()? {
            tag::ABSENT => Stored::Plain(Cell::Absent),
            tag::NULL => Stored::Plain(Cell::Null),
            tag::FALSE => Stored::Plain(Cell::Bool(false)),
            tag::TRUE => Stored::Plain(Cell::Bool(true)),
            tag::UNSIGNED => Stored::Plain(Cell::Unsigned(bytes.number()?)),
            tag::SIGNED => Stored::Plain(Cell::Signed(bytes.signed()?)),
            tag::TIME => {
                let after = bytes.signed()? as u64;
                Stored::Plain(Cell::Time(self.heads[row].time.wrapping_add(after)))
            }
            tag::TEXT => Stored::Text(text(bytes)?),
            tag::JSON => Stored::Json(text(bytes)?),
            tag::LIST => {
                let len = bytes.count()? as u32;
                let at = self.items.len() as u32;
                if self.items.len() + len as usize > MOST_ITEMS {
                    return Err(Damaged);
                }
                for _ in 0..len {
                    self.items.push(text(bytes)?);
                }
                Stored::List(Span { at, len })
            }
            _ => return Err(Damaged),
        })
    }

    /// Appends the cells of a row to `slab`, which is known by `slab_number`: a text is put into its arena once.
    pub fn put(&mut self, row: usize, slab: &mut Slab, slab_number: u64) {
        let ReadSection { texts, cells, items, placed, width, .. } = self;
        let mut place = |number: u32, slab: &mut Slab| -> Span {
            let known = &mut placed[number as usize];
            if known.0 != slab_number {
                // Every number was checked when it was read.
                let bytes = texts.get(u64::from(number)).unwrap_or_default();
                let at = slab.arena.len() as u32;
                slab.arena.extend_from_slice(bytes);
                *known = (slab_number, Span { at, len: bytes.len() as u32 });
            }
            known.1
        };
        for stored in &cells[row * *width..(row + 1) * *width] {
            let cell = match *stored {
                Stored::Plain(cell) => cell,
                Stored::Text(number) => Cell::Text(place(number, slab)),
                Stored::Json(number) => Cell::Json(place(number, slab)),
                Stored::List(span) => {
                    let at = slab.lists.len() as u32;
                    for item in &items[span.range()] {
                        let item = place(*item, slab);
                        slab.lists.push(item);
                    }
                    Cell::List(Span { at, len: span.len })
                }
            };
            slab.cells.push(cell);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> (Slab, Vec<Vec<Cell>>) {
        let mut slab = Slab::default();
        let mut rows = Vec::new();
        for n in 0..5u64 {
            let varying = slab.text(format!("text {}", n / 2).as_bytes());
            let constant = slab.text(b"always \xff");
            let list = slab.list([&b"a"[..], b"", b"always \xff"].into_iter().take(n as usize % 4));
            let json = slab.json(&serde_json::json!([n]));
            let mixed = if n % 2 == 0 { Cell::Null } else { Cell::Unsigned(n << 40) };
            rows.push(vec![
                varying,
                constant,
                list,
                json,
                mixed,
                Cell::Signed(-(n as i64)),
                Cell::Bool(n == 3),
                Cell::Time(1000 + n),
                Cell::Time(2000 + 7 * n),
                Cell::Absent,
            ]);
        }
        (slab, rows)
    }

    fn head(n: usize) -> Head {
        Head {
            position: 3 * n as u32 + 1,
            time: 2000 - 10 * n as u64,
            repeat: n == 2,
            partial: n == 4,
            process: n as u32,
        }
    }

    fn shown(slab: &Slab, cells: &[Cell]) -> Vec<String> {
        cells
            .iter()
            .map(|c| format!("{:?}", slab.cell_value(*c)))
            .map(|t| t.split("arena").next().unwrap().to_owned())
            .collect()
    }

    fn written() -> Vec<u8> {
        let (slab, rows) = rows();
        let mut section = Section::default();
        rows.iter().enumerate().for_each(|(n, cells)| section.add(head(n), &slab, cells));
        let mut out = Out::default();
        section.write(&mut out);
        out.0
    }

    fn each(slab: &Slab, cells: &[Cell]) -> Vec<String> {
        let list = |cell: &Cell| {
            let mut all = Vec::new();
            if let crate::slab::Value::List(list) = slab.cell_value(*cell) {
                list.each(&mut |item| all.push(String::from_utf8_lossy(item).into_owned()));
                return format!("{all:?}");
            }
            format!("{:?}", slab.cell_value(*cell))
        };
        cells.iter().map(list).collect()
    }

    #[test]
    fn rows_come_back_as_they_were() {
        let (slab, rows) = rows();
        let bytes = written();
        let keep: Vec<Option<usize>> = (0..10).map(Some).collect();
        let mut read = ReadSection::read(&mut In(&bytes), &keep, 10).unwrap();
        assert_eq!(read.heads, (0..5).map(head).collect::<Vec<_>>());
        let mut again = Slab::default();
        // Two slabs one after the other: what was put into the first is not in the second.
        for number in 0..2 {
            again = Slab::default();
            (0..5).for_each(|row| read.put(row, &mut again, number));
        }
        for (n, cells) in rows.iter().enumerate() {
            assert_eq!(each(&again, &again.cells[10 * n..10 * n + 10]), each(&slab, cells), "row {n}");
        }
        assert_eq!(again.arena.windows(6).filter(|w| w == b"text 1").count(), 1, "each text is there once");
    }

    #[test]
    fn columns_may_move_or_go() {
        let (slab, rows) = rows();
        let bytes = written();
        let keep = [Some(1), None, None, None, None, Some(0)];
        let mut read = ReadSection::read(&mut In(&bytes), &keep, 3).unwrap();
        let mut again = Slab::default();
        read.put(4, &mut again, 0);
        assert_eq!(shown(&again, &again.cells), shown(&slab, &[rows[4][5], rows[4][0], Cell::Absent]));
    }

    #[test]
    fn damaged_bytes_are_refused_or_read_within_bounds() {
        let bytes = written();
        let keep: Vec<Option<usize>> = (0..10).map(Some).collect();
        let try_it = |bytes: &[u8]| {
            if let Ok(mut read) = ReadSection::read(&mut In(bytes), &keep, 10) {
                let mut slab = Slab::default();
                (0..read.heads.len()).for_each(|row| read.put(row, &mut slab, 0));
            }
        };
        for at in 0..bytes.len() {
            try_it(&bytes[..at]);
            for bit in 0..8 {
                let mut other = bytes.clone();
                other[at] ^= 1 << bit;
                try_it(&other);
            }
        }
    }
}
