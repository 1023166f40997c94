//! One question about one field: what a rule's value comes down to.

use crate::batch::{Cell, Value};
use crate::fold::fold_into;
use crate::literal::required_literals;
use crate::number::Number;
use crate::pattern::{Pattern, Shape};
use crate::time::{self, Part};
use regex_automata::meta;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

/// Bytes of one compiled regex; each `\w` of a repetition takes some 50 kB.
const MAX_REGEX_BYTES: usize = 4 << 20;
/// Bytes of the automaton that is built lazily while a regex searches.
const MAX_CACHE_BYTES: usize = 256 << 10;

/// See the module. Pure functions of the values of one field, except [`Test::Same`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Test {
    /// `exists`: there is such a field, whatever it holds.
    Exists,
    /// `exists: false`.
    Missing,
    /// `null`: no such field, or null.
    Null,
    Text(Text),
    /// A number of the rule: equal as a number.
    Number(Exact),
    Regex(Box<Regex>),
    Network(Network),
    Compare(Comparison, Exact),
    /// `hour` and its like: a part of a date, compared.
    Time(Part, Comparison, Exact),
    /// `fieldref`: equal to (or starting, ending with, containing) the value of another field.
    Same(Affix, Casing),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Casing {
    Folded,
    Exact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Affix {
    Equals,
    Prefix,
    Suffix,
    Contains,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// Of parts of dates only; a plain number is a [`Test::Number`].
    Equal,
}

impl Comparison {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
            Self::Equal => order.is_eq(),
        }
    }
}

/// A number that can be a key. Boxed: few tests have one, and it would make all of them twice as large.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Exact(pub Box<Number>);
impl Exact {
    pub fn new(number: Number) -> Self {
        Self(Box::new(number))
    }
}
impl Eq for Exact {}
impl Hash for Exact {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key().hash(state);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Text {
    pub shape: Shape,
    pub casing: Casing,
    /// The literal as a number, for columns that hold numbers: `'14'` equals 14.0 there.
    pub number: Option<Exact>,
}

impl Text {
    pub fn new(pattern: Pattern, casing: Casing) -> Self {
        let number = pattern.plain().and_then(Number::parse).map(Exact::new);
        Self { shape: Shape::new(pattern, casing == Casing::Exact), casing, number }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Regex {
    source: String,
    flags: Flags,
    compiled: meta::Regex,
    /// No shorter text matches.
    pub minimum: usize,
    /// One of these (folded) is in the folded form of every text that matches; empty = nothing known.
    pub required: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Flags {
    pub ignore_case: bool,
    pub multi_line: bool,
    pub dot_all: bool,
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.flags == other.flags
    }
}
impl Eq for Regex {}
impl Hash for Regex {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.source.hash(state);
    }
}

/// What is wrong with a regex, and where in it (bytes).
pub(crate) struct BadRegex {
    pub message: String,
    pub range: std::ops::Range<usize>,
}

impl Regex {
    pub fn new(source: &str, flags: Flags) -> Result<Self, BadRegex> {
        let whole = 0..source.len();
        let span = |s: &regex_syntax::ast::Span| s.start.offset..s.end.offset.max(s.start.offset + 1).min(source.len());
        let hir = regex_syntax::ParserBuilder::new()
            .utf8(false)
            .case_insensitive(flags.ignore_case)
            .multi_line(flags.multi_line)
            .dot_matches_new_line(flags.dot_all)
            .build()
            .parse(source)
            .map_err(|e| match &e {
                regex_syntax::Error::Parse(e) => BadRegex { message: e.kind().to_string(), range: span(e.span()) },
                regex_syntax::Error::Translate(e) => BadRegex { message: e.kind().to_string(), range: span(e.span()) },
                e => BadRegex { message: e.to_string(), range: whole.clone() },
            })?;
        // The meta engine behind the `regex` crate, used directly because it tells how much memory it takes.
        let config = meta::Config::new()
            .utf8_empty(false)
            .nfa_size_limit(Some(MAX_REGEX_BYTES))
            .onepass_size_limit(Some(MAX_REGEX_BYTES))
            .hybrid_cache_capacity(MAX_CACHE_BYTES);
        let compiled = meta::Builder::new().configure(config).build_from_hir(&hir).map_err(|e| {
            let message = match e.size_limit() {
                Some(limit) => format!("it needs more than {limit} bytes when compiled"),
                None => e.to_string(),
            };
            BadRegex { message, range: whole }
        })?;
        let minimum = hir.properties().minimum_len().unwrap_or(0);
        Ok(Self { source: source.to_owned(), flags, compiled, minimum, required: required_literals(&hir) })
    }

    /// Bytes that it takes up.
    pub fn bytes(&self) -> usize {
        self.source.len() + self.compiled.memory_usage()
    }

    fn matches(&self, text: &[u8]) -> bool {
        text.len() >= self.minimum && self.compiled.is_match(text)
    }
}

/// An address range of `cidr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    pub fn parse(text: &str) -> Result<Self, String> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| format!("'{address}' is not an IP address"))?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => all,
            Some(b) if !b.is_empty() && b.bytes().all(|c| c.is_ascii_digit()) => {
                b.parse()
                    .ok()
                    .filter(|n| *n <= all)
                    .ok_or_else(|| format!("the prefix length must be at most {all}"))?
            }
            Some(b) => return Err(format!("'{b}' is not a prefix length")),
        };
        let network = Self { address, bits };
        let first = network.masked(address);
        if first != address {
            return Err(format!("bits are set after the prefix; the network is {first}/{bits}"));
        }
        Ok(network)
    }

    fn masked(&self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(a) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V4((a.to_bits() & mask).into())
            }
            IpAddr::V6(a) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V6((a.to_bits() & mask).into())
            }
        }
    }

    /// An IPv4 address never lies in an IPv6 network, not even in its mapped form.
    fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && self.masked(address) == self.address
    }
}

/// Buffers for one value at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffers {
    raw: Vec<u8>,
    folded: Vec<u8>,
    other: Vec<u8>,
}

/// A value in the forms that tests ask for.
pub(crate) struct Probe<'a> {
    value: Value<'a>,
    raw: &'a [u8],
    folded: Folded<'a>,
}

enum Folded<'a> {
    Done(&'a [u8]),
    /// Made in this buffer on first use.
    Later(&'a mut Vec<u8>),
    Made(&'a mut Vec<u8>),
}

impl<'a> Probe<'a> {
    pub fn new(value: Value<'a>, raw: &'a mut Vec<u8>, folded: &'a mut Vec<u8>) -> Self {
        let raw: &'a [u8] = if let Value::Text(t) = value {
            t
        } else {
            value.text_into(raw);
            raw
        };
        Self { value, raw, folded: Folded::Later(folded) }
    }

    /// With the text of the value and its folded form at hand.
    pub fn folded_already(value: Value<'a>, raw: &'a [u8], folded: &'a [u8]) -> Self {
        Self { value, raw, folded: Folded::Done(folded) }
    }

    fn folded(&mut self) -> &[u8] {
        if let Folded::Later(_) = self.folded
            && let Folded::Later(buffer) = std::mem::replace(&mut self.folded, Folded::Done(&[]))
        {
            fold_into(self.raw, buffer);
            self.folded = Folded::Made(buffer);
        }
        match &self.folded {
            Folded::Done(text) => text,
            Folded::Made(text) | Folded::Later(text) => text,
        }
    }

    fn number(&self) -> Option<Number> {
        match self.value {
            Value::Text(t) => Number::parse(t),
            Value::Number(n) => Some(n),
            Value::Boolean(_) => None,
        }
    }
}

impl Test {
    /// Whether a row with `cell` passes. `other` is the cell of the other field of a [`Test::Same`].
    pub fn holds(&self, cell: &Cell<'_>, other: &Cell<'_>, buffers: &mut Buffers) -> bool {
        match self {
            Self::Exists => matches!(cell, Cell::Null | Cell::One(_) | Cell::List(..)),
            Self::Missing => matches!(cell, Cell::Absent),
            Self::Null => matches!(cell, Cell::Absent | Cell::Null),
            Self::Same(affix, casing) => {
                cell.values().any(|a| other.values().any(|b| same(*affix, *casing, a, b, buffers)))
            }
            _ => {
                let mut matches = |v| self.matches(&mut Probe::new(v, &mut buffers.raw, &mut buffers.folded));
                match cell {
                    Cell::One(value) => matches(*value),
                    list => list.values().any(matches),
                }
            }
        }
    }

    /// The same test with the case of letters ignored; None where it ignores it already. For explanations: it compiles a
    /// regex anew.
    pub fn ignoring_case(&self) -> Option<Self> {
        match self {
            Self::Text(Text { shape, casing: Casing::Exact, number }) => {
                Some(Self::Text(Text { shape: shape.folded(), casing: Casing::Folded, number: number.clone() }))
            }
            Self::Regex(regex) if !regex.flags.ignore_case => {
                let flags = Flags { ignore_case: true, ..regex.flags };
                Some(Self::Regex(Box::new(Regex::new(&regex.source, flags).ok()?)))
            }
            Self::Same(affix, Casing::Exact) => Some(Self::Same(*affix, Casing::Folded)),
            _ => None,
        }
    }

    /// Whether it asks about the values of one field, and not about the field or about two.
    pub fn is_about_value(&self) -> bool {
        !matches!(self, Self::Exists | Self::Missing | Self::Null | Self::Same(..))
    }

    /// Whether one value passes. Not for the tests that ask about the cell.
    pub fn matches(&self, probe: &mut Probe<'_>) -> bool {
        match self {
            Self::Text(text) => {
                let by_number = match (probe.value, &text.number) {
                    (Value::Number(n), Some(Exact(wanted))) => n == **wanted,
                    _ => false,
                };
                by_number
                    || match text.casing {
                        Casing::Exact => text.shape.matches(probe.raw),
                        Casing::Folded => text.shape.matches(probe.folded()),
                    }
            }
            Self::Number(Exact(wanted)) => probe.number().is_some_and(|n| n == **wanted),
            Self::Regex(regex) => regex.matches(probe.raw),
            Self::Network(network) => address(probe.raw).is_some_and(|a| network.contains(a)),
            Self::Compare(comparison, Exact(bound)) => {
                probe.number().is_some_and(|n| comparison.holds(n.compare(**bound)))
            }
            Self::Time(part, comparison, Exact(bound)) => {
                let found = match probe.value {
                    Value::Text(text) => time::of_text(text, *part),
                    Value::Number(n) => time::of_number(n, *part),
                    Value::Boolean(_) => None,
                };
                found.is_some_and(|n| comparison.holds(Number::Integer(n.into()).compare(**bound)))
            }
            Self::Exists | Self::Missing | Self::Null | Self::Same(..) => false,
        }
    }
}

fn address(text: &[u8]) -> Option<IpAddr> {
    // The longest address is 45 characters.
    std::str::from_utf8(text.get(..text.len().min(46))?).ok()?.parse().ok()
}

fn same(affix: Affix, casing: Casing, a: Value<'_>, b: Value<'_>, buffers: &mut Buffers) -> bool {
    if let (Value::Number(a), Value::Number(b), Affix::Equals) = (a, b, affix) {
        return a == b;
    }
    a.text_into(&mut buffers.raw);
    b.text_into(&mut buffers.other);
    if casing == Casing::Folded {
        for text in [&mut buffers.raw, &mut buffers.other] {
            fold_into(text, &mut buffers.folded);
            std::mem::swap(text, &mut buffers.folded);
        }
    }
    let (a, b) = (buffers.raw.as_slice(), buffers.other.as_slice());
    match affix {
        Affix::Equals => a == b,
        Affix::Prefix => a.starts_with(b),
        Affix::Suffix => a.ends_with(b),
        Affix::Contains => memchr::memmem::find(a, b).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let inside = |n: &str, a: &str| Network::parse(n).unwrap().contains(a.parse().unwrap());
        assert!(inside("10.0.0.0/8", "10.255.0.1"));
        assert!(!inside("10.0.0.0/8", "11.0.0.1"));
        assert!(inside("0.0.0.0/0", "1.2.3.4"));
        assert!(inside("::/0", "fe80::1"));
        assert!(!inside("::/0", "1.2.3.4"));
        assert!(!inside("10.0.0.0/8", "::ffff:10.0.0.1"));
        assert!(inside("fe80::/10", "febf::1"));
        assert!(inside("192.168.1.1", "192.168.1.1"));
        for bad in ["10.0.0.1/8", "10.0.0.0/33", "10/8", "10.0.0.0/", "10.0.0.0/+8", "x/8", "fe80::1/10"] {
            assert!(Network::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn long_text_is_not_an_address() {
        assert!(address("1".repeat(100).as_bytes()).is_none());
        assert!(address(b"2001:0db8:85a3:0000:0000:8a2e:255.255.255.255").is_some());
    }
}
