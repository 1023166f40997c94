//! Evaluation: columns first, then only the rows and rules that a witness was found for.

use crate::batch::{BatchView, Cell, Cells, Value};
use crate::evidence::{self, Comparison};
use crate::fold::fold_into;
use crate::index::Marks;
use crate::ruleset::{Program, RuleSet, Stream};
use crate::test::{Buffers, Probe};
use crate::tree::{Atom, Expr};

/// Working memory of [`RuleSet::eval`]; reuse it from batch to batch. It holds nothing that a later call depends on.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// `(row, look)` for every cell in which a witness was found.
    found: Vec<(u32, u32)>,
    /// Ranges of `atoms`. The first is empty.
    looks: Vec<(u32, u32)>,
    atoms: Vec<u32>,
    /// Per distinct value of the current column: its look.
    memo: Vec<u32>,
    marks: Marks,
    row: RowState,
}

#[derive(Clone, Debug, Default)]
struct RowState {
    /// Counts rows over all calls.
    epoch: u64,
    /// Per atom: the last row in which it is known whether it holds, and (lowest bit) whether it does. Not cleared between
    /// rows: ten thousand rules have a hundred thousand atoms, of which a row asks for a few.
    answers: Vec<u64>,
    /// Per rule: the last row it was a candidate in.
    candidate: Vec<u64>,
    candidates: Vec<u32>,
    /// Per column: the folded text of the current row, and the row it was made for.
    folded: Vec<(u64, Vec<u8>)>,
    buffers: Buffers,
}

/// The look of cells in which nothing was found.
const NOTHING: u32 = 0;

/// A match that [`RuleSet::detect`] found, while its row is at hand.
pub struct Match<'m, 'a> {
    state: &'m mut RowState,
    set: &'a RuleSet,
    stream: &'a Stream,
    batch: &'a BatchView<'a>,
    row: u32,
    rule: u32,
}

impl std::fmt::Debug for Match<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Match").field("row", &self.row).field("rule", &self.rule).finish_non_exhaustive()
    }
}

impl Match<'_, '_> {
    /// Row of the batch.
    pub fn row(&self) -> u32 {
        self.row
    }

    /// Index into [`RuleSet::rules`].
    pub fn rule(&self) -> u32 {
        self.rule
    }

    /// What [`RuleSet::evidence`] says, from what is known of the row already.
    pub fn evidence(&mut self, mut found: impl FnMut(Comparison<'_>)) {
        let (set, stream, rule) = (self.set, self.stream, self.rule);
        evidence::walk(self, &set.trees[rule as usize], &stream.fields, &mut found);
    }
}

impl<'a> evidence::Row<'a> for Match<'_, 'a> {
    fn cell(&self, column: u32) -> Cell<'a> {
        self.batch.columns.get(column as usize).map_or(Cell::Absent, |c| c.cell(self.row as usize))
    }

    fn atom(&self, atom: u32) -> &'a Atom {
        &self.stream.program.atoms[atom as usize]
    }

    fn answer(&mut self, atom: u32) -> bool {
        self.state.atom(&self.stream.program, self.batch, self.row as usize, atom)
    }

    fn buffers(&mut self) -> &mut Buffers {
        &mut self.state.buffers
    }
}

impl RuleSet {
    /// Calls `hit` with row and rule (index into [`RuleSet::rules`]) of every match, by row and then by rule.
    pub fn eval(&self, stream: usize, batch: &BatchView<'_>, scratch: &mut Scratch, mut hit: impl FnMut(u32, u32)) {
        self.detect(stream, batch, scratch, |found| hit(found.row, found.rule));
    }

    /// Calls `hit` with every match, by row and then by rule.
    pub fn detect(
        &self,
        stream: usize,
        batch: &BatchView<'_>,
        scratch: &mut Scratch,
        mut hit: impl FnMut(&mut Match<'_, '_>),
    ) {
        let Some(stream) = self.streams.get(stream) else { return };
        let program = &stream.program;
        scratch.find_witnesses(program, batch);
        let Scratch { found, looks, atoms, row: state, .. } = scratch;
        state.reserve(program, stream.fields.len());
        let mut found = found.as_slice();
        let mut next = 0;
        loop {
            // Where some rule has no witness every row is looked at, else only those in which one was found.
            let row = if program.always.is_empty() { found.first().map(|(row, _)| *row) } else { Some(next) };
            let Some(row) = row.filter(|row| (*row as usize) < batch.rows) else { break };
            next = row + 1;
            let here = found.partition_point(|(r, _)| *r == row);
            let looks = found[..here].iter().map(|(_, look)| looks[*look as usize]);
            state.row(program, batch, row, looks, atoms, |state, rule| {
                let rule = stream.rules[rule as usize];
                hit(&mut Match { state, set: self, stream, batch, row, rule });
            });
            found = &found[here..];
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
            match column.cells {
                Cells::Text(texts) if !texts.codes.is_empty() => {
                    // Each distinct value once; most columns then have nothing to say about any row.
                    let mut any = absent != NOTHING || null != NOTHING;
                    for code in 0..texts.ends.len() {
                        let look = self.look(program, c, Cell::One(Value::Text(texts.value(code))));
                        any |= look != NOTHING;
                        self.memo.push(look);
                    }
                    if !any {
                        continue;
                    }
                    for row in 0..batch.rows {
                        let look = match column.presence(row) {
                            1 => self.memo.get(texts.code(row)).copied().unwrap_or(NOTHING),
                            0 => absent,
                            2 => null,
                            _ => NOTHING,
                        };
                        if look != NOTHING {
                            self.found.push((row as u32, look));
                        }
                    }
                }
                _ => {
                    for row in 0..batch.rows {
                        let look = match column.presence(row) {
                            1 => self.look(program, c, column.cell(row)),
                            0 => absent,
                            2 => null,
                            _ => NOTHING,
                        };
                        if look != NOTHING {
                            self.found.push((row as u32, look));
                        }
                    }
                }
            }
        }
        // Each column went through the rows in order, so this merges sorted runs.
        self.found.sort_by_key(|(row, _)| *row);
    }

    /// The look of a cell.
    fn look(&mut self, program: &Program, c: usize, cell: Cell<'_>) -> u32 {
        let index = &program.indices[c];
        self.remember(|out, marks| {
            match cell {
                Cell::Absent => out.extend(index.null.iter().chain(&index.missing)),
                Cell::Null => out.extend(index.null.iter().chain(&index.exists)),
                Cell::Unavailable => {}
                Cell::One(_) | Cell::List(..) => out.extend(&index.exists),
            }
            // Not by one iterator for both: nearly all cells hold one value.
            match cell {
                Cell::One(value) => index.look(value, &program.atoms, marks, out),
                list => list.values().for_each(|value| index.look(value, &program.atoms, marks, out)),
            }
        })
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
        if self.answers.len() < program.atoms.len() {
            self.answers.resize(program.atoms.len(), 0);
        }
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
        mut hit: impl FnMut(&mut Self, u32),
    ) {
        self.epoch += 1;
        self.candidates.clear();
        self.candidates.extend_from_slice(&program.always);
        for (start, end) in looks {
            for &atom in &atoms[start as usize..end as usize] {
                self.answers[atom as usize] = self.epoch << 1 | 1;
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
                hit(self, rule);
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
        let answer = self.answers[number as usize];
        if answer >> 1 == self.epoch {
            return answer & 1 != 0;
        }
        if program.indexed[number as usize / 64] >> (number % 64) & 1 != 0 {
            // It would have been found.
            return false;
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
        self.answers[number as usize] = self.epoch << 1 | u64::from(holds);
        holds
    }
}
