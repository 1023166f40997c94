//! A file system is mounted.

use picket_ebpf::Record;
use picket_ebpf::kind::mount::Mount;

use super::{Field, Kind, Type, call, derive_nothing};
use crate::slab::{Cell, Slab};

pub(super) static KIND: Kind = Kind {
    name: "mount",
    short: "mount",
    line: "{source} {target} {filesystemtype}",
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

#[cfg(test)]
mod tests {
    use picket_ebpf::SliceFlags;
    use serde_json::json;

    use super::*;
    use crate::kind::call::tests::event;

    const GIVEN: u8 = SliceFlags::USER_MEMORY | SliceFlags::AS_GIVEN;

    fn body(call: u8, flags: u64) -> Mount {
        Mount { flags, data: 7, call, flags_known: 1, data_known: u8::from(call == 0), reserved: [0; 5] }
    }

    fn record(body: Mount, slices: &[Option<(&[u8], u8)>]) -> String {
        event(picket_ebpf::Kind::Mount, body, slices).to_string()
    }

    #[test]
    fn a_share_is_no_path_and_its_target_is() {
        let cifs = (&b"cifs"[..], SliceFlags::USER_MEMORY);
        let event = record(
            body(0, 0),
            &[Some((b"//192.0.2.1/s", GIVEN)), Some((b".", GIVEN)), Some(cifs), Some((b"/mnt", 0)), None],
        );
        let wanted = json!({"source": "//192.0.2.1/s", "target": "/mnt", "filesystemtype": "cifs", "mountflags": 0, "data": 7,
            "call": "mount", "user_memory": ["source", "target", "filesystemtype"]});
        assert_eq!(event, wanted.to_string());
    }

    #[test]
    fn the_source_of_a_bind_is_a_path() {
        let event =
            record(body(0, 0x1000), &[Some((b"a/../b", GIVEN)), Some((b"/t", GIVEN)), None, Some((b"/w", 0)), None]);
        let wanted = json!({"source": "/w/b", "target": "/t", "filesystemtype": null, "mountflags": 0x1000, "data": 7,
            "call": "mount", "user_memory": ["source", "target"]});
        assert_eq!(event, wanted.to_string());
    }

    #[test]
    fn what_the_kernel_says_itself_is_not_marked() {
        let event =
            record(body(1, 8), &[Some((b"none", 0)), Some((b"/t", 0)), Some((b"tmpfs", 0)), None, Some((b"/in", 0))]);
        let wanted = json!({"source": "none", "target": "/t", "filesystemtype": "tmpfs", "mountflags": 8, "data": null,
            "call": "move_mount", "root": "/in"});
        assert_eq!(event, wanted.to_string());
    }
}
