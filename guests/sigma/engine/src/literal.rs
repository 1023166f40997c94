//! Literals that a text must contain to match, and how telling a literal is.

use crate::fold::fold;
use regex_syntax::hir::{Class, Hir, HirKind};

/// A set of more alternatives than this is not worth looking for.
const MAX_ALTERNATIVES: usize = 32;
/// Characters of a class that is still taken for a set of literals.
const MAX_MEMBERS: usize = 8;

/// Pieces of paths and command lines that are far more frequent than their bytes, with their bits.
const COMMON: &[(&[u8], f64)] = &[
    (b"/usr/local/", 9.0),
    (b"/usr/bin/", 7.5),
    (b"/usr/", 6.5),
    (b"/bin/", 6.5),
    (b"/sbin/", 8.0),
    (b"/lib", 7.5),
    (b"/tmp/", 8.0),
    (b"/etc/", 8.0),
    (b"/var/", 8.0),
    (b"/home/", 8.0),
    (b"/opt/", 8.0),
    (b"/proc/", 9.0),
    (b"/dev/", 9.0),
    (b"sh -c", 9.0),
    // As a user rather than in a path.
    (b"root", 5.0),
    (b" --", 5.0),
    (b" -", 4.0),
];

/// How many bits of information it is that `literal` (folded) occurs at a given place in the texts of events: what the
/// choice of witnesses goes by. Estimated from how often bytes, and some pieces, occur in paths and command lines; length
/// alone would prefer `/usr/bin/` to `nc -e`.
pub(crate) fn bits(literal: &[u8]) -> f64 {
    let mut rest = literal;
    let mut bits = 0.0;
    while let Some(byte) = rest.first() {
        let (length, more) = match COMMON.iter().find(|(piece, _)| rest.starts_with(piece)) {
            Some((piece, more)) => (piece.len(), *more),
            None => (1, byte_bits(*byte)),
        };
        bits += more;
        rest = &rest[length..];
    }
    bits
}

/// The same for a few bytes out of the middle of a literal.
pub(crate) fn gram_bits(gram: &[u8]) -> f64 {
    gram.iter().map(|b| byte_bits(*b)).sum()
}

fn byte_bits(byte: u8) -> f64 {
    match byte {
        b'/' | b' ' | b'e' | b's' | b'r' | b't' | b'n' | b'i' | b'o' | b'a' | b'c' => 3.6,
        b'-' | b'.' | b'l' | b'd' | b'u' | b'p' | b'b' | b'm' | b'g' | b'f' => 4.6,
        b'0'..=b'9' | b'a'..=b'z' | b'_' | b'=' | b':' => 6.0,
        _ => 8.0,
    }
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
    if let Some(set) = exact(hir) {
        return Some(set).filter(|set| set.iter().all(|l| !l.is_empty()));
    }
    match hir.kind() {
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min >= 1 => required(&repetition.sub),
        HirKind::Concat(parts) => {
            let mut sets = Vec::new();
            // What the parts since the last inexact one come to.
            let mut run = vec![Vec::new()];
            for part in parts {
                match exact(part).map(|set| product(&run, &set)) {
                    Some(Some(longer)) => run = longer,
                    Some(None) => {
                        sets.push(std::mem::replace(&mut run, exact(part).unwrap_or_default()));
                    }
                    None => {
                        sets.push(std::mem::replace(&mut run, vec![Vec::new()]));
                        sets.extend(required(part));
                    }
                }
            }
            sets.push(run);
            sets.retain(|set| !set.is_empty() && set.iter().all(|l| !l.is_empty()));
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

/// Every beginning with every end; None = too many.
fn product(beginnings: &[Vec<u8>], ends: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let few = beginnings.len() * ends.len() <= MAX_ALTERNATIVES;
    few.then(|| beginnings.iter().flat_map(|b| ends.iter().map(move |e| [b.as_slice(), e].concat())).collect())
}

/// The folded texts, all of them, that everything `hir` matches folds to.
fn exact(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        // Bytes that are not whole characters could become part of one, and fold differently.
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok().map(|t| vec![fold(t.as_bytes())]),
        HirKind::Capture(capture) => exact(&capture.sub),
        HirKind::Class(Class::Unicode(class)) => {
            let members: Vec<char> = class.iter().flat_map(|r| r.start()..=r.end()).take(MAX_MEMBERS + 1).collect();
            let mut set: Vec<Vec<u8>> = members.iter().map(|c| fold(c.encode_utf8(&mut [0; 4]).as_bytes())).collect();
            set.sort();
            set.dedup();
            (members.len() <= MAX_MEMBERS && !set.is_empty()).then_some(set)
        }
        HirKind::Concat(parts) => {
            parts.iter().try_fold(vec![Vec::new()], |beginnings, part| product(&beginnings, &exact(part)?))
        }
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(exact(part)?);
                if all.len() > MAX_ALTERNATIVES {
                    return None;
                }
            }
            all.sort();
            all.dedup();
            Some(all)
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
        assert_eq!(of(r"-(W|R)\s"), ["-r", "-w"]);
        assert_eq!(of(r"a[bc]d(e|f)"), ["abde", "abdf", "acde", "acdf"]);
        assert_eq!(of(r"(curlx|wgetx)\s+a"), ["curlx", "wgetx"]);
        assert!(of(r"(.){200,}").is_empty());
        assert!(of(r"a*|b").is_empty());
        assert_eq!(of(r"(?:xyz)+"), ["xyz"]);
        // LONG S is among what (?i)s matches and does not fold to s.
        assert_eq!(of(r"(?i)sQ"), ["sq", "\u{17F}q"]);
    }
}
