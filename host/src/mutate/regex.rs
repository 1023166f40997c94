//! Changes of a regular expression: an alternative less, an anchor less.

use std::ops::Range;

/// Alternatives of one expression that are tried.
const MAX_ALTERNATIVES: usize = 256;

/// Every changed version of `source`, each with what was changed. What comes out need not be an expression: the compiler
/// of the rule says so.
pub fn changes(source: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (group, alternatives) in groups(source) {
        for (i, alternative) in alternatives.iter().enumerate().take(MAX_ALTERNATIVES) {
            // With its bar: the one before, or that behind the first.
            let cut =
                if i == 0 { alternative.start..alternative.end + 1 } else { alternative.start - 1..alternative.end };
            let text = format!("{}{}", &source[..cut.start], &source[cut.end..]);
            let place = if group { "" } else { " at the top" };
            found.push((format!("alternative '{}'{place} dropped", &source[alternative.clone()]), text));
        }
    }
    if let Some(rest) = source.strip_prefix('^') {
        found.push(("'^' dropped".to_owned(), rest.to_owned()));
    }
    if let Some(rest) = source.strip_suffix('$').filter(|rest| !rest.ends_with('\\')) {
        found.push(("'$' dropped".to_owned(), rest.to_owned()));
    }
    found
}

/// An expression that a text matches only if it goes on in a way that it does not.
pub fn narrowed(source: &str) -> String {
    format!("(?:{source})\\x01")
}

/// The groups that have alternatives, and where these are; `false` = the whole expression.
fn groups(source: &str) -> Vec<(bool, Vec<Range<usize>>)> {
    struct Open {
        from: usize,
        bars: Vec<usize>,
    }
    let bytes = source.as_bytes();
    let mut open = vec![Open { from: 0, bars: Vec::new() }];
    let mut found = Vec::new();
    let mut close = |group: Open, end: usize, inside: bool| {
        if group.bars.is_empty() {
            return;
        }
        let starts = std::iter::once(group.from).chain(group.bars.iter().map(|b| b + 1));
        let ends = group.bars.iter().copied().chain([end]);
        found.push((inside, starts.zip(ends).map(|(a, b)| a..b).collect()));
    };
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'[' => at = class_end(bytes, at),
            b'(' => open.push(Open { from: after_flags(source, at + 1), bars: Vec::new() }),
            b')' if open.len() > 1 => {
                if let Some(group) = open.pop() {
                    close(group, at, true);
                }
            }
            b'|' => open.last_mut().into_iter().for_each(|group| group.bars.push(at)),
            _ => {}
        }
        at += 1;
    }
    if let Some(top) = open.into_iter().next() {
        close(top, source.len(), false);
    }
    found
}

/// Where the content of a group begins: behind `?:`, `?i:`, `?P<name>`.
fn after_flags(source: &str, at: usize) -> usize {
    let Some(flags) = source[at..].strip_prefix('?') else { return at };
    let end = flags.find([':', '>', ')']).map_or(0, |i| i + 1);
    at + 1 + end
}

/// The `]` that ends the class at `at`.
fn class_end(bytes: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    if bytes.get(end) == Some(&b'^') {
        end += 1;
    }
    // A bracket in the first place is one of the characters.
    if bytes.get(end) == Some(&b']') {
        end += 1;
    }
    let mut depth = 1;
    while end < bytes.len() {
        match bytes[end] {
            b'\\' => end += 1,
            b'[' => depth += 1,
            b']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        end += 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<String> {
        changes(source).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn alternatives_and_anchors() {
        assert_eq!(texts("abc"), [""; 0]);
        assert_eq!(
            texts("^/(a|bc)[0-9|]*$"),
            ["^/(bc)[0-9|]*$", "^/(a)[0-9|]*$", "/(a|bc)[0-9|]*$", "^/(a|bc)[0-9|]*"]
        );
        assert_eq!(texts("(?:a|b)"), ["(?:b)", "(?:a)"]);
        assert_eq!(texts("a|b|c"), ["b|c", "a|c", "a|b"]);
        assert_eq!(texts(r"\(a\|b\$"), [""; 0]);
        assert_eq!(texts("[]|a]"), [""; 0]);
        assert_eq!(texts("x(|$)"), ["x($)", "x()"]);
        assert_eq!(texts("((a|b)|c)"), ["((b)|c)", "((a)|c)", "(c)", "((a|b))"]);
    }

    #[test]
    fn any_text_is_taken() {
        for bad in ["(", ")", "[", "\\", "(?", "(?P<", "a)|(", "[^", "ä|ö", "(?:", "[[:alpha:]|]"] {
            let _ = texts(bad);
        }
        let long = "(".repeat(100_000);
        assert_eq!(texts(&long), [""; 0]);
    }
}
