//! Lifecycle records as the kernel side writes them.

use picket_ebpf::kind::sched_process_exec::Exec;
use picket_ebpf::kind::sched_process_fork::Fork;
use picket_ebpf::{Header, Hook, Kind, Layout, RawSlice, VERSION};

/// A process: its number and its start.
pub type Id = (u32, u64);

/// A record with its fixed part and slices.
pub struct Made {
    bytes: Vec<u8>,
    slices: Vec<Vec<u8>>,
    kind: Kind,
}

impl Made {
    /// A record of `kind` about what `actor`, a child of `parent`, did at `time`.
    pub fn new(kind: Kind, time: u64, actor: Id, parent: Id) -> Made {
        let mut made = Made { bytes: vec![0; size_of::<Header>() + kind.body_size()], slices: Vec::new(), kind };
        made.header("time", &time.to_ne_bytes());
        made.header("pid", &actor.0.to_ne_bytes());
        made.header("tid", &actor.0.to_ne_bytes());
        made.header("leader_start", &actor.1.to_ne_bytes());
        made.header("ppid", &parent.0.to_ne_bytes());
        made.header("parent_start", &parent.1.to_ne_bytes());
        made.header("login_uid", &u32::MAX.to_ne_bytes());
        made.header("comm", b"made");
        made
    }

    pub fn header(&mut self, name: &str, value: &[u8]) {
        self.set(0, Header::FIELDS, name, value);
    }

    fn body<B: Layout>(&mut self, name: &str, value: &[u8]) {
        self.set(size_of::<Header>(), B::FIELDS, name, value);
    }

    fn set(&mut self, from: usize, fields: &[(&str, usize, usize)], name: &str, value: &[u8]) {
        let (_, offset, size) = fields.iter().find(|(n, ..)| *n == name).expect("a field of the layout");
        assert!(value.len() <= *size);
        self.bytes[from + offset..][..value.len()].copy_from_slice(value);
    }

    fn slice(&mut self, index: usize, bytes: &[u8]) {
        if self.slices.len() <= index {
            self.slices.resize(index + 1, Vec::new());
        }
        self.slices[index] = bytes.to_vec();
    }

    pub fn bytes(mut self) -> Vec<u8> {
        let table = self.bytes.len();
        let mut at = table + self.slices.len() * size_of::<RawSlice>();
        for slice in &self.slices {
            self.bytes.extend_from_slice(&(at as u16).to_ne_bytes());
            self.bytes.extend_from_slice(&(slice.len() as u16).to_ne_bytes());
            self.bytes.extend_from_slice(&(slice.len() as u32).to_ne_bytes());
            self.bytes.extend_from_slice(&[u8::from(!slice.is_empty()), 0, 0, 0]);
            at += slice.len();
        }
        for slice in &self.slices {
            self.bytes.extend_from_slice(slice);
        }
        let (length, count) = (self.bytes.len() as u32, self.slices.len() as u16);
        self.header("length", &length.to_ne_bytes());
        let kind = self.kind.id();
        self.header("kind", &kind.to_ne_bytes());
        self.header("version", &[VERSION]);
        self.header("hook", &[Hook::Tracepoint as u8]);
        self.header("slice_table", &(table as u16).to_ne_bytes());
        self.header("slice_count", &count.to_ne_bytes());
        self.bytes
    }
}

pub fn fork(time: u64, creator: Id, parent: Id, child: Id) -> Vec<u8> {
    let mut made = Made::new(Kind::SchedProcessFork, time, creator, parent);
    made.body::<Fork>("child_pid", &child.0.to_ne_bytes());
    made.body::<Fork>("child_start", &child.1.to_ne_bytes());
    made.bytes()
}

pub fn exec(time: u64, actor: Id, parent: Id, exe: &str, argv: &[&str]) -> Vec<u8> {
    let mut made = Made::new(Kind::SchedProcessExec, time, actor, parent);
    let args: Vec<u8> = argv.iter().flat_map(|a| [a.as_bytes(), &[0]].concat()).collect();
    made.body::<Exec>("argc", &(argv.len() as u32).to_ne_bytes());
    made.slice(Exec::PATHNAME, exe.as_bytes());
    made.slice(Exec::CMDPATH, exe.as_bytes());
    made.slice(Exec::ARGV, &args);
    made.slice(Exec::CWD, b"/");
    made.bytes()
}

pub fn exit(time: u64, actor: Id, parent: Id) -> Vec<u8> {
    Made::new(Kind::SchedProcessExit, time, actor, parent).bytes()
}
