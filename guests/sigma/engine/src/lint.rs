//! What is no mistake, but bad for whoever gets the alerts or looks after the rules. A pass over rules that are read and
//! right; see [`crate::Options::hygiene`].

use crate::contradiction;
use crate::diagnostic::{Diagnostic, Finding, Place, brief, did_you_mean};
use crate::filter::FilterMeta;
use crate::item::{Body, Item};
use crate::rule::{Rule, RuleMeta};

/// What it may say. Each can be silenced, see [`crate::silence`].
pub(crate) const CODES: &[&str] = &[
    "backslash-path",
    "bad-date",
    "bad-tag",
    "missing-level",
    "missing-status",
    "never-matches",
    "title-too-long",
    "unknown-tactic",
];

/// Of ATT&CK, with the names that its versions have had.
const TACTICS: &[&str] = &[
    "collection",
    "command-and-control",
    "credential-access",
    "defense-evasion",
    "defense-impairment",
    "discovery",
    "execution",
    "exfiltration",
    "impact",
    "initial-access",
    "lateral-movement",
    "persistence",
    "privilege-escalation",
    "reconnaissance",
    "resource-development",
    "stealth",
];

/// Fields that hold a path.
const PATHS: &[&str] = &[
    "CurrentDirectory",
    "EventData.pathname",
    "ExecutedImage",
    "Image",
    "ParentExecutedImage",
    "ParentImage",
    "SourceImage",
    "TargetFilename",
    "TargetImage",
    "exe",
    "pathname",
];

const MAX_TITLE: usize = 256;

/// Looks at one rule.
pub(crate) fn rule(rule: &Rule, filters: &[FilterMeta]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut hint = |place, code, message: String, help: String| {
        found.push(Finding::hint(place, code, message).help(help));
    };
    let (meta, places) = (&rule.meta, &rule.places);
    if meta.title.chars().count() > MAX_TITLE {
        let message = format!("the title has more than {MAX_TITLE} characters");
        hint(places.title, "title-too-long", message, "what does not fit belongs into the description".to_owned());
    }
    for (name, date, place) in [("date", &meta.date, places.date), ("modified", &meta.modified, places.modified)] {
        if let (Some(date), Some(place)) = (date, place)
            && !is_date(date)
        {
            let message = format!("'{}' is no date", brief(date));
            hint(place, "bad-date", message, format!("'{name}' is written YYYY-MM-DD"));
        }
    }
    if places.level.is_none() {
        let message = "the rule has no level; its alerts are medium".to_owned();
        hint(
            places.title,
            "missing-level",
            message,
            "add 'level:', so that it is sorted by what its author meant".to_owned(),
        );
    }
    if places.status.is_none() {
        let message = "the rule has no status".to_owned();
        hint(places.title, "missing-status", message, "add 'status: experimental', 'test' or 'stable'".to_owned());
    }
    for (tag, place) in meta.tags.iter().zip(&places.tags) {
        found.extend(wrong_tag(tag).map(|(code, message, help)| Finding::warning(*place, code, message).help(help)));
    }
    let mut found: Vec<Diagnostic> = found.into_iter().map(|finding| finding.in_file(&meta.file)).collect();
    if meta.source.product.as_deref() == Some("linux") {
        for selection in rule.selections.iter().filter(|s| s.filter.is_none()) {
            backslashes(&selection.body, &mut |finding| found.push(finding.in_file(&meta.file)));
        }
    }
    found.extend(contradiction::find(rule).map(|conflict| conflict.diagnostic(rule, filters)));
    found
}

/// Looks at what a correlation says about itself.
pub(crate) fn correlation(meta: &RuleMeta) -> Vec<Diagnostic> {
    let place = Place { line: meta.line, column: 1, length: 1 };
    let tags = meta.tags.iter().filter_map(|tag| wrong_tag(tag));
    let found = tags.map(|(code, message, help)| Finding::warning(place, code, message).help(help));
    found.map(|finding| finding.in_file(&meta.file)).collect()
}

fn backslashes(body: &Body, say: &mut impl FnMut(Finding)) {
    match body {
        Body::All(parts) | Body::Any(parts) => parts.iter().for_each(|p| backslashes(p, say)),
        Body::Item(Item { field: Some(field), values, .. }) if PATHS.contains(&field.as_str()) => {
            for value in values.iter().filter(|v| !v.op.starts_with("re") && v.other.is_none()) {
                // Before a wildcard it is an escape.
                let separates = value.pattern.split('\\').skip(1).any(|after| after.starts_with(char::is_alphanumeric));
                if separates {
                    let message = format!("'{}' has a backslash, paths on Linux have slashes", brief(&value.pattern));
                    say(Finding::warning(value.place, "backslash-path", message)
                        .help("it matches only a name with a backslash in it"));
                }
            }
        }
        Body::Item(_) => {}
    }
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && crate::time::of_text(text.as_bytes(), crate::time::Part::Day).is_some()
}

/// What is wrong with a tag: code, message, help.
fn wrong_tag(tag: &str) -> Option<(&'static str, String, String)> {
    let bad = |help: &str| Some(("bad-tag", format!("'{}' is no tag of Sigma", brief(tag)), help.to_owned()));
    let letters = |text: &str, more: &[u8]| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || more.contains(&b))
    };
    let Some((namespace, name)) = tag.split_once('.').filter(|(a, b)| letters(a, b"_-") && letters(b, b"._-")) else {
        return bad("a tag is 'namespace.name' in lower-case letters, digits, '_' and '-'");
    };
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    let right = match namespace {
        "attack" => {
            let number = |rest: &str| match rest.split_once('.') {
                Some((number, part)) => digits(number, 4) && digits(part, 3) && name.starts_with('t'),
                None => digits(rest, 4),
            };
            if ["t", "g", "s", "ds", "m", "a", "ta"].iter().any(|p| name.strip_prefix(p).is_some_and(number)) {
                return None;
            }
            let tactic = name.replace('_', "-");
            if !TACTICS.contains(&tactic.as_str()) {
                let message = format!("ATT&CK has no tactic '{}', and this is no id of a technique", brief(name));
                let help = did_you_mean(&tactic, TACTICS.iter().copied());
                let help =
                    if help.is_empty() { "a technique is written 't1059' or 't1059.004'".to_owned() } else { help };
                return Some(("unknown-tactic", message, help));
            }
            true
        }
        "car" => {
            matches!(name.split('-').collect::<Vec<_>>()[..], [a, b, c] if digits(a, 4) && digits(b, 2) && digits(c, 3))
        }
        "cve" => name.split_once(['-', '.']).is_some_and(|(year, number)| {
            digits(year, 4) && number.len() >= 4 && number.bytes().all(|b| b.is_ascii_digit())
        }),
        "detection" => matches!(name, "dfir" | "emerging-threats" | "threat-hunting"),
        "stp" => matches!(name.as_bytes(), [b'1'..=b'5'] | [b'1'..=b'5', b'a' | b'u' | b'k']),
        "tlp" => matches!(name, "red" | "amber" | "amber-strict" | "green" | "clear"),
        // Namespaces of one's own are allowed.
        _ => true,
    };
    if right {
        return None;
    }
    bad(match namespace {
        "car" => "written 'car.2016-04-005'",
        "cve" => "written 'cve.2021-44228'",
        "detection" => "one of 'detection.dfir', 'detection.emerging-threats', 'detection.threat-hunting'",
        "stp" => "written 'stp.3' or 'stp.3k'",
        _ => "one of 'tlp.red', 'tlp.amber', 'tlp.amber-strict', 'tlp.green', 'tlp.clear'",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        for right in [
            "attack.t1059",
            "attack.t1059.004",
            "attack.g0016",
            "attack.s0002",
            "attack.ds0009",
            "attack.m1013",
            "attack.a0001",
            "attack.ta0002",
            "attack.defense-evasion",
            "attack.defense_evasion",
            "attack.stealth",
            "car.2016-04-005",
            "cve.2021-44228",
            "cve.2021.44228",
            "d3fend.d3-am",
            "detection.dfir",
            "stp.4",
            "stp.3k",
            "tlp.amber-strict",
            "acme.anything.else",
        ] {
            assert_eq!(wrong_tag(right), None, "{right}");
        }
        for (wrong, code, help) in [
            ("attack.lateral-movment", "unknown-tactic", "did you mean 'lateral-movement'?"),
            ("attack.t105", "unknown-tactic", "a technique is written"),
            ("attack.g0016.001", "unknown-tactic", "a technique is written"),
            ("attack", "bad-tag", "namespace.name"),
            ("Attack.t1059", "bad-tag", "lower-case"),
            ("attack.", "bad-tag", "namespace.name"),
            ("a b.c", "bad-tag", "namespace.name"),
            ("car.2016", "bad-tag", "car.2016-04-005"),
            ("cve.44228", "bad-tag", "cve.2021-44228"),
            ("detection.other", "bad-tag", "detection.dfir"),
            ("stp.6", "bad-tag", "stp.3k"),
            ("tlp.white", "bad-tag", "tlp.clear"),
        ] {
            let (found, _, said) = wrong_tag(wrong).expect(wrong);
            assert_eq!(found, code, "{wrong}");
            assert!(said.contains(help), "{wrong}: {said}");
        }
    }
}
