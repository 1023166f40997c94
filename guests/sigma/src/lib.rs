//! The Sigma guest: thin glue between the guest interface and the engine, [`picket_sigma`].
//!
//! Rules come in as data, each stream of the compiled set becomes a subscription, each rule an analytic. Matching keeps no
//! state between rows, so any number of replicas may share the work; what they find goes to one more instance, which
//! correlates it.

#[cfg(not(target_arch = "wasm32"))]
pub mod schema;
pub mod settings;

#[cfg(target_arch = "wasm32")]
mod correlate;
#[cfg(target_arch = "wasm32")]
mod guest;
