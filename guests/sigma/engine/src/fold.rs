//! Case folding: the Unicode *lower-case mapping* of every character, one by one, over bytes that need not be UTF-8.
//!
//! This is what the other engines do (`lower()` in a database, `to_lowercase` in Rust ones). It is not Unicode case
//! folding: KELVIN SIGN (U+212A) equals `k`, but LONG S (U+017F) does not equal `s`, `ß` does not equal `ss`, and the
//! mapping takes no account of the neighbouring characters (a final `ς` does not equal `σ`, `Σ` does).

/// Writes the folded form of `text` over `out`. Bytes that are not UTF-8 stand for themselves.
pub fn fold_into(text: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(text);
    if out.is_ascii() {
        out.make_ascii_lowercase();
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
    fn folds() {
        assert_eq!(fold(b"/TMP/X"), b"/tmp/x");
        assert_eq!(fold("ÄÖ\u{212A}".as_bytes()), "äök".as_bytes());
        assert_eq!(fold("\u{17F}ß".as_bytes()), "\u{17F}ß".as_bytes());
        assert_eq!(fold(b"A\xff\xfeB\xc3"), b"a\xff\xfeb\xc3");
    }
}
