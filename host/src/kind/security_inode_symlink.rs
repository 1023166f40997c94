//! A symbolic link is made.

use picket_ebpf::Record;
use picket_ebpf::kind::security_inode_symlink::Symlink;

use super::{Field, Kind, LogSource, Rows, Type, given};
use crate::slab::{Cell, Slab};

const FILE_OP: usize = 5;

pub(super) static KIND: Kind = Kind {
    name: "security_inode_symlink",
    short: "symlink",
    line: "{linkpath} -> {target}",
    doc: "a symbolic link is made",
    event_id: 746,
    record: picket_ebpf::Kind::SecurityInodeSymlink as u16,
    narrow: 0,
    lifecycle: false,
    fields: &[
        Field::new("linkpath", Type::Text, "path of the link").sigma(&["TargetFilename"]),
        Field::new("target", Type::Text, "what the link says, word for word").sigma(&["LinkTarget"]),
        Field::new("inode", Type::Unsigned, "inode of the link; absent where the hook does not see it").optional(),
        Field::new("dev", Type::Unsigned, "device, (major << 20) | minor; absent likewise").optional(),
        Field::new("ctime", Type::Unsigned, "change time of the inode, unix ns; absent likewise").optional(),
        Field::new("FileOp", Type::Text, "symlink").sigma(&["FileOp"]).optional(),
    ],
    sources: &[LogSource { category: "file_event", rows: Rows::All }],
    repeat_key: None,
    decode,
    derive,
};

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Symlink>() else { return };
    cells[0] = given::path(record, Symlink::LINKPATH, slab);
    cells[1] = record.slice(Symlink::TARGET).present().map_or(Cell::Absent, |b| slab.text(b));
    cells[2..5].copy_from_slice(&given::object(body.inode_known, body.inode, body.dev, body.ctime));
}

fn derive(slab: &mut Slab, cells: &mut [Cell]) {
    if cells[FILE_OP] == Cell::Absent {
        cells[FILE_OP] = slab.text(b"symlink");
    }
}
