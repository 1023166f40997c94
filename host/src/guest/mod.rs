//! Guests: Wasm components behind the typed interface of `wit/`. The only room that knows wasmtime.
