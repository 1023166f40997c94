//! Changes of a detection: each literal, modifier, item, selection and term of a condition, one at a time.

use super::{condition, regex};
use crate::yaml::{Data, Node};

/// A changed version of a node.
pub struct Change {
    pub node: Node,
    /// What was changed: `selection: Image|endswith: '/nc' dropped`.
    pub what: String,
    /// Where that stands in the file.
    pub line: u32,
    pub column: u32,
}

/// Characters of a literal that are shown.
const SHOWN: usize = 60;

fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("'{}…'", &text[..end]),
        None => format!("'{text}'"),
    }
}

fn change(node: Node, at: &Node, what: impl Into<String>) -> Change {
    Change { node, what: what.into(), line: at.line, column: at.column }
}

/// Puts the changes of a part back into the whole, and says which part it was.
fn within(changes: Vec<Change>, name: &str, whole: impl Fn(Node) -> Node) -> impl Iterator<Item = Change> {
    let prefix = if name.is_empty() { String::new() } else { format!("{name}: ") };
    changes.into_iter().map(move |c| Change { node: whole(c.node), what: format!("{prefix}{}", c.what), ..c })
}

fn replace_item(items: &[Node], i: usize, node: Node) -> Data {
    let mut items = items.to_vec();
    items[i] = node;
    Data::List(items)
}

fn replace_value(pairs: &[(Node, Node)], i: usize, node: Node) -> Data {
    let mut pairs = pairs.to_vec();
    pairs[i].1 = node;
    Data::Map(pairs)
}

fn without<T: Clone>(all: &[T], i: usize) -> Vec<T> {
    let mut rest = all.to_vec();
    rest.remove(i);
    rest
}

/// Every changed version of a whole rule.
pub fn of_rule(rule: &Node) -> Vec<Change> {
    let Data::Map(pairs) = &rule.data else { return Vec::new() };
    let mut found = Vec::new();
    for (i, (key, value)) in pairs.iter().enumerate() {
        let changes = match key.text() {
            Some("detection") => detection(value),
            Some("correlation") => correlation(value),
            _ => continue,
        };
        found.extend(within(changes, "", |node| rule.with(replace_value(pairs, i, node))));
    }
    found
}

fn detection(node: &Node) -> Vec<Change> {
    let Data::Map(pairs) = &node.data else { return Vec::new() };
    let names: Vec<&str> = pairs.iter().filter_map(|(k, _)| k.text()).filter(|k| *k != "condition").collect();
    let mut found = Vec::new();
    for (i, (key, value)) in pairs.iter().enumerate() {
        let name = key.text().unwrap_or_default();
        if name == "condition" {
            found.extend(within(conditions(value, &names), "condition", |new| node.with(replace_value(pairs, i, new))));
            continue;
        }
        if names.len() > 1 {
            // Where the condition names it, this does not compile, and the condition's own changes say the same.
            found.push(change(node.with(Data::Map(without(pairs, i))), key, format!("{name}: dropped")));
        }
        found.extend(within(body(value), name, |new| node.with(replace_value(pairs, i, new))));
    }
    found
}

fn conditions(node: &Node, names: &[&str]) -> Vec<Change> {
    match &node.data {
        Data::Scalar { text, .. } => {
            let changes = condition::changes(text, names).into_iter();
            changes.map(|(what, text)| change(node.with_text(text), node, what)).collect()
        }
        Data::List(items) => {
            let mut found = Vec::new();
            for (i, item) in items.iter().enumerate() {
                if items.len() > 1 {
                    let what = format!("{} dropped", quoted(item.text().unwrap_or_default()));
                    found.push(change(node.with(Data::List(without(items, i))), item, what));
                }
                found.extend(within(conditions(item, names), "", |new| node.with(replace_item(items, i, new))));
            }
            found
        }
        Data::Map(_) => Vec::new(),
    }
}

/// What a selection holds: a map of items, a list of maps, or keywords.
fn body(node: &Node) -> Vec<Change> {
    match &node.data {
        Data::Scalar { .. } => literal(node, &[]),
        Data::List(items) => {
            let mut found = Vec::new();
            let keywords = items.iter().all(|i| i.text().is_some());
            if keywords {
                return literals(node, &[]);
            }
            for (i, item) in items.iter().enumerate() {
                if items.len() > 1 {
                    let what = format!("[{i}] dropped");
                    found.push(change(node.with(Data::List(without(items, i))), item, what));
                }
                found.extend(within(body(item), &format!("[{i}]"), |new| node.with(replace_item(items, i, new))));
            }
            found
        }
        Data::Map(pairs) => {
            let mut found = Vec::new();
            for (i, (key, value)) in pairs.iter().enumerate() {
                let name = key.text().unwrap_or_default();
                if pairs.len() > 1 {
                    found.push(change(node.with(Data::Map(without(pairs, i))), key, format!("{name}: dropped")));
                }
                for (new, what) in modifiers(name) {
                    let mut pairs = pairs.clone();
                    pairs[i].0 = key.with_text(new);
                    found.push(change(node.with(Data::Map(pairs)), key, format!("{name}: {what}")));
                }
                let modifiers: Vec<&str> = name.split('|').skip(1).collect();
                found.extend(within(literals(value, &modifiers), name, |new| node.with(replace_value(pairs, i, new))));
            }
            found
        }
    }
}

/// Modifiers that have one that says more or less.
const OTHERS: &[(&str, &str)] =
    &[("endswith", "contains"), ("startswith", "contains"), ("gt", "gte"), ("gte", "gt"), ("lt", "lte"), ("lte", "lt")];

fn modifiers(key: &str) -> Vec<(String, String)> {
    let parts: Vec<&str> = key.split('|').collect();
    let mut found = Vec::new();
    for (i, modifier) in parts.iter().enumerate().skip(1) {
        // A list of values without `exists` or `expand` is another rule, not a changed one.
        found.push((without(&parts, i).join("|"), format!("'{modifier}' dropped")));
        if let Some((_, other)) = OTHERS.iter().find(|(m, _)| m == modifier) {
            let mut changed = parts.clone();
            changed[i] = other;
            found.push((changed.join("|"), format!("'{modifier}' became '{other}'")));
        }
    }
    found
}

/// The values of an item: one of several is dropped, one alone is altered.
fn literals(node: &Node, modifiers: &[&str]) -> Vec<Change> {
    let Data::List(items) = &node.data else { return literal(node, modifiers) };
    let mut found = Vec::new();
    for (i, item) in items.iter().enumerate() {
        if items.len() > 1 {
            let what = format!("{} dropped", quoted(item.text().unwrap_or_default()));
            found.push(change(node.with(Data::List(without(items, i))), item, what));
            found.extend(within(inside(item, modifiers), "", |new| node.with(replace_item(items, i, new))));
        } else {
            found.extend(within(literal(item, modifiers), "", |new| node.with(replace_item(items, i, new))));
        }
    }
    found
}

/// A value that matches nothing or something else, and changes inside it.
fn literal(node: &Node, modifiers: &[&str]) -> Vec<Change> {
    let mut found = Vec::new();
    if let Some(altered) = altered(node, modifiers) {
        let what = format!("{} altered", quoted(node.text().unwrap_or_default()));
        found.push(change(altered, node, what));
    }
    found.extend(inside(node, modifiers));
    found
}

fn inside(node: &Node, modifiers: &[&str]) -> Vec<Change> {
    let Some(text) = node.text().filter(|_| modifiers.contains(&"re")) else { return Vec::new() };
    regex::changes(text).into_iter().map(|(what, new)| change(node.with_text(new), node, what)).collect()
}

fn altered(node: &Node, modifiers: &[&str]) -> Option<Node> {
    let Data::Scalar { text, plain } = &node.data else { return None };
    if modifiers.contains(&"expand") {
        return None;
    }
    if *plain {
        match text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => return Some(node.with_text("altered")),
            "true" | "True" | "TRUE" => return Some(node.with_plain("false")),
            "false" | "False" | "FALSE" => return Some(node.with_plain("true")),
            _ => {}
        }
        if let Ok(number) = text.parse::<i64>() {
            return Some(node.with_plain(number.wrapping_add(1).to_string()));
        }
    }
    Some(node.with_text(match () {
        () if modifiers.contains(&"re") => regex::narrowed(text),
        () if modifiers.contains(&"cidr") => {
            let (address, _) = text.split_once('/')?;
            format!("{address}/{}", if address.contains(':') { 128 } else { 32 })
        }
        () => format!("{text}\u{1}"),
    }))
}

/// A correlation: its threshold, its window, its groups, its rules.
fn correlation(node: &Node) -> Vec<Change> {
    let Data::Map(pairs) = &node.data else { return Vec::new() };
    let mut found = Vec::new();
    for (i, (key, value)) in pairs.iter().enumerate() {
        let name = key.text().unwrap_or_default();
        let changes = match name {
            "condition" => threshold(value),
            "timespan" => timespan(value).into_iter().collect(),
            "group-by" | "rules" => parts(value),
            "type" => kind(value).into_iter().collect(),
            _ => continue,
        };
        found.extend(within(changes, name, |new| node.with(replace_value(pairs, i, new))));
        if name == "group-by" {
            found.push(change(node.with(Data::Map(without(pairs, i))), key, "group-by: dropped"));
        }
    }
    found
}

fn threshold(node: &Node) -> Vec<Change> {
    let Data::Map(pairs) = &node.data else { return conditions(node, &[]) };
    let mut found = Vec::new();
    for (i, (key, value)) in pairs.iter().enumerate() {
        let name = key.text().unwrap_or_default();
        let Some(number) = value.text().and_then(|t| t.parse::<i64>().ok()) else { continue };
        for new in [number.wrapping_add(1), number.wrapping_sub(1)] {
            let changed = node.with(replace_value(pairs, i, value.with_plain(new.to_string())));
            found.push(change(changed, value, format!("{name}: {number} became {new}")));
        }
    }
    found
}

/// Half of it: who is slower is not seen.
fn timespan(node: &Node) -> Option<Change> {
    let text = node.text()?;
    let unit = text.chars().last().filter(char::is_ascii_alphabetic)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let half = number.checked_mul(seconds)? / 2;
    Some(change(node.with_text(format!("{half}s")), node, format!("{text} became {half}s")))
}

fn parts(node: &Node) -> Vec<Change> {
    let Data::List(items) = &node.data else { return Vec::new() };
    if items.len() < 2 {
        return Vec::new();
    }
    let dropped = |(i, item): (usize, &Node)| {
        let what = format!("{} dropped", quoted(item.text().unwrap_or_default()));
        change(node.with(Data::List(without(items, i))), item, what)
    };
    items.iter().enumerate().map(dropped).collect()
}

fn kind(node: &Node) -> Option<Change> {
    let other = match node.text()? {
        "temporal_ordered" => "temporal",
        "value_count" => "event_count",
        _ => return None,
    };
    Some(change(node.with_text(other), node, format!("became {other}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    fn whats(rule: &str) -> Vec<String> {
        let documents = yaml::read(rule).unwrap();
        of_rule(&documents[0]).into_iter().map(|c| c.what).collect()
    }

    #[test]
    fn each_literal_modifier_item_and_term() {
        let rule = "title: t\ndetection:\n  s:\n    A|endswith: [/x, /y]\n    B: 5\n  t:\n    - C|re: '^(a|b)'\n    - D|contains|all: [p]\n  condition: s and not t\n";
        assert_eq!(
            whats(rule),
            [
                "s: dropped",
                "s: A|endswith: dropped",
                "s: A|endswith: 'endswith' dropped",
                "s: A|endswith: 'endswith' became 'contains'",
                "s: A|endswith: '/x' dropped",
                "s: A|endswith: '/y' dropped",
                "s: B: dropped",
                "s: B: '5' altered",
                "t: dropped",
                "t: [0] dropped",
                "t: [0]: C|re: 're' dropped",
                "t: [0]: C|re: '^(a|b)' altered",
                "t: [0]: C|re: alternative 'a' dropped",
                "t: [0]: C|re: alternative 'b' dropped",
                "t: [0]: C|re: '^' dropped",
                "t: [1] dropped",
                "t: [1]: D|contains|all: 'contains' dropped",
                "t: [1]: D|contains|all: 'all' dropped",
                "t: [1]: D|contains|all: 'p' altered",
                "condition: 'and' became 'or' in 's and not t'",
                "condition: 's' dropped",
                "condition: 'not t' dropped",
                "condition: 'not' dropped before 't'",
            ]
        );
    }

    #[test]
    fn values_are_altered_by_what_they_are() {
        let altered = |item: &str| {
            let documents = yaml::read(&format!("detection: {{s: {{{item}}}, condition: s}}")).unwrap();
            let found = of_rule(&documents[0]).into_iter().find(|c| c.what.ends_with("altered"));
            found.map(|c| yaml::write(&[c.node]))
        };
        for (item, wanted) in [
            ("A: true", "A: false"),
            ("A: null", "A: \"altered\""),
            ("A|exists: false", "\"A|exists\": true"),
            ("A: '5'", r#"A: "5\u0001""#),
            ("A|cidr: 10.0.0.0/8", r#""A|cidr": "10.0.0.0/32""#),
            ("A|cidr: 'fe80::/10'", r#""A|cidr": "fe80::/128""#),
            ("A|re: x", r#""A|re": "(?:x)\\x01""#),
        ] {
            let text = altered(item).unwrap();
            assert!(text.contains(wanted), "{item}: {text}");
        }
        assert_eq!(altered("A|expand: '%x%'"), None);
    }

    #[test]
    fn correlations() {
        let rule = "title: t\ncorrelation:\n  type: value_count\n  rules: [a, b]\n  group-by: [X, Y]\n  timespan: 10m\n  condition: {field: Z, gte: 5}\n";
        assert_eq!(
            whats(rule),
            [
                "type: became event_count",
                "rules: 'a' dropped",
                "rules: 'b' dropped",
                "group-by: 'X' dropped",
                "group-by: 'Y' dropped",
                "group-by: dropped",
                "timespan: 10m became 300s",
                "condition: gte: 5 became 6",
                "condition: gte: 5 became 4",
            ]
        );
    }
}
