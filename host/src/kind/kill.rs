//! A process sends a signal.

use picket_ebpf::Record;
use picket_ebpf::kind::kill::Kill;

use super::call::Target;
use super::{Field, Kind, Type, call, derive_nothing};
use crate::slab::{Cell, Slab};

pub(super) static KIND: Kind = Kind {
    name: "kill",
    doc: "a process sends a signal, by whichever call; Tracee's event is the kill call only. Threads of one process that signal each other are left out",
    event_id: call::number(62, 129),
    record: picket_ebpf::Kind::Kill as u16,
    narrow: 0,
    lifecycle: false,
    fields: &FIELDS,
    sources: &[],
    repeat_key: None,
    decode,
    derive: derive_nothing,
};

static FIELDS: [Field; 4 + call::TARGETS] = {
    let [pid, uid, name, exe] = call::TARGET;
    [
        Field::new(
            "pid",
            Type::Signed,
            "process (or thread, or group) as the caller numbers it; null when it has no number there",
        ),
        Field::new("sig", Type::Signed, "signal, 0 to ask only"),
        call::CALL,
        Field::new("Success", Type::Bool, "the signal was sent").optional(),
        pid,
        uid,
        name,
        exe,
    ]
};

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Kill>() else { return };
    if body.pid_known == 1 {
        cells[0] = Cell::Signed(i64::from(body.pid));
    }
    cells[1] = Cell::Signed(i64::from(body.sig));
    cells[2] = call::name(slab, Kill::CALLS, body.call);
    cells[3] = Cell::Bool(body.result == 0);
    if body.target_known == 1 {
        let exe = record.slice(Kill::TARGET_EXE).present();
        let target = Target { pid: body.target_pid, uid: body.target_uid, comm: body.target_comm, exe };
        call::target(&target, slab, &mut cells[4..]);
    }
}
