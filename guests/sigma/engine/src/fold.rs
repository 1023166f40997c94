//! Case folding: the Unicode *lower-case mapping* of every character, one by one, over bytes that need not be UTF-8.
//!
//! This is what the other engines do (`lower()` in a database, `to_lowercase` in Rust ones). It is not Unicode case
//! folding: KELVIN SIGN (U+212A) equals `k`, but LONG S (U+017F) does not equal `s`, `ß` does not equal `ss`, and the
//! mapping takes no account of the neighbouring characters (a final `ς` does not equal `σ`, `Σ` does).

/// Writes the folded form of `text` over `out`. Bytes that are not UTF-8 stand for themselves.
pub fn fold_into(text: &[u8], out: &mut Vec<u8>) {
    if lower_ascii(text, out) {
        return;
    }
    out.clear();
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_ascii() {
                out.push(c.to_ascii_lowercase() as u8);
            } else {
                for low in c.to_lowercase() {
                    out.extend_from_slice(low.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
        }
        out.extend_from_slice(chunk.invalid());
    }
}

/// Writes `text` with ASCII letters in lower case over `out`; false = there are other characters. Two words a round, for in
/// a sandbox every round of a loop costs; the last words go over the end of those before where the length is no multiple.
fn lower_ascii(text: &[u8], out: &mut Vec<u8>) -> bool {
    const BLOCK: usize = 2 * size_of::<u64>();
    out.resize(text.len(), 0);
    let mut seen = 0;
    let mut word = |from: &[u8; 8]| {
        let word = u64::from_le_bytes(*from);
        seen |= word;
        lower_word(word).to_le_bytes()
    };
    let mut block = |from: &[u8; BLOCK], to: &mut [u8; BLOCK]| {
        if let ([first, second], [to_first, to_second]) = (from.as_chunks().0, to.as_chunks_mut().0) {
            (*to_first, *to_second) = (word(first), word(second));
        }
    };
    if let (Some(from), Some(_)) = (text.last_chunk(), out.last_chunk::<BLOCK>()) {
        out.as_chunks_mut().0.iter_mut().zip(text.as_chunks().0).for_each(|(to, from)| block(from, to));
        if let Some(to) = out.last_chunk_mut() {
            block(from, to);
        }
    } else if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        let (first, last) = (word(first), word(last));
        out.last_chunk_mut().into_iter().for_each(|to| *to = last);
        out.first_chunk_mut().into_iter().for_each(|to| *to = first);
    } else {
        for (to, byte) in out.iter_mut().zip(text) {
            seen |= u64::from(*byte);
            *to = byte.to_ascii_lowercase();
        }
    }
    seen & HIGH == 0
}

const HIGH: u64 = 0x8080_8080_8080_8080;

/// Each of eight bytes in lower case, if it is an ASCII letter.
fn lower_word(word: u64) -> u64 {
    let low = word & !HIGH;
    // The high bit of each byte: whether it is at least `A`, and whether it is beyond `Z`.
    let (from_a, beyond_z) = (low + 0x3f3f_3f3f_3f3f_3f3f, low + 0x2525_2525_2525_2525);
    word | ((from_a ^ beyond_z) & !word & HIGH) >> 2
}

/// The folded form of `text`.
pub fn fold(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    fold_into(text, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_equals_the_plain_way() {
        for length in 0..26 {
            for byte in 0..=u8::MAX {
                for at in 0..length {
                    let mut text = vec![b'Q'; length];
                    text[at] = byte;
                    let mut out = Vec::new();
                    assert_eq!(lower_ascii(&text, &mut out), byte.is_ascii());
                    assert_eq!(out, text.to_ascii_lowercase());
                }
            }
        }
    }

    #[test]
    fn folds() {
        assert_eq!(fold(b"/TMP/X"), b"/tmp/x");
        assert_eq!(fold("ÄÖ\u{212A}".as_bytes()), "äök".as_bytes());
        assert_eq!(fold("\u{17F}ß".as_bytes()), "\u{17F}ß".as_bytes());
        assert_eq!(fold(b"A\xff\xfeB\xc3"), b"a\xff\xfeb\xc3");
    }
}
