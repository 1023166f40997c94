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
//! What a rule means, where the specification (2.1.0) leaves room, is decided in `docs/sigma.md`, with reasons and tests;
//! for correlations, see [`Correlator`], in `docs/correlations.md`.
//! What the engine does not do (aggregations after a pipe, `near`, `timeframe`, `N of` for N > 1, merge keys) is refused for
//! the rule that asks for it, with a diagnostic that names it and says what to write instead.

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
mod evidence;
mod expand;
mod explain;
mod filter;
pub mod fold;
mod grams;
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
mod unfilter;
mod vocabulary;
mod witness;
mod yaml;

pub use batch::{BatchView, Cell, Cells, ColumnView, Texts, Value};
pub use clause::{Clause, Op};
pub use correlation::{Correlation, Correlator, Counters, Detections, Fired, Kind, Limits};
pub use diagnostic::{Diagnostic, Gravity, Place};
pub use eval::{Match, Scratch};
pub use evidence::{Comparison, Evidence};
pub use explain::{Actual, Node};
pub use filter::FilterMeta;
pub use number::Number;
pub use rule::{Level, LogSource, Related, RuleMeta};
pub use ruleset::{File, MAX_FILE_BYTES, Options, RuleSet, Stream, Unbound, compile};
pub use vocabulary::{Vocabulary, vocabulary};

/// The field of keywords: every value of the event as a list of texts.
pub const KEYWORDS: &str = "@values";
