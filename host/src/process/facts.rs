//! What a process may do and where it lives: capabilities and namespaces.

use picket_ebpf::TaskFacts;

/// Capabilities, a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    pub effective: u64,
    pub permitted: u64,
}

/// Names by number, from `linux/capability.h`.
const NAMES: [&str; 41] = [
    "cap_chown",
    "cap_dac_override",
    "cap_dac_read_search",
    "cap_fowner",
    "cap_fsetid",
    "cap_kill",
    "cap_setgid",
    "cap_setuid",
    "cap_setpcap",
    "cap_linux_immutable",
    "cap_net_bind_service",
    "cap_net_broadcast",
    "cap_net_admin",
    "cap_net_raw",
    "cap_ipc_lock",
    "cap_ipc_owner",
    "cap_sys_module",
    "cap_sys_rawio",
    "cap_sys_chroot",
    "cap_sys_ptrace",
    "cap_sys_pacct",
    "cap_sys_admin",
    "cap_sys_boot",
    "cap_sys_nice",
    "cap_sys_resource",
    "cap_sys_time",
    "cap_sys_tty_config",
    "cap_mknod",
    "cap_lease",
    "cap_audit_write",
    "cap_audit_control",
    "cap_setfcap",
    "cap_mac_override",
    "cap_mac_admin",
    "cap_syslog",
    "cap_wake_alarm",
    "cap_block_suspend",
    "cap_audit_read",
    "cap_perfmon",
    "cap_bpf",
    "cap_checkpoint_restore",
];

impl Caps {
    /// Calls `f` with the name of each capability in a mask; newer ones than this table have none.
    pub fn names(mask: u64, f: &mut dyn FnMut(&[u8])) {
        let named = NAMES.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1);
        named.for_each(|(_, name)| f(name.as_bytes()));
    }

    /// The mask of these names; what is no name is left out.
    pub fn mask<'n>(names: impl Iterator<Item = &'n [u8]>) -> u64 {
        let bit = |name: &[u8]| NAMES.iter().position(|n| name.eq_ignore_ascii_case(n.as_bytes()));
        names.filter_map(bit).fold(0, |mask, bit| mask | 1 << bit)
    }
}

/// The namespaces of a process, each by its inode number; 0 where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces([u32; 7]);

/// A kind of namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ns {
    Mnt,
    Pid,
    Net,
    User,
    Cgroup,
    Uts,
    Ipc,
}

impl Ns {
    /// Every kind with its name below `/proc/PID/ns`.
    pub const ALL: [(Ns, &'static str); 7] = [
        (Ns::Mnt, "mnt"),
        (Ns::Pid, "pid"),
        (Ns::Net, "net"),
        (Ns::User, "user"),
        (Ns::Cgroup, "cgroup"),
        (Ns::Uts, "uts"),
        (Ns::Ipc, "ipc"),
    ];
}

impl Namespaces {
    pub fn get(&self, ns: Ns) -> Option<u32> {
        Some(self.0[ns as usize]).filter(|&inode| inode != 0)
    }

    /// From what is known of each.
    pub fn new(of: impl Fn(Ns, &'static str) -> Option<u32>) -> Namespaces {
        Namespaces(Ns::ALL.map(|(ns, name)| of(ns, name).unwrap_or_default()))
    }
}

/// What a record says beyond its header.
pub(super) fn of(facts: &TaskFacts) -> (Caps, Option<u32>, Namespaces) {
    let inode = |ns, _| {
        Some(match ns {
            Ns::Mnt => facts.mnt_ns,
            Ns::Pid => facts.pid_ns,
            Ns::Net => facts.net_ns,
            Ns::User => facts.user_ns,
            Ns::Cgroup => facts.cgroup_ns,
            Ns::Uts => facts.uts_ns,
            Ns::Ipc => facts.ipc_ns,
        })
    };
    let session = Some(facts.session_leader).filter(|&pid| pid != 0);
    (Caps { effective: facts.cap_effective, permitted: facts.cap_permitted }, session, Namespaces::new(inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_masks_agree() {
        let mut names = Vec::new();
        Caps::names(1 << 21 | 1 << 39, &mut |name| names.push(name.to_vec()));
        assert_eq!(names, [b"cap_sys_admin".to_vec(), b"cap_bpf".to_vec()]);
        assert_eq!(Caps::mask(names.iter().map(Vec::as_slice)), 1 << 21 | 1 << 39);
        assert_eq!(Caps::mask([&b"CAP_CHOWN"[..], b"root"].into_iter()), 1);
    }

    #[test]
    fn what_is_not_known_is_absent() {
        let some = Namespaces::new(|ns, _| (ns == Ns::Net).then_some(7));
        assert_eq!((some.get(Ns::Net), some.get(Ns::Mnt)), (Some(7), None));
    }
}
