//! A process is created.

use picket_ebpf::Record;
use picket_ebpf::kind::sched_process_fork::Fork;

use super::{Field, Kind, Type, derive_nothing};
use crate::slab::{Cell, Slab};

pub(super) static KIND: Kind = Kind {
    name: "sched_process_fork",
    short: "fork",
    line: "child={child_pid}",
    doc: "a process is created (threads are not reported)",
    event_id: 714,
    record: picket_ebpf::Kind::SchedProcessFork as u16,
    narrow: 0,
    lifecycle: true,
    fields: &[
        Field::new("parent_tid", Type::Signed, "thread that forked, on the host"),
        Field::new("parent_ns_tid", Type::Signed, "the same in its pid namespace"),
        Field::new("parent_pid", Type::Signed, "process that forked, on the host"),
        Field::new("parent_ns_pid", Type::Signed, "the same in its pid namespace"),
        Field::new("parent_start_time", Type::Unsigned, "start of the parent, ns since boot"),
        Field::new("child_tid", Type::Signed, "first thread of the child, on the host"),
        Field::new("child_ns_tid", Type::Signed, "the same in its pid namespace"),
        Field::new("child_pid", Type::Signed, "child, on the host"),
        Field::new("child_ns_pid", Type::Signed, "the same in its pid namespace"),
        Field::new("start_time", Type::Unsigned, "start of the child, ns since boot"),
    ],
    sources: &[],
    repeat_key: None,
    decode,
    derive: derive_nothing,
};

fn decode(record: &Record<'_>, _: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Fork>() else { return };
    let h = record.header();
    let ids = [
        (0, h.tid),
        (1, h.ns_tid),
        (2, h.pid),
        (3, h.ns_pid),
        (5, body.child_pid),
        (6, body.child_ns_pid),
        (7, body.child_pid),
        (8, body.child_ns_pid),
    ];
    for (cell, id) in ids {
        cells[cell] = Cell::Signed(i64::from(id));
    }
    cells[4] = Cell::Unsigned(h.leader_start);
    cells[9] = Cell::Unsigned(body.child_start);
}
