//! Correlations: rules about what other rules found, over time.
//!
//! [`compile`](crate::compile) reads and resolves them ([`crate::RuleSet::correlations`]); a [`Correlator`] made from the
//! set is then given what the rules found and reports what came of it. `docs/correlations.md` says what a correlation means
//! where the specification leaves room; the comments here say how it is brought about.

mod condition;
mod correlator;
mod groups;
mod key;
mod pending;
mod plan;
mod read;
mod resolve;
mod snapshot;
mod state;
mod step;
mod table;

pub use correlator::{Correlator, Counters, Detections, Fired, Limits};
pub use plan::{Correlation, Kind};

pub(crate) use plan::{KINDS, OPERATORS};
pub(crate) use read::{Draft, KEYS, POLICY, read};
pub(crate) use resolve::resolve;
