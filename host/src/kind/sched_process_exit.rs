//! A process ends.

use picket_ebpf::Record;
use picket_ebpf::kind::sched_process_exit::Exit;

use super::{Field, Kind, LogSource, Rows, Type, derive_nothing};
use crate::slab::{Cell, Slab};

pub(super) static KIND: Kind = Kind {
    name: "sched_process_exit",
    short: "exit",
    line: "code={exit_code} signal={signal_code?}",
    doc: "a process ends: its last thread is gone",
    event_id: 716,
    record: picket_ebpf::Kind::SchedProcessExit as u16,
    narrow: 0,
    lifecycle: true,
    fields: &[
        Field::new("exit_code", Type::Signed, "exit status"),
        Field::new("signal_code", Type::Signed, "signal that ended it, 0 = none"),
        Field::new("process_group_exit", Type::Bool, "the whole process is gone"),
        Field::new("core_dumped", Type::Bool, "the signal made it leave a core dump").optional(),
        Field::new("run_time", Type::Unsigned, "from its start to its end, ns").optional(),
    ],
    sources: &[LogSource { category: "process_termination", rows: Rows::All }],
    repeat_key: None,
    decode,
    derive: derive_nothing,
};

/// In a status as wait(2) encodes it: a core was dumped.
const CORE: u32 = 0x80;

fn decode(record: &Record<'_>, _: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Exit>() else { return };
    cells[0] = Cell::Signed(i64::from(body.exit_code >> 8 & 0xff));
    cells[1] = Cell::Signed(i64::from(body.exit_code & 0x7f));
    cells[2] = Cell::Bool(true);
    cells[3] = Cell::Bool(body.exit_code & CORE != 0);
    let h = record.header();
    cells[4] = Cell::Unsigned(h.time.saturating_sub(h.leader_start));
}
