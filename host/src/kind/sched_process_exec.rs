//! A program starts.

use picket_ebpf::kind::sched_process_exec::Exec;
use picket_ebpf::{Header, Record, SliceFlags, Status};

use super::{Field, Kind, LogSource, Rows, Type, derive_nothing, sockaddr};
use crate::slab::{Cell, Slab};

pub(super) static KIND: Kind = Kind {
    name: "sched_process_exec",
    short: "exec",
    line: "{argv[1..]} [{exe_flags}]",
    doc: "a program starts",
    event_id: 715,
    record: picket_ebpf::Kind::SchedProcessExec as u16,
    narrow: 0,
    lifecycle: true,
    fields: &[
        Field::new("cmdpath", Type::Text, "path as passed to exec"),
        Field::new("pathname", Type::Text, "resolved path of the executable"),
        Field::new("dev", Type::Unsigned, "device, (major << 20) | minor"),
        Field::new("inode", Type::Unsigned, "inode"),
        Field::new("ctime", Type::Unsigned, "change time of the inode, unix ns"),
        Field::new("inode_mode", Type::Unsigned, "mode of the inode"),
        Field::new("interpreter_pathname", Type::Text, "dynamic loader"),
        Field::new("interpreter_dev", Type::Unsigned, "device of the loader"),
        Field::new("interpreter_inode", Type::Unsigned, "inode of the loader"),
        Field::new("interpreter_ctime", Type::Unsigned, "change time of the loader, unix ns"),
        Field::new("argv", Type::TextList, "arguments"),
        Field::new("interp", Type::Text, "what the kernel runs: the interpreter of a script, else the file"),
        Field::new("stdin_type", Type::Unsigned, "file type of descriptor 0"),
        Field::new("stdin_path", Type::Text, "path behind descriptor 0"),
        Field::new("invoked_from_kernel", Type::Unsigned, "1 = started by the kernel itself"),
        Field::new("prev_comm", Type::Text, "comm before the exec"),
        Field::new(
            "env",
            Type::TextList,
            "LD_PRELOAD, LD_AUDIT, LD_LIBRARY_PATH and SSH_CONNECTION, those that are set; never any other",
        ),
        Field::new("pwd", Type::Text, "working directory at the exec").optional(),
        Field::new("argc", Type::Unsigned, "number of arguments").optional(),
        Field::new("truncated", Type::Unsigned, "bytes of arguments that were cut").optional(),
        Field::new("tty", Type::Text, "controlling terminal").optional(),
        Field::new("stdout_path", Type::Text, "path behind descriptor 1").optional(),
        Field::new("stderr_path", Type::Text, "path behind descriptor 2").optional(),
        Field::new("stdin_addr", Type::Text, "descriptor 0 is a socket: its peer, ip:port or unix:path").optional(),
        Field::new("stdout_addr", Type::Text, "the same of descriptor 1").optional(),
        Field::new("stderr_addr", Type::Text, "the same of descriptor 2").optional(),
        Field::new(
            "exe_flags",
            Type::TextList,
            "what is unusual about the executable: memfd, deleted, overlay_upper, writable, setuid, setgid, secure",
        )
        .optional(),
        Field::new("exe_owner", Type::Unsigned, "user id of the executable's owner").optional(),
        Field::new("env_truncated", Type::Bool, "the environment was too long to be looked through").optional(),
    ],
    sources: &[LogSource { category: "process_creation", rows: Rows::All }],
    repeat_key: None,
    decode,
    derive: derive_nothing,
};

/// The arguments of an exec record: the first 24 KiB, and the last 4 KiB of longer ones.
pub(crate) fn argv<'r>(record: &Record<'r>) -> Option<Vec<&'r [u8]>> {
    let head = record.slice(Exec::ARGV);
    let bytes = head.present()?;
    let argc = record.body::<Exec>().map_or(usize::MAX, |b| b.argc as usize);
    let mut items: Vec<&[u8]> = bytes.strip_suffix(&[0]).unwrap_or(bytes).split(|&b| b == 0).collect();
    if bytes.is_empty() {
        items.clear();
    }
    items.truncate(argc);
    if let Some(tail) = record.slice(Exec::ARGV_TAIL).present() {
        items.extend(tail.strip_suffix(&[0]).unwrap_or(tail).split(|&b| b == 0));
    }
    Some(items)
}

/// The variables of the environment that are collected, as `NAME=value`.
pub(crate) fn env<'r>(record: &Record<'r>) -> Option<impl Iterator<Item = &'r [u8]> + use<'r>> {
    let bytes = record.slice(Exec::ENV).present()?;
    Some(bytes.split(|&b| b == 0).filter(|item| !item.is_empty()))
}

/// What is unusual about the executable.
fn exe_flags(record: &Record<'_>, body: &Exec, h: &Header) -> impl Iterator<Item = &'static [u8]> + use<> {
    let path = record.slice(Exec::PATHNAME);
    let (mode, flag) = (body.mode, |bit: u16| body.exec_flags & bit != 0);
    let memfd = path.flags.has(SliceFlags::PSEUDO) && path.bytes.starts_with(b"memfd:");
    // Root may write everything; for others it says that they, or everybody, may replace what they run.
    let others =
        h.uid != 0 && ((body.owner == h.uid && mode & 0o200 != 0) || (body.group == h.gid && mode & 0o020 != 0));
    let writable = !memfd && !flag(Exec::READ_ONLY_MOUNT) && (others || mode & 0o002 != 0);
    let all: [(bool, &'static [u8]); 7] = [
        (memfd, b"memfd"),
        (path.flags.has(SliceFlags::DELETED), b"deleted"),
        (flag(Exec::OVERLAY_UPPER), b"overlay_upper"),
        (writable, b"writable"),
        (mode & 0o4000 != 0, b"setuid"),
        (mode & 0o2000 != 0, b"setgid"),
        (flag(Exec::SECURE), b"secure"),
    ];
    all.into_iter().filter_map(|(is, name)| is.then_some(name))
}

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Exec>() else { return };
    let mut text = |index: usize| record.slice(index).present().map_or(Cell::Absent, |b| slab.text(b));
    cells[0] = text(Exec::CMDPATH);
    cells[1] = text(Exec::PATHNAME);
    cells[11] = text(Exec::INTERP);
    cells[13] = text(Exec::STDIN_PATH);
    cells[15] = text(Exec::PREV_COMM);
    cells[17] = text(Exec::CWD);
    cells[20] = text(Exec::TTY);
    cells[2] = Cell::Unsigned(u64::from(body.dev));
    cells[3] = Cell::Unsigned(body.inode);
    cells[4] = Cell::Unsigned(body.ctime);
    cells[5] = Cell::Unsigned(u64::from(body.mode));
    // A static program has no loader: empty and 0, as the model writes it.
    cells[6] = match record.slice(Exec::INTERPRETER_PATHNAME).present() {
        Some(path) => slab.text(path),
        None => slab.text(b""),
    };
    cells[7] = Cell::Unsigned(u64::from(body.interpreter_dev));
    cells[8] = Cell::Unsigned(body.interpreter_inode);
    cells[9] = Cell::Unsigned(body.interpreter_ctime);
    if let Some(items) = argv(record) {
        cells[10] = slab.list(items.into_iter());
    }
    cells[12] = Cell::Unsigned(u64::from(body.stdin_type));
    cells[14] = Cell::Unsigned(u64::from(body.exec_flags & Exec::FROM_KERNEL));
    if let Some(items) = env(record) {
        cells[16] = slab.list(items);
    }
    cells[18] = Cell::Unsigned(u64::from(body.argc));
    let arguments = record.slice(Exec::ARGV);
    if arguments.status == Status::Truncated {
        let kept = arguments.bytes.len() + record.slice(Exec::ARGV_TAIL).bytes.len();
        cells[19] = Cell::Unsigned(u64::from(arguments.original).saturating_sub(kept as u64));
    }
    let mut text = |index: usize| record.slice(index).present().map_or(Cell::Absent, |b| slab.text(b));
    cells[21] = text(Exec::STDOUT_PATH);
    cells[22] = text(Exec::STDERR_PATH);
    cells[23] = sockaddr::text(record.slice(Exec::STDIN_ADDRESS), body.stdin_family, slab);
    cells[24] = sockaddr::text(record.slice(Exec::STDOUT_ADDRESS), body.stdout_family, slab);
    cells[25] = sockaddr::text(record.slice(Exec::STDERR_ADDRESS), body.stderr_family, slab);
    cells[26] = slab.list(exe_flags(record, &body, record.header()));
    cells[27] = Cell::Unsigned(u64::from(body.owner));
    if matches!(record.slice(Exec::ENV).status, Status::Truncated | Status::Fault) {
        cells[28] = Cell::Bool(true);
    }
}
