//! Layers of settings, lowest first: built-in defaults, the file, the environment, `--set`, flags.
//!
//! Every layer is TOML text. The texts are laid end to end in one imaginary text, as a compiler lays its source files, and the
//! parsed trees are merged with their byte ranges shifted accordingly. So any value or key of the merged tree still knows by
//! its offset alone which layer it came from, and where in it. Deserializing each layer by itself was the alternative: a
//! layer that sets one key of an endpoint is not a whole endpoint.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Fault;

/// Where a layer comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Built in.
    Default,
    /// A config file.
    File(PathBuf),
    /// An environment variable, by name.
    Env(String),
    /// `--set KEY=...`, by key.
    Set(String),
    /// Another command line flag, like `--rules`.
    Flag(String),
}

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub layer: Layer,
    /// From 1; 0 where the layer is not a file.
    pub line: u32,
    /// In characters, from 1; 0 where the layer is not a file.
    pub column: u32,
}

impl Origin {
    /// A layer as a whole.
    pub fn of(layer: Layer) -> Origin {
        Origin { layer, line: 0, column: 0 }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.layer {
            Layer::Default => f.write_str("default"),
            Layer::File(path) if self.line == 0 => write!(f, "{}", path.display()),
            Layer::File(path) => write!(f, "{}:{}:{}", path.display(), self.line, self.column),
            Layer::Set(key) => write!(f, "--set {key}"),
            Layer::Env(name) | Layer::Flag(name) => f.write_str(name),
        }
    }
}

/// One layer with its text.
#[derive(Debug)]
pub(super) struct Source {
    layer: Layer,
    text: String,
    /// Offset of `text` in the imaginary text.
    base: usize,
    /// Relative paths in this layer start here.
    dir: PathBuf,
}

/// All layers, lowest first.
#[derive(Debug, Default)]
pub(super) struct Sources(Vec<Source>);

impl Sources {
    /// Adds a layer above those that are there.
    pub(super) fn push(&mut self, layer: Layer, text: String, dir: &Path) {
        // One byte apart, so that the empty range at the end of a text is still its own.
        let base = self.0.last().map_or(0, |s| s.base + s.text.len() + 1);
        self.0.push(Source { layer, text, base, dir: dir.to_owned() });
    }

    fn source(&self, offset: usize) -> Option<&Source> {
        self.0.iter().rev().find(|s| s.base <= offset)
    }

    /// Where the byte at `offset` was written.
    pub(super) fn origin(&self, offset: usize) -> Origin {
        let Some(source) = self.source(offset) else { return Origin::of(Layer::Default) };
        if !matches!(source.layer, Layer::File(_)) {
            return Origin::of(source.layer.clone());
        }
        let mut at = (offset - source.base).min(source.text.len());
        while !source.text.is_char_boundary(at) {
            at -= 1;
        }
        let before = &source.text[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Origin { layer: source.layer.clone(), line: line as u32, column: column as u32 }
    }

    /// The directory that relative paths written at `offset` start from.
    pub(super) fn dir(&self, offset: usize) -> &Path {
        self.source(offset).map_or(Path::new(""), |s| &s.dir)
    }

    /// Parses and merges the layers. What cannot be parsed is left out and becomes a fault.
    pub(super) fn merged(&self, faults: &mut Vec<Fault>) -> Spanned<DeTable<'_>> {
        let mut merged = DeTable::new();
        for source in &self.0 {
            let (table, errors) = DeTable::parse_recoverable(&source.text);
            faults.extend(errors.iter().map(|e| {
                let at = e.span().map_or(0, |s| s.start);
                Fault::new(self.origin(source.base + at), e.message().trim_end())
            }));
            merge(&mut merged, shift_table(table.into_inner(), source.base));
        }
        Spanned::new(0..0, merged)
    }
}

fn shift(range: &Range<usize>, base: usize) -> Range<usize> {
    range.start + base..range.end + base
}

fn shift_table(table: DeTable<'_>, base: usize) -> DeTable<'_> {
    table
        .into_iter()
        .map(|(key, value)| (Spanned::new(shift(&key.span(), base), key.into_inner()), shift_value(value, base)))
        .collect()
}

fn shift_value(value: Spanned<DeValue<'_>>, base: usize) -> Spanned<DeValue<'_>> {
    let span = shift(&value.span(), base);
    let value = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(shift_table(table, base)),
        DeValue::Array(items) => DeValue::Array(items.into_iter().map(|v| shift_value(v, base)).collect()),
        // No setting is a date; inside a guest's own settings JSON has no type for one.
        DeValue::Datetime(time) => DeValue::String(time.to_string().into()),
        scalar => scalar,
    };
    Spanned::new(span, value)
}

/// Tables merge, everything else is replaced: a list given again is a new list.
fn merge<'i>(into: &mut DeTable<'i>, from: DeTable<'i>) {
    for (key, value) in from {
        if let DeValue::Table(_) = value.get_ref()
            && let Some(below) = into.get_mut(&key)
            && let DeValue::Table(below) = below.get_mut()
        {
            if let DeValue::Table(above) = value.into_inner() {
                merge(below, above);
            }
            continue;
        }
        // A map keeps the key it has: without this the merged key would point to the layer below.
        into.remove(&key);
        into.insert(key, value);
    }
}
