//! The modifiers that turn a value into other values: windash, utf16, base64, base64offset.

use crate::modifier::Modifier;
use crate::pattern::{Pattern, Piece};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// All values that one value may become. Five dashes in four places make 625.
const MAX_VARIANTS: usize = 625;

/// Applies an encoding to every pattern. The result is a list of alternatives.
pub(crate) fn encode(patterns: Vec<Pattern>, modifier: Modifier) -> Result<Vec<Pattern>, String> {
    let mut out = Vec::new();
    for pattern in patterns {
        match modifier {
            Modifier::WinDash => out.extend(windash(&pattern)?),
            Modifier::Utf16Le => out.push(utf16(&pattern, &[], u16::to_le_bytes)?),
            Modifier::Utf16Be => out.push(utf16(&pattern, &[], u16::to_be_bytes)?),
            Modifier::Utf16 => out.push(utf16(&pattern, &[0xff, 0xfe], u16::to_le_bytes)?),
            Modifier::Base64 => out.push(Pattern::literal(STANDARD.encode(bytes(&pattern, "base64")?).as_bytes())),
            Modifier::Base64Offset => out.extend(base64_offsets(bytes(&pattern, "base64offset")?)?),
            _ => out.push(pattern),
        }
        if out.len() > MAX_VARIANTS {
            return Err(format!("the value stands for more than {MAX_VARIANTS} values"));
        }
    }
    Ok(out)
}

fn bytes<'p>(pattern: &'p Pattern, modifier: &str) -> Result<&'p [u8], String> {
    match pattern.plain() {
        None => Err(format!("a value with wildcards cannot be encoded by '{modifier}'")),
        Some([]) => Err(format!("an empty value cannot be encoded by '{modifier}'")),
        Some(bytes) => Ok(bytes),
    }
}

fn utf16(pattern: &Pattern, mark: &[u8], encode: fn(u16) -> [u8; 2]) -> Result<Pattern, String> {
    let text = std::str::from_utf8(bytes(pattern, "utf16")?).map_err(|_| "only text can be encoded as UTF-16")?;
    let units = text.encode_utf16().flat_map(encode);
    Ok(Pattern::literal(&mark.iter().copied().chain(units).collect::<Vec<_>>()))
}

/// What is common to every Base64 text around the value, for each of the three ways it can lie in it.
fn base64_offsets(value: &[u8]) -> Result<Vec<Pattern>, String> {
    let mut found = Vec::new();
    for shift in 0..3 {
        let mut padded = vec![b' '; shift];
        padded.extend_from_slice(value);
        let encoded = STANDARD.encode(&padded);
        let from = [0, 2, 3][shift];
        let to = encoded.len() - [0, 3, 2][padded.len() % 3];
        if from >= to {
            return Err("the value is too short for 'base64offset': every text would match".to_owned());
        }
        found.push(Pattern::literal(&encoded.as_bytes()[from..to]));
    }
    Ok(found)
}

const DASHES: [&str; 5] = ["-", "/", "\u{2013}", "\u{2014}", "\u{2015}"];

/// Every way to write the dashes (or slashes) that begin a word. Those inside words, as in `foo-bar` and `a/b`, are no
/// flags and stay.
fn windash(pattern: &Pattern) -> Result<Vec<Pattern>, String> {
    let mut found = vec![Pattern::default()];
    let word = |c: char| c.is_alphanumeric() || c == '_';
    for piece in pattern.pieces() {
        let Piece::Literal(literal) = piece else {
            for p in &mut found {
                p.push(piece.clone());
            }
            continue;
        };
        let text = std::str::from_utf8(literal).map_err(|_| "'windash' must come before encodings")?;
        let mut before = None;
        let mut chars = text.char_indices().peekable();
        while let Some((i, c)) = chars.next() {
            let here = &text[i..i + c.len_utf8()];
            let begins_word = !before.is_some_and(word) && chars.peek().is_some_and(|(_, n)| word(*n));
            before = Some(c);
            if begins_word && DASHES.contains(&here) {
                if found.len() * DASHES.len() > MAX_VARIANTS {
                    return Err(format!("the value stands for more than {MAX_VARIANTS} values"));
                }
                found = found
                    .iter()
                    .flat_map(|p| {
                        DASHES.map(|dash| {
                            let mut p = p.clone();
                            p.push(Piece::Literal(dash.as_bytes().to_vec()));
                            p
                        })
                    })
                    .collect();
            } else {
                for p in &mut found {
                    p.push(Piece::Literal(here.as_bytes().to_vec()));
                }
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(value: &str, modifier: Modifier) -> Vec<String> {
        let show = |p: Pattern| String::from_utf8_lossy(p.plain().unwrap()).into_owned();
        encode(vec![Pattern::parse(value)], modifier).unwrap().into_iter().map(show).collect()
    }

    #[test]
    fn base64() {
        assert_eq!(encoded("foobar", Modifier::Base64), ["Zm9vYmFy"]);
        assert_eq!(encoded("/bin/bash", Modifier::Base64Offset), ["L2Jpbi9iYXNo", "9iaW4vYmFza", "vYmluL2Jhc2"]);
        assert_eq!(encoded("foo", Modifier::Utf16Le), ["f\0o\0o\0"]);
        assert_eq!(encoded("fo", Modifier::Utf16Be), ["\0f\0o"]);
        assert!(encode(vec![Pattern::parse("a*b")], Modifier::Base64).is_err());
        assert!(encode(vec![Pattern::parse("a")], Modifier::Base64Offset).is_err());
    }

    #[test]
    fn base64_of_every_shift_contains_a_variant() {
        let variants = encoded("http://", Modifier::Base64Offset);
        for before in 0..7 {
            let text = format!("{}http://x", "z".repeat(before));
            let base64 = STANDARD.encode(text);
            assert!(variants.iter().any(|v| base64.contains(v)), "{base64}");
        }
    }

    #[test]
    fn windash_turns_only_what_begins_a_word() {
        assert_eq!(encoded(" -f", Modifier::WinDash).len(), 5);
        assert_eq!(encoded("a-f", Modifier::WinDash), ["a-f"]);
        assert_eq!(encoded("-a /b", Modifier::WinDash).len(), 25);
        assert!(encoded("/f", Modifier::WinDash).contains(&"\u{2015}f".to_owned()));
        assert!(encode(vec![Pattern::parse("-a -b -c -d -e")], Modifier::WinDash).is_err());
    }
}
