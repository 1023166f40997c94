//! Picket: collects kernel events, hands them to sandboxed guests, delivers their alerts.
pub mod sensor;
