//! The typed interface of `wit/0.1.0`, as seen from the host.
//!
//! One world of every interface, not the four of the package: so the worlds share their types, and an export is probed on its own.

#![allow(clippy::pedantic, missing_docs, reason = "generated from wit/ by wasmtime")]

wasmtime::component::bindgen!({
    path: "../wit/0.1.0",
    inline: "
        package picket:host;
        world every-guest {
            import picket:guest/types@0.1.0;
            import picket:guest/host@0.1.0;
            import picket:guest/lookup@0.1.0;
            import picket:guest/state@0.1.0;
            export picket:guest/detector@0.1.0;
            export picket:guest/enricher@0.1.0;
            export picket:guest/explain@0.1.0;
            export picket:guest/memory@0.1.0;
        }
    ",
    additional_derives: [PartialEq],
});

pub use exports::picket::guest::{detector, enricher, explain, memory};
pub use picket::guest::{host, lookup, state, types};
