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
/// Literals that share a gram, or a pair, at most.
const CROWD: usize = 8;
const GRAM: usize = 4;
const PAIR: usize = 2;
/// Only places whose number is a multiple of this are asked.
const STEP: usize = 2;
/// Bytes that are looked at before anything is done about what was found there: one round of a loop costs more in a
/// sandbox than the work in it.
const STRIDE: usize = 16;
/// What is read for them: the last gram reaches beyond.
const REACH: usize = STRIDE - STEP + GRAM;
/// 16 KiB of map: as much as the nearest cache can spare.
const HASH_BITS: u32 = 17;
/// Every pair has a bit of its own.
const PAIR_BITS: u32 = 16;

/// Bit per hash. Of a size known to the compiler, which therefore checks no bounds.
type Bits<const BYTES: usize> = [u8; BYTES];
type GramBits = Bits<{ 1 << (HASH_BITS - 3) }>;
type PairBits = Bits<{ 1 << (PAIR_BITS - 3) }>;

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
    /// Of literals from five bytes.
    fours: Option<Box<GramBits>>,
    /// Of those with three or four.
    pairs: Option<Box<PairBits>>,
    /// By gram, as [`GRAM`] bytes, or by pair.
    places: [FxHashMap<u32, Vec<Place>>; 2],
}

impl Grams {
    /// Takes those of `literals` (number and bytes) that it can look for and returns the numbers of the others.
    pub fn new<'l>(literals: impl Iterator<Item = &'l [u8]>) -> (Self, Vec<usize>) {
        let mut grams = Self::default();
        let mut left = Vec::new();
        for (number, literal) in literals.enumerate() {
            grams.literals.push(literal.into());
            let long = literal.len() > GRAM;
            let size = if long { GRAM } else { PAIR };
            let places = &mut grams.places[usize::from(!long)];
            let crowded = |window: &[u8]| places.get(&key(window)).map_or(0, Vec::len) >= CROWD;
            let both = |stretch: &&[u8]| !stretch.windows(size).any(crowded);
            let free = literal.windows(size + 1).enumerate().filter(|(_, stretch)| both(stretch));
            let rarest = free.max_by(|(_, a), (_, b)| gram_bits(a).total_cmp(&gram_bits(b)));
            let Some((offset, stretch)) = rarest.filter(|_| literal.len() <= LONGEST) else {
                left.push(number);
                continue;
            };
            for (i, window) in stretch.windows(size).enumerate() {
                let key = key(window);
                if long {
                    set(grams.fours.get_or_insert_with(|| Box::new([0; _])).as_mut_slice(), hash(key));
                } else {
                    set(grams.pairs.get_or_insert_with(|| Box::new([0; _])).as_mut_slice(), key as usize);
                }
                let place = Place { literal: number as u32, offset: (offset + i) as u32 };
                places.entry(key).or_default().push(place);
            }
        }
        (grams, left)
    }

    /// Calls `found` with the number and the end of every occurrence. `places` is working memory.
    pub fn search(&self, text: &[u8], places: &mut Vec<u32>, mut found: impl FnMut(usize, usize)) {
        if let Some(bits) = &self.fours {
            places.clear();
            scan_grams(bits, text, places);
            for at in places.iter() {
                self.compare(GRAM, *at as usize, text, &mut found);
            }
        }
        if let Some(bits) = &self.pairs {
            places.clear();
            scan_pairs(bits, text, places);
            for at in places.iter() {
                self.compare(PAIR, *at as usize, text, &mut found);
            }
        }
    }

    fn compare(&self, size: usize, at: usize, text: &[u8], found: &mut impl FnMut(usize, usize)) {
        let map = &self.places[usize::from(size == PAIR)];
        let Some(places) = text.get(at..at + size).and_then(|window| map.get(&key(window))) else { return };
        for place in places {
            let literal = &self.literals[place.literal as usize];
            let Some(from) = at.checked_sub(place.offset as usize) else { continue };
            if text.get(from..from + literal.len()) == Some(literal) {
                found(place.literal as usize, from + literal.len());
            }
        }
    }
}

/// Adds the places of `text` where a gram may begin. By itself and small, because a compiler for sandboxes has few registers
/// to give.
#[inline(never)]
fn scan_grams(bits: &GramBits, text: &[u8], places: &mut Vec<u32>) {
    scan::<GRAM>(text, places, |gram| {
        let hash = hash(gram);
        u32::from(bits[hash / 8] >> (hash % 8) & 1)
    });
}

/// The same for pairs.
#[inline(never)]
fn scan_pairs(bits: &PairBits, text: &[u8], places: &mut Vec<u32>) {
    scan::<PAIR>(text, places, |gram| {
        let pair = gram as usize & 0xffff;
        u32::from(bits[pair / 8] >> (pair % 8) & 1)
    });
}

/// `perhaps` = 1 where a gram may begin, asked with the four bytes at a place.
// As part of the two above, or the closure would be a call for each place.
#[allow(clippy::inline_always)]
#[inline(always)]
fn scan<const SIZE: usize>(text: &[u8], places: &mut Vec<u32>, perhaps: impl Fn(u32) -> u32) {
    let mut done = 0;
    while let Some(stretch) = text.get(done..).and_then(<[u8]>::first_chunk::<REACH>) {
        let hit = |at: usize| {
            perhaps(u32::from_le_bytes([stretch[at], stretch[at + 1], stretch[at + 2], stretch[at + 3]])) << at
        };
        let mut hits = hit(0) | hit(2) | hit(4) | hit(6) | hit(8) | hit(10) | hit(12) | hit(14);
        while hits != 0 {
            places.push(done as u32 + hits.trailing_zeros());
            hits &= hits - 1;
        }
        done += STRIDE;
    }
    for (at, window) in text[done..].windows(SIZE).enumerate().step_by(STEP) {
        if perhaps(key(window)) != 0 {
            places.push((done + at) as u32);
        }
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

#[inline]
fn hash(gram: u32) -> usize {
    (gram.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize
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
        grams.search(text.as_bytes(), &mut Vec::new(), |literal, end| found.push((literal, end)));
        found.sort_unstable();
        (found, left)
    }

    #[test]
    fn every_occurrence_is_found_wherever_it_is() {
        let literals = ["abc", "abcd", "abcde", "bcdefghij", "ij"];
        // At every distance from the end and the beginning of a stretch.
        for before in 0..20 {
            for after in 0..20 {
                let text = format!("{}abcdefghij{}", "-".repeat(before), "-".repeat(after));
                let (found, left) = search(&literals, &text);
                assert_eq!(found, [(0, before + 3), (1, before + 4), (2, before + 5), (3, before + 10)]);
                assert_eq!(left, [4]);
            }
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
