//! What to write instead of the aggregations that Sigma had before correlations: `| count() by x > n`, `near`, `timeframe`.

use crate::diagnostic::brief;
use std::fmt::Write as _;
use std::ops::Range;

/// What a correlation would refer to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct About<'a> {
    pub title: &'a str,
    pub name: Option<&'a str>,
    pub id: Option<&'a str>,
}

/// Help for a condition whose text from `range` on is an aggregation.
pub(crate) fn instead(
    condition: &str,
    range: &Range<usize>,
    names: &[&str],
    timeframe: Option<&str>,
    about: &About<'_>,
) -> String {
    let (before, aggregation) = condition.split_at_checked(range.start).unwrap_or((condition, ""));
    let before = before.trim();
    let aggregation = aggregation.trim_start_matches('|').trim();
    if aggregation.split_whitespace().next() == Some("near") {
        return instead_of_near(names, timeframe, about);
    }
    let Some(Aggregation { function, field, by, op, number }) = read(aggregation) else {
        return "write a correlation rule instead, see the specification of Sigma correlations".to_owned();
    };
    let kind = match (function, field) {
        ("count", "") => "event_count",
        ("count", _) => "value_count",
        ("sum", _) => "value_sum",
        ("avg", _) => "value_avg",
        _ => return format!("no correlation does what '{}' did", brief(function)),
    };
    let of = if field.is_empty() { String::new() } else { format!("field: {}, ", scalar(field)) };
    format!(
        "keep 'condition: {}' here{}, and add the document {}",
        brief(before),
        without_timeframe(timeframe),
        correlation(kind, &[about.reference()], &by, timeframe, Some(&format!("{of}{op}: {number}")), about)
    )
}

/// Help for a condition with `near`: every part becomes a rule.
pub(crate) fn instead_of_near(names: &[&str], timeframe: Option<&str>, about: &About<'_>) -> String {
    let base = about.reference();
    let mut parts: Vec<String> =
        names.iter().filter(|n| !n.starts_with('_')).take(8).map(|n| format!("{base}_{n}")).collect();
    if parts.is_empty() {
        parts = vec![format!("{base}_a"), format!("{base}_b")];
    }
    format!(
        "make each part a rule with a name of its own{}, and add the document {}",
        without_timeframe(timeframe),
        correlation("temporal", &parts, &[], timeframe, None, about)
    )
}

/// Help for a `timeframe` without an aggregation.
pub(crate) fn instead_of_timeframe(timeframe: Option<&str>, about: &About<'_>) -> String {
    format!(
        "alone it has no effect: leave it out, or count in a document of its own: {}",
        correlation("event_count", &[about.reference()], &[], timeframe, Some("gte: 10"), about)
    )
}

fn without_timeframe(timeframe: Option<&str>) -> &'static str {
    if timeframe.is_some() { " without the 'timeframe'" } else { "" }
}

impl About<'_> {
    /// Its name, its id, or the name it should get.
    fn reference(&self) -> String {
        if let Some(known) = self.name.or(self.id) {
            return brief(known);
        }
        let mut slug = String::new();
        for c in self.title.chars().take(60) {
            match c {
                c if c.is_ascii_alphanumeric() => slug.push(c.to_ascii_lowercase()),
                _ if slug.ends_with('_') || slug.is_empty() => {}
                _ => slug.push('_'),
            }
        }
        let slug = slug.trim_end_matches('_');
        if slug.is_empty() { "the_rule".to_owned() } else { slug.to_owned() }
    }
}

/// One line, so that it survives every way to show it; it is YAML as it stands.
fn correlation(
    kind: &str,
    rules: &[String],
    by: &[&str],
    timeframe: Option<&str>,
    condition: Option<&str>,
    about: &About<'_>,
) -> String {
    let list = |items: Vec<String>| format!("[{}]", items.join(", "));
    let mut out = format!("{{title: {}, correlation: {{type: {kind}", scalar(&format!("{}, often", about.title)));
    let _ = write!(out, ", rules: {}", list(rules.iter().map(|r| scalar(r)).collect()));
    if !by.is_empty() {
        let _ = write!(out, ", group-by: {}", list(by.iter().map(|f| scalar(f)).collect()));
    }
    let _ = write!(out, ", timespan: {}", timeframe.map_or_else(|| "5m".to_owned(), scalar));
    if let Some(condition) = condition {
        let _ = write!(out, ", condition: {{{condition}}}");
    }
    out.push_str("}}");
    out
}

/// `text` as a scalar of a flow mapping.
fn scalar(text: &str) -> String {
    let text = brief(text);
    let plain = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if plain { text } else { format!("'{}'", text.replace('\'', "''")) }
}

struct Aggregation<'a> {
    function: &'a str,
    field: &'a str,
    by: Vec<&'a str>,
    op: &'static str,
    number: &'a str,
}

/// Reads `count(field) by a, b > 5`.
fn read(text: &str) -> Option<Aggregation<'_>> {
    let (function, rest) = text.split_once('(')?;
    let (field, rest) = rest.split_once(')')?;
    let at = rest.find(['<', '>', '='])?;
    let (by, comparison) = rest.split_at(at);
    let digits = comparison.trim_start_matches(['<', '>', '=']);
    let op = match &comparison[..comparison.len() - digits.len()] {
        ">" => "gt",
        ">=" => "gte",
        "<" => "lt",
        "<=" => "lte",
        "=" | "==" => "eq",
        _ => return None,
    };
    let number = digits.split_whitespace().next()?;
    number.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
    let by = match by.trim().strip_prefix("by ") {
        Some(fields) => fields.split(',').map(str::trim).filter(|f| !f.is_empty()).take(8).collect(),
        None if by.trim().is_empty() => Vec::new(),
        None => return None,
    };
    Some(Aggregation { function: function.trim(), field: field.trim(), by, op, number })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Data, documents};

    #[test]
    fn what_was_written_is_filled_in() {
        let about = About { title: "Many: \"logins\"", name: None, id: Some("a1") };
        let condition = "sel | count(User) by Image, Host >= 5";
        let help = instead(condition, &(4..condition.len()), &[], Some("10m"), &about);
        let document = &help[help.find('{').unwrap()..];
        assert_eq!(
            document,
            "{title: 'Many: \"logins\", often', correlation: {type: value_count, rules: [a1], group-by: [Image, Host], \
             timespan: 10m, condition: {field: User, gte: 5}}}"
        );
        assert!(help.starts_with("keep 'condition: sel' here without the 'timeframe', and add"), "{help}");
        let mut findings = Vec::new();
        let yaml = documents(document, &mut findings);
        assert!(findings.is_empty() && matches!(yaml[0].as_ref().unwrap().data, Data::Mapping(_)));
        for (aggregation, wanted) in [
            ("| count() > 3", "type: event_count, rules: [a1], timespan: 5m, condition: {gt: 3}"),
            ("| count() by 'x y' == 3", "group-by: ['''x y''']"),
            (
                "| sum(Bytes) by Host < 3",
                "type: value_sum, rules: [a1], group-by: [Host], timespan: 5m, condition: {field: Bytes, lt: 3}",
            ),
            ("| avg(Bytes) <= 3", "type: value_avg, rules: [a1], timespan: 5m, condition: {field: Bytes, lte: 3}"),
            ("| min(Bytes) > 3", "no correlation does what 'min' did"),
            ("| count() by x", "see the specification"),
            ("| near b and c", "type: temporal, rules: [a1_a, a1_b]"),
        ] {
            let help = instead(aggregation, &(0..aggregation.len()), &[], None, &about);
            assert!(help.contains(wanted), "{aggregation}: {help}");
        }
    }

    #[test]
    fn a_rule_without_id_and_name_gets_one() {
        assert_eq!(About { title: "A -- Rule!", ..About::default() }.reference(), "a_rule");
        assert_eq!(About { title: "ä", ..About::default() }.reference(), "the_rule");
        assert_eq!(About { title: "x", name: Some("n"), id: Some("i") }.reference(), "n");
    }
}
