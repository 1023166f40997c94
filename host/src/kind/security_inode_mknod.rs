//! A pipe, device or socket is made, or an ordinary file by mknod(2).

use picket_ebpf::Record;
use picket_ebpf::kind::security_inode_mknod::Mknod;

use super::{Field, Kind, LogSource, Rows, Type, given};
use crate::slab::{Cell, Slab};

const MODE: usize = 1;
const FILE_TYPE: usize = 3;
const FILE_OP: usize = 7;

pub(super) static KIND: Kind = Kind {
    name: "security_inode_mknod",
    short: "mknod",
    line: "{file_name} {file_type}",
    doc: "a pipe, device or socket is made, or an ordinary file by mknod",
    event_id: 744,
    record: picket_ebpf::Kind::SecurityInodeMknod as u16,
    narrow: 0,
    lifecycle: false,
    fields: &[
        Field::new("file_name", Type::Text, "path of the new file").sigma(&["TargetFilename"]),
        Field::new("mode", Type::Unsigned, "type and permissions"),
        Field::new("dev", Type::Unsigned, "device that the file stands for, (major << 20) | minor"),
        Field::new("file_type", Type::Text, "fifo | char | block | socket | file").optional(),
        Field::new("inode", Type::Unsigned, "inode; absent where the hook does not see it").optional(),
        Field::new("file_dev", Type::Unsigned, "device that the file lies on; absent likewise").optional(),
        Field::new("ctime", Type::Unsigned, "change time of the inode, unix ns; absent likewise").optional(),
        Field::new("FileOp", Type::Text, "create, for an ordinary file").sigma(&["FileOp"]).optional(),
    ],
    sources: &[LogSource { category: "file_event", rows: Rows::Where(makes_a_file) }],
    repeat_key: None,
    decode,
    derive,
};

fn makes_a_file(slab: &Slab, row: usize) -> bool {
    matches!(slab.own_cells(row)[FILE_OP], Cell::Text(_))
}

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Mknod>() else { return };
    cells[0] = given::path(record, Mknod::FILE_NAME, slab);
    cells[MODE] = Cell::Unsigned(u64::from(body.mode));
    cells[2] = Cell::Unsigned(u64::from(body.rdev));
    cells[4..7].copy_from_slice(&given::object(body.inode_known, body.inode, body.dev, body.ctime));
}

fn derive(slab: &mut Slab, cells: &mut [Cell]) {
    let Cell::Unsigned(mode) = cells[MODE] else { return };
    let kind: &[u8] = match mode as u32 & libc::S_IFMT {
        libc::S_IFIFO => b"fifo",
        libc::S_IFCHR => b"char",
        libc::S_IFBLK => b"block",
        libc::S_IFSOCK => b"socket",
        // mknod takes no type for an ordinary file.
        libc::S_IFREG | 0 => b"file",
        _ => return,
    };
    if cells[FILE_TYPE] == Cell::Absent {
        cells[FILE_TYPE] = slab.text(kind);
    }
    if kind == b"file" && cells[FILE_OP] == Cell::Absent {
        cells[FILE_OP] = slab.text(b"create");
    }
}
