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

/// Bytes at a time.
const BLOCK: usize = 16;

/// Writes `text` with ASCII letters in lower case over `out`; false = there are other characters. In blocks, the last of them
/// over the end of the one before where the length is no multiple: in a sandbox every round of a loop costs.
fn lower_ascii(text: &[u8], out: &mut Vec<u8>) -> bool {
    if let Some(last) = text.last_chunk::<BLOCK>() {
        out.resize(text.len(), 0);
        let mut high = [0; BLOCK];
        let (blocks, _) = text.as_chunks::<BLOCK>();
        let (to, _) = out.as_chunks_mut::<BLOCK>();
        for (block, to) in blocks.iter().zip(to) {
            *to = lower(block, &mut high);
        }
        if let Some(to) = out.last_chunk_mut::<BLOCK>() {
            *to = lower(last, &mut high);
        }
        return high.iter().fold(0, |a, b| a | b) < 0x80;
    }
    // Shorter ones as one block.
    let mut block = [0; BLOCK];
    if let (Some(first), Some(last)) = (text.first_chunk::<{ BLOCK / 2 }>(), text.last_chunk::<{ BLOCK / 2 }>()) {
        let (behind, _) = block.split_at_mut(text.len());
        behind.last_chunk_mut().into_iter().for_each(|half| *half = *last);
        block.first_chunk_mut().into_iter().for_each(|half| *half = *first);
    } else {
        for (to, from) in block.iter_mut().zip(text) {
            *to = *from;
        }
    }
    let mut high = [0; BLOCK];
    let block = lower(&block, &mut high);
    out.clear();
    out.extend_from_slice(&block);
    out.truncate(text.len());
    high.iter().fold(0, |a, b| a | b) < 0x80
}

/// Each byte in lower case, if it is an ASCII letter; all of them are joined to `seen`.
#[inline]
fn lower(block: &[u8; BLOCK], seen: &mut [u8; BLOCK]) -> [u8; BLOCK] {
    let mut low = [0; BLOCK];
    for i in 0..BLOCK {
        seen[i] |= block[i];
        low[i] = block[i] | u8::from(block[i].wrapping_sub(b'A') < 26) << 5;
    }
    low
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
