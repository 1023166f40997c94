//! A process reaches into another.

use picket_ebpf::Record;
use picket_ebpf::kind::ptrace::Ptrace;

use super::call::Target;
use super::{Field, Kind, LogSource, Rows, Type, call, derive_nothing};
use crate::slab::{Cell, Slab};

pub(super) static KIND: Kind = Kind {
    name: "ptrace",
    short: "ptrace",
    line: "{request_name|call} {target_pid|pid} {target_exe|target_name}",
    doc: "a process begins to trace another, changes it, or reads or writes its memory; Tracee's event is every ptrace call. Memory reached through /proc/PID/mem is an open",
    event_id: call::number(101, 117),
    record: picket_ebpf::Kind::Ptrace as u16,
    narrow: 0,
    lifecycle: false,
    fields: &FIELDS,
    sources: &[LogSource { category: "process_access", rows: Rows::Where(has_target) }],
    repeat_key: None,
    decode,
    derive: derive_nothing,
};

static FIELDS: [Field; 7 + call::TARGETS] = {
    let [pid, uid, name, exe] = call::TARGET;
    [
        Field::new("request", Type::Unsigned, "PTRACE_* number; null for the calls that read or write memory"),
        Field::new("pid", Type::Signed, "process or thread as the caller numbers it"),
        Field::new("addr", Type::Unsigned, "address argument; null likewise"),
        Field::new("data", Type::Unsigned, "data argument; null likewise"),
        call::CALL,
        Field::new("request_name", Type::Text, "PTRACE_* name of the request").optional(),
        Field::new("Success", Type::Bool, "the call succeeded").optional(),
        pid,
        uid,
        name,
        exe,
    ]
};

/// The requests that are reported.
const REQUESTS: [(u64, &str); 9] = [
    (0, "PTRACE_TRACEME"),
    (4, "PTRACE_POKETEXT"),
    (5, "PTRACE_POKEDATA"),
    (6, "PTRACE_POKEUSR"),
    (13, "PTRACE_SETREGS"),
    (15, "PTRACE_SETFPREGS"),
    (16, "PTRACE_ATTACH"),
    (0x4205, "PTRACE_SETREGSET"),
    (0x4206, "PTRACE_SEIZE"),
];

/// Who asks to be traced by its parent reaches into nobody.
fn has_target(slab: &Slab, row: usize) -> bool {
    slab.own_cells(row)[0] != Cell::Unsigned(0)
}

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Ptrace>() else { return };
    if body.call == 0 {
        cells[0] = Cell::Unsigned(body.request);
        cells[2] = Cell::Unsigned(body.addr);
        cells[3] = Cell::Unsigned(body.data);
        if let Some((_, name)) = REQUESTS.iter().find(|(number, _)| *number == body.request) {
            cells[5] = slab.text(name.as_bytes());
        }
    }
    cells[1] = Cell::Signed(i64::from(body.pid));
    cells[4] = call::name(slab, Ptrace::CALLS, body.call);
    cells[6] = Cell::Bool(body.result >= 0);
    if body.target_known == 1 {
        let exe = record.slice(Ptrace::TARGET_EXE).present();
        let target = Target { pid: body.target_pid, uid: body.target_uid, comm: body.target_comm, exe };
        call::target(&target, slab, &mut cells[7..]);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind::call::tests::event;

    #[test]
    fn only_ptrace_has_a_request() {
        let body = Ptrace {
            request: 0x4206,
            addr: 0,
            data: 1,
            result: 0,
            pid: 9,
            call: 0,
            reserved: [0; 3],
            target_start: 0,
            target_pid: 0,
            target_uid: 0,
            target_comm: [0; 16],
            target_known: 0,
            reserved2: [0; 7],
        };
        let kind = picket_ebpf::Kind::Ptrace;
        let wanted = json!({"request": 0x4206, "pid": 9, "addr": 0, "data": 1, "call": "ptrace", "request_name": "PTRACE_SEIZE",
            "Success": true});
        assert_eq!(event(kind, body, &[None]).to_string(), wanted.to_string());
        let write = Ptrace { call: 2, result: -1, ..body };
        let wanted = json!({"request": null, "pid": 9, "addr": null, "data": null, "call": "process_vm_writev", "Success": false});
        assert_eq!(event(kind, write, &[None]).to_string(), wanted.to_string());
    }
}
