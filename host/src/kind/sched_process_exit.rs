//! A process ends.

use picket_ebpf::Record;
use picket_ebpf::kind::sched_process_exit::Exit;

use super::{Field, Kind, Type, derive_nothing};
use crate::slab::{Cell, Slab};

pub(super) static KIND: Kind = Kind {
    name: "sched_process_exit",
    doc: "a process ends: its last thread is gone",
    event_id: 716,
    record: picket_ebpf::Kind::SchedProcessExit as u16,
    narrow: 0,
    lifecycle: true,
    fields: &[
        Field::new("exit_code", Type::Signed, "exit status"),
        Field::new("signal_code", Type::Signed, "signal that ended it, 0 = none"),
        Field::new("process_group_exit", Type::Bool, "the whole process is gone"),
    ],
    sources: &[],
    repeat_key: None,
    decode,
    derive: derive_nothing,
};

fn decode(record: &Record<'_>, _: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Exit>() else { return };
    cells[0] = Cell::Signed(i64::from(body.exit_code >> 8 & 0xff));
    cells[1] = Cell::Signed(i64::from(body.exit_code & 0x7f));
    cells[2] = Cell::Bool(true);
}
