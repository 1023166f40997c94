//! The kernel side of Picket, seen from Rust: what a record looks like, which kinds exist, and the
//! bytes of the BPF object that writes them.
//!
//! This crate does no I/O and knows nothing of aya: the sensor loads [`OBJECT`] and hands over the
//! bytes of each record; [`Record::parse`] turns them into typed values without copying the tail.
//!
//! ```text
//! | Header (192 B) | body of the kind | slice table | tail: paths, argv, addresses |
//! ```
//!
//! Every variable part is a [`Slice`]: where it lies, how long it was before it was cut, and whether
//! it is whole, cut, unreadable or absent. A part that does not fit never moves the ones behind it.
//!
//! The C side is `record.h` and `kind/<kind>.bpf.c`; `tests/layout.rs` compares both through the BTF
//! that clang wrote into the object.

mod bodies;
mod control;
pub mod kind;
mod record;

pub use bodies::Dns;
pub use control::{
    Binary, Config, Dropped, Filtered, Filters, Interest, KindCounters, PathClasses, PathState, PathWish, Rung,
    Throttled,
};
pub use kind::{Class, Kind, Tracepoint};
pub use record::{
    Flags, Header, Hook, Layout, Malformed, RawSlice, Record, Slice, SliceFlags, Status, TaskFacts, VERSION, bytes_of,
};

/// Bytes aligned as an ELF reader expects them.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/picket.bpf.o")));

/// The BPF object: ELF with BTF and CO-RE relocations.
///
/// Its programs are named `<kind>__<rung>[_return][__<attach target>]`; the kind's own name is the
/// target where none is given, and `shared` stands for all kinds.
pub static OBJECT: &[u8] = &ALIGNED.0;

/// Names of the object's programs, sorted: where each kind is looked at.
pub fn programs() -> Vec<&'static str> {
    let is_program = |text: &&str| {
        text.split_once("__").is_some_and(|(kind, rest)| {
            (kind == "shared" || Kind::from_name(kind).is_some())
                && ["kprobe", "tracepoint", "iter"].iter().any(|rung| rest.starts_with(rung))
        })
    };
    let mut names: Vec<&str> =
        OBJECT.split(|&b| b == 0).filter_map(|text| std::str::from_utf8(text).ok()).filter(is_program).collect();
    names.sort_unstable();
    names.dedup();
    names
}
