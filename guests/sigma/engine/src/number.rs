//! Numbers of rules and events, compared exactly.

use std::cmp::Ordering;

/// An integer or a finite float. Integers stay integers, because inode numbers and addresses exceed what an `f64` holds.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// Any 64-bit integer, signed or unsigned.
    Integer(i128),
    /// Finite.
    Float(f64),
}

/// Equal for equal numbers: `1` and `1.0` have the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Integer(i128),
    Float(u64),
}

impl Number {
    /// Reads a decimal number: an optional sign, digits, and for floats a point or an exponent. No white space, no
    /// `inf` or `nan`, at most 64 bytes. Anything else is not a number.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > 64 || !text.iter().any(u8::is_ascii_digit) {
            return None;
        }
        if !text.iter().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E')) {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        if let Ok(i) = text.parse::<i128>() {
            return Some(Self::Integer(i));
        }
        text.parse::<f64>().ok().filter(|f| f.is_finite()).map(Self::Float)
    }

    pub(crate) fn key(self) -> Key {
        match self {
            Self::Integer(i) => Key::Integer(i),
            // 2^100 bounds the cast; beyond it no integer of an event can be equal anyway.
            Self::Float(f) if f.fract() == 0.0 && f.abs() < 1.267e30 => Key::Integer(f as i128),
            Self::Float(f) => Key::Float(f.to_bits()),
        }
    }

    /// Order by value.
    pub fn compare(self, other: Self) -> Ordering {
        match (self.key(), other.key()) {
            (Key::Integer(a), Key::Integer(b)) => a.cmp(&b),
            _ => self.as_f64().total_cmp(&other.as_f64()),
        }
    }

    fn as_f64(self) -> f64 {
        match self {
            Self::Integer(i) => i as f64,
            Self::Float(f) => f,
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_across_types() {
        let n = |t: &str| Number::parse(t.as_bytes()).unwrap();
        assert_eq!(n("1"), n("1.0"));
        assert_eq!(n("-0"), n("0"));
        assert_ne!(n("9007199254740993"), n("9007199254740992"));
        assert_eq!(n("18446744073709551615"), Number::Integer(u64::MAX.into()));
        assert_eq!(n("2").compare(n("10")), Ordering::Less);
        assert_eq!(n("1.5").compare(n("1")), Ordering::Greater);
    }

    #[test]
    fn not_a_number() {
        for t in ["", "inf", "nan", " 1", "1 ", "0x10", "-", "1e999", ".", "1-2"] {
            assert!(Number::parse(t.as_bytes()).is_none(), "{t}");
        }
    }
}
