//! A file gets a second name (a hard link).

use picket_ebpf::Record;
use picket_ebpf::kind::security_inode_link::Link;

use super::{Field, Kind, LogSource, Rows, Type, given};
use crate::slab::{Cell, Slab};

const FILE_OP: usize = 5;

pub(super) static KIND: Kind = Kind {
    name: "security_inode_link",
    short: "link",
    line: "{new_path} -> {old_path}",
    doc: "a file gets a second name (a hard link)",
    // Tracee has no such event.
    event_id: 10_024,
    record: picket_ebpf::Kind::SecurityInodeLink as u16,
    narrow: 0,
    lifecycle: false,
    fields: &[
        Field::new("old_path", Type::Text, "path that was there").sigma(&["SourceFilename"]),
        Field::new("new_path", Type::Text, "path that was added").sigma(&["TargetFilename"]),
        Field::new("inode", Type::Unsigned, "inode; absent where the hook does not see it").optional(),
        Field::new("dev", Type::Unsigned, "device, (major << 20) | minor; absent likewise").optional(),
        Field::new("ctime", Type::Unsigned, "change time of the inode, unix ns; absent likewise").optional(),
        Field::new("FileOp", Type::Text, "link").sigma(&["FileOp"]).optional(),
    ],
    sources: &[LogSource { category: "file_event", rows: Rows::All }],
    repeat_key: None,
    decode,
    derive,
};

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Link>() else { return };
    cells[0] = given::path(record, Link::OLD, slab);
    cells[1] = given::path(record, Link::NEW, slab);
    cells[2..5].copy_from_slice(&given::object(body.inode_known, body.inode, body.dev, body.ctime));
}

fn derive(slab: &mut Slab, cells: &mut [Cell]) {
    if cells[FILE_OP] == Cell::Absent {
        cells[FILE_OP] = slab.text(b"link");
    }
}
