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
/// Places that are looked at before anything is done about what was found there: one round of a loop costs more in a
/// sandbox than the work in it.
const STRIDE: usize = 8;
/// 16 KiB of map: as much as the nearest cache can spare.
const HASH_BITS: u32 = 17;

/// Bit per hash. Of a size known to the compiler, which therefore checks no bounds.
type Bits = [u8; 1 << (HASH_BITS - 3)];

#[derive(Clone, Copy, Debug)]
struct Place {
    literal: u32,
    /// Of the gram in the literal.
    offset: u32,
}

/// Grams of one length.
#[derive(Debug, Default)]
struct Map {
    bits: Option<Box<Bits>>,
    places: FxHashMap<u32, Vec<Place>>,
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
        for (number, literal) in literals.enumerate() {
            grams.literals.push(literal.into());
            let (map, size) = if literal.len() >= GRAM { (&mut grams.long, GRAM) } else { (&mut grams.short, PAIR) };
            let free = literal.windows(size).enumerate().filter(|(_, w)| map.crowd(key(w)) < CROWD);
            let rarest = free.max_by(|(_, a), (_, b)| gram_bits(a).total_cmp(&gram_bits(b)));
            match rarest {
                Some((offset, window)) if literal.len() <= LONGEST => {
                    map.add(key(window), Place { literal: number as u32, offset: offset as u32 });
                }
                _ => left.push(number),
            }
        }
        (grams, left)
    }

    /// Calls `found` with the number and the end of every occurrence. `places` is working memory.
    pub fn search(&self, text: &[u8], places: &mut Vec<u32>, mut found: impl FnMut(usize, usize)) {
        for (map, size, mask) in [(&self.long, GRAM, u32::MAX), (&self.short, PAIR, 0xffff)] {
            let Some(bits) = &map.bits else { continue };
            places.clear();
            scan(bits, size, mask, text, places);
            for at in places.iter() {
                self.compare(map, size, *at as usize, text, &mut found);
            }
        }
    }

    fn compare(&self, map: &Map, size: usize, at: usize, text: &[u8], found: &mut impl FnMut(usize, usize)) {
        let Some(places) = text.get(at..at + size).and_then(|window| map.places.get(&key(window))) else { return };
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
fn scan(bits: &Bits, size: usize, mask: u32, text: &[u8], places: &mut Vec<u32>) {
    let perhaps = |gram: u32| {
        let hash = hash(gram & mask);
        u32::from(bits[hash / 8] >> (hash % 8) & 1)
    };
    let mut done = 0;
    while let Some(stretch) = text.get(done..).and_then(<[u8]>::first_chunk::<{ STRIDE + GRAM }>) {
        let (Some(near), Some(far)) = (stretch.first_chunk(), stretch.last_chunk()) else { break };
        let (near, far) = (u64::from_le_bytes(*near), u64::from_le_bytes(*far));
        let hit = |at: u32| perhaps(if at < 4 { near >> (8 * at) } else { far >> (8 * (at - 4)) } as u32) << at;
        let mut hits = hit(0) | hit(1) | hit(2) | hit(3) | hit(4) | hit(5) | hit(6) | hit(7);
        while hits != 0 {
            places.push(done as u32 + hits.trailing_zeros());
            hits &= hits - 1;
        }
        done += STRIDE;
    }
    for (at, window) in text[done..].windows(size).enumerate() {
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

impl Map {
    fn add(&mut self, gram: u32, place: Place) {
        let hash = hash(gram);
        self.bits.get_or_insert_with(|| Box::new([0; 1 << (HASH_BITS - 3)]))[hash / 8] |= 1 << (hash % 8);
        self.places.entry(gram).or_default().push(place);
    }

    fn crowd(&self, gram: u32) -> usize {
        self.places.get(&gram).map_or(0, Vec::len)
    }
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
