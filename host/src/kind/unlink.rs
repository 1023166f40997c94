//! A name of a file is removed: the calls.

use picket_ebpf::Record;
use picket_ebpf::kind::unlink::Unlink;

use super::{Field, Kind, Type, call, derive_nothing};
use crate::slab::{Cell, Slab};

pub(super) static KIND: Kind = Kind {
    name: "unlink",
    short: "unlink",
    line: "{pathname}",
    doc: "a file is deleted, as the call says it; Tracee's event is the unlink call only, tells failures too, and has the path as it was passed",
    event_id: call::number(87, 10_018),
    record: picket_ebpf::Kind::Unlink as u16,
    narrow: 0,
    lifecycle: false,
    fields: &[
        Field::new("pathname", Type::Text, "path that was removed").sigma(&["TargetFilename"]),
        call::CALL,
        call::USER_MEMORY,
    ],
    sources: &[],
    repeat_key: None,
    decode,
    derive: derive_nothing,
};

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Unlink>() else { return };
    cells[0] = call::path(record, slab, Unlink::PATHNAME, Unlink::BASE);
    cells[1] = call::name(slab, Unlink::CALLS, body.call);
    cells[2] = call::user_memory(record, slab, &[(Unlink::PATHNAME, "pathname")]);
}

#[cfg(test)]
mod tests {
    use picket_ebpf::SliceFlags;
    use serde_json::json;

    use super::*;
    use crate::kind::call::tests::event;

    #[test]
    fn the_model_comes_first_and_a_path_from_user_memory_is_marked() {
        let body = Unlink { call: 1, reserved: [0; 7] };
        let given = SliceFlags::USER_MEMORY | SliceFlags::AS_GIVEN;
        let data = event(picket_ebpf::Kind::Unlink, body, &[Some((b"x", given)), Some((b"/w", 0))]);
        let wanted = json!({"pathname": "/w/x", "call": "unlinkat", "user_memory": ["pathname"]});
        assert_eq!(data.to_string(), wanted.to_string());
    }
}
