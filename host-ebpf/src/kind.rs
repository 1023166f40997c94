//! The kinds: one pair of files each (`kind/<kind>.bpf.c` fills the body that `kind/<kind>.rs` declares)
//! and one line in [`kinds!`] below, in `picket.bpf.c` and in `kinds.h`.

use crate::record::Layout;

macro_rules! kinds {
    ($($id:literal $variant:ident $module:ident :: $body:ident $class:ident,)*) => {
        $(pub mod $module;)*

        /// A kind of record.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Kind { $(#[doc = concat!("`", stringify!($module), "`")] $variant = $id,)* }

        impl Kind {
            /// Every kind, in the order of the ids.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)*];

            /// The kind with this id.
            pub fn from_id(id: u16) -> Option<Kind> {
                match id { $($id => Some(Kind::$variant),)* _ => None }
            }
            /// The event name, e.g. the name of the kernel function or tracepoint.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$variant => stringify!($module),)* }
            }
            /// Whether records of this kind may be shed when the ring fills.
            pub fn class(self) -> Class {
                match self { $(Kind::$variant => Class::$class,)* }
            }
            /// Bytes of the fixed body.
            pub fn body_size(self) -> usize {
                match self { $(Kind::$variant => size_of::<$module::$body>(),)* }
            }
            /// What the tracepoint rung cannot see of this kind, "" when nothing is missing.
            pub fn blind_spot(self) -> &'static str {
                match self { $(Kind::$variant => $module::BLIND_SPOT,)* }
            }
            /// Where the tracepoint rung sees this kind.
            pub fn tracepoint(self) -> Tracepoint {
                match self { $(Kind::$variant => $module::TRACEPOINT,)* }
            }
            /// Whether the sensor can do an operation of this kind, harmlessly and at any time, to see if
            /// its hook fires.
            pub fn has_canary(self) -> bool {
                match self { $(Kind::$variant => $module::CANARY,)* }
            }
            /// Name of the body's C structure.
            pub fn body_name(self) -> &'static str {
                match self { $(Kind::$variant => <$module::$body as Layout>::NAME,)* }
            }
            /// Fields of the body: name, offset, size.
            pub fn body_fields(self) -> &'static [(&'static str, usize, usize)] {
                match self { $(Kind::$variant => <$module::$body as Layout>::FIELDS,)* }
            }
        }
    };
}

/// How a kind is treated when the ring fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Always on, may fill the ring: the process table depends on it.
    Lifecycle,
    /// On when wanted, refused above three quarters of the ring.
    Bulk,
    /// Comes from an iterator, never through the ring.
    Iterator,
}

/// Where the tracepoint rung sees a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tracepoint {
    /// At a tracepoint of its own.
    Own,
    /// At the root of the unified control group hierarchy: programs that see sends and packets.
    Cgroup,
    /// At the end of a system call: in the program that all system calls share.
    SystemCall,
    /// Nowhere: only kprobes see it.
    Nowhere,
}

kinds! {
    1 SchedProcessExec sched_process_exec::Exec Lifecycle,
    2 SchedProcessFork sched_process_fork::Fork Lifecycle,
    3 SchedProcessExit sched_process_exit::Exit Lifecycle,
    4 SecurityFileOpen security_file_open::Open Bulk,
    5 SecuritySocketConnect security_socket_connect::Connect Bulk,
    6 SecuritySocketBind security_socket_bind::Bind Bulk,
    7 SecurityInodeUnlink security_inode_unlink::Unlink Bulk,
    8 Seed seed::Seed Iterator,
    9 Kill kill::Kill Bulk,
    10 Chown chown::Chown Bulk,
    11 Fchownat fchownat::Fchownat Bulk,
    12 Unlink unlink::Unlink Bulk,
    13 Mount mount::Mount Bulk,
    14 Ptrace ptrace::Ptrace Bulk,
    15 SwitchTaskNs switch_task_ns::SwitchTaskNs Bulk,
    16 CommitCreds commit_creds::CommitCreds Bulk,
    17 ModuleLoad module_load::ModuleLoad Bulk,
    18 ModuleFree module_free::ModuleFree Bulk,
    19 BpfAttach bpf_attach::Attach Bulk,
    20 MemfdCreate memfd_create::Memfd Bulk,
    21 SecurityMmapFile security_mmap_file::Mmap Bulk,
    22 SecurityFileMprotect security_file_mprotect::Mprotect Bulk,
    23 SecurityInodeRename security_inode_rename::Rename Bulk,
    24 SecurityInodeLink security_inode_link::Link Bulk,
    25 SecurityInodeSymlink security_inode_symlink::Symlink Bulk,
    26 ChmodCommon chmod_common::Chmod Bulk,
    27 SecurityInodeMknod security_inode_mknod::Mknod Bulk,
    28 SecuritySocketAccept security_socket_accept::Accept Bulk,
    29 SecuritySocketListen security_socket_listen::Listen Bulk,
    30 NetUdpSend net_udp_send::UdpSend Bulk,
    31 NetPacketDnsRequest net_packet_dns_request::DnsRequest Bulk,
    32 NetPacketDnsResponse net_packet_dns_response::DnsResponse Bulk,
    33 SocketDup socket_dup::Dup Bulk,
}

impl Kind {
    /// The id in [`crate::Header::kind`].
    pub fn id(self) -> u16 {
        self as u16
    }
    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}
