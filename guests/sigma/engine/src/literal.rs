//! Literals that a text must contain to match, and how telling a literal is.

use crate::fold::fold;
use regex_syntax::hir::{Class, Hir, HirKind};

/// A set of more alternatives than this is not worth looking for.
const MAX_ALTERNATIVES: usize = 32;

/// How many bits of information it is that `literal` (folded) occurs at a given place in the texts of events: what the
/// choice of witnesses goes by. Estimated from how often bytes occur in paths and command lines; length alone would
/// prefer `/usr/bin/` to `nc -e`.
pub(crate) fn bits(literal: &[u8]) -> f64 {
    literal
        .iter()
        .map(|b| match b {
            b'/' | b' ' | b'e' | b's' | b'r' | b't' | b'n' | b'i' | b'o' | b'a' | b'c' => 3.6,
            b'-' | b'.' | b'l' | b'd' | b'u' | b'p' | b'b' | b'm' | b'g' | b'f' => 4.6,
            b'0'..=b'9' | b'a'..=b'z' | b'_' | b'=' | b':' => 6.0,
            _ => 8.0,
        })
        .sum()
}

/// Bits of a set, one of which must occur.
fn set_bits(set: &[Vec<u8>]) -> f64 {
    let worst = set.iter().map(|l| bits(l)).fold(f64::INFINITY, f64::min);
    worst - (set.len() as f64).log2()
}

/// Folded literals, one of which is in the folded form of every text that `hir` matches; empty = none known.
pub(crate) fn required_literals(hir: &Hir) -> Vec<Vec<u8>> {
    required(hir).unwrap_or_default()
}

fn required(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    if let Some(literal) = exact(hir) {
        return Some(vec![literal]);
    }
    match hir.kind() {
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min >= 1 => required(&repetition.sub),
        HirKind::Concat(parts) => {
            let mut sets = Vec::new();
            let mut run = Vec::new();
            for part in parts {
                if let Some(literal) = exact(part) {
                    run.extend(literal);
                } else {
                    sets.push(vec![std::mem::take(&mut run)]);
                    sets.extend(required(part));
                }
            }
            sets.push(vec![run]);
            sets.retain(|set| set.iter().all(|l| !l.is_empty()));
            sets.into_iter().max_by(|a, b| set_bits(a).total_cmp(&set_bits(b)))
        }
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(required(part)?);
                if all.len() > MAX_ALTERNATIVES {
                    return None;
                }
            }
            Some(all)
        }
        _ => None,
    }
}

/// The one folded text that everything `hir` matches folds to.
fn exact(hir: &Hir) -> Option<Vec<u8>> {
    match hir.kind() {
        // Bytes that are not whole characters could become part of one, and fold differently.
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok().map(|t| fold(t.as_bytes())),
        HirKind::Capture(capture) => exact(&capture.sub),
        HirKind::Class(Class::Unicode(class)) => {
            let members: Vec<char> = class.iter().flat_map(|r| r.start()..=r.end()).take(5).collect();
            let folded = fold(members.first()?.encode_utf8(&mut [0; 4]).as_bytes());
            let same = members.iter().all(|c| fold(c.encode_utf8(&mut [0; 4]).as_bytes()) == folded);
            (members.len() < 5 && same).then_some(folded)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pattern: &str) -> Vec<String> {
        let hir = regex_syntax::ParserBuilder::new().utf8(false).build().parse(pattern).unwrap();
        required_literals(&hir).into_iter().map(|l| String::from_utf8(l).unwrap()).collect()
    }

    #[test]
    fn literals_of_regexes() {
        assert_eq!(of(r"foo.*BARBAZ"), ["barbaz"]);
        assert_eq!(of(r"(?i)nCAt\s"), ["ncat"]);
        assert_eq!(of(r"(curl|wget)\s+http"), ["http"]);
        assert_eq!(of(r"(curlx|wgetx)\s+a"), ["curlx", "wgetx"]);
        assert!(of(r"(.){200,}").is_empty());
        assert!(of(r"a*|b").is_empty());
        assert_eq!(of(r"(?:xyz)+"), ["xyz"]);
        // LONG S is among what (?i)s matches and does not fold to s.
        assert_eq!(of(r"(?i)sQ"), ["q"]);
    }
}
