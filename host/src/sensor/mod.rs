//! Where events come from. Only bytes and file descriptors cross this boundary, so that it can become its own process.

pub mod ebpf;
pub mod replay;

pub use ebpf::SensorError;

/// One input, as its source delivers it.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A kernel record.
    Record(&'a [u8]),
    /// A line of NDJSON with its number from 1.
    Line { number: u64, text: &'a str },
}
