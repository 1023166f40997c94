//! A file of YAML as a tree with places, which can be changed and written again.
//!
//! What is written is YAML in flow style, every text quoted: ugly, but the same to a parser. Each node keeps the place
//! that it had in the file.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle};

/// Nodes of a file, those copied by aliases included.
const MAX_NODES: usize = 20_000;

#[derive(Clone, Debug)]
pub struct Node {
    pub line: u32,
    pub column: u32,
    pub data: Data,
}

#[derive(Clone, Debug)]
pub enum Data {
    /// `plain`: without quotes, so it may be a number, a truth value or null.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Node {
    pub fn text(&self) -> Option<&str> {
        if let Data::Scalar { text, .. } = &self.data { Some(text) } else { None }
    }

    /// The value of a key of a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.pair(key).map(|(_, value)| value)
    }

    /// The line of a key of a map.
    pub fn key_line(&self, key: &str) -> Option<u32> {
        self.pair(key).map(|(key, _)| key.line)
    }

    fn pair(&self, key: &str) -> Option<&(Node, Node)> {
        let Data::Map(pairs) = &self.data else { return None };
        pairs.iter().find(|(k, _)| k.text() == Some(key))
    }

    pub fn items(&self) -> Option<&[Node]> {
        if let Data::List(items) = &self.data { Some(items) } else { None }
    }

    /// The same place with another text.
    pub fn with_text(&self, text: impl Into<String>) -> Node {
        Node { data: Data::Scalar { text: text.into(), plain: false }, ..*self }
    }

    /// The same place with another number or truth value.
    pub fn with_plain(&self, text: impl Into<String>) -> Node {
        Node { data: Data::Scalar { text: text.into(), plain: true }, ..*self }
    }

    pub fn with(&self, data: Data) -> Node {
        Node { data, ..*self }
    }

    fn weight(&self) -> usize {
        1 + match &self.data {
            Data::Scalar { .. } => 0,
            Data::List(items) => items.iter().map(Node::weight).sum(),
            Data::Map(pairs) => pairs.iter().map(|(k, v)| k.weight() + v.weight()).sum(),
        }
    }

    fn write(&self, out: &mut String) {
        let comma = |out: &mut String, i: usize| out.push_str(if i == 0 { "" } else { ", " });
        match &self.data {
            // An empty one is null, and in a list it would be nothing.
            Data::Scalar { text, plain: true } if text.is_empty() => out.push_str("null"),
            Data::Scalar { text, plain: true } if is_simple(text) => out.push_str(text),
            Data::Scalar { text, .. } => out.push_str(&serde_json::Value::from(text.as_str()).to_string()),
            Data::List(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    comma(out, i);
                    item.write(out);
                }
                out.push(']');
            }
            Data::Map(pairs) => {
                out.push('{');
                for (i, (key, value)) in pairs.iter().enumerate() {
                    comma(out, i);
                    key.write(out);
                    out.push_str(": ");
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// Whether a plain scalar may mean something else than its text; only such are written without quotes.
fn is_simple(text: &str) -> bool {
    let word = ["null", "Null", "NULL", "~", "true", "True", "TRUE", "false", "False", "FALSE"].contains(&text);
    let part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-');
    word || (text.bytes().all(part) && text.bytes().any(|b| b.is_ascii_alphanumeric()))
}

/// The documents as one file.
pub fn write(documents: &[Node]) -> String {
    let mut out = String::new();
    for document in documents {
        out.push_str("---\n");
        document.write(&mut out);
        out.push('\n');
    }
    out
}

struct Open {
    line: u32,
    column: u32,
    anchor: usize,
    map: bool,
    children: Vec<Node>,
}

/// Reads the documents of a file; the error says where it is not YAML.
pub fn read(source: &str) -> Result<Vec<Node>, String> {
    let mut documents = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: HashMap<usize, Node> = HashMap::new();
    let mut nodes = 0;
    for event in Parser::new_from_str(source) {
        let (event, span) = event.map_err(|e| format!("line {}: {}", e.marker().line(), e.info()))?;
        let (line, column) = (span.start.line() as u32, span.start.col() as u32 + 1);
        let (node, anchor) = match event {
            Event::DocumentStart(..) => {
                anchors.clear();
                continue;
            }
            Event::Scalar(text, style, anchor, _) => {
                let data = Data::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                (Node { line, column, data }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                open.push(Open { line, column, anchor, map: false, children: Vec::new() });
                continue;
            }
            Event::MappingStart(_, anchor, _) => {
                open.push(Open { line, column, anchor, map: true, children: Vec::new() });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { line, column, anchor, map, children }) = open.pop() else { continue };
                let data = if map { Data::Map(pairs(children)) } else { Data::List(children) };
                (Node { line, column, data }, anchor)
            }
            Event::Alias(id) => {
                let Some(named) = anchors.get(&id) else { return Err(format!("line {line}: an alias of nothing")) };
                nodes += named.weight();
                (Node { line, column, ..named.clone() }, 0)
            }
            _ => continue,
        };
        nodes += 1;
        if nodes > MAX_NODES {
            return Err(format!("it has more than {MAX_NODES} nodes"));
        }
        if anchor != 0 {
            nodes += node.weight();
            anchors.insert(anchor, node.clone());
        }
        match open.last_mut() {
            Some(parent) => parent.children.push(node),
            None => documents.push(node),
        }
    }
    Ok(documents)
}

fn pairs(children: Vec<Node>) -> Vec<(Node, Node)> {
    let mut pairs = Vec::with_capacity(children.len() / 2);
    let mut children = children.into_iter();
    while let (Some(key), Some(value)) = (children.next(), children.next()) {
        pairs.push((key, value));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_means_the_same() {
        let source = "a: 1\nb: '1'\nc: [~, true, -1.5, /x, 'y: z', \"q\\\"\\n\"]\nd: &x {e: f g}\nh: *x\ni:\nj: >-\n  two\n  lines\n";
        let documents = read(source).unwrap();
        let read = |text: &str| serde_saphyr::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&write(&documents)), read(source));
        let Data::Map(pairs) = &documents[0].data else { panic!("a map") };
        let j = &pairs[6].1;
        assert_eq!((j.line, j.column, j.text()), (8, 3, Some("two lines")));
    }

    #[test]
    fn several_documents() {
        let documents = read("a: 1\n---\nb: 2\n").unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(write(&documents), "---\n{\"a\": 1}\n---\n{\"b\": 2}\n".replace("\"a\"", "a").replace("\"b\"", "b"));
    }

    #[test]
    fn bombs_and_nonsense_are_refused() {
        assert!(read("a: [1").is_err());
        let bomb: String = (1..20).fold("a0: &a0 [x, x]\n".to_owned(), |bomb, i| {
            let line = format!("a{i}: &a{i} [*a{}, *a{}]\n", i - 1, i - 1);
            bomb + &line
        });
        assert!(read(&bomb).unwrap_err().contains("nodes"));
    }
}
