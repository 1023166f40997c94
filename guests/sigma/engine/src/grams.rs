//! Which of many literals occur in a text, found by a few bytes of each.
//!
//! Of every literal the neighbouring bytes that occur least in events are its *gram*: four, or two of a literal that is too
//! short for that. A text is asked whether a gram begins at a place: one multiplication and one bit of a small map. No place
//! waits for the one before, which an automaton makes it do, so this is several times as fast, and it is built in no time.
//! Only every other place is asked: a literal has two grams, of which the second begins one byte after the first, so one of
//! them begins at such a place wherever the literal is. Only where the bit is set literals are compared, at most [`CROWD`] of
//! them and at most [`LONGEST`] bytes each: that bounds what a hostile text can cost.

use crate::literal::gram_bits;
use rustc_hash::FxHashMap;

/// Longer literals are cut by the caller.
pub(crate) const LONGEST: usize = 32;
/// Bytes of no meaning that a text to be searched must have behind it: it is read in stretches.
pub(crate) const PADDING: usize = REACH;
/// Literals that share a gram at most.
const CROWD: usize = 8;
const GRAM: usize = 4;
const PAIR: usize = 2;
/// Bytes that are looked at before anything is done about what was found there: one round of a loop costs more in a
/// sandbox than the work in it.
const STRIDE: usize = 16;
/// What is read for them: the last gram reaches beyond.
const REACH: usize = STRIDE - 2 + GRAM;
/// Bytes of a map: as much as the nearest cache can spare.
const SMALL: usize = 16 << 10;
/// With many literals every tenth place would be compared for nothing; then the map may be slower to reach.
const LARGE: usize = 128 << 10;
/// Literals that are too many for the small map.
const MANY: usize = 2_000;
/// Every pair has a bit of its own.
const PAIR_BITS: u32 = 16;

/// Bit per hash. Of a size known to the compiler, which therefore checks no bounds.
#[derive(Debug)]
enum GramBits {
    Small(Box<[u8; SMALL]>),
    Large(Box<[u8; LARGE]>),
}
type PairBits = [u8; 1 << (PAIR_BITS - 3)];

static NO_GRAMS: [u8; SMALL] = [0; _];
static NO_PAIRS: PairBits = [0; _];

/// What is at a place.
#[derive(Clone, Copy, Debug)]
enum Size {
    /// Four bytes, of literals from five.
    Gram,
    /// Two bytes, of literals with three or four.
    Pair,
    /// A literal of two bytes, which has no second gram: it is looked for at every place.
    Whole,
}

const SIZES: [Size; 3] = [Size::Gram, Size::Pair, Size::Whole];

#[derive(Clone, Copy, Debug)]
struct Place {
    literal: u32,
    /// Of the gram in the literal.
    offset: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Grams {
    literals: Vec<Box<[u8]>>,
    fours: Option<GramBits>,
    pairs: Option<Box<PairBits>>,
    wholes: Option<Box<PairBits>>,
    /// By size, by gram.
    places: [FxHashMap<u32, Vec<Place>>; SIZES.len()],
}

impl Size {
    fn of(literal: &[u8]) -> Self {
        match literal.len() {
            0..=2 => Self::Whole,
            3..=4 => Self::Pair,
            _ => Self::Gram,
        }
    }

    fn bytes(self) -> usize {
        if matches!(self, Self::Gram) { GRAM } else { PAIR }
    }
}

impl Grams {
    /// Takes those of `literals` (number and bytes) that it can look for and returns the numbers of the others.
    pub fn new<'l>(literals: impl ExactSizeIterator<Item = &'l [u8]>) -> (Self, Vec<usize>) {
        let mut grams = Self::default();
        let many = literals.len() > MANY;
        let mut left = Vec::new();
        for (number, literal) in literals.enumerate() {
            grams.literals.push(literal.into());
            let size = Size::of(literal);
            let places = &mut grams.places[size as usize];
            let crowded = |window: &[u8]| places.get(&key(window)).map_or(0, Vec::len) >= CROWD;
            let free = |stretch: &&[u8]| !stretch.windows(size.bytes()).any(crowded);
            let grams_of_it = if matches!(size, Size::Whole) { 1 } else { 2 };
            let stretches = literal.windows(size.bytes() + grams_of_it - 1).enumerate();
            let rarest = stretches
                .filter(|(_, stretch)| free(stretch))
                .max_by(|(_, a), (_, b)| gram_bits(a).total_cmp(&gram_bits(b)));
            let Some((offset, stretch)) = rarest.filter(|_| literal.len() <= LONGEST) else {
                left.push(number);
                continue;
            };
            for (i, window) in stretch.windows(size.bytes()).enumerate() {
                let key = key(window);
                match size {
                    Size::Gram => grams.fours.get_or_insert_with(|| GramBits::new(many)).set(key),
                    Size::Pair => set(grams.pairs.get_or_insert_with(|| Box::new([0; _])).as_mut_slice(), key as usize),
                    Size::Whole => {
                        set(grams.wholes.get_or_insert_with(|| Box::new([0; _])).as_mut_slice(), key as usize);
                    }
                }
                let place = Place { literal: number as u32, offset: (offset + i) as u32 };
                places.entry(key).or_default().push(place);
            }
        }
        (grams, left)
    }

    /// Calls `found` with the number and the end of every occurrence in the first `length` bytes of `padded`, which has
    /// [`PADDING`] more. `places` is working memory.
    pub fn search(&self, padded: &[u8], length: usize, places: &mut Vec<u32>, mut found: impl FnMut(usize, usize)) {
        let text = &padded[..length];
        places.clear();
        let short = (self.pairs.is_some() || self.wholes.is_some())
            .then(|| (self.pairs.as_deref().unwrap_or(&NO_PAIRS), self.wholes.as_deref().unwrap_or(&NO_PAIRS)));
        match (&self.fours, short) {
            (None, None) => return,
            (None, Some(_)) => scan(&NO_GRAMS, short, padded, length, places),
            (Some(GramBits::Small(bits)), _) => scan(bits, short, padded, length, places),
            (Some(GramBits::Large(bits)), _) => scan(bits, short, padded, length, places),
        }
        for place in places.iter() {
            self.compare(SIZES[(place % 4) as usize], (place / 4) as usize, text, &mut found);
        }
    }

    fn compare(&self, size: Size, at: usize, text: &[u8], found: &mut impl FnMut(usize, usize)) {
        let Some(window) = text.get(at..at + size.bytes()) else { return };
        let Some(places) = self.places[size as usize].get(&key(window)) else { return };
        for place in places {
            let literal = &self.literals[place.literal as usize];
            let Some(from) = at.checked_sub(place.offset as usize) else { continue };
            if text.get(from..from + literal.len()) == Some(literal) {
                found(place.literal as usize, from + literal.len());
            }
        }
    }
}

impl GramBits {
    fn new(many: bool) -> Self {
        // By way of a vector: it is too large for a stack.
        let large = many.then(|| vec![0; LARGE].into_boxed_slice().try_into().ok()).flatten();
        large.map_or_else(|| Self::Small(Box::new([0; _])), Self::Large)
    }

    fn set(&mut self, gram: u32) {
        match self {
            Self::Small(bits) => set(bits.as_mut_slice(), hash::<SMALL>(gram)),
            Self::Large(bits) => set(bits.as_mut_slice(), hash::<LARGE>(gram)),
        }
    }
}

/// Adds four times the places where a gram may begin, plus the [`Size`].
fn scan<const BYTES: usize>(
    fours: &[u8; BYTES],
    short: Option<(&PairBits, &PairBits)>,
    padded: &[u8],
    length: usize,
    places: &mut Vec<u32>,
) {
    match short {
        None => stretches::<BYTES, false>(fours, &NO_PAIRS, &NO_PAIRS, padded, length, places),
        Some((pairs, wholes)) => stretches::<BYTES, true>(fours, pairs, wholes, padded, length, places),
    }
}

/// The same. By itself and small, because a compiler for sandboxes has few registers to give.
#[inline(never)]
fn stretches<const BYTES: usize, const PAIRS: bool>(
    fours: &[u8; BYTES],
    pairs: &PairBits,
    wholes: &PairBits,
    padded: &[u8],
    length: usize,
    places: &mut Vec<u32>,
) {
    let mut done = 0;
    while done < length
        && let Some(stretch) = padded.get(done..).and_then(<[u8]>::first_chunk::<REACH>)
    {
        let bytes = |at: usize| u32::from_le_bytes([stretch[at], stretch[at + 1], stretch[at + 2], stretch[at + 3]]);
        let gram = |at: usize| {
            let hash = hash::<BYTES>(bytes(at));
            u32::from(fours[hash / 8] >> (hash % 8) & 1) << at
        };
        let mut hits = gram(0) | gram(2) | gram(4) | gram(6) | gram(8) | gram(10) | gram(12) | gram(14);
        while hits != 0 {
            places.push((done as u32 + hits.trailing_zeros()) * 4 + Size::Gram as u32);
            hits &= hits - 1;
        }
        if PAIRS {
            let bit = |bits: &PairBits, pair: u32| {
                let pair = pair as usize & 0xffff;
                u32::from(bits[pair / 8] >> (pair % 8) & 1)
            };
            // The lower half of the bits is about pairs, the upper half about whole literals, which begin anywhere.
            let pair = |at: usize| {
                let bytes = bytes(at);
                let whole = bit(wholes, bytes) << (16 + at) | bit(wholes, bytes >> 8) << (17 + at);
                bit(pairs, bytes) << at | whole
            };
            let mut hits = pair(0) | pair(2) | pair(4) | pair(6) | pair(8) | pair(10) | pair(12) | pair(14);
            while hits != 0 {
                let at = hits.trailing_zeros();
                let size = if at < 16 { Size::Pair } else { Size::Whole };
                places.push((done as u32 + at % 16) * 4 + size as u32);
                hits &= hits - 1;
            }
        }
        done += STRIDE;
    }
}

/// The bytes of a gram as a number.
#[inline]
fn key(window: &[u8]) -> u32 {
    match *window {
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
        [a, b] => u32::from_le_bytes([a, b, 0, 0]),
        // No such window is made.
        _ => 0,
    }
}

/// The number of a bit.
#[inline]
fn hash<const BYTES: usize>(gram: u32) -> usize {
    (gram.wrapping_mul(0x9e37_79b1) >> (32 - (8 * BYTES).ilog2())) as usize
}

fn set(bits: &mut [u8], number: usize) {
    bits[number / 8] |= 1 << (number % 8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(literals: &[&str], text: &str) -> (Vec<(usize, usize)>, Vec<usize>) {
        let (grams, left) = Grams::new(literals.iter().map(|l| l.as_bytes()));
        let mut found = Vec::new();
        // Behind the text is what would be found.
        let padded = [text, &literals.concat(), "                  "].concat();
        grams.search(padded.as_bytes(), text.len(), &mut Vec::new(), |literal, end| found.push((literal, end)));
        found.sort_unstable();
        (found, left)
    }

    #[test]
    fn every_occurrence_is_found_wherever_it_is() {
        let literals = ["ab", "abc", "abcd", "abcde", "bcdefghij", "j"];
        // At every distance from the end and the beginning of a stretch.
        for before in 0..20 {
            for after in 0..20 {
                let text = format!("{}abcdefghij{}", "-".repeat(before), "-".repeat(after));
                let (found, left) = search(&literals, &text);
                let ends = [2, 3, 4, 5, 10].map(|end| before + end);
                assert_eq!(found, (0..).zip(ends).collect::<Vec<_>>());
                assert_eq!(left, [5]);
            }
        }
    }

    #[test]
    fn many_literals_have_a_larger_map() {
        let literals: Vec<String> =
            (0..MANY * 2).map(|i| format!("{:08x}", (i as u32).wrapping_mul(0x9e37_79b1))).collect();
        let literals: Vec<&str> = literals.iter().map(String::as_str).collect();
        let (grams, _) = Grams::new(literals.iter().map(|l| l.as_bytes()));
        assert!(matches!(grams.fours, Some(GramBits::Large(_))));
        for number in (0..literals.len()).step_by(97) {
            let text = format!("-{}-", literals[number]);
            let (found, left) = search(&literals, &text);
            assert!(left.contains(&number) || found.contains(&(number, text.len() - 1)), "{text}");
            assert!(left.len() < 10, "{}", left.len());
        }
    }

    #[test]
    fn what_crowds_or_is_too_long_is_left_to_others() {
        let crowd: Vec<String> = (0..CROWD + 3).map(|i| format!("abcde{i:02}")).collect();
        let literals: Vec<&str> = crowd.iter().map(|l| &l[..l.len() - 2]).collect();
        let (found, left) = search(&literals, "xabcdex");
        assert_eq!((found.len(), left), (CROWD, vec![CROWD, CROWD + 1, CROWD + 2]));
        // The same bytes over and over are a gram twice.
        let (found, left) = search(&["aaaaa", "aaaaaa"], "xaaaaaay");
        assert_eq!((found, left), (vec![(0, 6), (0, 7), (1, 7)], vec![]));
        assert_eq!(search(&[&"b".repeat(LONGEST + 1)], "b"), (vec![], vec![0]));
    }

    #[test]
    fn equals_a_plain_search() {
        let mut state = 7_u64;
        let mut next = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % n
        };
        let mut total = 0;
        for _ in 0..2_000 {
            let mut word =
                |most: u64| -> String { (0..=next(most)).map(|_| ['a', 'b', '/', 'ä'][next(4) as usize]).collect() };
            let mut literals: Vec<String> = (0..12).map(|_| word(7)).collect();
            literals.sort();
            literals.dedup();
            let text = word(200);
            let literals: Vec<&str> = literals.iter().map(String::as_str).collect();
            let (found, left) = search(&literals, &text);
            let mut expected: Vec<(usize, usize)> = Vec::new();
            for (i, l) in literals.iter().enumerate().filter(|(i, _)| !left.contains(i)) {
                let ends = (0..text.len()).filter(|at| text.as_bytes()[*at..].starts_with(l.as_bytes()));
                expected.extend(ends.map(|at| (i, at + l.len())));
            }
            assert_eq!(found, expected, "{literals:?} in {text}");
            total += expected.len();
        }
        assert!(total > 10_000, "{total} occurrences make a poor test");
    }
}
