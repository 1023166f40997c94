//! The owner of a file changes, by path or descriptor.

use picket_ebpf::Record;
use picket_ebpf::kind::chown::Chown;

use super::{Field, Kind, Type, call, derive_nothing};
use crate::slab::{Cell, Slab};

pub(super) static KIND: Kind = Kind {
    name: "chown",
    short: "chown",
    line: "{pathname} {owner}:{group}",
    doc: "the owner of a file changes; Tracee's event is the chown call only, tells failures too, and has the path as it was passed",
    event_id: call::number(92, 10_022),
    record: picket_ebpf::Kind::Chown as u16,
    narrow: 0,
    lifecycle: false,
    fields: &[
        Field::new("pathname", Type::Text, "path of the file").sigma(&["TargetFilename"]),
        Field::new("owner", Type::Signed, "new user id, -1 to leave it"),
        Field::new("group", Type::Signed, "new group id, -1 to leave it"),
        call::CALL,
        call::USER_MEMORY,
    ],
    sources: &[],
    repeat_key: None,
    decode,
    derive: derive_nothing,
};

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Chown>() else { return };
    cells[0] = call::path(record, slab, Chown::PATHNAME, Chown::BASE);
    cells[1] = Cell::Signed(i64::from(body.owner));
    cells[2] = Cell::Signed(i64::from(body.group));
    cells[3] = call::name(slab, Chown::CALLS, body.call);
    cells[4] = call::user_memory(record, slab, &[(Chown::PATHNAME, "pathname")]);
}

#[cfg(test)]
mod tests {
    use picket_ebpf::SliceFlags;
    use serde_json::json;

    use super::*;
    use crate::kind::call::tests::event;

    #[test]
    fn the_model_comes_first_and_a_path_from_user_memory_is_marked() {
        let body = Chown { owner: 1, group: -1, call: 1, reserved: [0; 7] };
        let given = SliceFlags::USER_MEMORY | SliceFlags::AS_GIVEN;
        let data = event(picket_ebpf::Kind::Chown, body, &[Some((b"x", given)), Some((b"/w", 0))]);
        let wanted =
            json!({"pathname": "/w/x", "owner": 1, "group": -1, "call": "lchown", "user_memory": ["pathname"]});
        assert_eq!(data.to_string(), wanted.to_string());
    }
}
