//! Which kinds become audit records, and how: the one place where this view names other kinds.
//!
//! Kinds and fields are looked up by name. What a build does not have is not mapped, so this table may be ahead of it.
//! Left out on purpose: mappings of files as code (every library of every program), changes of credentials (audit has
//! them as system calls), and kinds whose operation another kind here shows with more truth.

use super::super::{KINDS, Kind, KindId};

/// One kind and the records it becomes: SYSCALL always, the others for the fields that are given.
#[derive(Debug)]
pub struct Feed {
    pub kind: &'static str,
    /// The system call. A hook sees an operation, not its spelling: this is the oldest name of the family.
    pub call: &'static str,
    /// Field that names the very call, where one does.
    pub call_in: &'static str,
    /// Field that says whether the call succeeded. Empty: the kind means success.
    pub success: &'static str,
    /// A success returns 0, and not a descriptor or the like.
    pub zero: bool,
    /// Arguments of the call that are a field: position, field.
    pub args: &'static [(usize, &'static str)],
    /// Field with the arguments of a program: EXECVE.
    pub argv: &'static str,
    /// Field with the working directory: CWD.
    pub cwd: &'static str,
    /// Field with the name of a kernel module: `KERN_MODULE`.
    pub module: &'static str,
    pub paths: &'static [Path],
    /// Field without which the event changes nothing.
    pub change: &'static str,
}

/// A PATH record.
#[derive(Debug)]
pub struct Path {
    /// Field with the path, resolved.
    pub name: &'static str,
    /// Field with the path as it was passed: where that is absolute and another, there is a record with each, because rules
    /// name one or the other (`/var/run` and `/run`).
    pub also: &'static str,
    pub inode: &'static str,
    pub dev: &'static str,
    pub mode: &'static str,
    pub nametype: NameType,
}

#[derive(Clone, Copy, Debug)]
pub enum NameType {
    Normal,
    Create,
    Delete,
    /// Create where this field is true, else normal.
    CreateIf(&'static str),
}

const CALL: Feed = Feed {
    kind: "",
    call: "",
    call_in: "call",
    success: "",
    zero: false,
    args: &[],
    argv: "",
    cwd: "",
    module: "",
    paths: &[],
    change: "",
};

const PATH: Path =
    Path { name: "pathname", also: "", inode: "inode", dev: "dev", mode: "", nametype: NameType::Normal };

/// A path of which nothing else is known.
const fn name_only(name: &'static str) -> Path {
    Path { name, inode: "", dev: "", ..PATH }
}

pub static FEEDS: &[Feed] = &[
    Feed {
        kind: "sched_process_exec",
        call: "execve",
        zero: true,
        argv: "argv",
        cwd: "pwd",
        paths: &[
            Path { also: "cmdpath", mode: "inode_mode", ..PATH },
            Path { name: "interpreter_pathname", inode: "interpreter_inode", dev: "interpreter_dev", ..PATH },
        ],
        ..CALL
    },
    Feed {
        kind: "security_file_open",
        call: "open",
        paths: &[Path { also: "syscall_pathname", nametype: NameType::CreateIf("created"), ..PATH }],
        change: "FileOp",
        ..CALL
    },
    Feed { kind: "security_socket_connect", call: "connect", success: "Success", args: &[(0, "sockfd")], ..CALL },
    Feed { kind: "security_socket_bind", call: "bind", success: "Success", args: &[(0, "sockfd")], ..CALL },
    Feed {
        kind: "security_inode_unlink",
        call: "unlink",
        zero: true,
        paths: &[Path { nametype: NameType::Delete, ..PATH }],
        ..CALL
    },
    Feed { kind: "kill", call: "kill", success: "Success", args: &[(0, "pid"), (1, "sig")], ..CALL },
    Feed {
        kind: "chown",
        call: "chown",
        zero: true,
        args: &[(1, "owner"), (2, "group")],
        paths: &[name_only("pathname")],
        ..CALL
    },
    Feed {
        kind: "fchownat",
        call: "fchownat",
        zero: true,
        args: &[(0, "dirfd"), (2, "owner"), (3, "group")],
        paths: &[name_only("pathname")],
        ..CALL
    },
    Feed {
        kind: "mount",
        call: "mount",
        zero: true,
        args: &[(3, "mountflags")],
        paths: &[name_only("target")],
        ..CALL
    },
    Feed { kind: "ptrace", call: "ptrace", success: "Success", args: &[(0, "request"), (1, "pid")], ..CALL },
    Feed { kind: "switch_task_ns", call: "setns", success: "Success", ..CALL },
    Feed { kind: "module_load", call: "init_module", zero: true, module: "name", ..CALL },
    Feed { kind: "module_free", call: "delete_module", zero: true, module: "name", ..CALL },
    Feed { kind: "memfd_create", call: "memfd_create", args: &[(1, "flags")], ..CALL },
    Feed { kind: "security_file_mprotect", call: "mprotect", success: "Success", args: &[(2, "prot")], ..CALL },
    Feed {
        kind: "security_inode_rename",
        call: "rename",
        zero: true,
        paths: &[
            Path { name: "old_path", nametype: NameType::Delete, ..PATH },
            Path { name: "new_path", nametype: NameType::Create, ..PATH },
        ],
        ..CALL
    },
    Feed {
        kind: "security_inode_link",
        call: "link",
        zero: true,
        paths: &[Path { name: "old_path", ..PATH }, Path { name: "new_path", nametype: NameType::Create, ..PATH }],
        ..CALL
    },
    Feed {
        kind: "security_inode_symlink",
        call: "symlink",
        zero: true,
        paths: &[Path { name: "linkpath", nametype: NameType::Create, ..PATH }],
        ..CALL
    },
    Feed { kind: "chmod_common", call: "chmod", zero: true, paths: &[PATH], ..CALL },
    Feed {
        kind: "security_inode_mknod",
        call: "mknod",
        zero: true,
        paths: &[Path { name: "file_name", mode: "mode", dev: "file_dev", nametype: NameType::Create, ..PATH }],
        ..CALL
    },
    Feed { kind: "security_socket_accept", call: "accept", success: "Success", args: &[(0, "sockfd")], ..CALL },
    Feed {
        kind: "security_socket_listen",
        call: "listen",
        success: "Success",
        args: &[(0, "sockfd"), (1, "backlog")],
        ..CALL
    },
];

/// How a kind becomes audit records; `None` = it does not.
pub fn of(kind: KindId) -> Option<(&'static Kind, &'static Feed)> {
    let spec = kind.spec()?;
    Some((spec, FEEDS.iter().find(|f| f.kind == spec.name)?))
}

/// The kinds of this build that become audit records.
pub fn kinds() -> impl Iterator<Item = KindId> {
    (0..KINDS.len() as u16).map(KindId).filter(|k| of(*k).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that is not there maps nothing, silently: only this finds a slip. Fields that merely add to a record may be
    /// missing; those that a record is about may not.
    #[test]
    fn what_records_are_about_is_there() {
        assert!(kinds().count() >= 5);
        for (kind, feed) in kinds().filter_map(of) {
            let about = [feed.argv, feed.cwd, feed.module, feed.change];
            let arguments = feed.args.iter().map(|(_, field)| *field);
            for name in about.into_iter().chain(arguments).chain(feed.paths.iter().map(|p| p.name)) {
                assert!(name.is_empty() || kind.fields.iter().any(|f| f.path == name), "{}: {name}", kind.name);
            }
            assert!(feed.args.iter().all(|(at, _)| *at < 4), "{}: a system call has a0 to a3 in its record", kind.name);
        }
    }

    #[test]
    fn each_kind_is_mapped_once() {
        for (i, feed) in FEEDS.iter().enumerate() {
            assert!(FEEDS[..i].iter().all(|f| f.kind != feed.kind), "{}", feed.kind);
        }
    }
}
