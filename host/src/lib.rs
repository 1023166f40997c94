//! Picket: collects kernel events, hands them to sandboxed guests, delivers their alerts.
//!
//! The way of one event, and the rooms it passes: `docs/architecture.md`.

pub mod alert;
pub mod audit;
pub mod capture;
pub mod cli;
pub mod collect;
pub mod config;
pub mod control;
pub mod correlate;
pub mod daemon;
pub mod deliver;
pub mod detection;
pub mod dns;
mod forecast;
mod gap;
pub mod generation;
pub mod guest;
pub mod hashes;
pub mod history;
pub mod hits;
pub mod host_facts;
mod intake;
mod keeper;
pub mod kind;
pub mod lane;
pub mod ledger;
pub mod live;
pub mod mutate;
pub mod notice;
pub mod offline;
pub mod pipeline;
pub mod privilege;
pub mod process;
pub mod queue;
pub mod reload;
pub mod roster;
pub mod ruletest;
pub mod sensor;
pub mod slab;
pub mod text;
pub mod tune;
pub mod units;
pub mod vendor;
pub mod watch;
mod whole;
