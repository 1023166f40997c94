//! A process gets other credentials.

use picket_ebpf::kind::commit_creds::{CommitCreds, Creds};
use picket_ebpf::{Flags, Record};

use super::{Field, Kind, Type, call, derive_nothing};
use crate::slab::{Cell, Slab};

pub(super) static KIND: Kind = Kind {
    name: "commit_creds",
    short: "creds",
    line: "uid={old_cred.Euid}->{new_cred.Euid} +{capabilities_gained}",
    doc: "a process gets another user or group, more capabilities, or another user namespace; Tracee tells capabilities that go, too",
    event_id: 725,
    record: picket_ebpf::Kind::CommitCreds as u16,
    narrow: 0,
    lifecycle: false,
    fields: &FIELDS,
    sources: &[],
    repeat_key: None,
    decode,
    derive: derive_nothing,
};

/// Fields of one set of credentials.
const CREDS: usize = 15;

macro_rules! creds {
    ($of:literal) => {
        [
            Field::new(concat!($of, ".Uid"), Type::Unsigned, "real user id"),
            Field::new(concat!($of, ".Gid"), Type::Unsigned, "real group id"),
            Field::new(concat!($of, ".Suid"), Type::Unsigned, "saved user id"),
            Field::new(concat!($of, ".Sgid"), Type::Unsigned, "saved group id"),
            Field::new(concat!($of, ".Euid"), Type::Unsigned, "effective user id"),
            Field::new(concat!($of, ".Egid"), Type::Unsigned, "effective group id"),
            Field::new(concat!($of, ".Fsuid"), Type::Unsigned, "user id for file accesses"),
            Field::new(concat!($of, ".Fsgid"), Type::Unsigned, "group id for file accesses"),
            Field::new(concat!($of, ".UserNamespace"), Type::Unsigned, "user namespace"),
            Field::new(concat!($of, ".SecureBits"), Type::Unsigned, "securebits"),
            Field::new(concat!($of, ".CapInheritable"), Type::Unsigned, "inheritable capabilities, a bit each"),
            Field::new(concat!($of, ".CapPermitted"), Type::Unsigned, "permitted capabilities"),
            Field::new(concat!($of, ".CapEffective"), Type::Unsigned, "effective capabilities"),
            Field::new(concat!($of, ".CapBounding"), Type::Unsigned, "bounding set"),
            Field::new(concat!($of, ".CapAmbient"), Type::Unsigned, "ambient capabilities"),
        ]
    };
}

static FIELDS: [Field; 2 * CREDS + 2] = {
    let [o0, o1, o2, o3, o4, o5, o6, o7, o8, o9, o10, o11, o12, o13, o14] = creds!("old_cred");
    let [n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11, n12, n13, n14] = creds!("new_cred");
    let gained = Field::new(
        "capabilities_gained",
        Type::TextList,
        "capabilities that are permitted or effective now and were not",
    )
    .optional();
    [
        o0,
        o1,
        o2,
        o3,
        o4,
        o5,
        o6,
        o7,
        o8,
        o9,
        o10,
        o11,
        o12,
        o13,
        o14,
        n0,
        n1,
        n2,
        n3,
        n4,
        n5,
        n6,
        n7,
        n8,
        n9,
        n10,
        n11,
        n12,
        n13,
        n14,
        call::CALL,
        gained,
    ]
};

/// The capabilities by number.
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<CommitCreds>() else { return };
    fill(&body.before, cells);
    fill(&body.after, &mut cells[CREDS..]);
    if let Some(name) = call_name(body.call, record.flags().has(Flags::COMPAT)) {
        cells[2 * CREDS] = slab.text(name.as_bytes());
    }
    let (before, after) = (&body.before, &body.after);
    let gained = (after.permitted & !before.permitted) | (after.effective & !before.effective);
    if gained != 0 {
        let names = CAPABILITIES.iter().enumerate().filter(|(bit, _)| gained >> bit & 1 == 1);
        cells[2 * CREDS + 1] = slab.list(names.map(|(_, name)| name.as_bytes()));
    }
}

fn fill(creds: &Creds, cells: &mut [Cell]) {
    let ids = [
        creds.uid,
        creds.gid,
        creds.suid,
        creds.sgid,
        creds.euid,
        creds.egid,
        creds.fsuid,
        creds.fsgid,
        creds.user_ns,
        creds.securebits,
    ];
    let sets = [creds.inheritable, creds.permitted, creds.effective, creds.bounding, creds.ambient];
    let values = ids.into_iter().map(u64::from).chain(sets);
    for (cell, value) in cells.iter_mut().zip(values) {
        *cell = Cell::Unsigned(value);
    }
}

/// What changed them, where the hook knows it.
fn call_name(call: u32, compat: bool) -> Option<&'static str> {
    if call == CommitCreds::EXEC {
        return Some("exec");
    }
    let find =
        |calls: &[(i64, &'static str)]| calls.iter().find(|(nr, _)| *nr == i64::from(call)).map(|(_, name)| *name);
    if compat { find(&COMPAT) } else { find(&NATIVE) }
}

const NATIVE: [(i64, &str); 11] = [
    (libc::SYS_setuid, "setuid"),
    (libc::SYS_setgid, "setgid"),
    (libc::SYS_setreuid, "setreuid"),
    (libc::SYS_setregid, "setregid"),
    (libc::SYS_setresuid, "setresuid"),
    (libc::SYS_setresgid, "setresgid"),
    (libc::SYS_setfsuid, "setfsuid"),
    (libc::SYS_setfsgid, "setfsgid"),
    (libc::SYS_capset, "capset"),
    (libc::SYS_unshare, "unshare"),
    (libc::SYS_setns, "setns"),
];

/// The calls of 32-bit programs: each of those with ids in 16 and in 32 bits.
const COMPAT: [(i64, &str); 19] = [
    (23, "setuid"),
    (46, "setgid"),
    (70, "setreuid"),
    (71, "setregid"),
    (138, "setfsuid"),
    (139, "setfsgid"),
    (164, "setresuid"),
    (170, "setresgid"),
    (185, "capset"),
    (203, "setreuid"),
    (204, "setregid"),
    (208, "setresuid"),
    (210, "setresgid"),
    (213, "setuid"),
    (214, "setgid"),
    (215, "setfsuid"),
    (216, "setfsgid"),
    (call::number(310, 337) as i64, "unshare"),
    (call::number(346, 375) as i64, "setns"),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind::call::tests::event;

    #[test]
    fn both_sides_are_told_and_what_was_gained_is_named() {
        let before = Creds {
            uid: 1000,
            gid: 1001,
            suid: 1002,
            sgid: 1003,
            euid: 1004,
            egid: 1005,
            fsuid: 1006,
            fsgid: 1007,
            user_ns: 9,
            securebits: 0,
            inheritable: 0,
            permitted: 1 << 21,
            effective: 0,
            bounding: 3,
            ambient: 4,
        };
        let after = Creds { euid: 0, effective: 1 << 21 | 1 << 40, ..before };
        let kind = picket_ebpf::Kind::CommitCreds;
        let data = event(kind, CommitCreds { before, after, call: CommitCreds::EXEC, reserved: 0 }, &[]);
        let keys: Vec<&String> = data.as_object().into_iter().flat_map(|o| o.keys()).collect();
        assert_eq!(keys, ["old_cred", "new_cred", "call", "capabilities_gained"]);
        let old = json!({"Uid": 1000, "Gid": 1001, "Suid": 1002, "Sgid": 1003, "Euid": 1004, "Egid": 1005, "Fsuid": 1006,
            "Fsgid": 1007, "UserNamespace": 9, "SecureBits": 0, "CapInheritable": 0, "CapPermitted": 1 << 21,
            "CapEffective": 0, "CapBounding": 3, "CapAmbient": 4});
        assert_eq!(data["old_cred"].to_string(), old.to_string());
        assert_eq!(data["new_cred"]["Euid"], 0);
        assert_eq!(data["capabilities_gained"], json!(["CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE"]));
        assert_eq!(data["call"], "exec");
        let unknown = event(kind, CommitCreds { before, after, call: CommitCreds::ANY, reserved: 0 }, &[]);
        assert!(unknown.get("call").is_none());
    }

    #[test]
    fn calls_are_named_by_their_abi() {
        assert_eq!(call_name(libc::SYS_setresuid as u32, false), Some("setresuid"));
        assert_eq!(call_name(213, true), Some("setuid"));
        assert_eq!(call_name(213, false), None);
    }
}
