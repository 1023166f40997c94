//! A module is loaded into the kernel.

use picket_ebpf::Record;
use picket_ebpf::kind::module_load::ModuleLoad;

use super::{Field, Kind, Type, derive_nothing};
use crate::slab::{Cell, Slab};

pub(super) static KIND: Kind = Kind {
    name: "module_load",
    short: "insmod",
    line: "{name} {pathname}",
    doc: "a module is loaded into the kernel",
    event_id: 785,
    record: picket_ebpf::Kind::ModuleLoad as u16,
    narrow: 0,
    lifecycle: false,
    fields: &[
        Field::new("name", Type::Text, "name of the module"),
        Field::new("version", Type::Text, "its version, empty when it has none"),
        Field::new("src_version", Type::Text, "checksum of its sources, empty when it has none"),
        Field::new("pathname", Type::Text, "file it comes from; null when it was handed over as memory")
            .sigma(&["TargetFilename"]),
        Field::new("dev", Type::Unsigned, "device of the file, (major << 20) | minor; null likewise"),
        Field::new("inode", Type::Unsigned, "inode of the file; null likewise"),
        Field::new("ctime", Type::Unsigned, "change time of the file, unix ns; null likewise"),
    ],
    sources: &[],
    repeat_key: None,
    decode,
    derive: derive_nothing,
};

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<ModuleLoad>() else { return };
    for (cell, slice) in [ModuleLoad::NAME, ModuleLoad::VERSION, ModuleLoad::SRC_VERSION].into_iter().enumerate() {
        cells[cell] = slab.text(record.slice(slice).bytes);
    }
    if body.file_known == 1 {
        if let Some(path) = record.slice(ModuleLoad::PATHNAME).present() {
            cells[3] = slab.text(path);
        }
        cells[4] = Cell::Unsigned(u64::from(body.dev));
        cells[5] = Cell::Unsigned(body.inode);
        cells[6] = Cell::Unsigned(body.ctime);
    }
}
