//! Sigma: rules in, matches out. A plain library without I/O, clock, threads or randomness, so that it runs the same in a
//! WebAssembly guest, in a test and in a benchmark.
//!
//! ```
//! use picket_sigma::{BatchView, Cells, ColumnView, File, Options, Scratch, Texts, compile};
//!
//! let rule = b"
//! title: A shell from apt
//! id: bb382fd5-b454-47ea-a264-1828e4c766d6
//! logsource: {category: process_creation, product: linux}
//! detection:
//!   selection:
//!     CommandLine|contains: 'APT::Update::Pre-Invoke::='
//!   condition: selection
//! ";
//! let set = compile(&[File { name: "apt.yml", content: rule }], &Options::default());
//! assert!(set.diagnostics.is_empty());
//! assert_eq!(set.streams[0].fields, ["CommandLine"]);
//!
//! let line = b"apt-get update -o APT::Update::Pre-Invoke::=/bin/sh";
//! let texts = Texts { arena: line, ends: &[line.len() as u32], codes: &[] };
//! let columns = [ColumnView { cells: Cells::Text(texts), presence: &[] }];
//! let mut hits = Vec::new();
//! set.eval(0, &BatchView { rows: 1, columns: &columns }, &mut Scratch::default(), |row, rule| hits.push((row, rule)));
//! assert_eq!(hits, [(0, 0)]);
//! ```
//!
//! # What a rule means, where the specification (2.1.0) leaves room
//! - **Case**: texts are compared by Unicode lower-case mapping, see [`fold`]; `cased` and `re` compare as written.
//! - **Bytes**: values need not be UTF-8. `?` matches one character, or one byte that belongs to none.
//! - **Lists**: a field with several values matches if any of them does. With `contains|all` each needle may be found in
//!   a different value: `all` joins the comparisons, and each comparison asks "is there a value that ...". So do the
//!   items of a map. `neq` is the negation of the whole item: none of the values matches.
//! - **Numbers**: a number of a rule equals a number, or a text that reads as the same number (`4688`, `"4688"`,
//!   `4688.0`). A text of a rule that reads as a number equals a numeric column of that value. Truth values compare as the
//!   texts `true` and `false`, never as 1 and 0.
//! - **Absence**: `null` matches an absent field and null; `exists: true` matches null and the empty text, too. `neq` holds
//!   where the field is absent. A value that could not be got in time (*unavailable*) matches nothing: not `null`, not
//!   `exists` of either value; so it never satisfies a filter.
//! - **Keywords** match as substrings (wildcards allowed) of any value of the event, numbers as text, never of names.
//! - **`x of`**: `any of` is `1 of`; names beginning with `_` are left out unless the pattern begins so. A pattern that no
//!   selection matches is an error.
//! - **`windash`** varies a dash or slash that begins a word; inner ones stay. **`wide`** is `utf16le`. **`utf16`** begins
//!   with the mark FF FE. **`base64`** keeps its padding.
//! - **Alternates**: see [`Options::alternates`].
//! - **Correlations**: see [`Correlator`] and `docs/correlations.md`.
//!
//! What the engine does not do (pipes, `near`, `timeframe`, `N of` for N > 1, merge keys) is refused for the rule that
//! asks for it, with a diagnostic that names it.

mod action;
mod batch;
mod clause;
mod condition;
mod contradiction;
mod correlation;
mod deprecated;
mod detection;
mod diagnostic;
mod encode;
mod eval;
mod expand;
mod explain;
mod filter;
pub mod fold;
mod index;
mod item;
mod lint;
mod literal;
mod modifier;
mod number;
mod pattern;
mod pipeline;
mod reach;
mod rule;
mod ruleset;
mod silence;
mod test;
mod time;
mod tree;
mod witness;
mod yaml;

pub use batch::{BatchView, Cell, Cells, ColumnView, Texts, Value};
pub use clause::{Clause, Op};
pub use correlation::{Correlation, Correlator, Counters, Detections, Fired, Kind, Limits};
pub use diagnostic::{Diagnostic, Gravity, Place};
pub use eval::Scratch;
pub use explain::{Actual, Evidence, Node};
pub use filter::FilterMeta;
pub use number::Number;
pub use rule::{Level, LogSource, Related, RuleMeta};
pub use ruleset::{File, MAX_FILE_BYTES, Options, RuleSet, Stream, Unbound, compile};

/// The field of keywords: every value of the event as a list of texts.
pub const KEYWORDS: &str = "@values";
