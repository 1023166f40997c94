//! Picket: collects kernel events, hands them to sandboxed guests, delivers their alerts.
//!
//! The way of one event, and the rooms it passes: `docs/architecture.md`.

pub mod control;
pub mod deliver;
pub mod detection;
pub mod guest;
pub mod kind;
pub mod process;
pub mod slab;
