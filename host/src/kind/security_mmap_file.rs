//! A file is mapped to be executed: libraries, plug-ins, what a loader brings in by itself.

use picket_ebpf::Record;
use picket_ebpf::kind::security_mmap_file::Mmap;

use super::{Field, Kind, Type, derive_nothing};
use crate::slab::{Cell, Slab};

pub(super) static KIND: Kind = Kind {
    name: "security_mmap_file",
    short: "mmap",
    line: "{pathname}",
    doc: "a file is mapped to be executed",
    event_id: 747,
    record: picket_ebpf::Kind::SecurityMmapFile as u16,
    narrow: 0,
    lifecycle: false,
    fields: &[
        Field::new("pathname", Type::Text, "resolved path of the file").sigma(&["TargetFilename"]),
        Field::new("flags", Type::Signed, "open flags of the file"),
        Field::new("dev", Type::Unsigned, "device, (major << 20) | minor"),
        Field::new("inode", Type::Unsigned, "inode"),
        Field::new("ctime", Type::Unsigned, "change time of the inode, unix ns"),
        Field::new("prot", Type::Unsigned, "protection: 1 read, 2 write, 4 execute (always)"),
        Field::new("mmap_flags", Type::Unsigned, "flags of the mapping: 1 shared, 2 private"),
    ],
    sources: &[],
    repeat_key: None,
    decode,
    derive: derive_nothing,
};

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Mmap>() else { return };
    if let Some(path) = record.slice(Mmap::PATHNAME).present() {
        cells[0] = slab.text(path);
    }
    cells[1] = Cell::Signed(i64::from(body.flags.cast_signed()));
    cells[2] = Cell::Unsigned(u64::from(body.dev));
    cells[3] = Cell::Unsigned(body.inode);
    cells[4] = Cell::Unsigned(body.ctime);
    cells[5] = Cell::Unsigned(u64::from(body.prot));
    cells[6] = Cell::Unsigned(u64::from(body.mmap_flags));
}
