//! Evaluation: columns first, then only the rows and rules that a witness was found for.

use crate::batch::{BatchView, Cell, Cells, ColumnView, Value};
use crate::fold::fold_into;
use crate::index::Marks;
use crate::ruleset::{Program, RuleSet};
use crate::test::{Buffers, Probe};
use crate::tree::Expr;

/// Working memory of [`RuleSet::eval`]; reuse it from batch to batch. It holds nothing that a later call depends on.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// `(row, look)` for every cell in which a witness was found.
    found: Vec<(u32, u32)>,
    /// Ranges of `atoms`. The first is empty.
    looks: Vec<(u32, u32)>,
    atoms: Vec<u32>,
    /// Per distinct value of the current column: 0 = not looked at, otherwise its look + 1.
    memo: Vec<u32>,
    marks: Marks,
    row: RowState,
}

#[derive(Clone, Debug, Default)]
struct RowState {
    /// Counts rows over all calls.
    epoch: u64,
    /// Bit per atom: it holds, and whether that is known, in the current row.
    holds: Vec<u64>,
    known: Vec<u64>,
    /// Per rule: the last row it was a candidate in.
    candidate: Vec<u64>,
    candidates: Vec<u32>,
    /// Per column: the folded text of the current row, and the row it was made for.
    folded: Vec<(u64, Vec<u8>)>,
    buffers: Buffers,
}

/// The look of cells in which nothing was found.
const NOTHING: u32 = 0;

impl RuleSet {
    /// Calls `hit` with row and rule (index into [`RuleSet::rules`]) of every match, by row and then by rule.
    pub fn eval(&self, stream: usize, batch: &BatchView<'_>, scratch: &mut Scratch, mut hit: impl FnMut(u32, u32)) {
        let Some(stream) = self.streams.get(stream) else { return };
        let program = &stream.program;
        scratch.find_witnesses(program, batch);
        let Scratch { found, looks, atoms, row: state, .. } = scratch;
        state.reserve(program, stream.fields.len());
        let mut found = found.as_slice();
        if program.always.is_empty() {
            while let Some((row, _)) = found.first() {
                let row = *row;
                let here = found.partition_point(|(r, _)| *r == row);
                let looks = found[..here].iter().map(|(_, look)| looks[*look as usize]);
                state.row(program, batch, row, looks, atoms, |rule| hit(row, stream.rules[rule as usize]));
                found = &found[here..];
            }
        } else {
            for row in 0..batch.rows as u32 {
                let here = found.partition_point(|(r, _)| *r == row);
                let looks = found[..here].iter().map(|(_, look)| looks[*look as usize]);
                state.row(program, batch, row, looks, atoms, |rule| hit(row, stream.rules[rule as usize]));
                found = &found[here..];
            }
        }
    }
}

impl Scratch {
    /// Fills `found`, `looks` and `atoms`.
    fn find_witnesses(&mut self, program: &Program, batch: &BatchView<'_>) {
        self.found.clear();
        self.atoms.clear();
        self.looks.clear();
        self.looks.push((0, 0));
        self.marks.reserve(program.atoms.len());
        for (c, index) in program.indices.iter().enumerate() {
            if index.is_empty() {
                continue;
            }
            let absent = self.remember(|out, _| out.extend(index.null.iter().chain(&index.missing)));
            let Some(column) = batch.columns.get(c) else {
                self.found.extend((0..batch.rows as u32).map(|row| (row, absent)).filter(|_| absent != NOTHING));
                continue;
            };
            let null = self.remember(|out, _| out.extend(index.null.iter().chain(&index.exists)));
            self.memo.clear();
            if let Cells::Text(texts) = column.cells
                && !texts.codes.is_empty()
            {
                self.memo.resize(texts.ends.len(), 0);
            }
            for row in 0..batch.rows {
                let look = match column.presence(row) {
                    1 => self.look(program, column, c, row),
                    0 => absent,
                    2 => null,
                    _ => NOTHING,
                };
                if look != NOTHING {
                    self.found.push((row as u32, look));
                }
            }
        }
        // Each column went through the rows in order, so this merges sorted runs.
        self.found.sort_by_key(|(row, _)| *row);
    }

    /// The look of a present cell; every distinct value of a dictionary is looked at once.
    fn look(&mut self, program: &Program, column: &ColumnView<'_>, c: usize, row: usize) -> u32 {
        let code = match column.cells {
            Cells::Text(texts) if !texts.codes.is_empty() => texts.code(row),
            _ => usize::MAX,
        };
        if let Some(known @ 1..) = self.memo.get(code) {
            return known - 1;
        }
        let index = &program.indices[c];
        let cell = column.cell(row);
        let look = self.remember(|out, marks| {
            match cell {
                Cell::Absent => out.extend(index.null.iter().chain(&index.missing)),
                Cell::Null => out.extend(index.null.iter().chain(&index.exists)),
                Cell::Unavailable => {}
                Cell::One(_) | Cell::List(..) => out.extend(&index.exists),
            }
            for value in cell.values() {
                index.look(value, &program.atoms, marks, out);
            }
        });
        if let Some(memo) = self.memo.get_mut(code) {
            *memo = look + 1;
        }
        look
    }

    /// Keeps what `fill` finds as a look.
    fn remember(&mut self, fill: impl FnOnce(&mut Vec<u32>, &mut Marks)) -> u32 {
        let start = self.atoms.len() as u32;
        self.marks.next_row();
        fill(&mut self.atoms, &mut self.marks);
        let end = self.atoms.len() as u32;
        if start == end {
            return NOTHING;
        }
        self.looks.push((start, end));
        self.looks.len() as u32 - 1
    }
}

impl RowState {
    fn reserve(&mut self, program: &Program, columns: usize) {
        let words = program.indexed.len();
        self.holds.clear();
        self.holds.resize(words, 0);
        self.known.clear();
        self.known.resize(words, 0);
        if self.candidate.len() < program.conditions.len() {
            self.candidate.resize(program.conditions.len(), 0);
        }
        if self.folded.len() < columns {
            self.folded.resize_with(columns, Default::default);
        }
    }

    /// Evaluates one row. `looks` = where in `atoms` those stand that were found in its cells.
    fn row(
        &mut self,
        program: &Program,
        batch: &BatchView<'_>,
        row: u32,
        looks: impl Iterator<Item = (u32, u32)>,
        atoms: &[u32],
        mut hit: impl FnMut(u32),
    ) {
        self.epoch += 1;
        self.holds.fill(0);
        self.known.copy_from_slice(&program.indexed);
        self.candidates.clear();
        self.candidates.extend_from_slice(&program.always);
        for (start, end) in looks {
            for &atom in &atoms[start as usize..end as usize] {
                self.holds[atom as usize / 64] |= 1 << (atom % 64);
                for &rule in &program.concerned[atom as usize] {
                    if std::mem::replace(&mut self.candidate[rule as usize], self.epoch) != self.epoch {
                        self.candidates.push(rule);
                    }
                }
            }
        }
        self.candidates.sort_unstable();
        let candidates = std::mem::take(&mut self.candidates);
        for &rule in &candidates {
            if self.expr(program, batch, row as usize, &program.conditions[rule as usize]) {
                hit(rule);
            }
        }
        self.candidates = candidates;
    }

    fn expr(&mut self, program: &Program, batch: &BatchView<'_>, row: usize, expr: &Expr) -> bool {
        match expr {
            Expr::All(parts) => parts.iter().all(|p| self.expr(program, batch, row, p)),
            Expr::Any(parts) => parts.iter().any(|p| self.expr(program, batch, row, p)),
            Expr::Not(part) => !self.expr(program, batch, row, part),
            Expr::Atom(atom) => self.atom(program, batch, row, *atom),
        }
    }

    /// Whether an atom holds in the current row; each is tested at most once per row.
    fn atom(&mut self, program: &Program, batch: &BatchView<'_>, row: usize, number: u32) -> bool {
        let (word, bit) = (number as usize / 64, 1_u64 << (number % 64));
        if self.known[word] & bit != 0 {
            return self.holds[word] & bit != 0;
        }
        let atom = &program.atoms[number as usize];
        let cell = |column: u32| batch.columns.get(column as usize).map_or(Cell::Absent, |c| c.cell(row));
        let holds = match cell(atom.column) {
            // The usual case: one text, folded once per row for all its atoms.
            Cell::One(value @ Value::Text(text)) if atom.test.is_about_value() => {
                let (made_for, folded) = &mut self.folded[atom.column as usize];
                if *made_for != self.epoch {
                    fold_into(text, folded);
                    *made_for = self.epoch;
                }
                atom.test.matches(&mut Probe::folded_already(value, text, folded))
            }
            here => atom.test.holds(&here, &cell(atom.other), &mut self.buffers),
        };
        self.known[word] |= bit;
        if holds {
            self.holds[word] |= bit;
        }
        holds
    }
}
