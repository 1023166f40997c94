//! Other inputs from those of a corpus, without any knowledge of what they do: enough to notice that a target broke. The
//! fuzzer proper is libFuzzer, see fuzz/README.md.

use crate::common::Random;

const TOKENS: &[&str] = &[
    " and ",
    " or ",
    " not ",
    "1 of ",
    "all of ",
    "them",
    "*",
    "?",
    "\\",
    "\\*",
    "|",
    "|contains",
    "|re",
    "|all",
    "|neq",
    "null",
    "''",
    "[",
    "]",
    "{",
    "}",
    ": ",
    "\n",
    "---\n",
    "- ",
    "(",
    ")",
    "\u{130}",
    "\u{212a}",
    "\u{0}",
    "%",
    "/",
    "0",
    "-1",
    "&a ",
    "*a",
    "'",
    "\"",
    "#",
];

pub fn mutate(corpus: &[Vec<u8>], r: &mut Random) -> Vec<u8> {
    let mut data = corpus[r.below(corpus.len())].clone();
    for _ in 0..=r.below(4) {
        let at = r.below(data.len() + 1);
        match r.below(6) {
            0 if at < data.len() => data[at] ^= 1 << r.below(8),
            1 => data.insert(at, r.below(256) as u8),
            2 => drop(data.drain(at..(at + r.below(9)).min(data.len()))),
            3 => {
                let token = r.pick(TOKENS);
                data.splice(at..at, token.bytes());
            }
            4 => {
                let other = &corpus[r.below(corpus.len())];
                let from = r.below(other.len() + 1);
                let part = other[from..].iter().take(1 + r.below(40)).copied();
                data.splice(at..at, part);
            }
            _ => {
                let part: Vec<u8> = data[at..].iter().take(1 + r.below(20)).copied().collect();
                data.splice(at..at, part);
            }
        }
    }
    data.truncate(8 << 10);
    data
}
