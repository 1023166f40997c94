//! A process goes into other namespaces.

use picket_ebpf::Record;
use picket_ebpf::kind::switch_task_ns::SwitchTaskNs;

use super::{Field, Kind, Type, call, derive_nothing};
use crate::slab::{Cell, Slab};

pub(super) static KIND: Kind = Kind {
    name: "switch_task_ns",
    short: "ns",
    line: "mnt={new_mnt} pid={new_pid} net={new_net} uts={new_uts} ipc={new_ipc} cgroup={new_cgroup} user={user}",
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind::call::tests::event;

    #[test]
    fn what_the_call_was_not_about_is_null() {
        let body = SwitchTaskNs {
            flags: 0x1000_0000,
            mnt: 0,
            pid: 0,
            uts: 5,
            ipc: 0,
            net: 0,
            cgroup: 0,
            user: 8,
            call: 0,
            reserved: [0; 3],
        };
        let wanted = json!({"pid": 0, "new_mnt": null, "new_pid": null, "new_uts": 5, "new_ipc": null, "new_net": null,
            "new_cgroup": null, "call": "unshare", "flags": 0x1000_0000, "user": 8});
        assert_eq!(event(picket_ebpf::Kind::SwitchTaskNs, body, &[]).to_string(), wanted.to_string());
    }
}
