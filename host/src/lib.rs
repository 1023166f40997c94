//! Picket: collects kernel events, hands them to sandboxed guests, delivers their alerts.
//!
//! The way of one event, and the rooms it passes: `docs/architecture.md`.

pub mod cli;
pub mod config;
pub mod detection;
pub mod guest;
pub mod kind;
pub mod process;
pub mod slab;
pub mod units;
pub mod watch;
