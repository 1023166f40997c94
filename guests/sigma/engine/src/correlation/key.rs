//! Group keys and values as bytes: equal bytes, equal values.

use crate::batch::{Cell, Value};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// A longer value is kept as its beginning and a digest of the whole.
const MAX_VALUE: usize = 255;
const HEAD: usize = 128;
const DIGEST: usize = 16;

const NOTHING: u8 = 0;
const WHOLE: u8 = 1;
const LIST: u8 = 2;
const LONG: u8 = 3;

/// Appends the value in `cell`: numbers as text, so that 22 and `22` are one value. What is absent, null or unavailable is
/// the same "no value". Says whether there is a value.
pub(super) fn push(cell: Cell<'_>, text: &mut Vec<u8>, key: &mut Vec<u8>) -> bool {
    match cell {
        Cell::One(value) => {
            match value {
                Value::Text(bytes) => put(WHOLE, bytes, key),
                other => {
                    other.text_into(text);
                    put(WHOLE, text, key);
                }
            }
            true
        }
        Cell::List(..) => {
            text.clear();
            let mut any = false;
            for value in cell.values() {
                if let Value::Text(bytes) = value {
                    any = true;
                    text.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
                    text.extend_from_slice(bytes);
                }
            }
            if any {
                put(LIST, text, key);
            } else {
                key.push(NOTHING);
            }
            any
        }
        Cell::Absent | Cell::Null | Cell::Unavailable => {
            key.push(NOTHING);
            false
        }
    }
}

/// Appends "no value".
pub(super) fn push_nothing(key: &mut Vec<u8>) {
    key.push(NOTHING);
}

fn put(tag: u8, bytes: &[u8], key: &mut Vec<u8>) {
    if let (Ok(length), true) = (u8::try_from(bytes.len()), bytes.len() <= MAX_VALUE) {
        key.push(tag);
        key.push(length);
        key.extend_from_slice(bytes);
        return;
    }
    key.push(LONG);
    key.push(tag);
    key.extend_from_slice(&bytes[..HEAD]);
    key.extend_from_slice(&Sha256::digest(bytes)[..DIGEST]);
}

/// The values of a key, each with its tag.
pub(super) fn parts(mut key: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = match *key.first()? {
            WHOLE | LIST => 2 + usize::from(*key.get(1)?),
            LONG => 2 + HEAD + DIGEST,
            _ => 1,
        };
        let (part, rest) = key.split_at_checked(length)?;
        key = rest;
        Some(part)
    })
}

/// A part is a value, not "no value".
pub(super) fn is_value(part: &[u8]) -> bool {
    part.first().is_some_and(|tag| *tag != NOTHING)
}

/// The text of a part that is one short value, for numbers.
pub(super) fn text(part: &[u8]) -> Option<&[u8]> {
    if part.first() == Some(&WHOLE) { part.get(2..) } else { None }
}

/// A part for people: nothing for "no value", a list with commas, a long value cut short.
pub(super) fn display(part: &[u8]) -> String {
    let (tag, long, bytes) = match part {
        [WHOLE, _, bytes @ ..] => (WHOLE, false, bytes),
        [LIST, _, bytes @ ..] => (LIST, false, bytes),
        [LONG, tag, bytes @ ..] => (*tag, true, bytes.get(..HEAD).unwrap_or_default()),
        _ => return String::new(),
    };
    let mut shown = String::new();
    if tag == LIST {
        let mut rest = bytes;
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let length = (u32::from_le_bytes(*length) as usize).min(tail.len());
            if !shown.is_empty() {
                shown.push_str(", ");
            }
            shown.push_str(&String::from_utf8_lossy(&tail[..length]));
            rest = &tail[length..];
        }
    } else {
        shown.push_str(&String::from_utf8_lossy(bytes));
    }
    if long {
        shown.push('…');
    }
    shown
}

/// `User="root", Port="22"`: different keys have different texts, whatever bytes are in them.
pub(super) fn whole(names: &[String], key: &[u8]) -> String {
    let mut shown = String::new();
    for (name, part) in names.iter().zip(parts(key)) {
        if !shown.is_empty() {
            shown.push_str(", ");
        }
        let _ = match part {
            [WHOLE, _, bytes @ ..] => write!(shown, "{name}=\"{}\"", bytes.escape_ascii()),
            [LIST, _, bytes @ ..] => write!(shown, "{name}=[\"{}\"]", bytes.escape_ascii()),
            [LONG, _, bytes @ ..] => write!(shown, "{name}=\"{}\"…", bytes.escape_ascii()),
            _ => write!(shown, "{name}=none"),
        };
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::Number;

    fn key(values: &[Cell<'_>]) -> Vec<u8> {
        let mut key = Vec::new();
        for value in values {
            push(*value, &mut Vec::new(), &mut key);
        }
        key
    }

    fn one(text: &str) -> Cell<'_> {
        Cell::One(Value::Text(text.as_bytes()))
    }

    #[test]
    fn values_are_kept_apart() {
        let long = ["a".repeat(300), "a".repeat(299) + "b", "a".repeat(255), "a".repeat(256)];
        let mut keys = vec![
            key(&[one("a"), one("b")]),
            key(&[one("ab"), one("")]),
            key(&[one("a, B=\"b"), Cell::Absent]),
            key(&[Cell::Absent, one("a")]),
            key(&[one(""), one("a")]),
        ];
        keys.extend(long.iter().map(|l| key(&[one(l), one("x")])));
        let names = ["A".to_owned(), "B".to_owned()];
        let mut texts: Vec<String> = keys.iter().map(|k| whole(&names, k)).collect();
        assert!(keys.iter().all(|k| parts(k).count() == 2));
        keys.sort();
        keys.dedup();
        texts.sort();
        texts.dedup();
        assert_eq!((keys.len(), texts.len()), (9, 9));
        assert!(keys.iter().all(|k| k.len() < 400));
    }

    #[test]
    fn one_value_whatever_the_type() {
        assert_eq!(key(&[one("22")]), key(&[Cell::One(Value::Number(Number::Integer(22)))]));
        assert_eq!(key(&[one("true")]), key(&[Cell::One(Value::Boolean(true))]));
        assert_eq!(key(&[Cell::Null]), key(&[Cell::Absent]));
        assert_eq!(key(&[Cell::Unavailable]), key(&[Cell::Absent]));
    }

    #[test]
    fn shown() {
        let arena = b"xyz";
        let texts = crate::batch::Texts { arena, ends: &[1, 3], codes: &[] };
        let list = key(&[Cell::List(texts, 0, 2)]);
        assert_eq!(display(&list), "x, yz");
        assert_eq!(display(&key(&[one("a b")])), "a b");
        assert_eq!(whole(&["U".to_owned()], &key(&[one("a\"\n")])), "U=\"a\\\"\\n\"");
        assert_eq!(whole(&["U".to_owned()], &key(&[Cell::Null])), "U=none");
    }
}
