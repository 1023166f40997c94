//! Checks the merged settings against the schema, so that every fault has a place, a key and, where one is near, a name that
//! was meant. Serde stops at the first fault and does not say which key it was in; it runs after this and finds little.

use std::str::FromStr;

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Fault;
use super::layer::Sources;
use super::schema::{Free, Node, nearest};
use crate::units::{ByteSize, Period};

/// All faults of the merged settings, in the order of layers and lines.
pub(super) fn check(sources: &Sources, root: Node<'_>, merged: &Spanned<DeTable<'_>>) -> Vec<Fault> {
    let mut check = Check { sources, root, faults: Vec::new() };
    check.table("", merged.get_ref(), merged.span().start, root);
    check.faults.sort_by_key(|(offset, _)| *offset);
    check.faults.into_iter().map(|(_, fault)| fault).collect()
}

struct Check<'a> {
    sources: &'a Sources,
    root: Node<'a>,
    faults: Vec<(usize, Fault)>,
}

impl Check<'_> {
    fn fault(&mut self, offset: usize, message: String, help: Option<String>) {
        self.faults.push((offset, Fault::new(self.sources.origin(offset), message).help(help)));
    }

    fn table(&mut self, path: &str, table: &DeTable<'_>, offset: usize, node: Node<'_>) {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let below = join(path, name);
            match (node.field(name), node.free()) {
                (Some(field), _) | (None, Free::Each(field)) => self.value(&below, value, field),
                (None, Free::Anything) => {}
                (None, Free::Closed) => {
                    let help = self.meant(name, node);
                    self.fault(key.span().start, format!("unknown key `{below}`"), help);
                }
            }
        }
        for name in node.required().filter(|name| !table.contains_key(*name)) {
            self.fault(offset, format!("`{path}` lacks `{name}`"), None);
        }
    }

    /// A sibling with nearly this name, or the same name in another section.
    fn meant(&self, name: &str, node: Node<'_>) -> Option<String> {
        if let Some(near) = nearest(name, node.fields().map(|(n, _)| n)) {
            return Some(format!("did you mean `{near}`?"));
        }
        self.root.fields().find(|(_, section)| section.field(name).is_some()).map(|(section, _)| {
            let key = join(section, name);
            format!("did you mean `{key}`?")
        })
    }

    fn value(&mut self, path: &str, value: &Spanned<DeValue<'_>>, node: Node<'_>) {
        let at = value.span().start;
        let value = value.get_ref();
        if !node.admits(value) {
            let found = match value {
                DeValue::Table(_) => "a table",
                DeValue::Array(_) => "a list",
                DeValue::String(_) => "a text",
                DeValue::Integer(_) => "a whole number",
                DeValue::Float(_) => "a number with a point",
                DeValue::Boolean(_) => "true or false",
                DeValue::Datetime(_) => "a date",
            };
            self.fault(at, format!("`{path}` must be {}, not {found}", node.expected()), None);
            return;
        }
        match value {
            DeValue::Table(table) => self.table(path, table, at, node),
            DeValue::Array(items) => {
                if let Some(each) = node.items() {
                    items.iter().enumerate().for_each(|(i, item)| self.value(&format!("{path}[{i}]"), item, each));
                }
            }
            DeValue::String(text) => self.text(path, text, at, node),
            DeValue::Integer(n) => match i64::from_str_radix(n.as_str(), n.radix()) {
                Ok(n) => self.within(path, at, n as f64, node),
                Err(_) => self.fault(at, format!("`{path}` is larger than 64 bits hold"), None),
            },
            DeValue::Float(x) => match x.as_str().parse::<f64>() {
                Ok(x) => self.within(path, at, x, node),
                Err(_) => self.fault(at, format!("`{path}` is not a number"), None),
            },
            DeValue::Boolean(_) | DeValue::Datetime(_) => {}
        }
    }

    fn text(&mut self, path: &str, text: &str, at: usize, node: Node<'_>) {
        let words = node.words();
        if !words.is_empty() && !words.contains(&text) {
            let help = nearest(text, words.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            let message = format!("`{path}` must be one of {}", quoted(&words));
            self.fault(at, message, help);
            return;
        }
        match node.format() {
            Some("duration") => self.amount::<Period>(path, text, at, node),
            Some("byte-size") => {
                self.amount::<ByteSize>(path, text, at, node);
                if node.get("x-power-of-two") == Some(&Json::Bool(true))
                    && let Ok(size) = text.parse::<ByteSize>()
                    && !size.bytes().is_power_of_two()
                {
                    self.fault(at, format!("`{path}` must be a power of two"), None);
                }
            }
            Some("socket-address") if text.parse::<std::net::SocketAddr>().is_err() => {
                self.fault(at, format!("`{path}` must be {}", node.expected()), None);
            }
            Some("path") if text.is_empty() => self.fault(at, format!("`{path}` is empty"), None),
            _ => {}
        }
    }

    fn amount<T>(&mut self, path: &str, text: &str, at: usize, node: Node<'_>)
    where
        T: FromStr<Err = crate::units::UnitError> + PartialOrd,
    {
        let amount = match text.parse::<T>() {
            Ok(amount) => amount,
            Err(error) => return self.fault(at, format!("`{path}`: {error}"), None),
        };
        let bound = |keyword| {
            let text = node.get(keyword).and_then(Json::as_str)?;
            text.parse::<T>().ok().map(|bound| (bound, text))
        };
        if let Some((_, least)) = bound("x-minimum").filter(|(bound, _)| amount < *bound) {
            self.fault(at, format!("`{path}` must be at least {least}"), None);
        }
        if let Some((_, most)) = bound("x-maximum").filter(|(bound, _)| amount > *bound) {
            self.fault(at, format!("`{path}` must be at most {most}"), None);
        }
    }

    fn within(&mut self, path: &str, at: usize, n: f64, node: Node<'_>) {
        let bound = |keyword| node.get(keyword).and_then(Json::as_f64);
        // Written so that NaN is refused too.
        if bound("minimum").is_some_and(|least| n.is_nan() || n < least) {
            self.fault(at, format!("`{path}` must be at least {}", bound("minimum").unwrap_or_default()), None);
        } else if bound("maximum").is_some_and(|most| n > most) {
            self.fault(at, format!("`{path}` must be at most {}", bound("maximum").unwrap_or_default()), None);
        }
    }
}

/// Lets relative paths start at the directory of the layer they were written in.
pub(super) fn place_paths(sources: &Sources, node: Node<'_>, value: &mut Spanned<DeValue<'_>>) {
    let at = value.span().start;
    match value.get_mut() {
        DeValue::Table(table) => place_paths_in(sources, node, table),
        DeValue::Array(items) => {
            if let Some(each) = node.items() {
                items.iter_mut().for_each(|item| place_paths(sources, each, item));
            }
        }
        DeValue::String(text) if node.format() == Some("path") && !text.is_empty() => {
            let placed = sources.dir(at).join(text.as_ref());
            // A directory that is not UTF-8 leaves the path relative: it then fails by name where it is opened.
            if let Ok(placed) = placed.into_os_string().into_string() {
                *text = placed.into();
            }
        }
        _ => {}
    }
}

pub(super) fn place_paths_in(sources: &Sources, node: Node<'_>, table: &mut DeTable<'_>) {
    for (key, value) in table.iter_mut() {
        match (node.field(key.get_ref()), node.free()) {
            (Some(field), _) | (None, Free::Each(field)) => place_paths(sources, field, value),
            _ => {}
        }
    }
}

/// `a.b`, with a key quoted where TOML would need it.
pub(super) fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let key = if plain { key.to_owned() } else { toml::Value::String(key.to_owned()).to_string() };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ")
}
