//! Paths of records about names: resolved by the kernel side, or as the process gave them and to be joined with what
//! they start from.

use std::borrow::Cow;

use picket_ebpf::{Record, SliceFlags};

use crate::slab::{Cell, Slab};

/// The path in slice `index`, whose base, where it has one, is the slice behind it.
pub(super) fn path(record: &Record<'_>, index: usize, slab: &mut Slab) -> Cell {
    let given = record.slice(index);
    let Some(bytes) = given.present() else { return Cell::Absent };
    let base = record.slice(index + 1).present().filter(|_| given.flags.has(SliceFlags::AS_GIVEN));
    slab.text(&base.map_or(Cow::Borrowed(bytes), |base| join(base, bytes)))
}

/// Inode, device and change time as cells, absent where the hook did not see the object.
pub(super) fn object(known: u8, inode: u64, dev: u32, ctime: u64) -> [Cell; 3] {
    if known == 1 {
        [Cell::Unsigned(inode), Cell::Unsigned(u64::from(dev)), Cell::Unsigned(ctime)]
    } else {
        [Cell::Absent; 3]
    }
}

/// `base` and what was given as one; `.` and `..` are resolved by name, which symbolic links may make wrong: the hook says
/// that the path came from user memory. Absolute only if the base is: one that was cut is not.
pub(super) fn join<'p>(base: &'p [u8], given: &[u8]) -> Cow<'p, [u8]> {
    if given.is_empty() {
        return Cow::Borrowed(base);
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in base.split(|&b| b == b'/').chain(given.split(|&b| b == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut path = parts.join(&b'/');
    if base.starts_with(b"/") {
        path.insert(0, b'/');
    }
    Cow::Owned(path)
}

#[cfg(test)]
mod tests {
    use super::join;

    #[test]
    fn given_paths_are_joined() {
        for (base, given, path) in [
            ("/tmp/a", "x", "/tmp/a/x"),
            ("/tmp/a", "./../b//x", "/tmp/b/x"),
            ("/", "../x", "/x"),
            ("/srv", "..", "/"),
            ("/srv", "", "/srv"),
            ("/", "/etc/../x/", "/x"),
            ("/", "/", "/"),
            ("/jail", "/etc/x", "/jail/etc/x"),
            ("/open/file", "", "/open/file"),
            ("cut/deep", "x", "cut/deep/x"),
            ("", "x", "x"),
        ] {
            assert_eq!(join(base.as_bytes(), given.as_bytes()), path.as_bytes(), "{base} {given}");
        }
    }
}
