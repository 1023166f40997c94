//! The dictionary of one column.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::bindings::types::Texts;

/// Longer values are not looked for in the dictionary: they are rarely equal.
pub(super) const LONG: usize = 512;

/// Adds a value to the arena.
pub(super) fn push(texts: &mut Texts, text: &[u8]) {
    texts.arena.extend_from_slice(text);
    texts.ends.push(texts.arena.len() as u32);
}

/// Finds equal values of one column. Hashes are keyed: event strings come from attackers, and equal hashes would cost a scan each.
pub(super) struct Interner {
    seed: u64,
    /// Open addressing: (hash, code + 1); 0 = free.
    table: Vec<(u32, u32)>,
    held: usize,
}

impl Interner {
    pub fn new() -> Interner {
        use std::hash::{BuildHasher as _, RandomState};
        Interner { seed: RandomState::new().hash_one(0_u8), table: Vec::new(), held: 0 }
    }

    /// Forgets everything; `expected`: how many values will come, about.
    pub fn clear(&mut self, expected: usize) {
        self.table.clear();
        self.table.resize((2 * expected).next_power_of_two().max(16), (0, 0));
        self.held = 0;
    }

    /// The code of `text` in `texts`, which gets it if it is new.
    pub fn intern(&mut self, texts: &mut Texts, text: &[u8]) -> u32 {
        let code = texts.ends.len() as u32;
        if text.len() > LONG {
            push(texts, text);
            return code;
        }
        let hash = xxh3_64_with_seed(text, self.seed) as u32;
        let mask = self.table.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.table[at] {
                (_, 0) => break,
                (h, c) if h == hash => {
                    let known = (c - 1) as usize;
                    let start = if known == 0 { 0 } else { texts.ends[known - 1] as usize };
                    if texts.arena[start..texts.ends[known] as usize] == *text {
                        return known as u32;
                    }
                }
                _ => {}
            }
            at = (at + 1) & mask;
        }
        self.table[at] = (hash, code + 1);
        self.held += 1;
        push(texts, text);
        if self.held * 2 > self.table.len() {
            self.grow();
        }
        code
    }

    fn grow(&mut self) {
        let mut table = vec![(0, 0); self.table.len() * 2];
        let mask = table.len() - 1;
        for &(hash, code) in self.table.iter().filter(|(_, code)| *code != 0) {
            let mut at = hash as usize & mask;
            while table[at].1 != 0 {
                at = (at + 1) & mask;
            }
            table[at] = (hash, code);
        }
        self.table = table;
    }
}
