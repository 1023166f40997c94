//! The modifiers behind a field's name: `CommandLine|contains|all`.

use crate::diagnostic::{brief, did_you_mean};
use crate::time::Part;

/// A modifier that the engine knows how to apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Modifier {
    Contains,
    StartsWith,
    EndsWith,
    All,
    Cased,
    Exists,
    Neq,
    Re,
    IgnoreCase,
    MultiLine,
    DotAll,
    Base64,
    Base64Offset,
    Utf16Le,
    Utf16Be,
    Utf16,
    WinDash,
    Lt,
    Lte,
    Gt,
    Gte,
    Cidr,
    FieldRef,
    Expand,
    Time(Part),
}

use Modifier as M;

/// Every name, with the older names and pySigma's.
pub(crate) const NAMES: &[(&str, Modifier)] = &[
    ("contains", M::Contains),
    ("startswith", M::StartsWith),
    ("endswith", M::EndsWith),
    ("all", M::All),
    ("cased", M::Cased),
    ("exists", M::Exists),
    ("neq", M::Neq),
    ("re", M::Re),
    ("i", M::IgnoreCase),
    ("ignorecase", M::IgnoreCase),
    ("m", M::MultiLine),
    ("multiline", M::MultiLine),
    ("s", M::DotAll),
    ("dotall", M::DotAll),
    ("base64", M::Base64),
    ("base64offset", M::Base64Offset),
    ("wide", M::Utf16Le),
    ("utf16le", M::Utf16Le),
    ("utf16be", M::Utf16Be),
    ("utf16", M::Utf16),
    ("windash", M::WinDash),
    ("lt", M::Lt),
    ("lte", M::Lte),
    ("gt", M::Gt),
    ("gte", M::Gte),
    ("cidr", M::Cidr),
    ("fieldref", M::FieldRef),
    ("expand", M::Expand),
    ("minute", M::Time(Part::Minute)),
    ("hour", M::Time(Part::Hour)),
    ("day", M::Time(Part::Day)),
    ("week", M::Time(Part::Week)),
    ("month", M::Time(Part::Month)),
    ("year", M::Time(Part::Year)),
];

/// A problem with a modifier: code, message, help, and the number of the modifier.
pub(crate) struct Problem {
    pub code: &'static str,
    pub message: String,
    pub help: String,
    pub modifier: usize,
}

/// Reads the modifiers of a key and checks that they go together. `keyword` = there is no field before them.
pub(crate) fn parse(names: &[&str], keyword: bool) -> Result<Vec<Modifier>, Problem> {
    let mut found: Vec<Modifier> = Vec::with_capacity(names.len());
    for (modifier, name) in names.iter().enumerate() {
        let problem = |code, message, help| Problem { code, message, help, modifier };
        let Some((_, m)) = NAMES.iter().find(|(n, _)| n == name) else {
            let known = NAMES.iter().map(|(n, _)| *n).filter(|n| n.len() > 1);
            let message = format!("there is no modifier '{}'", brief(name));
            return Err(problem("unknown-modifier", message, did_you_mean(name, known)));
        };
        if found.contains(m) {
            let message = format!("the modifier '{name}' is there twice");
            return Err(problem("modifier-combination", message, String::new()));
        }
        if let Some(why) = conflict(*m, &found, keyword) {
            return Err(problem("modifier-combination", why, String::new()));
        }
        found.push(*m);
    }
    Ok(found)
}

impl Modifier {
    /// Says what kind of comparison it is; a key can have only one of them.
    pub fn is_comparison(self) -> bool {
        matches!(self, M::Exists | M::Re | M::Cidr | M::FieldRef | M::Lt | M::Lte | M::Gt | M::Gte | M::Time(_))
    }
    /// Turns one value into another, or into several.
    pub fn is_encoding(self) -> bool {
        matches!(self, M::Base64 | M::Base64Offset | M::Utf16Le | M::Utf16Be | M::Utf16 | M::WinDash)
    }
    /// The name the specification gives it.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, k)| *k == self).map_or("", |(n, _)| n)
    }
    fn is_affix(self) -> bool {
        matches!(self, M::Contains | M::StartsWith | M::EndsWith)
    }
}

fn conflict(m: Modifier, before: &[Modifier], keyword: bool) -> Option<String> {
    let name = m.name();
    let comparison = before.iter().copied().find(|b| b.is_comparison() && !matches!(b, M::Time(_)));
    let not_with = |other: Modifier| Some(format!("'{name}' does not go with '{}'", other.name()));
    if keyword
        && !(matches!(m, M::All | M::Neq | M::Re | M::Cased | M::Contains | M::Expand) || m.is_encoding())
        && !matches!(m, M::IgnoreCase | M::MultiLine | M::DotAll)
    {
        return Some(format!("'{name}' needs a field; keywords have none"));
    }
    let time = before.iter().copied().find(|b| matches!(b, M::Time(_)));
    match m {
        M::Expand => {
            // What a placeholder stands for is a value of the rule, so it is put in first.
            let encoding = before.iter().find(|b| b.is_encoding() || **b == M::Exists);
            encoding.map(|b| format!("'expand' must come before '{}'", b.name()))
        }
        M::Time(_) => {
            let other = before.iter().find(|b| !matches!(b, M::All | M::Neq | M::Expand));
            other.map(|b| match b {
                M::Time(_) => format!("'{name}' does not go with '{}'", b.name()),
                _ => format!("'{name}' must come before '{}'", b.name()),
            })
        }
        _ if time.is_some() && !matches!(m, M::All | M::Neq | M::Lt | M::Lte | M::Gt | M::Gte) => {
            time.and_then(not_with)
        }
        M::All | M::Neq => before.iter().find(|b| **b == M::Exists).and_then(|b| not_with(*b)),
        M::IgnoreCase | M::MultiLine | M::DotAll => {
            (comparison != Some(M::Re)).then(|| format!("'{name}' is a flag of 're' and must come after it"))
        }
        M::Re if before.iter().any(|b| !matches!(b, M::All | M::Neq | M::Expand)) => {
            Some("'re' must be the first modifier".to_owned())
        }
        M::Exists if !before.is_empty() => Some("'exists' must be the only modifier".to_owned()),
        M::Cased => comparison.filter(|c| *c != M::FieldRef).and_then(not_with),
        _ if m.is_comparison() => match (comparison, m) {
            (Some(other), _) => not_with(other),
            (None, M::FieldRef) => before.iter().find(|b| b.is_encoding()).and_then(|b| not_with(*b)),
            (None, _) => {
                before.iter().find(|b| b.is_encoding() || b.is_affix() || **b == M::Cased).and_then(|b| not_with(*b))
            }
        },
        _ if m.is_affix() => {
            let affix = before.iter().copied().find(|b| b.is_affix());
            affix.or(comparison.filter(|c| *c != M::FieldRef)).and_then(not_with)
        }
        _ if m.is_encoding() => comparison.and_then(not_with),
        _ => None,
    }
}
