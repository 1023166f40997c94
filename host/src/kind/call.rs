//! What the kinds that are system calls share: numbers by architecture, paths as given, the process a call is aimed at.

use picket_ebpf::{Record, SliceFlags};

use super::{Field, Type, given};
use crate::slab::{Cell, Slab};

/// `System.EventID` of a call: its number, where the architecture has the call; else what Tracee has for it.
pub(super) const fn number(x86_64: u32, arm64: u32) -> u32 {
    if cfg!(target_arch = "aarch64") { arm64 } else { x86_64 }
}

/// Which of several calls it was.
pub(super) const CALL: Field = Field::new("call", Type::Text, "name of the system call").optional();

/// The mark of what is evidence and not fact.
pub(super) const USER_MEMORY: Field = Field::new(
    "user_memory",
    Type::TextList,
    "fields that were read from the process's memory after the call: another of its threads may have changed them",
)
.optional();

/// Fills [`CALL`].
pub(super) fn name(slab: &mut Slab, calls: &[&str], call: u8) -> Cell {
    calls.get(usize::from(call)).map_or(Cell::Absent, |name| slab.text(name.as_bytes()))
}

/// Fills [`USER_MEMORY`]: of the given slices with the fields they fill, those that the process could have changed.
pub(super) fn user_memory(record: &Record<'_>, slab: &mut Slab, slices: &[(usize, &str)]) -> Cell {
    let doubtful = |index: usize| {
        let slice = record.slice(index);
        slice.present().is_some() && slice.flags.has(SliceFlags::USER_MEMORY)
    };
    if slices.iter().any(|(index, _)| doubtful(*index)) {
        slab.list(slices.iter().filter(|(index, _)| doubtful(*index)).map(|(_, field)| field.as_bytes()))
    } else {
        Cell::Absent
    }
}

/// A path; one that the process gave relative to a directory is joined with it.
pub(super) fn path(record: &Record<'_>, slab: &mut Slab, index: usize, base: usize) -> Cell {
    let path = record.slice(index);
    let Some(bytes) = path.present() else { return Cell::Absent };
    let relative = path.flags.has(SliceFlags::AS_GIVEN) && !bytes.starts_with(b"/");
    match record.slice(base).present().filter(|_| relative) {
        Some(base) => slab.text(&given::join(base, bytes)),
        None => slab.text(bytes),
    }
}

/// Number of the [`TARGET`] fields.
pub(super) const TARGETS: usize = 4;

/// The process that a call is aimed at.
pub(super) const TARGET: [Field; TARGETS] = [
    Field::new("target_pid", Type::Unsigned, "process id of the target on the host").optional(),
    Field::new("target_uid", Type::Unsigned, "real user id of the target").optional(),
    Field::new("target_name", Type::Text, "comm of the target").optional(),
    Field::new("target_exe", Type::Text, "executable of the target").sigma(&["TargetImage"]).optional(),
];

/// What a record says of the target.
pub(super) struct Target<'r> {
    pub pid: u32,
    pub uid: u32,
    pub comm: [u8; 16],
    pub exe: Option<&'r [u8]>,
}

/// Fills [`TARGET`].
pub(super) fn target(target: &Target<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let name = target.comm.split(|&b| b == 0).next().unwrap_or_default();
    cells[0] = Cell::Unsigned(u64::from(target.pid));
    cells[1] = Cell::Unsigned(u64::from(target.uid));
    cells[2] = slab.text(name);
    if let Some(exe) = target.exe {
        cells[3] = slab.text(exe);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use picket_ebpf::{Header, Hook, Layout, RawSlice, Status, VERSION};
    use serde_json::Value as Json;

    use super::*;
    use crate::kind::{Decoder, render};

    /// The `EventData` of a record made by hand: `body`, and slices as (bytes, flags), `None` where absent.
    pub(in crate::kind) fn event<B: Layout>(kind: picket_ebpf::Kind, body: B, slices: &[Option<(&[u8], u8)>]) -> Json {
        let table = size_of::<Header>() + size_of::<B>();
        let mut bytes = vec![0; size_of::<Header>()];
        bytes.extend(picket_ebpf::bytes_of(&body));
        let mut tail = table + slices.len() * size_of::<RawSlice>();
        for slice in slices {
            let (length, status, flags) =
                slice.map_or((0, Status::Absent, 0), |(part, flags)| (part.len(), Status::Ok, flags));
            bytes.extend((tail as u16).to_ne_bytes());
            bytes.extend((length as u16).to_ne_bytes());
            bytes.extend((length as u32).to_ne_bytes());
            bytes.extend([status as u8, flags, 0, 0]);
            tail += length;
        }
        slices.iter().flatten().for_each(|(part, _)| bytes.extend_from_slice(part));
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes[4..6].copy_from_slice(&kind.id().to_ne_bytes());
        bytes[6..8].copy_from_slice(&[VERSION, Hook::SysExit as u8]);
        bytes[10..12].copy_from_slice(&(table as u16).to_ne_bytes());
        bytes[12..14].copy_from_slice(&(slices.len() as u16).to_ne_bytes());
        let record = Record::parse(&bytes).expect("a record");
        let mut slab = Slab::default();
        Decoder::default().record(&record, 0, None, false, &mut slab).expect("a kind decodes it");
        let mut json: Json = serde_json::from_str(&render(&slab, 0)).expect("JSON");
        let mut data = json["EventData"].take();
        data.as_object_mut().expect("an object").remove("ProcInfo");
        data
    }
}
