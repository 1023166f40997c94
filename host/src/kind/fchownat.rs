//! The owner of a file changes, by a path that starts from a directory.

use picket_ebpf::Record;
use picket_ebpf::kind::fchownat::Fchownat;

use super::{Field, Kind, Type, call, derive_nothing};
use crate::slab::{Cell, Slab};

pub(super) static KIND: Kind = Kind {
    name: "fchownat",
    short: "chownat",
    line: "{pathname} {owner}:{group}",
    doc: "the owner of a file changes, as the chown program does it; Tracee tells failures too and has the path as it was passed",
    event_id: call::number(260, 54),
    record: picket_ebpf::Kind::Fchownat as u16,
    narrow: 0,
    lifecycle: false,
    fields: &[
        Field::new("dirfd", Type::Signed, "directory the path starts from, -100 = working directory"),
        Field::new("pathname", Type::Text, "path of the file").sigma(&["TargetFilename"]),
        Field::new("owner", Type::Signed, "new user id, -1 to leave it"),
        Field::new("group", Type::Signed, "new group id, -1 to leave it"),
        Field::new("flags", Type::Signed, "0x100 = the link itself, 0x1000 = the descriptor itself"),
        call::USER_MEMORY,
    ],
    sources: &[],
    repeat_key: None,
    decode,
    derive: derive_nothing,
};

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Fchownat>() else { return };
    cells[0] = Cell::Signed(i64::from(body.dirfd));
    cells[1] = call::path(record, slab, Fchownat::PATHNAME, Fchownat::BASE);
    cells[2] = Cell::Signed(i64::from(body.owner));
    cells[3] = Cell::Signed(i64::from(body.group));
    cells[4] = Cell::Signed(i64::from(body.flags));
    cells[5] = call::user_memory(record, slab, &[(Fchownat::PATHNAME, "pathname")]);
}

#[cfg(test)]
mod tests {
    use picket_ebpf::SliceFlags;
    use serde_json::json;

    use super::*;
    use crate::kind::call::tests::event;

    #[test]
    fn the_model_comes_first_and_a_path_from_user_memory_is_marked() {
        let body = Fchownat { dirfd: -100, owner: 1000, group: 1000, flags: 0 };
        let given = SliceFlags::USER_MEMORY | SliceFlags::AS_GIVEN;
        let data = event(picket_ebpf::Kind::Fchownat, body, &[Some((b"x", given)), Some((b"/w", 0))]);
        let wanted = json!({"dirfd": -100, "pathname": "/w/x", "owner": 1000, "group": 1000, "flags": 0, "user_memory": ["pathname"]});
        assert_eq!(data.to_string(), wanted.to_string());
    }
}
