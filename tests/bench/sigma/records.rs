//! Events as the kernel side writes them: records, and the process table that they need.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use picket::kind::Decoder;
use picket::process::{Table, Users};
use picket::slab::{Origin, Slab};
use picket_ebpf::kind::sched_process_exec::Exec;
use picket_ebpf::{Header, Kind, Layout, RawSlice, Record, VERSION};

use super::workload::Event;

/// A pid and the start of its process.
type Id = (u32, u64);

const FIRST_CHILD: u32 = 1 << 22;

/// The records of a run of events, and of the processes that started them.
pub struct Records {
    parents: Vec<Vec<u8>>,
    events: Vec<Vec<u8>>,
}

impl Records {
    pub fn new(events: &[Event]) -> Records {
        let mut known: HashMap<(&str, &str), Id> = HashMap::new();
        let mut parents = Vec::new();
        let events = events
            .iter()
            .enumerate()
            .map(|(i, event)| {
                let next = (10 + known.len() as u32, 1 + known.len() as u64);
                let parent = *known.entry((&event.parent, &event.parent_command)).or_insert_with(|| {
                    parents.push(exec(next, (1, 1), &event.parent, &event.parent_command, "/", 0));
                    next
                });
                let child = (FIRST_CHILD + i as u32, 1_000_000 + i as u64);
                exec(child, parent, &event.image, &event.command, &event.directory, event.uid)
            })
            .collect();
        Records { parents, events }
    }

    /// A reader that knows the parents and has read no event yet. `passwd` names the users.
    pub fn reader(&self, passwd: &Path) -> Reader {
        let mut table = Table::new("boot", Users::new(passwd.to_path_buf()));
        for parent in &self.parents {
            table.apply(&Record::parse(parent).expect("a record"));
        }
        Reader { table, decoder: Decoder::new(Arc::new(Origin::default())) }
    }

    pub fn batches(&self, rows: usize) -> impl Iterator<Item = &[Vec<u8>]> {
        self.events.chunks(rows)
    }
}

/// What the builder has: the process table and the decoder.
pub struct Reader {
    table: Table,
    decoder: Decoder,
}

impl Reader {
    /// Records become a slab, as in a live run.
    pub fn slab(&mut self, records: &[Vec<u8>]) -> Arc<Slab> {
        let mut slab = Slab::default();
        for bytes in records {
            let record = Record::parse(bytes).expect("a record");
            let process = self.table.apply(&record);
            self.decoder.record(&record, 0, Some(process), false, &mut slab).expect("an event");
        }
        Arc::new(slab)
    }
}

fn exec(own: Id, parent: Id, exe: &str, command: &str, directory: &str, uid: u32) -> Vec<u8> {
    let kind = Kind::SchedProcessExec;
    let mut bytes = vec![0; size_of::<Header>() + kind.body_size()];
    let argv: Vec<&str> = command.split(' ').collect();
    let mut slices: [&[u8]; Exec::SLICES] = [&[]; Exec::SLICES];
    let arguments: Vec<u8> = argv.iter().flat_map(|a| a.bytes().chain([0])).collect();
    slices[Exec::PATHNAME] = exe.as_bytes();
    slices[Exec::CMDPATH] = exe.as_bytes();
    slices[Exec::INTERP] = exe.as_bytes();
    slices[Exec::ARGV] = &arguments;
    slices[Exec::CWD] = directory.as_bytes();
    set::<Exec>(&mut bytes, size_of::<Header>(), "argc", &(argv.len() as u32).to_ne_bytes());
    let table = bytes.len();
    let mut at = table + slices.len() * size_of::<RawSlice>();
    for slice in slices {
        bytes.extend_from_slice(&(at as u16).to_ne_bytes());
        bytes.extend_from_slice(&(slice.len() as u16).to_ne_bytes());
        bytes.extend_from_slice(&(slice.len() as u32).to_ne_bytes());
        bytes.extend_from_slice(&[u8::from(!slice.is_empty()), 0, 0, 0]);
        at += slice.len();
    }
    for slice in slices {
        bytes.extend_from_slice(slice);
    }
    let length = bytes.len() as u32;
    let mut header = |name, value: &[u8]| set::<Header>(&mut bytes, 0, name, value);
    header("length", &length.to_ne_bytes());
    header("kind", &kind.id().to_ne_bytes());
    header("version", &[VERSION]);
    header("hook", &[picket_ebpf::Hook::Tracepoint as u8]);
    header("slice_table", &(table as u16).to_ne_bytes());
    header("slice_count", &(slices.len() as u16).to_ne_bytes());
    // Two events each millisecond.
    header("time", &(own.1 * 500_000).to_ne_bytes());
    header("pid", &own.0.to_ne_bytes());
    header("tid", &own.0.to_ne_bytes());
    header("leader_start", &own.1.to_ne_bytes());
    header("ppid", &parent.0.to_ne_bytes());
    header("parent_start", &parent.1.to_ne_bytes());
    header("uid", &uid.to_ne_bytes());
    header("euid", &uid.to_ne_bytes());
    header("login_uid", &u32::MAX.to_ne_bytes());
    header("comm", b"bench");
    bytes
}

fn set<L: Layout>(bytes: &mut [u8], from: usize, name: &str, value: &[u8]) {
    let (_, offset, size) = L::FIELDS.iter().find(|(n, ..)| *n == name).expect("a field of the layout");
    assert!(value.len() <= *size);
    bytes[from + offset..][..value.len()].copy_from_slice(value);
}
