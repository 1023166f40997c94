//! A BPF program was put at a hook.

use crate::record::layout;

/// See [`super::Kind::blind_spot`].
pub(super) const BLIND_SPOT: &str = "BPF_PROG_ATTACH shows the program that the call named; helper functions are not known";
/// See [`super::Kind::tracepoint`].
pub(super) const TRACEPOINT: super::Tracepoint = super::Tracepoint::SystemCall;
/// See [`super::Kind::has_canary`].
pub(super) const CANARY: bool = false;

layout! {
    /// Body of `bpf_attach`.
    pub struct Attach = "attach_body" {
        /// Address of the probed function, where `address_known` is 1.
        pub symbol_address: u64,
        /// `BPF_PROG_TYPE_*`.
        pub prog_type: u32,
        /// Id of the program.
        pub prog_id: u32,
        /// `BPF_*` attach type the program was loaded for.
        pub expected_attach_type: u32,
        /// `BPF_LINK_TYPE_*`, where `link_known` is 1.
        pub link_type: u32,
        /// Tracee's number: 0 raw tracepoint, 1 tracepoint, 2 kprobe, 3 kretprobe, 4 uprobe, 5 uretprobe; -1 none of these, or not known.
        pub attach_type: i32,
        /// Whether the address is known.
        pub address_known: u8,
        /// Whether the call made a link.
        pub link_known: u8,
        /// Zero.
        pub reserved: [u8; 2],
    }
}

impl Attach {
    /// Slice: name of the program, at most 15 bytes.
    pub const PROG_NAME: usize = 0;
    /// Slice: name of the function or tracepoint it is at.
    pub const SYMBOL_NAME: usize = 1;
    /// Number of slices.
    pub const SLICES: usize = 2;
}
