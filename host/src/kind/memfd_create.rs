//! A file that lives in memory only is made.

use picket_ebpf::Record;
use picket_ebpf::kind::memfd_create::Memfd;

use super::{Field, Kind, Type, derive_nothing};
use crate::slab::{Cell, Slab};

pub(super) static KIND: Kind = Kind {
    name: "memfd_create",
    short: "memfd",
    line: "{name}",
    doc: "a file that lives in memory only is made",
    event_id: 319,
    record: picket_ebpf::Kind::MemfdCreate as u16,
    narrow: 0,
    lifecycle: false,
    fields: &[
        Field::new("name", Type::Text, "name the caller gave, as the kernel keeps it"),
        Field::new("flags", Type::Unsigned, "flags of the call: 1 close on exec, 2 may be sealed, 16 may be executed"),
        Field::new("fd", Type::Signed, "the new descriptor").optional(),
        Field::new("dev", Type::Unsigned, "device, (major << 20) | minor").optional(),
        Field::new("inode", Type::Unsigned, "inode").optional(),
    ],
    sources: &[],
    repeat_key: None,
    decode,
    derive: derive_nothing,
};

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Memfd>() else { return };
    if let Some(name) = record.slice(Memfd::NAME).present() {
        cells[0] = slab.text(name.strip_prefix(b"memfd:").unwrap_or(name));
    }
    cells[1] = Cell::Unsigned(u64::from(body.flags));
    cells[2] = Cell::Signed(i64::from(body.fd));
    cells[3] = Cell::Unsigned(u64::from(body.dev));
    cells[4] = Cell::Unsigned(body.inode);
}
