//! A file is opened.

use picket_ebpf::Record;
use picket_ebpf::kind::security_file_open::Open;

use super::{Field, Kind, LogSource, Rows, Type};
use crate::slab::{Cell, Slab};

const FLAGS: usize = 1;
const CREATED: usize = 6;
const FILE_OP: usize = 7;

pub(super) static KIND: Kind = Kind {
    name: "security_file_open",
    short: "open",
    line: "{pathname} {FileOp}",
    doc: "a file is opened",
    event_id: 732,
    record: picket_ebpf::Kind::SecurityFileOpen as u16,
    narrow: picket_ebpf::Interest::CHANGES_ONLY,
    lifecycle: false,
    fields: &[
        Field::new("pathname", Type::Text, "resolved path").sigma(&["TargetFilename"]).in_kernel(),
        Field::new("flags", Type::Signed, "O_* flags, creation flags included"),
        Field::new("dev", Type::Unsigned, "device, (major << 20) | minor"),
        Field::new("inode", Type::Unsigned, "inode"),
        Field::new("ctime", Type::Unsigned, "change time of the inode, unix ns"),
        Field::new("syscall_pathname", Type::Text, "path as passed to the system call (user memory)"),
        Field::new("created", Type::Bool, "this open created the file").optional(),
        Field::new("FileOp", Type::Text, "create | write; absent for an open that cannot change the file")
            .sigma(&["FileOp"])
            .optional(),
    ],
    sources: &[
        LogSource { category: "file_event", rows: Rows::Where(changes_a_file) },
        LogSource { category: "file_access", rows: Rows::WithPath },
    ],
    repeat_key: Some(repeat_key),
    decode,
    derive,
};

/// A file appears, or is opened to be changed; repeats by the same process are not new events.
fn changes_a_file(slab: &Slab, row: usize) -> bool {
    slab.every_open || (!slab.rows[row].repeat && matches!(slab.own_cells(row)[FILE_OP], Cell::Text(_)))
}

/// Writes by one process to one inode at one path; a creation is always news. The path counts, because a second name for
/// a file must not hide a write by its first.
fn repeat_key(slab: &Slab, row: usize) -> Option<u64> {
    let cells = slab.own_cells(row);
    let (Cell::Text(op), Cell::Unsigned(inode)) = (cells[FILE_OP], cells[3]) else { return None };
    let process = slab.rows[row].process.as_ref()?;
    if &slab.arena[op.range()] == b"create" {
        return None;
    }
    let dev = if let Cell::Unsigned(dev) = cells[2] { dev } else { 0 };
    let path = if let Cell::Text(path) = cells[0] { &slab.arena[path.range()] } else { &[][..] };
    let mut key = [0u8; 32];
    key[..8].copy_from_slice(&process.id.to_ne_bytes());
    key[8..16].copy_from_slice(&inode.to_ne_bytes());
    key[16..24].copy_from_slice(&dev.to_ne_bytes());
    key[24..].copy_from_slice(&xxhash_rust::xxh3::xxh3_64(path).to_ne_bytes());
    Some(xxhash_rust::xxh3::xxh3_64(&key))
}

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Open>() else { return };
    cells[0] = record.slice(Open::PATHNAME).present().map_or(Cell::Absent, |b| slab.text(b));
    cells[FLAGS] = Cell::Signed(i64::from(body.flags));
    cells[2] = Cell::Unsigned(u64::from(body.dev));
    cells[3] = Cell::Unsigned(body.inode);
    cells[4] = Cell::Unsigned(body.ctime);
    cells[5] = record.slice(Open::SYSCALL_PATHNAME).present().map_or(Cell::Absent, |b| slab.text(b));
    cells[CREATED] = Cell::Bool(body.created == 1);
}

/// `FileOp` from the flags where the event does not say it: JSON of the model knows only the flags.
fn derive(slab: &mut Slab, cells: &mut [Cell]) {
    if cells[FILE_OP] != Cell::Absent {
        return;
    }
    let flags = match cells[FLAGS] {
        Cell::Signed(f) => f as i32,
        Cell::Unsigned(f) => f as i32,
        _ => return,
    };
    let created = match cells[CREATED] {
        Cell::Bool(created) => created,
        _ => flags & (libc::O_CREAT | libc::O_EXCL) == libc::O_CREAT | libc::O_EXCL,
    };
    let writes = flags & (libc::O_WRONLY | libc::O_RDWR) != 0 || flags & libc::O_TRUNC != 0;
    if created {
        cells[FILE_OP] = slab.text(b"create");
    } else if writes {
        cells[FILE_OP] = slab.text(b"write");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{KIND, repeat_key};
    use crate::kind::Decoder;
    use crate::slab::Slab;

    #[test]
    fn a_repeat_is_the_same_write_at_the_same_path() {
        let (mut slab, mut decoder) = (Slab::default(), Decoder::default());
        let mut key = |path: &str, inode: u64, flags: i32| {
            let data =
                json!({ "pathname": path, "inode": inode, "dev": 1, "flags": flags, "ProcInfo": { "Name": "p" } });
            let event = json!({ "System": { "EventName": KIND.name, "HostProcessID": 7 }, "EventData": data });
            decoder.value(1, event, &mut slab).unwrap();
            repeat_key(&slab, slab.len() - 1)
        };
        let first = key("/a", 5, libc::O_WRONLY);
        assert!(first.is_some());
        assert_eq!(key("/a", 5, libc::O_RDWR), first);
        assert_ne!(key("/a", 6, libc::O_WRONLY), first);
        assert_ne!(key("/another name", 5, libc::O_WRONLY), first);
        assert_eq!(key("/a", 5, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL), None);
        assert_eq!(key("/a", 5, libc::O_RDONLY), None);
    }
}
