//! A process goes into other namespaces.

use picket_ebpf::Record;
use picket_ebpf::kind::switch_task_ns::SwitchTaskNs;

use super::{Field, Kind, Type, call, derive_nothing};
use crate::slab::{Cell, Slab};

pub(super) static KIND: Kind = Kind {
    name: "switch_task_ns",
    doc: "a process goes into other namespaces, with setns or unshare",
    event_id: 726,
    record: picket_ebpf::Kind::SwitchTaskNs as u16,
    narrow: 0,
    lifecycle: false,
    fields: &[
        Field::new("pid", Type::Signed, "thread that did it, on the host"),
        Field::new(
            "new_mnt",
            Type::Unsigned,
            "mount namespace; null, as all of these, where the call was not about it",
        ),
        Field::new("new_pid", Type::Unsigned, "pid namespace of the children to come"),
        Field::new("new_uts", Type::Unsigned, "UTS namespace"),
        Field::new("new_ipc", Type::Unsigned, "IPC namespace"),
        Field::new("new_net", Type::Unsigned, "network namespace"),
        Field::new("new_cgroup", Type::Unsigned, "cgroup namespace"),
        call::CALL,
        Field::new("flags", Type::Unsigned, "CLONE_NEW* flags as passed").optional(),
        Field::new("user", Type::Unsigned, "user namespace, where the call was about it").optional(),
    ],
    sources: &[],
    repeat_key: None,
    decode,
    derive: derive_nothing,
};

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<SwitchTaskNs>() else { return };
    cells[0] = Cell::Signed(i64::from(record.header().tid));
    for (cell, number) in cells[1..].iter_mut().zip([body.mnt, body.pid, body.uts, body.ipc, body.net, body.cgroup]) {
        if number != 0 {
            *cell = Cell::Unsigned(u64::from(number));
        }
    }
    cells[7] = call::name(slab, SwitchTaskNs::CALLS, body.call);
    cells[8] = Cell::Unsigned(body.flags);
    if body.user != 0 {
        cells[9] = Cell::Unsigned(u64::from(body.user));
    }
}
