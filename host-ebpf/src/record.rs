//! The record: fixed header, fixed body of its kind, slice table, tail.

use std::fmt;

use crate::kind::Kind;

/// Layout version that [`Record::parse`] accepts. The object and this crate are built together, so
/// another version can only come from a stored record.
pub const VERSION: u8 = 1;

/// A plain structure that the kernel side wrote: fixed size, no padding that matters, any bit
/// pattern valid.
///
/// # Safety
/// Implementors are `#[repr(C)]`, consist of integers and byte arrays only, and equal the C
/// structure of the same name byte for byte (`tests/layout.rs`).
pub unsafe trait Layout: Copy {
    /// Name of the C structure.
    const NAME: &'static str;
    /// Each field's name, offset and size in bytes, in order.
    const FIELDS: &'static [(&'static str, usize, usize)];
}

/// Declares a `#[repr(C)]` structure and its [`Layout`] at once, so that the field list the layout
/// test compares with the object's BTF cannot differ from the structure that is read.
macro_rules! layout {
    ($(#[$doc:meta])* pub struct $name:ident = $c:literal { $($(#[$fdoc:meta])* pub $field:ident: $ty:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        #[repr(C)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty,)* }
        // SAFETY: repr(C), integers and byte arrays only; compared with the C side by the layout test.
        unsafe impl $crate::record::Layout for $name {
            const NAME: &'static str = $c;
            const FIELDS: &'static [(&'static str, usize, usize)] = &[
                $((stringify!($field), std::mem::offset_of!($name, $field), size_of::<$ty>()),)*
            ];
        }
    };
}
pub(crate) use layout;

layout! {
    /// The fixed header of every record. Ids are those of the initial namespaces unless they say `ns`.
    /// It describes the task that acted; for `seed` records the task that was found.
    pub struct Header = "record_header" {
        /// Bytes of the whole record.
        pub length: u32,
        /// [`Kind::id`].
        pub kind: u16,
        /// [`VERSION`].
        pub version: u8,
        /// [`Hook`] that wrote the record.
        pub hook: u8,
        /// [`Flags`].
        pub flags: u16,
        /// Offset of the slice table from the start of the record.
        pub slice_table: u16,
        /// Entries in the slice table.
        pub slice_count: u16,
        /// CPU the program ran on.
        pub cpu: u16,
        /// `CLOCK_BOOTTIME` of the event, ns.
        pub time: u64,
        /// Start of the thread group leader, `CLOCK_BOOTTIME` ns. With [`Header::pid`] it is the key of the process.
        pub leader_start: u64,
        /// Start of the thread, `CLOCK_BOOTTIME` ns.
        pub thread_start: u64,
        /// Start of the real parent's leader, `CLOCK_BOOTTIME` ns.
        pub parent_start: u64,
        /// Id of the cgroup in the unified hierarchy.
        pub cgroup_id: u64,
        /// Thread group (process) id.
        pub pid: u32,
        /// Thread id.
        pub tid: u32,
        /// Thread group id of the real parent at the time of the event.
        pub ppid: u32,
        /// Process id inside the task's own pid namespace.
        pub ns_pid: u32,
        /// Thread id inside the task's own pid namespace.
        pub ns_tid: u32,
        /// Parent's process id inside the task's own pid namespace, 0 when the parent is outside.
        pub ns_ppid: u32,
        /// Real user id.
        pub uid: u32,
        /// Effective user id.
        pub euid: u32,
        /// Real group id.
        pub gid: u32,
        /// Effective group id.
        pub egid: u32,
        /// Audit login user id, `u32::MAX` when unset or without audit.
        pub login_uid: u32,
        /// Audit session id, `u32::MAX` when unset or without audit.
        pub session: u32,
        /// Inode number of the mount namespace, 0 for a task that has given it up (exit).
        pub mnt_ns: u32,
        /// Inode number of the task's own pid namespace.
        pub pid_ns: u32,
        /// `task->comm`, NUL padded.
        pub comm: [u8; 16],
        /// UTS node name of the task's namespace, NUL padded, cut at 64 bytes.
        pub nodename: [u8; 64],
    }
}

layout! {
    /// What the records that make a process known (exec, fork, seed) say about it beyond the header.
    pub struct TaskFacts = "task_facts" {
        /// Effective capabilities, a bit for each.
        pub cap_effective: u64,
        /// Permitted capabilities.
        pub cap_permitted: u64,
        /// Process id of the session's leader, 0 when it has gone.
        pub session_leader: u32,
        /// Inode number of the mount namespace.
        pub mnt_ns: u32,
        /// Inode number of the task's own pid namespace.
        pub pid_ns: u32,
        /// Inode number of the network namespace.
        pub net_ns: u32,
        /// Inode number of the user namespace.
        pub user_ns: u32,
        /// Inode number of the cgroup namespace.
        pub cgroup_ns: u32,
        /// Inode number of the UTS namespace.
        pub uts_ns: u32,
        /// Inode number of the IPC namespace.
        pub ipc_ns: u32,
    }
}

impl Header {
    /// `comm` up to its NUL.
    pub fn comm(&self) -> &[u8] {
        until_nul(&self.comm)
    }
    /// Node name up to its NUL.
    pub fn nodename(&self) -> &[u8] {
        until_nul(&self.nodename)
    }
    /// The flags as a set.
    pub fn flags(&self) -> Flags {
        Flags(self.flags)
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.iter().position(|&b| b == 0).map_or(bytes, |n| &bytes[..n])
}

/// What is true of the whole record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(pub u16);

impl Flags {
    /// The system call came through a 32-bit ABI.
    pub const COMPAT: u16 = 1;
    /// The operation was an `io_uring` request.
    pub const IO_URING: u16 = 2;
    /// At least one slice is truncated or faulted.
    pub const TRUNCATED: u16 = 4;
    /// The sensor's own probe of the hook: never an event.
    pub const CANARY: u16 = 8;
    /// The task is a kernel thread.
    pub const KERNEL_THREAD: u16 = 16;

    /// Whether every bit of `mask` is set.
    pub fn has(self, mask: u16) -> bool {
        self.0 & mask == mask
    }
}

/// The kernel hook a record came from. The kprobe hooks carry the name of their kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Hook {
    /// BTF raw tracepoint of the kind's own name.
    Tracepoint = 1,
    /// kprobe on the function of the kind's own name.
    Kprobe = 2,
    /// BTF raw tracepoint `sys_exit`.
    SysExit = 3,
    /// BTF raw tracepoint `inet_sock_set_state`.
    InetSockSetState = 4,
    /// BTF raw tracepoint `io_uring_complete`.
    IoUringComplete = 5,
    /// BPF iterator over tasks.
    IterTask = 6,
    /// Program at the root of the unified control group hierarchy.
    Cgroup = 7,
}

impl Hook {
    /// The hook with this number in [`Header::hook`].
    pub fn from_id(id: u8) -> Option<Hook> {
        Some(match id {
            1 => Hook::Tracepoint,
            2 => Hook::Kprobe,
            3 => Hook::SysExit,
            4 => Hook::InetSockSetState,
            5 => Hook::IoUringComplete,
            6 => Hook::IterTask,
            7 => Hook::Cgroup,
            _ => return None,
        })
    }
    /// Name for `System.Hook`: `kprobe`, or `tracepoint:` and the tracepoint where it is not the kind's own.
    pub fn name(self) -> &'static str {
        match self {
            Hook::Tracepoint => "tracepoint",
            Hook::Kprobe => "kprobe",
            Hook::SysExit => "tracepoint:sys_exit",
            Hook::InetSockSetState => "tracepoint:inet_sock_set_state",
            Hook::IoUringComplete => "tracepoint:io_uring_complete",
            Hook::IterTask => "iter:task",
            Hook::Cgroup => "cgroup",
        }
    }
}

/// Whether a slice is what the kernel had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// The hook does not know this value.
    Absent = 0,
    /// Whole (it may be empty).
    Ok = 1,
    /// Cut: [`Slice::original`] says how long it was, `u32::MAX` when that is unknown.
    Truncated = 2,
    /// The memory could not be read; the bytes before the fault are there.
    Fault = 3,
}

/// What is true of one slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceFlags(pub u8);

impl SliceFlags {
    /// The path's last component is unlinked.
    pub const DELETED: u8 = 1;
    /// Copied from user memory: another thread may have changed it after the kernel used it.
    pub const USER_MEMORY: u8 = 2;
    /// A name without a place in the file tree (`memfd:x`, `pipe:[7]`, `socket:[7]`, `anon_inode:[x]`).
    pub const PSEUDO: u8 = 4;
    /// As the process gave it: relative to the `base` slice (or the cwd) unless it begins with `/`.
    pub const AS_GIVEN: u8 = 8;
    /// Relative to the root of its file system: the mount is not known at this hook.
    pub const FS_RELATIVE: u8 = 16;

    /// Whether every bit of `mask` is set.
    pub fn has(self, mask: u8) -> bool {
        self.0 & mask == mask
    }
}

layout! {
    /// One entry of the slice table.
    pub struct RawSlice = "slice" {
        /// Offset from the start of the record.
        pub offset: u16,
        /// Bytes present.
        pub length: u16,
        /// Bytes before cutting, `u32::MAX` when unknown.
        pub original: u32,
        /// [`Status`].
        pub status: u8,
        /// [`SliceFlags`].
        pub flags: u8,
        /// Zero.
        pub reserved: u16,
    }
}

/// A variable part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice<'a> {
    /// The bytes that are present. From attackers: any byte may occur.
    pub bytes: &'a [u8],
    /// Length before cutting, `u32::MAX` when unknown.
    pub original: u32,
    /// Whole, cut, unreadable or absent.
    pub status: Status,
    /// Deleted, from user memory, as given.
    pub flags: SliceFlags,
}

impl<'a> Slice<'a> {
    /// What a slice is that the record does not have.
    pub const ABSENT: Slice<'static> = Slice { bytes: &[], original: 0, status: Status::Absent, flags: SliceFlags(0) };

    /// The bytes unless the slice is absent, or faulted before the first byte.
    pub fn present(&self) -> Option<&'a [u8]> {
        match self.status {
            Status::Absent => None,
            Status::Fault if self.bytes.is_empty() => None,
            _ => Some(self.bytes),
        }
    }
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than the header, or than its own length field says.
    Short,
    /// Another layout version.
    Version(u8),
    /// A kind this build does not know.
    Kind(u16),
    /// The body is not the one of its kind.
    Body,
    /// The slice table or the slice of this index leaves the record, or its status is unknown.
    Slice(u16),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Short => write!(f, "record is shorter than it says"),
            Malformed::Version(v) => write!(f, "record has layout version {v}, not {VERSION}"),
            Malformed::Kind(k) => write!(f, "record has unknown kind {k}"),
            Malformed::Body => write!(f, "record body does not have the size of its kind"),
            Malformed::Slice(n) => write!(f, "slice {n} of the record is not inside it"),
        }
    }
}

impl std::error::Error for Malformed {}

/// A record, checked: every slice lies inside the bytes.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    bytes: &'a [u8],
    header: Header,
    kind: Kind,
}

impl<'a> Record<'a> {
    /// Checks `bytes` (as the ring delivered them; trailing bytes beyond the record's own length are
    /// ignored) and reads the header.
    ///
    /// # Errors
    /// [`Malformed`] when a length, the version, the kind or a slice does not hold.
    pub fn parse(bytes: &'a [u8]) -> Result<Record<'a>, Malformed> {
        let header: Header = read(bytes, 0).ok_or(Malformed::Short)?;
        let bytes = bytes.get(..header.length as usize).ok_or(Malformed::Short)?;
        if bytes.len() < size_of::<Header>() {
            return Err(Malformed::Short);
        }
        if header.version != VERSION {
            return Err(Malformed::Version(header.version));
        }
        let kind = Kind::from_id(header.kind).ok_or(Malformed::Kind(header.kind))?;
        if usize::from(header.slice_table) != size_of::<Header>() + kind.body_size() {
            return Err(Malformed::Body);
        }
        let record = Record { bytes, header, kind };
        for n in 0..header.slice_count {
            record.checked_slice(n).ok_or(Malformed::Slice(n))?;
        }
        Ok(record)
    }

    /// The whole record.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }
    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }
    /// The hook that wrote it; `None` only for a number this build does not know.
    pub fn hook(&self) -> Option<Hook> {
        Hook::from_id(self.header.hook)
    }
    /// The flags.
    pub fn flags(&self) -> Flags {
        self.header.flags()
    }
    /// The fixed body, when the record's kind has body `B`.
    pub fn body<B: Layout>(&self) -> Option<B> {
        (self.kind.body_name() == B::NAME).then(|| read(self.bytes, size_of::<Header>())).flatten()
    }
    /// The slice with this index (constants beside each body), [`Slice::ABSENT`] beyond the table.
    pub fn slice(&self, index: usize) -> Slice<'a> {
        u16::try_from(index)
            .ok()
            .filter(|&n| n < self.header.slice_count)
            .and_then(|n| self.checked_slice(n))
            .unwrap_or(Slice::ABSENT)
    }

    fn checked_slice(&self, index: u16) -> Option<Slice<'a>> {
        let at = usize::from(self.header.slice_table) + usize::from(index) * size_of::<RawSlice>();
        let raw: RawSlice = read(self.bytes, at)?;
        let status = match raw.status {
            0 => Status::Absent,
            1 => Status::Ok,
            2 => Status::Truncated,
            3 => Status::Fault,
            _ => return None,
        };
        let start = usize::from(raw.offset);
        let bytes = self.bytes.get(start..start + usize::from(raw.length))?;
        Some(Slice { bytes, original: raw.original, status, flags: SliceFlags(raw.flags) })
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("kind", &self.kind.name())
            .field("pid", &self.header.pid)
            .field("length", &self.header.length)
            .finish_non_exhaustive()
    }
}

/// Reads a structure at `at`, whatever the alignment (records are copied into slabs).
fn read<T: Layout>(bytes: &[u8], at: usize) -> Option<T> {
    let part = bytes.get(at..at.checked_add(size_of::<T>())?)?;
    // SAFETY: `part` has exactly size_of::<T>() initialised bytes, and a Layout accepts every bit pattern.
    Some(unsafe { part.as_ptr().cast::<T>().read_unaligned() })
}

/// The bytes of a structure, as the kernel side writes it: to make records without a kernel.
pub fn bytes_of<T: Layout>(value: &T) -> Vec<u8> {
    // SAFETY: a Layout is plain integers and bytes without padding, so all of its memory is initialised.
    unsafe { std::slice::from_raw_parts((&raw const *value).cast::<u8>(), size_of::<T>()) }.to_vec()
}
