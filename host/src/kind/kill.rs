//! A process sends a signal.

use picket_ebpf::Record;
use picket_ebpf::kind::kill::Kill;

use super::call::Target;
use super::{Field, Kind, Type, call, derive_nothing};
use crate::slab::{Cell, Slab};

pub(super) static KIND: Kind = Kind {
    name: "kill",
    short: "kill",
    line: "sig={sig} to={target_pid|pid} {target_exe|target_name}",
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind::call::tests::event;

    #[test]
    fn a_target_is_told_where_it_was_found() {
        let mut comm = [0; 16];
        comm[..4].copy_from_slice(b"sshd");
        let body = Kill {
            pid: 12,
            sig: 15,
            result: 0,
            call: 2,
            pid_known: 1,
            reserved: 0,
            target_start: 1,
            target_pid: 4012,
            target_uid: 0,
            target_comm: comm,
            target_known: 1,
            reserved2: [0; 7],
        };
        let kind = picket_ebpf::Kind::Kill;
        let found = event(kind, body, &[Some((b"/usr/sbin/sshd", 0))]);
        let wanted = json!({"pid": 12, "sig": 15, "call": "tgkill", "Success": true, "target_pid": 4012, "target_uid": 0,
            "target_name": "sshd", "target_exe": "/usr/sbin/sshd"});
        assert_eq!(found.to_string(), wanted.to_string());
        let gone = Kill { pid_known: 0, result: -3, call: 3, target_known: 0, ..body };
        let wanted = json!({"pid": null, "sig": 15, "call": "pidfd_send_signal", "Success": false});
        assert_eq!(event(kind, gone, &[None]).to_string(), wanted.to_string());
    }
}
