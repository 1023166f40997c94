//! A file system is mounted.

use picket_ebpf::Record;
use picket_ebpf::kind::mount::Mount;

use super::{Field, Kind, Type, call, derive_nothing};
use crate::slab::{Cell, Slab};

pub(super) static KIND: Kind = Kind {
    name: "mount",
    doc: "a file system is mounted, by mount or by the calls that replace it; Tracee's event is the mount call only, tells failures too, and has the target as it was passed",
    event_id: call::number(165, 40),
    record: picket_ebpf::Kind::Mount as u16,
    narrow: 0,
    lifecycle: false,
    fields: &[
        Field::new(
            "source",
            Type::Text,
            "what is mounted: a device, a directory, a share; null when the call gave none",
        ),
        Field::new("target", Type::Text, "where it is mounted"),
        Field::new("filesystemtype", Type::Text, "type of the file system; null when the call gave none"),
        Field::new("mountflags", Type::Unsigned, "MS_* flags"),
        Field::new("data", Type::Unsigned, "address of the options; null for the newer calls"),
        call::CALL,
        Field::new("root", Type::Text, "directory inside the file system that is mounted, when it is not the whole")
            .optional(),
        call::USER_MEMORY,
    ],
    sources: &[],
    repeat_key: None,
    decode,
    derive: derive_nothing,
};

/// `MS_BIND` and `MS_MOVE`.
const PATH_SOURCE: u64 = 0x3000;

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Mount>() else { return };
    cells[0] = match record.slice(Mount::SOURCE).present() {
        // Of a bind or a move the source is a path, and the hook has the directory it starts from.
        Some(_) if body.flags & PATH_SOURCE != 0 => call::path(record, slab, Mount::SOURCE, Mount::BASE),
        Some(source) => slab.text(source),
        None => Cell::Absent,
    };
    cells[1] = call::path(record, slab, Mount::TARGET, Mount::BASE);
    cells[2] = record.slice(Mount::FILESYSTEMTYPE).present().map_or(Cell::Absent, |name| slab.text(name));
    if body.flags_known == 1 {
        cells[3] = Cell::Unsigned(body.flags);
    }
    if body.data_known == 1 {
        cells[4] = Cell::Unsigned(body.data);
    }
    cells[5] = call::name(slab, Mount::CALLS, body.call);
    if let Some(root) = record.slice(Mount::ROOT).present() {
        cells[6] = slab.text(root);
    }
    let doubtful = [(Mount::SOURCE, "source"), (Mount::TARGET, "target"), (Mount::FILESYSTEMTYPE, "filesystemtype")];
    cells[7] = call::user_memory(record, slab, &doubtful);
}
