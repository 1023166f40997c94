//! Event kinds: one file per kind with its decoding, its field table and its fixture.
//!
//! To add a kind: write `kind/<name>.rs`, then add it to `mod` and [`KINDS`] below (and the kernel side in `host-ebpf/src/kind/`).

use picket_ebpf::Record;

use crate::slab::{Cell, Slab};

mod auditd;
mod build;
mod call;
mod catalogue;
mod decode;
mod field;
mod given;
mod json;
mod line;
mod read;
mod system;

mod bpf_attach;
mod chmod_common;
mod chown;
mod commit_creds;
mod dns;
mod fchownat;
mod kill;
mod loss;
mod memfd_create;
mod module_free;
mod module_load;
mod mount;
mod net_packet_dns_request;
mod net_packet_dns_response;
mod net_udp_send;
mod ptrace;
mod sched_process_exec;
mod sched_process_exit;
mod sched_process_fork;
mod security_file_mprotect;
mod security_file_open;
mod security_inode_link;
mod security_inode_mknod;
mod security_inode_rename;
mod security_inode_symlink;
mod security_inode_unlink;
mod security_mmap_file;
mod security_socket_accept;
mod security_socket_bind;
mod security_socket_connect;
mod security_socket_listen;
mod sockaddr;
mod socket_dup;
mod switch_task_ns;
mod unlink;

pub use auditd::Opens;
pub(crate) use auditd::append as audit_records;
pub use build::{BuildError, alter, build};
pub use catalogue::{Availability, Bound, Catalogue, EnrichOutput, Op, Selection, Source, WhereClause};
pub(crate) use decode::join;
pub use decode::{DecodeError, Decoder};
pub use field::{Access, Field, ProcessField, Shape, Type};
pub use json::{render, render_into, time_text};
pub use line::Line;
pub(crate) use loss::{KIND as LOSS, Loss};
pub use read::read;
pub(crate) use read::{find, leaves, nested_leaves, process_key};
pub(crate) use sched_process_exec::{argv, env};
pub use system::SYSTEM;

/// Every kind this build knows, in the order of [`KindId`].
pub static KINDS: &[&Kind] = &[
    &sched_process_exec::KIND,
    &sched_process_fork::KIND,
    &sched_process_exit::KIND,
    &security_file_open::KIND,
    &security_socket_connect::KIND,
    &security_socket_bind::KIND,
    &security_inode_unlink::KIND,
    &kill::KIND,
    &chown::KIND,
    &fchownat::KIND,
    &unlink::KIND,
    &mount::KIND,
    &ptrace::KIND,
    &switch_task_ns::KIND,
    &commit_creds::KIND,
    &module_load::KIND,
    &module_free::KIND,
    &bpf_attach::KIND,
    &memfd_create::KIND,
    &security_mmap_file::KIND,
    &security_file_mprotect::KIND,
    &security_inode_rename::KIND,
    &security_inode_link::KIND,
    &security_inode_symlink::KIND,
    &chmod_common::KIND,
    &security_inode_mknod::KIND,
    &security_socket_accept::KIND,
    &security_socket_listen::KIND,
    &net_udp_send::KIND,
    &net_packet_dns_request::KIND,
    &net_packet_dns_response::KIND,
    &socket_dup::KIND,
    &loss::KIND,
    &auditd::KIND,
];

/// Index into [`KINDS`], or [`KindId::FOREIGN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KindId(pub u16);

impl KindId {
    /// JSON of a kind that no table describes: every field is looked up in the JSON itself.
    pub const FOREIGN: KindId = KindId(u16::MAX);

    pub fn spec(self) -> Option<&'static Kind> {
        KINDS.get(self.0 as usize).copied()
    }

    pub fn by_name(name: &str) -> Option<KindId> {
        KINDS.iter().position(|k| k.name == name).map(|i| KindId(i as u16))
    }

    /// Whether its rows are made from those of other kinds: no hook has it, and only who names it gets it.
    pub fn is_derived(self) -> bool {
        self.spec().is_some_and(|k| std::ptr::eq(k, &raw const auditd::KIND))
    }

    /// The kind of a kernel record.
    pub fn by_record(number: u16) -> Option<KindId> {
        KINDS.iter().position(|k| k.record == number).map(|i| KindId(i as u16))
    }
}

/// Everything Picket knows about one kind.
pub struct Kind {
    /// Tracee's name, as in the model.
    pub name: &'static str,
    /// What people call it, at most eight characters.
    pub short: &'static str,
    /// What an event is about, for its line in `picket tail` and the console: see [`Line`].
    pub line: &'static str,
    pub doc: &'static str,
    /// `System.EventID` on this architecture: data, never a key (it changed between Tracee versions).
    pub event_id: u32,
    /// The kind number in a kernel record.
    pub record: u16,
    /// Filters of the kernel side that lose none of the rows of the log sources below.
    pub narrow: u32,
    /// Lifecycle kinds feed the process table; they are always collected and only those listed in a log source reach guests.
    pub lifecycle: bool,
    /// The event's arguments in Tracee's order, then our own additions.
    pub fields: &'static [Field],
    /// Log sources besides `ebpf/linux`, each with the rows of this kind that belong to it.
    pub sources: &'static [LogSource],
    /// For rows that repeat without news: rows with equal keys within a minute are one event of the kind's log sources.
    pub repeat_key: Option<fn(&Slab, usize) -> Option<u64>>,
    /// Fills the kind's cells from a record; `cells` has one slot per field.
    pub decode: fn(&Record<'_>, &mut Slab, &mut [Cell]),
    /// Derives cells from other cells, for records and JSON alike.
    pub derive: fn(&mut Slab, &mut [Cell]),
}

/// The rows of a kind that belong to a log source.
#[derive(Clone, Copy, Debug)]
pub enum Rows {
    All,
    Where(fn(&Slab, usize) -> bool),
    /// All, and too many to hand out: only with a `where` clause on the path.
    WithPath,
}

/// A log source a kind feeds: category and product are fixed, `rows` says which of its rows.
pub struct LogSource {
    pub category: &'static str,
    pub rows: Rows,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// For kinds that derive nothing.
fn derive_nothing(_: &mut Slab, _: &mut [Cell]) {}
