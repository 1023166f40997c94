//! Exceptions: Sigma filters that say why, whose they are and when they end. The engine applies a filter as any other; this reads
//! what the engine does not look at, and takes a filter that has expired out of its file before any guest sees it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Expiry, Stage, diagnostic, ending};
use crate::detection::{Diagnostic, Gravity};

/// What a filter says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exception {
    pub id: Option<String>,
    pub title: String,
    pub reason: Option<String>,
    pub owner: Option<String>,
    pub expires: Option<Expiry>,
    pub file: String,
    pub line: u32,
}

impl Exception {
    pub(super) fn said(&self, now: i64) -> Option<Diagnostic> {
        let what = format!("exception `{}`", self.title);
        let expiry = self.expires.as_ref()?;
        ending(expiry, now, &what, "what it hid makes alerts", (&self.file, self.line))
    }
}

/// The attributes that are read; everything else is the engine's.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    owner: Option<String>,
    #[serde(default)]
    expires: Option<String>,
}

/// The filters in a file that say one of these things, and its content without those that have expired. Their lines are blank
/// then, so that every other line keeps its number.
pub fn read<'c>(
    file: &str,
    content: &'c [u8],
    now: i64,
    said: &mut Vec<Diagnostic>,
) -> (Vec<Exception>, Cow<'c, [u8]>) {
    let begins = |line: &[u8], key: &str| line.starts_with(key.as_bytes());
    let lines: Vec<&[u8]> = content.split_inclusive(|b| *b == b'\n').collect();
    let is_filter = |lines: &[&[u8]]| lines.iter().any(|l| begins(l, "filter:"));
    let speaks = |lines: &[&[u8]]| lines.iter().any(|l| ["expires:", "reason:", "owner:"].iter().any(|k| begins(l, k)));
    if !is_filter(&lines) || !speaks(&lines) {
        return (Vec::new(), Cow::Borrowed(content));
    }
    let mut found = Vec::new();
    let mut kept: Vec<u8> = Vec::with_capacity(content.len());
    let mut lapsed = false;
    let mut start = 0;
    while start < lines.len() {
        // Three dashes at the beginning of a line end a document whatever stands around them.
        let end = (start + 1..lines.len()).find(|i| begins(lines[*i], "---")).unwrap_or(lines.len());
        let document = &lines[start..end];
        let exception = if is_filter(document) && speaks(document) { parse(file, start, document, said) } else { None };
        let over = exception.as_ref().and_then(|e| e.expires.as_ref()).is_some_and(|e| e.stage(now) == Stage::Lapsed);
        for line in document {
            if over && !begins(line, "---") { kept.push(b'\n') } else { kept.extend_from_slice(line) }
        }
        lapsed |= over;
        found.extend(exception);
        start = end;
    }
    (found, if lapsed { Cow::Owned(kept) } else { Cow::Borrowed(content) })
}

fn parse(file: &str, start: usize, lines: &[&[u8]], said: &mut Vec<Diagnostic>) -> Option<Exception> {
    let text = lines.concat();
    // What is no YAML is the engine's to say.
    let document: Document = serde_saphyr::from_str(std::str::from_utf8(&text).ok()?).ok()?;
    let line_of = |key: &str| {
        let at = lines.iter().position(|l| l.starts_with(key.as_bytes())).unwrap_or_default();
        (start + at + 1) as u32
    };
    let expires = match document.expires.as_deref().map(|text| (text, Expiry::parse(text))) {
        Some((text, None)) => {
            let message = format!("`expires` is a day, like 2027-02-01, not `{text}`");
            let line = line_of("expires:");
            let help = "the exception stands without an end until this is mended".to_owned();
            said.push(diagnostic(Gravity::Error, "bad-expiry", message, help, file, line, 1));
            None
        }
        Some((_, expiry)) => expiry,
        None => None,
    };
    Some(Exception {
        id: document.id,
        title: document.title.unwrap_or_default(),
        reason: document.reason,
        owner: document.owner,
        expires,
        file: file.to_owned(),
        line: line_of("title:"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "title: First\nid: a\nfilter:\n  rules: any\n  s: {A: b}\n  condition: not s\nexpires: 2027-02-01\n---\n\
                       title: Second\nid: b\nfilter:\n  rules: any\n  s: {A: c}\n  condition: not s\nowner: me\n";

    #[test]
    fn an_expired_filter_is_gone_and_every_other_line_stays_where_it_was() {
        let end = Expiry::parse("2027-02-01").unwrap().at;
        let mut said = Vec::new();
        let (found, kept) = read("f.yml", TWO.as_bytes(), end - 1, &mut said);
        assert_eq!(found.iter().map(|e| (e.title.as_str(), e.line)).collect::<Vec<_>>(), [("First", 1), ("Second", 9)]);
        assert_eq!(&*kept, TWO.as_bytes());
        let (_, kept) = read("f.yml", TWO.as_bytes(), end, &mut said);
        let kept = String::from_utf8(kept.into_owned()).unwrap();
        assert!(!kept.contains("First") && kept.lines().nth(8) == Some("title: Second"), "{kept}");
        assert_eq!(said, []);
    }

    #[test]
    fn other_files_are_left_alone() {
        for text in ["title: x\ndetection: {s: {A: b}, condition: s}\n", "title: x\nfilter:\n  rules: any\n", "{"] {
            let (found, kept) = read("f.yml", text.as_bytes(), i64::MAX, &mut Vec::new());
            assert!(found.is_empty() && matches!(kept, Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn an_end_that_is_none_is_an_error_at_its_line() {
        let mut said = Vec::new();
        let text = TWO.replace("2027-02-01", "soon");
        let (found, kept) = read("f.yml", text.as_bytes(), i64::MAX, &mut said);
        assert_eq!((found.len(), said.len(), said[0].line), (2, 1, 7));
        assert!(matches!(kept, Cow::Borrowed(_)));
    }
}
