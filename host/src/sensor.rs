//! Sources of records. Only bytes and file descriptors leave this room, so that it can become a
//! process of its own.

pub mod ebpf;
