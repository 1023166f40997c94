//! Memory becomes executable.

use picket_ebpf::Record;
use picket_ebpf::kind::security_file_mprotect::Mprotect;

use super::{Field, Kind, Type, derive_nothing};
use crate::slab::{Cell, Slab};

pub(super) static KIND: Kind = Kind {
    name: "security_file_mprotect",
    short: "protect",
    line: "{pathname} {prev_prot}->{prot}",
    doc: "memory becomes executable",
    event_id: 748,
    record: picket_ebpf::Kind::SecurityFileMprotect as u16,
    narrow: 0,
    lifecycle: false,
    fields: &[
        Field::new(
            "pathname",
            Type::Text,
            "file the memory is mapped from, empty for anonymous memory; null where it is not known",
        ),
        Field::new("prot", Type::Unsigned, "protection asked for: 1 read, 2 write, 4 execute (always)"),
        Field::new("ctime", Type::Unsigned, "change time of the file, unix ns; 0 for anonymous memory"),
        Field::new("prev_prot", Type::Signed, "protection before; null where the hook comes after the change"),
        Field::new("addr", Type::Unsigned, "first address"),
        Field::new("len", Type::Unsigned, "bytes"),
        Field::new("pkey", Type::Signed, "protection key, -1 = none"),
        Field::new("dev", Type::Unsigned, "device of the file, (major << 20) | minor").optional(),
        Field::new("inode", Type::Unsigned, "inode of the file").optional(),
    ],
    sources: &[],
    repeat_key: None,
    decode,
    derive: derive_nothing,
};

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Mprotect>() else { return };
    if body.mapping_known == 1 {
        cells[0] = slab.text(record.slice(Mprotect::PATHNAME).bytes);
        cells[2] = Cell::Unsigned(body.ctime);
        if body.inode != 0 {
            cells[7] = Cell::Unsigned(u64::from(body.dev));
            cells[8] = Cell::Unsigned(body.inode);
        }
    }
    cells[1] = Cell::Unsigned(u64::from(body.prot));
    if body.prev_prot >= 0 {
        cells[3] = Cell::Signed(i64::from(body.prev_prot));
    }
    cells[4] = Cell::Unsigned(body.address);
    cells[5] = Cell::Unsigned(body.length);
    cells[6] = Cell::Signed(i64::from(body.pkey));
}
