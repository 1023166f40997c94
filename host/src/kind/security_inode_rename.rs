//! A file gets another name.

use picket_ebpf::Record;
use picket_ebpf::kind::security_inode_rename::Rename;

use super::{Field, Kind, LogSource, Rows, Type, given};
use crate::slab::{Cell, Slab};

const FILE_OP: usize = 6;

pub(super) static KIND: Kind = Kind {
    name: "security_inode_rename",
    short: "rename",
    line: "{old_path} -> {new_path}",
    doc: "a file gets another name; of two that exchange theirs there are two events",
    event_id: 768,
    record: picket_ebpf::Kind::SecurityInodeRename as u16,
    narrow: 0,
    lifecycle: false,
    fields: &[
        Field::new("old_path", Type::Text, "path before").sigma(&["SourceFilename"]),
        Field::new("new_path", Type::Text, "path after").sigma(&["TargetFilename"]),
        Field::new("flags", Type::Unsigned, "RENAME_* bits: 1 do not replace, 2 exchange, 4 leave a whiteout")
            .optional(),
        Field::new("inode", Type::Unsigned, "inode; absent where the hook does not see it").optional(),
        Field::new("dev", Type::Unsigned, "device, (major << 20) | minor; absent likewise").optional(),
        Field::new("ctime", Type::Unsigned, "change time of the inode, unix ns; absent likewise").optional(),
        Field::new("FileOp", Type::Text, "rename").sigma(&["FileOp"]).optional(),
    ],
    sources: &[
        LogSource { category: "file_event", rows: Rows::All },
        LogSource { category: "file_rename", rows: Rows::All },
    ],
    // A rename is always news.
    repeat_key: None,
    decode,
    derive,
};

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Rename>() else { return };
    cells[0] = given::path(record, Rename::OLD, slab);
    cells[1] = given::path(record, Rename::NEW, slab);
    cells[2] = Cell::Unsigned(u64::from(body.rename_flags));
    cells[3..6].copy_from_slice(&given::object(body.inode_known, body.inode, body.dev, body.ctime));
}

fn derive(slab: &mut Slab, cells: &mut [Cell]) {
    if cells[FILE_OP] == Cell::Absent {
        cells[FILE_OP] = slab.text(b"rename");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::KIND;
    use crate::kind::{Catalogue, Decoder, Selection, Source};
    use crate::slab::{Slab, Value};

    #[test]
    fn a_rename_is_a_file_event_at_its_new_path() {
        let mut slab = Slab::default();
        let data = json!({ "old_path": "/tmp/x", "new_path": "/etc/cron.d/x" });
        let event = json!({ "System": { "EventName": KIND.name }, "EventData": data });
        Decoder::default().value(1, event, &mut slab).unwrap();
        for category in ["file_event", "file_rename"] {
            let source = Source { category: Some(category.to_owned()), ..Source::default() };
            let selection = Selection::new(&source, &[]).unwrap();
            assert!(selection.admits(&slab, 0), "{category}");
            let catalogue = Catalogue::default();
            for (name, expected) in
                [("TargetFilename", "/etc/cron.d/x"), ("SourceFilename", "/tmp/x"), ("FileOp", "rename")]
            {
                let bound = catalogue.resolve(Some(&selection), name);
                let Value::Text(text) = slab.value(0, &bound.access) else { panic!("{name} is no text") };
                assert_eq!(text, expected.as_bytes(), "{name} of {category}");
            }
        }
    }
}
