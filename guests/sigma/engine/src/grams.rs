//! Which of many literals occur in a text, found by four bytes of each.
//!
//! Of every literal the four neighbouring bytes that occur least in events are its *gram*. A text is asked at every place
//! whether a gram begins there: one multiplication and one bit of a small map. No place waits for the one before, which an
//! automaton makes it do, so this is several times as fast, and it is built in no time. Only where the bit is set literals
//! are compared, at most [`CROWD`] of them and at most [`LONGEST`] bytes each: that bounds what a hostile text can cost.

use crate::literal::gram_bits;
use rustc_hash::FxHashMap;

/// Longer literals are cut by the caller.
pub(crate) const LONGEST: usize = 32;
/// Literals that share a gram, or a pair, at most.
const CROWD: usize = 8;
const GRAM: usize = 4;
const PAIR: usize = 2;
/// Places that are looked at before anything is done about what was found there.
const STRIDE: usize = 8;

#[derive(Clone, Copy, Debug)]
struct Place {
    gram: u32,
    literal: u32,
    /// Of the gram in the literal.
    offset: u32,
}

/// Grams of one length.
#[derive(Debug, Default)]
struct Map {
    /// Bit per hash.
    bits: Box<[u64]>,
    shift: u32,
    /// By hash, and where those of a hash begin.
    places: Box<[Place]>,
    starts: Box<[u32]>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Grams {
    literals: Vec<Box<[u8]>>,
    /// Of literals from four bytes.
    long: Map,
    /// Of those with two or three.
    short: Map,
}

impl Grams {
    /// Takes those of `literals` (number and bytes) that it can look for and returns the numbers of the others.
    pub fn new<'l>(literals: impl Iterator<Item = &'l [u8]>) -> (Self, Vec<usize>) {
        let mut grams = Self::default();
        let mut left = Vec::new();
        let (mut long, mut short) = (Vec::new(), Vec::new());
        let mut crowds: FxHashMap<(usize, u32), usize> = FxHashMap::default();
        for (number, literal) in literals.enumerate() {
            grams.literals.push(literal.into());
            let size = if literal.len() >= GRAM { GRAM } else { PAIR };
            if literal.len() > LONGEST || literal.len() < PAIR {
                left.push(number);
                continue;
            }
            let free = literal
                .windows(size)
                .enumerate()
                .filter(|(_, w)| crowds.get(&(size, key(w))).is_none_or(|crowd| *crowd < CROWD));
            let rarest = free.max_by(|(_, a), (_, b)| gram_bits(a).total_cmp(&gram_bits(b)));
            let Some((offset, window)) = rarest else {
                left.push(number);
                continue;
            };
            let gram = key(window);
            *crowds.entry((size, gram)).or_default() += 1;
            let place = Place { gram, literal: number as u32, offset: offset as u32 };
            if size == GRAM { long.push(place) } else { short.push(place) }
        }
        grams.long = Map::new(long);
        grams.short = Map::new(short);
        (grams, left)
    }

    /// Calls `found` with the number and the end of every occurrence.
    pub fn search(&self, text: &[u8], mut found: impl FnMut(usize, usize)) {
        self.with::<GRAM>(&self.long, text, &mut found);
        self.with::<PAIR>(&self.short, text, &mut found);
    }

    fn with<const SIZE: usize>(&self, map: &Map, text: &[u8], found: &mut impl FnMut(usize, usize)) {
        if map.bits.is_empty() || text.len() < SIZE {
            return;
        }
        let mut at = 0;
        while let Some(stretch) = text.get(at..at + STRIDE + SIZE - 1) {
            let mut hits = 0_u32;
            for (i, window) in stretch.windows(SIZE).enumerate() {
                hits |= u32::from(map.perhaps(key(window))) << i;
            }
            while hits != 0 {
                let i = at + hits.trailing_zeros() as usize;
                hits &= hits - 1;
                self.compare(map, key(&text[i..i + SIZE]), i, text, found);
            }
            at += STRIDE;
        }
        for (i, window) in text[at..].windows(SIZE).enumerate() {
            if map.perhaps(key(window)) {
                self.compare(map, key(window), at + i, text, found);
            }
        }
    }

    #[inline(never)]
    fn compare(&self, map: &Map, gram: u32, at: usize, text: &[u8], found: &mut impl FnMut(usize, usize)) {
        let hash = map.hash(gram);
        for place in &map.places[map.starts[hash] as usize..map.starts[hash + 1] as usize] {
            if place.gram != gram {
                continue;
            }
            let literal = &self.literals[place.literal as usize];
            let Some(from) = at.checked_sub(place.offset as usize) else { continue };
            if text.get(from..from + literal.len()) == Some(literal) {
                found(place.literal as usize, from + literal.len());
            }
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

impl Map {
    fn new(mut places: Vec<Place>) -> Self {
        if places.is_empty() {
            return Self::default();
        }
        // Some 64 bits for each gram, as long as the map stays in the nearest cache.
        let size = (places.len() * 64).next_power_of_two().clamp(1 << 10, 1 << 18);
        let mut map = Self { shift: 32 - size.trailing_zeros(), ..Self::default() };
        places.sort_by_key(|p| (map.hash(p.gram), p.gram, p.literal));
        let mut bits = vec![0; size / 64];
        let mut starts = vec![0; size + 1];
        for place in &places {
            let hash = map.hash(place.gram);
            bits[hash / 64] |= 1 << (hash % 64);
            starts[hash + 1] += 1;
        }
        for i in 0..size {
            starts[i + 1] += starts[i];
        }
        map.bits = bits.into();
        map.starts = starts.into();
        map.places = places.into();
        map
    }

    #[inline]
    fn hash(&self, gram: u32) -> usize {
        (gram.wrapping_mul(0x9e37_79b1) >> self.shift) as usize
    }

    #[inline]
    fn perhaps(&self, gram: u32) -> bool {
        let hash = self.hash(gram);
        self.bits[hash / 64] >> (hash % 64) & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(literals: &[&str], text: &str) -> (Vec<(usize, usize)>, Vec<usize>) {
        let (grams, left) = Grams::new(literals.iter().map(|l| l.as_bytes()));
        let mut found = Vec::new();
        grams.search(text.as_bytes(), |literal, end| found.push((literal, end)));
        found.sort_unstable();
        (found, left)
    }

    #[test]
    fn every_occurrence_is_found_wherever_it_is() {
        let literals = ["ab", "abc", "abcd", "bcdefghij", "j"];
        // At every distance from the end and the beginning of a stretch.
        for before in 0..20 {
            for after in 0..20 {
                let text = format!("{}abcdefghij{}", "-".repeat(before), "-".repeat(after));
                let (found, left) = search(&literals, &text);
                assert_eq!(found, [(0, before + 2), (1, before + 3), (2, before + 4), (3, before + 10)]);
                assert_eq!(left, [4]);
            }
        }
    }

    #[test]
    fn what_crowds_or_is_too_long_is_left_to_others() {
        let crowd: Vec<String> = (0..CROWD + 3).map(|i| format!("aaaa{}", "a".repeat(i))).collect();
        let literals: Vec<&str> = crowd.iter().map(String::as_str).collect();
        let (found, left) = search(&literals, "xaaaax");
        assert_eq!((found, left), (vec![(0, 5)], vec![CROWD, CROWD + 1, CROWD + 2]));
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
            let mut literals: Vec<String> = (0..12).map(|_| word(5)).collect();
            literals.sort();
            literals.dedup();
            let text = word(60);
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
