//! Sigma strings: literals with `*` and `?`, and how they match.

use crate::fold::fold;
use memchr::memmem::Finder;
use std::hash::{Hash, Hasher};

/// A piece of a Sigma string.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Piece {
    Literal(Vec<u8>),
    /// `?`: exactly one character, or one byte that is not UTF-8.
    One,
    /// `*`: any number of characters.
    Many,
}

/// A Sigma string, normalised: no two literals and no two `*` side by side, no empty literal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Pattern(Vec<Piece>);

impl Pattern {
    /// Reads the wildcards and escapes of the specification: `\*`, `\?` and `\\` stand for the second character, any
    /// other backslash for itself.
    pub fn parse(text: &str) -> Self {
        let mut pattern = Self::default();
        // Stretches between wildcards and escapes are copied whole: most values are one.
        let mut rest = text;
        while let Some(at) = rest.find(['\\', '*', '?']) {
            pattern.push_literal(&rest[..at]);
            let escaped = rest[at..].starts_with('\\') && rest[at + 1..].starts_with(['*', '?', '\\']);
            let end = at + if escaped { 2 } else { 1 };
            match &rest[at..end] {
                "*" => pattern.push(Piece::Many),
                "?" => pattern.push(Piece::One),
                token => pattern.push_literal(&token[token.len() - 1..]),
            }
            rest = &rest[end..];
        }
        pattern.push_literal(rest);
        pattern
    }

    pub fn literal(bytes: &[u8]) -> Self {
        let mut pattern = Self::default();
        pattern.push(Piece::Literal(bytes.to_vec()));
        pattern
    }

    pub fn push(&mut self, piece: Piece) {
        match (self.0.last_mut(), piece) {
            (_, Piece::Literal(more)) if more.is_empty() => {}
            (Some(Piece::Literal(last)), Piece::Literal(more)) => last.extend_from_slice(&more),
            (Some(Piece::Many), Piece::Many) => {}
            (_, piece) => self.0.push(piece),
        }
    }

    fn push_literal(&mut self, text: &str) {
        match self.0.last_mut() {
            Some(Piece::Literal(last)) => last.extend_from_slice(text.as_bytes()),
            _ => self.push(Piece::Literal(text.as_bytes().to_vec())),
        }
    }

    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// Bytes of all literals.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|p| if let Piece::Literal(l) = p { l.len() } else { 0 }).sum()
    }

    /// The text, if there is no wildcard in it.
    pub fn plain(&self) -> Option<&[u8]> {
        match self.0.as_slice() {
            [] => Some(b""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// With `*` before or after, as `endswith`, `startswith` and `contains` put them.
    pub fn open(self, before: bool, after: bool) -> Self {
        let mut pattern = Self::default();
        if before {
            pattern.push(Piece::Many);
        }
        for piece in self.0 {
            pattern.push(piece);
        }
        if after {
            pattern.push(Piece::Many);
        }
        pattern
    }

    fn fold(self) -> Self {
        Self(self.0.into_iter().map(|p| if let Piece::Literal(l) = p { Piece::Literal(fold(&l)) } else { p }).collect())
    }
}

/// A literal to look for, with its prepared searcher.
#[derive(Clone, Debug)]
pub(crate) struct Needle(Box<Finder<'static>>);

impl Needle {
    fn new(bytes: &[u8]) -> Self {
        Self(Box::new(Finder::new(bytes).into_owned()))
    }
    pub fn bytes(&self) -> &[u8] {
        self.0.needle()
    }
}
impl PartialEq for Needle {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}
impl Eq for Needle {}
impl Hash for Needle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

/// A pattern brought into the form that is cheapest to match.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Shape {
    /// Only `*`: any text at all.
    Any,
    Equals(Box<[u8]>),
    Prefix(Box<[u8]>),
    Suffix(Box<[u8]>),
    Contains(Needle),
    Wildcards(Wildcards),
}

impl Shape {
    /// `cased` = the text is compared as it is; otherwise the pattern is folded and expects folded text.
    pub fn new(pattern: Pattern, cased: bool) -> Self {
        let pattern = if cased { pattern } else { pattern.fold() };
        match pattern.pieces() {
            [] => Self::Equals(Box::default()),
            [Piece::Many] => Self::Any,
            [Piece::Literal(l)] => Self::Equals(l.as_slice().into()),
            [Piece::Literal(l), Piece::Many] => Self::Prefix(l.as_slice().into()),
            [Piece::Many, Piece::Literal(l)] => Self::Suffix(l.as_slice().into()),
            [Piece::Many, Piece::Literal(l), Piece::Many] => Self::Contains(Needle::new(l)),
            _ => Self::Wildcards(Wildcards::new(pattern)),
        }
    }

    /// The same for folded text.
    pub fn folded(&self) -> Self {
        match self {
            Self::Any => Self::Any,
            Self::Equals(l) => Self::Equals(fold(l).into()),
            Self::Prefix(l) => Self::Prefix(fold(l).into()),
            Self::Suffix(l) => Self::Suffix(fold(l).into()),
            Self::Contains(l) => Self::Contains(Needle::new(&fold(l.bytes()))),
            Self::Wildcards(w) => Self::Wildcards(w.folded()),
        }
    }

    pub fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Equals(l) => text == &**l,
            Self::Prefix(l) => text.starts_with(l),
            Self::Suffix(l) => text.ends_with(l),
            Self::Contains(l) => l.0.find(text).is_some(),
            Self::Wildcards(w) => w.matches(text),
        }
    }
}

/// A pattern with wildcards inside. Matching takes at most (length of pattern) x (length of text) steps: only the last
/// `*` is ever tried again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Wildcards {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    Literal(Needle),
    One,
    Many,
}

impl Wildcards {
    fn new(pattern: Pattern) -> Self {
        let part = |p| match p {
            Piece::Literal(l) => Part::Literal(Needle::new(&l)),
            Piece::One => Part::One,
            Piece::Many => Part::Many,
        };
        Self { parts: pattern.0.into_iter().map(part).collect() }
    }

    fn folded(&self) -> Self {
        let part = |p: &Part| match p {
            Part::Literal(l) => Part::Literal(Needle::new(&fold(l.bytes()))),
            Part::One => Part::One,
            Part::Many => Part::Many,
        };
        Self { parts: self.parts.iter().map(part).collect() }
    }

    /// The literals, each of which every matching text contains.
    pub fn literals(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().filter_map(|p| if let Part::Literal(l) = p { Some(l.bytes()) } else { None })
    }

    /// What every matching text starts with, if that is a literal.
    pub fn first(&self) -> Option<&[u8]> {
        if let Some(Part::Literal(l)) = self.parts.first() { Some(l.bytes()) } else { None }
    }

    /// What every matching text ends with, if that is a literal.
    pub fn last(&self) -> Option<&[u8]> {
        if let Some(Part::Literal(l)) = self.parts.last() { Some(l.bytes()) } else { None }
    }

    pub fn matches(&self, text: &[u8]) -> bool {
        let parts = self.parts.as_slice();
        let (mut part, mut at) = (0, 0);
        // The part after the last `*` seen, and where in the text that `*` ends for now.
        let mut again: Option<(usize, usize)> = None;
        loop {
            let fits = match parts.get(part) {
                None => at == text.len(),
                Some(Part::Literal(l)) if text[at..].starts_with(l.bytes()) => {
                    at += l.bytes().len();
                    part += 1;
                    continue;
                }
                Some(Part::One) if at < text.len() => {
                    at += char_len(&text[at..]);
                    part += 1;
                    continue;
                }
                Some(Part::Many) => {
                    part += 1;
                    again = Some((part, at));
                    match &parts[part..] {
                        [] => return true,
                        // The last literal must end the text: no need to try the places before.
                        [Part::Literal(l)] => return text[at..].ends_with(l.bytes()),
                        [Part::Literal(l), ..] => match l.0.find(&text[at..]) {
                            Some(skip) => {
                                at += skip;
                                again = Some((part, at));
                            }
                            None => return false,
                        },
                        _ => {}
                    }
                    continue;
                }
                Some(Part::Literal(_) | Part::One) => false,
            };
            if fits {
                return true;
            }
            let Some((after, from)) = again else { return false };
            if from >= text.len() {
                return false;
            }
            let mut from = from + char_len(&text[from..]);
            if let Some(Part::Literal(l)) = parts.get(after) {
                match l.0.find(&text[from..]) {
                    Some(skip) => from += skip,
                    None => return false,
                }
            }
            (part, at, again) = (after, from, Some((after, from)));
        }
    }
}

/// Bytes of the first character of `text` (not empty); 1 if it is not UTF-8.
fn char_len(text: &[u8]) -> usize {
    let wanted = match text[0] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return 1,
    };
    match text.get(..wanted) {
        Some(c) if std::str::from_utf8(c).is_ok() => wanted,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Shape {
        Shape::new(Pattern::parse(text), true)
    }

    #[test]
    fn escapes_of_the_specification() {
        let plain = |t: &str| String::from_utf8(Pattern::parse(t).plain().unwrap().to_vec()).unwrap();
        assert_eq!(plain(r"\a"), r"\a");
        assert_eq!(plain(r"\\"), r"\");
        assert_eq!(plain(r"\*"), "*");
        assert_eq!(plain(r"\?"), "?");
        assert_eq!(plain(r"\\\*"), r"\*");
        assert_eq!(plain(r"\\\\"), r"\\");
        assert_eq!(plain(r"\\\b"), r"\\b");
        assert_eq!(plain(r"a\"), r"a\");
        assert_eq!(Pattern::parse(r"\\*").pieces(), [Piece::Literal(b"\\".to_vec()), Piece::Many]);
    }

    #[test]
    fn last_star_is_tried_again() {
        assert!(shape("*ab?").matches(b"abab1"));
        assert!(shape("*a?c").matches(b"aaxc"));
        assert!(!shape("*a?c").matches(b"aac "));
        assert!(shape("a*b*c").matches(b"abbbcc"));
        assert!(shape("?").matches("é".as_bytes()));
        assert!(!shape("?").matches("éé".as_bytes()));
        assert!(shape("?").matches(b"\n"));
        assert!(shape("?").matches(b"\xff"));
    }

    /// The definition, without any cleverness.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern.first(), text.first()) {
            (None, None) => true,
            (Some('*'), _) => naive(&pattern[1..], text) || (!text.is_empty() && naive(pattern, &text[1..])),
            (Some('?'), Some(_)) => naive(&pattern[1..], &text[1..]),
            (Some(p), Some(t)) if p == t => naive(&pattern[1..], &text[1..]),
            _ => false,
        }
    }

    #[test]
    fn wildcards_equal_the_naive_matcher() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move |n: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % n) as usize
        };
        let mut matched = 0;
        for _ in 0..60_000 {
            let pattern: String = (0..next(8)).map(|_| ['a', 'b', 'é', '*', '*', '?'][next(6)]).collect();
            let text: String = (0..next(10)).map(|_| ['a', 'b', 'é'][next(3)]).collect();
            let expected = naive(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>());
            assert_eq!(shape(&pattern).matches(text.as_bytes()), expected, "{pattern:?} on {text:?}");
            matched += usize::from(expected);
        }
        assert!((5_000..55_000).contains(&matched), "{matched} matches make a poor test");
    }
}
