//! A module leaves the kernel.

use picket_ebpf::Record;
use picket_ebpf::kind::module_free::ModuleFree;

use super::{Field, Kind, Type, derive_nothing};
use crate::slab::{Cell, Slab};

pub(super) static KIND: Kind = Kind {
    name: "module_free",
    short: "rmmod",
    line: "{name}",
    doc: "a module leaves the kernel",
    event_id: 786,
    record: picket_ebpf::Kind::ModuleFree as u16,
    narrow: 0,
    lifecycle: false,
    fields: &[
        Field::new("name", Type::Text, "name of the module"),
        Field::new("version", Type::Text, "its version, empty when it has none"),
        Field::new("src_version", Type::Text, "checksum of its sources, empty when it has none"),
    ],
    sources: &[],
    repeat_key: None,
    decode,
    derive: derive_nothing,
};

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    for (cell, slice) in [ModuleFree::NAME, ModuleFree::VERSION, ModuleFree::SRC_VERSION].into_iter().enumerate() {
        cells[cell] = slab.text(record.slice(slice).bytes);
    }
}
