//! A name of a file is removed.

use picket_ebpf::kind::security_inode_unlink::Unlink;
use picket_ebpf::{Record, SliceFlags};

use super::{Field, Kind, Type, derive_nothing};
use crate::slab::{Cell, Slab};

pub(super) static KIND: Kind = Kind {
    name: "security_inode_unlink",
    doc: "a file is deleted",
    event_id: 733,
    record: picket_ebpf::Kind::SecurityInodeUnlink as u16,
    narrow: 0,
    lifecycle: false,
    fields: &[
        Field::new("pathname", Type::Text, "path that was removed"),
        Field::new("inode", Type::Unsigned, "inode; null where the hook does not see it"),
        Field::new("dev", Type::Unsigned, "device, (major << 20) | minor; null likewise"),
        Field::new("ctime", Type::Unsigned, "change time before the removal, unix ns; null likewise"),
    ],
    sources: &[],
    repeat_key: None,
    decode,
    derive: derive_nothing,
};

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Unlink>() else { return };
    let path = record.slice(Unlink::PATHNAME);
    if let Some(bytes) = path.present() {
        let relative = path.flags.has(SliceFlags::AS_GIVEN) && !bytes.starts_with(b"/");
        cells[0] = match record.slice(Unlink::BASE).present().filter(|_| relative) {
            Some(base) => slab.text(&join(base, bytes)),
            None => slab.text(bytes),
        };
    }
    if body.inode_known == 1 {
        cells[1] = Cell::Unsigned(body.inode);
        cells[2] = Cell::Unsigned(u64::from(body.dev));
        cells[3] = Cell::Unsigned(body.ctime);
    }
}

/// `base` and a relative path as one; `.` and `..` are resolved by name, which symbolic links may make wrong:
/// the hook says that the path came from user memory.
fn join(base: &[u8], relative: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in base.split(|&b| b == b'/').chain(relative.split(|&b| b == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut path = Vec::with_capacity(base.len() + relative.len() + 2);
    for part in parts {
        path.push(b'/');
        path.extend_from_slice(part);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::join;

    #[test]
    fn relative_paths_are_joined() {
        assert_eq!(join(b"/tmp/a", b"x"), b"/tmp/a/x");
        assert_eq!(join(b"/tmp/a", b"./../b//x"), b"/tmp/b/x");
        assert_eq!(join(b"/", b"../x"), b"/x");
    }
}
