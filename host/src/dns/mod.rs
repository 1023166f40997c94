//! DNS: messages as they came over the wire, and the names that addresses were resolved from.

mod message;
mod names;

pub use message::{Answer, Message, Question, Response, parse};
pub use names::{Counters, Names, is_named, teaches};
