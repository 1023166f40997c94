//! The targets are those that the engine's tests run over the same corpora.

#[path = "../../guests/sigma/engine/tests/common/mod.rs"]
mod common;
#[path = "../../guests/sigma/engine/tests/targets/correlation.rs"]
pub mod correlation;
#[path = "../../guests/sigma/engine/tests/common/correlation.rs"]
mod support;
#[path = "../../guests/sigma/engine/tests/targets/targets.rs"]
pub mod targets;
