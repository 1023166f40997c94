//! The index of one column: from a value to the witness atoms that hold for it, in one pass.

use crate::batch::Value;
use crate::grams::{Grams, LONGEST, PADDING};
use crate::literal::gram_bits;
use crate::number::{Key, Number};
use crate::pattern::Shape;
use crate::test::{Casing, Exact, Probe, Test};
use crate::tree::Atom;
use crate::witness::is_basename;
use aho_corasick::automaton::Automaton;
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, MatchKind};
use rustc_hash::FxHashMap;
use std::ops::RangeInclusive;

/// More literals, of those that [`Grams`] leaves, would not fit into a guest's memory while the searcher is built.
const MAX_LITERALS: usize = 2 << 20;
/// Literals of one byte that are looked for one by one.
const MAX_SINGLES: usize = 4;
/// Parts of a long literal that are weighed against each other.
const MAX_PARTS: usize = 256;

/// How a found literal relates to its atom.
#[derive(Clone, Copy, Debug)]
enum At {
    Anywhere,
    Start,
    End,
    /// The atom may hold, its test decides.
    Perhaps,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    atom: u32,
    at: At,
}

/// See the module. Everything textual is looked up by the folded value.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Per literal to search for: its length, and whom it concerns.
    patterns: Vec<(u32, Box<[Entry]>)>,
    grams: Grams,
    /// Literals of one byte.
    singles: Vec<(u8, u32)>,
    /// For the few other literals that grams cannot find, with their numbers.
    others: Option<(NFA, Box<[u32]>)>,
    exact: FxHashMap<Box<[u8]>, Vec<Entry>>,
    basenames: FxHashMap<Box<[u8]>, Vec<Entry>>,
    /// Numbers of rules: looked up for values that are, or read as, a number.
    numbers: FxHashMap<Key, Vec<u32>>,
    /// Texts of rules that read as a number: looked up for values that are one.
    digits: FxHashMap<Key, Vec<u32>>,
    /// Tested one by one: regexes without a literal, networks, comparisons.
    scan: Vec<u32>,
    /// Hold for every value.
    any: Vec<u32>,
    /// Ask about the field, not the value.
    pub exists: Vec<u32>,
    pub null: Vec<u32>,
    pub missing: Vec<u32>,
    textual: bool,
    /// Where there is nothing but whole values to look for: lengths that texts have which could fold to one of them.
    only_exact: Option<RangeInclusive<usize>>,
}

/// Marks that keep an atom from being reported or tried twice. Epochs only grow, so nothing is ever cleared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    seen: Vec<u64>,
    tried: Vec<u64>,
    row: u64,
    value: u64,
    raw: Vec<u8>,
    folded: Vec<u8>,
    places: Vec<u32>,
}

impl Marks {
    pub fn reserve(&mut self, atoms: usize) {
        if self.seen.len() < atoms {
            self.seen.resize(atoms, 0);
            self.tried.resize(atoms, 0);
        }
    }
    /// Begins a new set of found atoms.
    pub fn next_row(&mut self) {
        self.row += 1;
    }
    fn first(&mut self, atom: u32) -> bool {
        std::mem::replace(&mut self.seen[atom as usize], self.row) != self.row
    }
    fn untried(&mut self, atom: u32) -> bool {
        std::mem::replace(&mut self.tried[atom as usize], self.value) != self.value
    }
}

impl Index {
    /// An index of those `atoms` whose numbers are in `witnesses` (each once).
    pub fn new(atoms: &[Atom], witnesses: &[u32]) -> Self {
        let mut index = Self::default();
        let mut literals: FxHashMap<Vec<u8>, Vec<Entry>> = FxHashMap::default();
        for &atom in witnesses {
            let mut search = |literal: &[u8], at| {
                // A part of a long literal will do: it is rare enough, and the test looks at the rest.
                let (literal, at) = rarest_part(literal).map_or((literal, at), |part| (part, At::Perhaps));
                let entries = literals.entry(literal.to_vec()).or_default();
                entries.push(Entry { atom, at });
            };
            match &atoms[atom as usize].test {
                Test::Text(text) => {
                    let exact = text.casing == Casing::Exact;
                    let fold = |l: &[u8]| if exact { crate::fold::fold(l) } else { l.to_vec() };
                    let at = |at| if exact { At::Perhaps } else { at };
                    if let Some(Exact(number)) = &text.number {
                        index.digits.entry(number.key()).or_default().push(atom);
                    }
                    match &text.shape {
                        Shape::Any => index.any.push(atom),
                        Shape::Equals(l) => {
                            let entry = Entry { atom, at: at(At::Anywhere) };
                            index.exact.entry(fold(l).into()).or_default().push(entry);
                        }
                        Shape::Suffix(l) if is_basename(l) => {
                            let entry = Entry { atom, at: at(At::Anywhere) };
                            index.basenames.entry(fold(&l[1..]).into()).or_default().push(entry);
                        }
                        Shape::Prefix(l) => search(&fold(l), at(At::Start)),
                        Shape::Suffix(l) => search(&fold(l), at(At::End)),
                        Shape::Contains(l) => search(&fold(l.bytes()), at(At::Anywhere)),
                        Shape::Wildcards(w) => {
                            let best =
                                w.literals().max_by(|a, b| crate::literal::bits(a).total_cmp(&crate::literal::bits(b)));
                            match best {
                                Some(l) => search(&fold(l), At::Perhaps),
                                None => index.scan.push(atom),
                            }
                        }
                    }
                }
                Test::Number(Exact(number)) => index.numbers.entry(number.key()).or_default().push(atom),
                Test::Regex(regex) if regex.required.is_empty() => index.scan.push(atom),
                Test::Regex(regex) => regex.required.iter().for_each(|l| search(l, At::Perhaps)),
                Test::Network(_) | Test::Compare(..) | Test::Time(..) => index.scan.push(atom),
                Test::Exists => index.exists.push(atom),
                Test::Missing => index.missing.push(atom),
                Test::Null => index.null.push(atom),
                // Never a witness: it depends on two columns.
                Test::Same(..) => {}
            }
        }
        index.textual = !literals.is_empty() || !index.exact.is_empty() || !index.basenames.is_empty();
        // The order of patterns decides nothing, but makes builds repeatable.
        let mut literals: Vec<(Vec<u8>, Vec<Entry>)> = literals.into_iter().collect();
        literals.sort_by(|a, b| a.0.cmp(&b.0));
        let (grams, mut left) = Grams::new(literals.iter().map(|(l, _)| l.as_slice()));
        index.grams = grams;
        left.retain(|i| {
            let single = literals[*i].0.len() == 1 && index.singles.len() < MAX_SINGLES;
            if single {
                index.singles.push((literals[*i].0[0], *i as u32));
            }
            !single
        });
        if !left.is_empty() {
            index.others = automaton(left.iter().map(|i| literals[*i].0.as_slice()))
                .map(|automaton| (automaton, left.iter().map(|i| *i as u32).collect()));
            if index.others.is_none() {
                // Too many: slow but right.
                index.scan.extend(left.iter().flat_map(|i| &literals[*i].1).map(|e| e.atom));
                index.scan.sort_unstable();
                index.scan.dedup();
            }
        }
        let entries = literals.into_iter().map(|(l, e)| (l.len() as u32, e.into_boxed_slice()));
        index.patterns = entries.collect();
        index.only_exact = index.lengths();
        index
    }

    fn lengths(&self) -> Option<RangeInclusive<usize>> {
        let others = self.patterns.len() + self.basenames.len() + self.numbers.len() + self.scan.len() + self.any.len();
        let lengths = || self.exact.keys().map(|literal| literal.len());
        // Folding makes three bytes of two at most (as U+023A), and one of three (as U+212A).
        (others == 0).then_some(lengths().min()? * 2 / 3..=lengths().max()? * 3)
    }

    pub fn is_empty(&self) -> bool {
        !(self.textual
            || !self.scan.is_empty()
            || !self.any.is_empty()
            || !self.numbers.is_empty()
            || !self.exists.is_empty()
            || !self.null.is_empty()
            || !self.missing.is_empty())
    }

    /// Appends the witness atoms that hold for `value` to `out`, each once per row.
    // By itself: inlined, it makes a function too large for a sandbox's compiler.
    #[inline(never)]
    pub fn look(&self, value: Value<'_>, atoms: &[Atom], marks: &mut Marks, out: &mut Vec<u32>) {
        marks.value += 1;
        if let Value::Text(text) = value
            && self.only_exact.as_ref().is_some_and(|lengths| !lengths.contains(&text.len()))
        {
            return;
        }
        let (mut raw, mut folded) = (std::mem::take(&mut marks.raw), std::mem::take(&mut marks.folded));
        let text = if let Value::Text(text) = value {
            text
        } else if self.textual || !self.scan.is_empty() {
            value.text_into(&mut raw);
            raw.as_slice()
        } else {
            // Numbers are looked up as such, and writing them down costs more than all the rest.
            &[]
        };
        crate::fold::fold_into(text, &mut folded);
        let length = folded.len();
        folded.extend_from_slice(&[0; PADDING]);
        self.look_at(value, text, (&folded, length), atoms, marks, out);
        (marks.raw, marks.folded) = (raw, folded);
    }

    fn look_at(
        &self,
        value: Value<'_>,
        raw: &[u8],
        (padded, length): (&[u8], usize),
        atoms: &[Atom],
        marks: &mut Marks,
        out: &mut Vec<u32>,
    ) {
        let folded = &padded[..length];
        let mut certain = |atom: u32, marks: &mut Marks| {
            if marks.first(atom) {
                out.push(atom);
            }
        };
        self.any.iter().for_each(|a| certain(*a, marks));
        let number = match value {
            Value::Number(n) => {
                self.digits.get(&n.key()).into_iter().flatten().for_each(|a| certain(*a, marks));
                Some(n)
            }
            Value::Text(t) if !self.numbers.is_empty() => Number::parse(t),
            _ => None,
        };
        if let Some(n) = number {
            self.numbers.get(&n.key()).into_iter().flatten().for_each(|a| certain(*a, marks));
        }
        let perhaps = |atom: u32, marks: &mut Marks| {
            marks.untried(atom) && atoms[atom as usize].test.matches(&mut Probe::folded_already(value, raw, folded))
        };
        let mut entry = |e: &Entry, fits: bool, marks: &mut Marks| {
            if match e.at {
                At::Perhaps => perhaps(e.atom, marks),
                _ => fits,
            } {
                certain(e.atom, marks);
            }
        };
        if !self.exact.is_empty() {
            self.exact.get(folded).into_iter().flatten().for_each(|e| entry(e, true, marks));
        }
        if !self.basenames.is_empty()
            && let Some(slash) = memchr::memrchr(b'/', folded)
        {
            self.basenames.get(&folded[slash + 1..]).into_iter().flatten().for_each(|e| entry(e, true, marks));
        }
        let mut found = |pattern: usize, end: usize, marks: &mut Marks| {
            let (len, entries) = &self.patterns[pattern];
            for e in entries {
                let fits = match e.at {
                    At::Start => end == *len as usize,
                    At::End => end == folded.len(),
                    At::Anywhere | At::Perhaps => true,
                };
                entry(e, fits, marks);
            }
        };
        let mut places = std::mem::take(&mut marks.places);
        self.grams.search(padded, length, &mut places, |pattern, end| found(pattern, end, marks));
        marks.places = places;
        for (byte, pattern) in &self.singles {
            // The first occurrence and one at the end say as much as all.
            if let Some(at) = memchr::memchr(*byte, folded) {
                found(*pattern as usize, at + 1, marks);
                if folded.last() == Some(byte) {
                    found(*pattern as usize, folded.len(), marks);
                }
            }
        }
        if let Some((automaton, numbers)) = &self.others {
            search(automaton, folded, &mut |pattern, end| found(numbers[pattern] as usize, end, marks));
        }
        for atom in &self.scan {
            entry(&Entry { atom: *atom, at: At::Perhaps }, true, marks);
        }
    }
}

/// The part of a literal that is too long for [`Grams`].
fn rarest_part(literal: &[u8]) -> Option<&[u8]> {
    let parts = literal.windows(LONGEST).filter(|_| literal.len() > LONGEST).take(MAX_PARTS);
    parts.max_by(|a, b| gram_bits(a).total_cmp(&gram_bits(b)))
}

fn automaton<'l>(needles: impl Iterator<Item = &'l [u8]> + Clone) -> Option<NFA> {
    if needles.clone().map(<[u8]>::len).sum::<usize>() > MAX_LITERALS {
        return None;
    }
    NFA::builder().match_kind(MatchKind::Standard).build(needles).ok()
}

/// Calls `found` with the number and the end of every occurrence, overlapping ones too.
fn search(automaton: &NFA, text: &[u8], found: &mut impl FnMut(usize, usize)) {
    // Fails only for searches that the automaton was not built for.
    let Ok(mut state) = automaton.start_state(Anchored::No) else { return };
    for (at, byte) in text.iter().enumerate() {
        state = automaton.next_state(Anchored::No, state, *byte);
        if automaton.is_special(state) && automaton.is_match(state) {
            for i in 0..automaton.match_len(state) {
                found(automaton.match_pattern(state, i).as_usize(), at + 1);
            }
        }
    }
}
