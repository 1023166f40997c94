//! The mode of a file is changed.

use picket_ebpf::Record;
use picket_ebpf::kind::chmod_common::Chmod;

use super::{Field, Kind, LogSource, Rows, Type, given};
use crate::slab::{Cell, Slab};

const MODE: usize = 1;
const PERMISSIONS: usize = 2;
const SETUID: usize = 3;
const SETGID: usize = 4;

pub(super) static KIND: Kind = Kind {
    name: "chmod_common",
    short: "chmod",
    line: "{pathname} {permissions|mode}",
    doc: "the mode of a file is changed",
    event_id: 789,
    record: picket_ebpf::Kind::ChmodCommon as u16,
    narrow: 0,
    lifecycle: false,
    fields: &[
        Field::new("pathname", Type::Text, "path of the file").sigma(&["TargetFilename"]),
        Field::new("mode", Type::Unsigned, "the mode that was asked for, its twelve bits"),
        Field::new("permissions", Type::Text, "the same as four octal digits, e.g. 4755").optional(),
        Field::new("setuid", Type::Bool, "the mode has the setuid bit").optional(),
        Field::new("setgid", Type::Bool, "the mode has the setgid bit").optional(),
        Field::new("inode", Type::Unsigned, "inode; absent where the hook does not see it").optional(),
        Field::new("dev", Type::Unsigned, "device, (major << 20) | minor; absent likewise").optional(),
        Field::new("ctime", Type::Unsigned, "change time of the inode, unix ns; absent likewise").optional(),
    ],
    sources: &[LogSource { category: "file_change", rows: Rows::All }],
    repeat_key: None,
    decode,
    derive,
};

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Chmod>() else { return };
    cells[0] = given::path(record, Chmod::PATHNAME, slab);
    cells[MODE] = Cell::Unsigned(u64::from(body.requested));
    cells[5..8].copy_from_slice(&given::object(body.inode_known, body.inode, body.dev, body.ctime));
}

/// The bits that matter, readable; JSON of the model has only the number.
fn derive(slab: &mut Slab, cells: &mut [Cell]) {
    let Cell::Unsigned(mode) = cells[MODE] else { return };
    let given: [Cell; 3] = [
        slab.format(format_args!("{:04o}", mode & 0o7777)),
        Cell::Bool(mode & 0o4000 != 0),
        Cell::Bool(mode & 0o2000 != 0),
    ];
    for (at, cell) in [PERMISSIONS, SETUID, SETGID].into_iter().zip(given) {
        if cells[at] == Cell::Absent {
            cells[at] = cell;
        }
    }
}
