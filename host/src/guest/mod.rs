//! Guests: Wasm components behind the typed interface of `wit/`. The only room that knows wasmtime.
//!
//! A [`Runtime`] compiles a [`Component`]; [`load`] prepares, binds and starts its instances; each [`Instance`] is moved to a thread of its
//! own and is given slabs. A guest has no file, socket, clock or environment, and no call of it is waited for without a deadline.
//!
//! When a call traps, a pre-initialised spare runs the slab once more, one row per call, so that one poison row costs one row. Traps that
//! repeat make the guest rest, for longer each time (see [`Breaker`](breaker::Breaker)).

mod bindings;
mod breaker;
mod context;
mod correlator;
mod engine;
mod enriched;
mod error;
mod instance;
mod interner;
mod limits;
mod live;
mod load;
mod memory;
#[cfg(test)]
mod memory_tests;
mod outcome;
mod plan;
mod probe;
mod project;
mod state;
#[cfg(test)]
mod tests;

pub use correlator::Correlator;
pub use engine::{Component, Runtime, RuntimeOptions};
pub use enriched::{Enriched, OwnedValue};
pub use error::{GuestError, LoadError};
pub use instance::{EnrichHandled, Handled, Instance};
pub use limits::{Limits, thread_cpu};
pub use load::{Explainer, File, Guest, Loaded, Node, Setup, load};
pub use memory::{Kept, Place, numbered};
pub use plan::{DetectionField, DetectionStream, Plan, Subscription};
pub use probe::SPEAKS;

/// What a guest is: decided by what it exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum World {
    /// Reports detections.
    Detector,
    /// Adds columns to events.
    Enricher,
    /// Turns alerts into payloads.
    Formatter,
}

impl World {
    pub fn name(self) -> &'static str {
        match self {
            World::Detector => "detector",
            World::Enricher => "enricher",
            World::Formatter => "formatter",
        }
    }
}

/// Larger components are not compiled: Python guests have 18 MB, JavaScript ones 12 MB.
pub const MAX_COMPONENT_BYTES: usize = 64 << 20;
