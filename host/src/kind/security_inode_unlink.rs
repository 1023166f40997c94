//! A name of a file is removed.

use picket_ebpf::Record;
use picket_ebpf::kind::security_inode_unlink::Unlink;

use super::{Field, Kind, LogSource, Rows, Type, derive_nothing, given};
use crate::slab::{Cell, Slab};

pub(super) static KIND: Kind = Kind {
    name: "security_inode_unlink",
    short: "remove",
    line: "{pathname}",
    doc: "a file is deleted",
    event_id: 733,
    record: picket_ebpf::Kind::SecurityInodeUnlink as u16,
    narrow: 0,
    lifecycle: false,
    fields: &[
        Field::new("pathname", Type::Text, "path that was removed").sigma(&["TargetFilename"]),
        Field::new("inode", Type::Unsigned, "inode; null where the hook does not see it"),
        Field::new("dev", Type::Unsigned, "device, (major << 20) | minor; null likewise"),
        Field::new("ctime", Type::Unsigned, "change time before the removal, unix ns; null likewise"),
    ],
    sources: &[LogSource { category: "file_delete", rows: Rows::All }],
    repeat_key: None,
    decode,
    derive: derive_nothing,
};

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Unlink>() else { return };
    cells[0] = given::path(record, Unlink::PATHNAME, slab);
    if body.inode_known == 1 {
        cells[1] = Cell::Unsigned(body.inode);
        cells[2] = Cell::Unsigned(u64::from(body.dev));
        cells[3] = Cell::Unsigned(body.ctime);
    }
}
