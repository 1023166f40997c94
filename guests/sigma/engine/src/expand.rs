//! `expand`: placeholders in values, for which a site has lists.

use crate::diagnostic::brief;
use std::collections::BTreeMap;

/// Values by the name of the placeholder.
pub(crate) type Placeholders = BTreeMap<String, Vec<String>>;

/// Values that one value with placeholders may become.
const MAX_VALUES: usize = 10_000;
/// Bytes of them.
const MAX_BYTES: usize = 1 << 20;

/// A problem with a placeholder: code, message, help.
#[derive(Debug)]
pub(crate) struct Problem {
    pub code: &'static str,
    pub message: String,
    pub help: String,
}

#[derive(Debug, PartialEq)]
enum Part<'a> {
    /// As it stands in the rule, escapes and all.
    Text(&'a str),
    Placeholder(&'a str),
}

/// The values that `text` stands for; its placeholders are written `%name%`, a percent sign `\%`. The second is whether
/// there was any placeholder.
pub(crate) fn expand(text: &str, lists: &Placeholders) -> Result<(Vec<String>, bool), Problem> {
    let parts = parts(text);
    let mut found = vec![String::new()];
    let mut any = false;
    for (i, part) in parts.iter().enumerate() {
        let name = match part {
            Part::Text(text) => {
                for value in &mut found {
                    value.push_str(text);
                }
                continue;
            }
            Part::Placeholder(name) => name,
        };
        any = true;
        let list = lists.get(*name).ok_or_else(|| Problem {
            code: "unknown-placeholder",
            message: format!("there are no values for the placeholder '%{}%'", brief(name)),
            help: format!("set 'placeholders.{}' to a list of values in the settings of this guest", brief(name)),
        })?;
        if list.is_empty() {
            let message = format!("the list of the placeholder '%{}%' is empty", brief(name));
            let help = format!("add a value to 'placeholders.{}' in the settings of this guest", brief(name));
            return Err(Problem { code: "empty-placeholder", message, help });
        }
        let bytes: usize = found.iter().map(String::len).sum::<usize>().saturating_mul(list.len());
        let more: usize = list.iter().map(String::len).sum::<usize>().saturating_mul(found.len());
        if found.len().saturating_mul(list.len()) > MAX_VALUES || bytes.saturating_add(more) > MAX_BYTES {
            return Err(Problem {
                code: "rule-too-complex",
                message: format!("the value stands for more than {MAX_VALUES} values, or {MAX_BYTES} bytes"),
                help: String::new(),
            });
        }
        let last = i + 1 == parts.len();
        found = found
            .iter()
            .flat_map(|before| list.iter().map(move |value| format!("{before}{}", closed(value, last))))
            .collect();
    }
    Ok((found, any))
}

/// A value that ends with a single backslash must not escape what follows it in the rule.
fn closed(value: &str, last: bool) -> std::borrow::Cow<'_, str> {
    let backslashes = value.len() - value.trim_end_matches('\\').len();
    if !last && backslashes % 2 == 1 { format!("{value}\\").into() } else { value.into() }
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let (mut from, mut at) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if bytes.get(at + 1) == Some(&b'%') => {
                found.push(Part::Text(&text[from..at]));
                from = at + 1;
                at += 2;
            }
            b'\\' if bytes.get(at + 1).is_some_and(u8::is_ascii) => at += 2,
            b'%' => match name(&text[at + 1..]) {
                Some(name) => {
                    found.push(Part::Text(&text[from..at]));
                    found.push(Part::Placeholder(name));
                    at += name.len() + 2;
                    from = at;
                }
                None => at += 1,
            },
            _ => at += 1,
        }
    }
    found.push(Part::Text(&text[from..]));
    found.retain(|p| *p != Part::Text(""));
    found
}

/// The name at the start of `text`, if a percent sign ends it.
fn name(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_'))?;
    (end > 0 && text.as_bytes()[end] == b'%').then(|| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Vec<String> {
        let list = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
        let lists = Placeholders::from([
            ("a".to_owned(), list(&["1", "2"])),
            ("b_2".to_owned(), list(&["x*", "y\\"])),
            ("none".to_owned(), Vec::new()),
        ]);
        match expand(text, &lists) {
            Ok((values, _)) => values,
            Err(problem) => list(&[problem.code]),
        }
    }

    #[test]
    fn placeholders() {
        assert_eq!(expanded("%a%"), ["1", "2"]);
        assert_eq!(expanded("<%a%%a%>"), ["<11>", "<12>", "<21>", "<22>"]);
        assert_eq!(expanded("%b_2%*"), ["x**", "y\\\\*"]);
        assert_eq!(expanded("%b_2%"), ["x*", "y\\"]);
        assert_eq!(expanded(r"\%a%"), ["%a%"]);
        assert_eq!(expanded(r"\%plain%a%"), ["%plain1", "%plain2"]);
        assert_eq!(expanded(r"\\%a%"), [r"\\1", r"\\2"]);
        assert_eq!(expanded("100%"), ["100%"]);
        assert_eq!(expanded("%%a%"), ["%1", "%2"]);
        assert_eq!(expanded("% a%"), ["% a%"]);
        assert_eq!(expanded("%c%"), ["unknown-placeholder"]);
        assert_eq!(expanded("%none%"), ["empty-placeholder"]);
        assert_eq!(expanded(&"%a%".repeat(14)), ["rule-too-complex"]);
        assert_eq!(expanded("ä%a%ö\\"), ["ä1ö\\", "ä2ö\\"]);
    }
}
