//! YAML with places: a bounded tree of nodes, each knowing where it stands in its file.

use crate::diagnostic::{Finding, Place, brief};
use crate::number::Number;
use granit_parser::{Event, Options, Parser, ScalarStyle, Span, Tag};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Rules are three or four levels deep; anything near this is an attack or a mistake.
const MAX_DEPTH: usize = 64;
/// Nodes of one file, those copied by aliases included: bounds alias bombs.
const MAX_NODES: usize = 200_000;

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub place: Place,
    /// Bytes of the token in the source, for [`locate`].
    pub source: Range<usize>,
    pub data: Data,
}

#[derive(Clone, Debug)]
pub(crate) enum Data {
    Scalar { text: String, plain: bool },
    Sequence(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

/// What a plain scalar means in the YAML 1.2 core schema; quoted scalars are always text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Meaning {
    Null,
    Boolean(bool),
    Number(Number),
    Text,
}

impl Node {
    pub fn text(&self) -> Option<&str> {
        if let Data::Scalar { text, .. } = &self.data { Some(text) } else { None }
    }

    pub fn kind(&self) -> &'static str {
        match &self.data {
            Data::Scalar { .. } => match self.meaning() {
                Meaning::Null => "null",
                Meaning::Boolean(_) => "a boolean",
                Meaning::Number(_) => "a number",
                Meaning::Text => "text",
            },
            Data::Sequence(_) => "a list",
            Data::Mapping(_) => "a map",
        }
    }

    pub fn meaning(&self) -> Meaning {
        match &self.data {
            Data::Scalar { text, plain: true } => meaning(text),
            _ => Meaning::Text,
        }
    }
}

fn meaning(text: &str) -> Meaning {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Meaning::Null,
        "true" | "True" | "TRUE" => return Meaning::Boolean(true),
        "false" | "False" | "FALSE" => return Meaning::Boolean(false),
        _ => {}
    }
    let digits = text.trim_start_matches(['+', '-']);
    // 0755 is octal in YAML 1.1 and decimal in 1.2: as text it at least equals itself.
    if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Meaning::Text;
    }
    let radix = |prefix, radix| text.strip_prefix(prefix).and_then(|d| i128::from_str_radix(d, radix).ok());
    if let Some(i) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Meaning::Number(Number::Integer(i));
    }
    Number::parse(text.as_bytes()).map_or(Meaning::Text, Meaning::Number)
}

/// The documents of a file in order. A document that cannot be read is None, its problem is in `findings`, and the
/// documents after it are still read.
pub(crate) fn documents(source: &str, findings: &mut Vec<Finding>) -> Vec<Option<Node>> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    let mut parser = Parser::new_from_str_with_options(source, options);
    let mut found = Vec::new();
    let mut builder = Builder::new(source);
    loop {
        let problem = match parser.next() {
            None => break,
            Some(Err(e)) => {
                let at = Place { line: e.marker().line() as u32, column: e.marker().col() as u32 + 1, length: 1 };
                Finding::error(at, "bad-yaml", format!("this is not YAML: {}", e.info()))
            }
            Some(Ok((Event::DocumentStart(..), _))) => {
                builder.begin();
                continue;
            }
            Some(Ok((Event::DocumentEnd, _))) => {
                found.extend(builder.root.take().map(Some));
                continue;
            }
            Some(Ok((event, span))) => match builder.feed(event, span) {
                Ok(()) => continue,
                Err(problem) => problem,
            },
        };
        let fatal = problem.code == "yaml-too-large";
        findings.push(problem);
        found.push(None);
        builder.begin();
        if fatal || !matches!(parser.proceed_next_document(), Ok(true)) {
            break;
        }
    }
    found
}

/// The comments of a file, without their `#`.
pub(crate) fn comments(source: &str) -> Vec<(Place, String)> {
    let mut options = Options::default();
    options.set_emit_comments(true);
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    // Only how many are looked at before the next key: long heads of licences are usual.
    options.max_buffered_comment_events = 4096;
    let mut parser = Parser::new_from_str_with_options(source, options);
    let mut found = Vec::new();
    loop {
        match parser.next() {
            Some(Ok((Event::Comment(text, _), span))) => found.push((place(source, &span), text.into_owned())),
            Some(Ok(_)) => {}
            // Where documents are given up, see above, their comments are too.
            Some(Err(_)) if matches!(parser.proceed_next_document(), Ok(true)) => {}
            Some(Err(_)) | None => return found,
        }
    }
}

struct Builder<'a> {
    source: &'a str,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    nodes: usize,
}

struct Open {
    place: Place,
    start: usize,
    anchor: usize,
    children: Vec<Node>,
    mapping: bool,
}

impl<'a> Builder<'a> {
    fn new(source: &'a str) -> Self {
        Self { source, open: Vec::new(), anchors: HashMap::new(), root: None, nodes: 0 }
    }

    fn begin(&mut self) {
        self.open.clear();
        self.anchors.clear();
        self.root = None;
    }

    fn feed(&mut self, event: Event<'_>, span: Span) -> Result<(), Finding> {
        let place = place(self.source, &span);
        let start = span.start.byte_offset().unwrap_or(0);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let mut plain = style == ScalarStyle::Plain;
                if let Some(suffix) = core_tag(tag.as_ref(), place)? {
                    plain = suffix != "str";
                }
                let data = Data::Scalar { text: text.into_owned(), plain };
                let source = start..span.end.byte_offset().unwrap_or(start);
                self.close(Node { place, source, data }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) | Event::MappingStart(_, anchor, tag)
                if self.open.len() >= MAX_DEPTH =>
            {
                let _ = (anchor, tag);
                Err(Finding::error(place, "yaml-too-deep", format!("nested more than {MAX_DEPTH} levels deep")))
            }
            Event::SequenceStart(_, anchor, tag) => {
                core_tag(tag.as_ref(), place)?;
                self.open.push(Open { place, start, anchor, children: Vec::new(), mapping: false });
                Ok(())
            }
            Event::MappingStart(_, anchor, tag) => {
                core_tag(tag.as_ref(), place)?;
                self.open.push(Open { place, start, anchor, children: Vec::new(), mapping: true });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(mut open) = self.open.pop() else { return Ok(()) };
                let data = if open.mapping { mapping(open.children)? } else { Data::Sequence(open.children) };
                let source = open.start..span.end.byte_offset().unwrap_or(open.start);
                // At its start only the first token was known.
                open.place.length = first_line(self.source, source.clone());
                self.close(Node { place: open.place, source, data }, open.anchor)
            }
            Event::Alias(id) => match self.anchors.get(&id) {
                Some(node) => {
                    let mut copy = node.clone();
                    copy.place = place;
                    self.count(weight(&copy), place)?;
                    self.close(copy, 0)
                }
                // The anchor is still open: the node would contain itself.
                None => Err(Finding::error(place, "bad-yaml", "an alias must not stand inside what it names")),
            },
            _ => Ok(()),
        }
    }

    fn close(&mut self, node: Node, anchor: usize) -> Result<(), Finding> {
        self.count(1, node.place)?;
        if anchor != 0 {
            self.count(weight(&node), node.place)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            Some(parent) => parent.children.push(node),
            None => self.root = Some(node),
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, place: Place) -> Result<(), Finding> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            let message = format!("the file has more than {MAX_NODES} nodes, those copied by aliases included");
            return Err(Finding::error(place, "yaml-too-large", message));
        }
        Ok(())
    }
}

/// Nodes of a tree.
pub(crate) fn weight(node: &Node) -> usize {
    1 + match &node.data {
        Data::Scalar { .. } => 0,
        Data::Sequence(items) => items.iter().map(weight).sum(),
        Data::Mapping(items) => items.iter().map(|(k, v)| weight(k) + weight(v)).sum(),
    }
}

fn mapping(children: Vec<Node>) -> Result<Data, Finding> {
    let mut pairs: Vec<(Node, Node)> = Vec::with_capacity(children.len() / 2);
    let mut seen = HashSet::new();
    let mut children = children.into_iter();
    while let (Some(key), Some(value)) = (children.next(), children.next()) {
        let Some(name) = key.text() else {
            return Err(Finding::error(key.place, "bad-key", format!("a key must be text, this is {}", key.kind())));
        };
        if name == "<<" {
            return Err(Finding::error(key.place, "unsupported-merge-key", "merge keys ('<<') are not supported")
                .help("write the keys out, or use an alias for the whole map"));
        }
        if !seen.insert(name.to_owned()) {
            return Err(Finding::error(
                key.place,
                "duplicate-key",
                format!("the key '{}' is there twice", brief(name)),
            )
            .help("the second would hide the first; put the values into one list, or use another modifier order"));
        }
        pairs.push((key, value));
    }
    Ok(Data::Mapping(pairs))
}

fn core_tag<'t>(tag: Option<&'t Cow<'_, Tag>>, place: Place) -> Result<Option<&'t str>, Finding> {
    let Some(tag) = tag else { return Ok(None) };
    match tag.core_suffix() {
        Some(suffix) => Ok(Some(suffix)),
        // `! text` is the non-specific tag: text.
        None if tag.original() == "!" => Ok(Some("str")),
        None => Err(Finding::error(
            place,
            "unsupported-tag",
            format!("the tag '{}' is not supported", brief(&tag.original())),
        )),
    }
}

fn place(source: &str, span: &Span) -> Place {
    let length = span.byte_range().map_or(1, |range| first_line(source, range));
    Place { line: span.start.line() as u32, column: span.start.col() as u32 + 1, length }
}

/// Characters of the first line of a range of bytes, without blanks at its end.
fn first_line(source: &str, range: Range<usize>) -> u32 {
    let text = source.get(range).unwrap_or_default();
    let end = text.find(['\n', '\r']).unwrap_or(text.len());
    text[..end].trim_end().chars().count() as u32
}

/// Where the characters `range` (byte offsets into the *decoded* text of the scalar `node`) stand in `source`.
///
/// Quotes, escapes, folding and indentation make the decoded text differ from the source; the two are walked side by
/// side, white space against white space and any other character to its next appearance. That is exact for every way to
/// write a rule by hand, and at worst names a later column of the same scalar.
pub(crate) fn locate(source: &str, node: &Node, range: Range<usize>) -> Place {
    let (Some(text), Some(raw)) = (node.text(), source.get(node.source.clone())) else { return node.place };
    // A block scalar's header (`|`, `>-`, its comment) is not content.
    let header = if raw.starts_with(['|', '>']) { raw.find('\n').map_or(0, |i| i + 1) } else { 0 };
    let mut raw_chars = raw[header..].char_indices().map(|(i, c)| (i + header, c)).peekable();
    let (mut from, mut to) = (None, None);
    for (offset, wanted) in text.char_indices() {
        if offset >= range.end {
            break;
        }
        let found = if wanted.is_whitespace() {
            let first = raw_chars.peek().copied();
            while raw_chars.next_if(|(_, c)| c.is_whitespace()).is_some() {
                // One blank of the text is one blank of the source, unless lines were folded.
                let more_text = text[offset + wanted.len_utf8()..].starts_with(char::is_whitespace);
                if more_text {
                    break;
                }
            }
            first
        } else {
            raw_chars.by_ref().find(|(_, c)| *c == wanted)
        };
        let Some((i, c)) = found else { return node.place };
        if offset >= range.start {
            from.get_or_insert(i);
            to = Some(i + c.len_utf8());
        }
    }
    let from = from.unwrap_or_else(|| raw_chars.next().map_or(raw.len(), |(i, _)| i));
    // Counted from the token, not from the start of the file: a hostile file has many tokens.
    let before = &raw[..from];
    let line = node.place.line + before.matches('\n').count() as u32;
    let column = match before.rsplit_once('\n') {
        Some((_, last)) => last.chars().count() as u32 + 1,
        None => node.place.column + before.chars().count() as u32,
    };
    let token = &raw[from..to.unwrap_or(from).max(from)];
    let length = token.lines().next().unwrap_or("").chars().count().max(1) as u32;
    Place { line, column, length }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(source: &str) -> Node {
        let mut findings = Vec::new();
        let mut found = documents(source, &mut findings);
        assert!(findings.is_empty(), "{findings:?}");
        found.remove(0).unwrap()
    }

    fn value(node: &Node) -> &Node {
        let Data::Mapping(pairs) = &node.data else { panic!("not a map") };
        &pairs[0].1
    }

    fn located(source: &str, token: &str) -> (u32, u32, u32) {
        let root = one(source);
        let node = value(&root);
        let at = node.text().unwrap().find(token).unwrap();
        let p = locate(source, node, at..at + token.len());
        (p.line, p.column, p.length)
    }

    #[test]
    fn locates_in_every_style() {
        assert_eq!(located("c: a and bb", "bb"), (1, 10, 2));
        assert_eq!(located("c: 'a and ''x'' bb'", "bb"), (1, 17, 2));
        assert_eq!(located("c: \"a \\\"and\\\" bb\"", "bb"), (1, 15, 2));
        assert_eq!(located("c: >-\n  a\n  and bb", "bb"), (3, 7, 2));
        assert_eq!(located("c: |\n  a\n\n  and bb", "bb"), (4, 7, 2));
        assert_eq!(located("c: a\n   and   bb", "bb"), (2, 10, 2));
        assert_eq!(located("c: ä and bb", "bb"), (1, 10, 2));
    }

    #[test]
    fn meanings() {
        for (text, wanted) in [
            ("~", Meaning::Null),
            ("4688", Meaning::Number(Number::Integer(4688))),
            ("-1.5", Meaning::Number(Number::Float(-1.5))),
            ("0x10", Meaning::Number(Number::Integer(16))),
            ("0755", Meaning::Text),
            ("1.2.3", Meaning::Text),
            ("yes", Meaning::Text),
            ("True", Meaning::Boolean(true)),
        ] {
            assert_eq!(value(&one(&format!("k: {text}"))).meaning(), wanted, "{text}");
        }
        assert_eq!(value(&one("k: '4688'")).meaning(), Meaning::Text);
        assert_eq!(value(&one("k: !!str 4688")).meaning(), Meaning::Text);
    }

    #[test]
    fn a_broken_document_hides_no_other() {
        let mut findings = Vec::new();
        let found = documents("a: 1\n---\nb: [1\n---\nc: 1\nc: 2\n---\nd: 1\n", &mut findings);
        assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, false, true]);
        assert_eq!(
            findings.iter().map(|f| (f.code, f.place.line)).collect::<Vec<_>>(),
            [("bad-yaml", 3), ("duplicate-key", 6)]
        );
    }
}
